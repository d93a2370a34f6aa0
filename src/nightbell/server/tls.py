"""Our own certificate authority for the first start and the demo (DESIGN decision 12)."""

from __future__ import annotations

import ipaddress
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


def make(certificates: Path, keys: Path, hosts: list[str], now: datetime) -> None:
    """Write ca.pem and server.pem to `certificates`, server.key to `keys`; the CA's key is thrown away.

    Without a key nobody can issue a second certificate under a CA that people were told to trust.
    """
    ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), _leaf_key(keys / "server.key")
    ca_name = _name("Nightbell local CA")
    start = now - timedelta(minutes=5)
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(_usage(sign=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder()
        .subject_name(_name(hosts[0]))
        .issuer_name(ca_name)
        .public_key(leaf_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=LEAF_DAYS))
        .add_extension(x509.SubjectAlternativeName(_alternatives(hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(leaf_key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(_usage(sign=False), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    ca_pem = ca.public_bytes(Encoding.PEM)
    write_file(keys / "server.key", _pem_key(leaf_key))
    write_file(certificates / "server.pem", leaf.public_bytes(Encoding.PEM) + ca_pem, 0o644)
    write_file(certificates / "ca.pem", ca_pem, 0o644)


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
