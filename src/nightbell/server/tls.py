"""Our own certificate authority for the first start and the demo (DESIGN decision 12)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nightbell.core.durable import write_file
from nightbell.core.errors import RefusedStart

CA_DAYS, LEAF_DAYS = 3650, 397
MARGIN = timedelta(minutes=5)  # by which others' clocks may be slow


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternatives(hosts: list[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA of ours for as long as it has something to sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    start: datetime

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def make(certificates: Path, keys: Path, hosts: list[str], now: datetime, sip: Path | None = None) -> None:
    """Write ca.pem and server.pem to `certificates`, server.key to `keys`; the CA's key is thrown away.

    Without a key nobody can issue another certificate under a CA that people were told to trust. sip: where the
    certificate of SIP goes, which is signed in the same act.
    """
    leaf_key = _leaf_key(keys / "server.key")
    authority = _authority(now)
    leaf = _leaf(authority, leaf_key, hosts, LEAF_DAYS)
    write_file(keys / "server.key", _pem_key(leaf_key))
    if sip is not None:
        _write_sip(authority, sip, hosts)
    write_file(certificates / "server.pem", leaf + authority.pem, 0o644)
    write_file(certificates / "ca.pem", authority.pem, 0o644)


def make_sip(folder: Path, hosts: list[str], now: datetime) -> bool:
    """SIP's own certificate for a home that has none or only one that has run out, under a CA of its own.

    Writes sip.pem, sip.key and ca.pem to `folder`. Gives whether it made one.
    """
    try:
        found = x509.load_pem_x509_certificate((folder / "sip.pem").read_bytes())
        if (folder / "sip.key").exists() and now < found.not_valid_after_utc:
            return False
    except (FileNotFoundError, ValueError):
        pass
    _write_sip(_authority(now), folder, hosts)
    return True


def _write_sip(authority: Authority, folder: Path, hosts: list[str]) -> None:
    """It lasts as long as its CA: no browser looks at it, and one that ran out would cut a carrier off at night."""
    key = ec.generate_private_key(ec.SECP256R1())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(folder / "sip.key", _pem_key(key))
    write_file(folder / "ca.pem", authority.pem, 0o644)
    write_file(folder / "sip.pem", _leaf(authority, key, hosts, CA_DAYS, client=True) + authority.pem, 0o644)


def _authority(now: datetime) -> Authority:
    key, name, start = ec.generate_private_key(ec.SECP256R1()), _name("Nightbell local CA"), now - MARGIN
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key, start)


def _leaf(
    authority: Authority, key: ec.EllipticCurvePrivateKey, hosts: list[str], days: int, client: bool = False
) -> bytes:
    """A certificate for `hosts` in PEM. client: also for connections that we begin (SIP does both)."""
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    leaf = (
        x509.CertificateBuilder()
        .subject_name(_name(hosts[0]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(authority.start)
        .not_valid_after(authority.start + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(_alternatives(hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(_usage(sign=False), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    return leaf.public_bytes(Encoding.PEM)


def _leaf_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key that is there (keys that were restored before the data), or a fresh one. Never overwritten."""
    try:
        found = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        return ec.generate_private_key(ec.SECP256R1())
    except ValueError as error:
        raise RefusedStart(
            f"the key {path}", "it is not a private key", "restore it or move it away"
        ) from error
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise RefusedStart(
            f"the key {path}",
            "it belongs to another certificate",
            "put its server.pem and a ca.pem into tls/",
        )
    return found


def _usage(sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=sign, crl_sign=sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip
