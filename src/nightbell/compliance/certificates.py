"""What a certificate file says: names, issuer, end. Public halves alone; no key is opened here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from nightbell.core.config import Config


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """names: DNS names and addresses; ends: UTC; own: issued by an authority of Nightbell's own making."""

    names: tuple[str, ...]
    issuer: str
    ends: datetime
    own: bool


def read(path: Path) -> CertificateFacts | None:
    """The first certificate of a PEM file; None when there is none that can be read."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError, IndexError):
        return None
    issuer = _common_name(found.issuer)
    return CertificateFacts(_names(found), issuer, found.not_valid_after_utc, issuer.startswith("Nightbell "))


def path_of_phone(config: Config) -> Path:
    """The public half of what the phone shows to carriers."""
    return Path(config.sip_cert) if config.sip_cert else config.sip_own / "sip.pem"


def of_phone(config: Config) -> CertificateFacts | None:
    return read(path_of_phone(config))


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME) or name.get_attributes_for_oid(
        NameOID.ORGANIZATION_NAME
    )
    return str(found[0].value)[:120] if found else ""


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return (_common_name(certificate.subject),)
    dns = extension.get_values_for_type(x509.DNSName)
    return (*dns, *(str(one) for one in extension.get_values_for_type(x509.IPAddress)))
