"""SIP's own certificate: made with the home, or at the next start of one that has none."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from nightbell.core.config import load
from nightbell.phone.certificates import Certificates
from nightbell.server import home, tls

NOW = datetime.now(UTC)


def loads(folder: Path) -> x509.Certificate:
    """The chain and its key belong together and the CA beside them has signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "sip.pem", folder / "sip.key")
    leaf, ca = x509.load_pem_x509_certificates((folder / "sip.pem").read_bytes())
    assert ca == x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    leaf.verify_directly_issued_by(ca)
    return leaf


def test_a_new_home_has_one_under_the_same_authority(tmp_path: Path) -> None:
    config = load({"NIGHTBELL_HOME": str(tmp_path / "home"), "NIGHTBELL_KEYS": str(tmp_path / "keys")})
    assert home.make(config, home.REAL, NOW)
    folder = tmp_path / "home" / "phone" / "tls"
    leaf = loads(folder)
    assert (folder / "ca.pem").read_bytes() == (tmp_path / "home" / "tls" / "ca.pem").read_bytes()
    assert (folder / "sip.key").stat().st_mode & 0o077 == 0
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert Certificates(config).load().listens
    before = (folder / "sip.pem").read_bytes()
    assert not home.make(config, home.REAL, NOW)
    assert (folder / "sip.pem").read_bytes() == before


def test_a_home_of_before_gets_one_and_its_web_certificate_stays(tmp_path: Path) -> None:
    config = load({"NIGHTBELL_HOME": str(tmp_path / "home"), "NIGHTBELL_KEYS": str(tmp_path / "keys")})
    home.make(config, home.REAL, NOW)
    for file in config.sip_own.iterdir():
        file.unlink()
    config.sip_own.rmdir()
    web = (tmp_path / "home" / "tls" / "server.pem").read_bytes()
    home.make(config, home.REAL, NOW)
    loads(config.sip_own)
    assert (tmp_path / "home" / "tls" / "server.pem").read_bytes() == web


def test_one_that_has_run_out_or_is_damaged_is_made_anew(tmp_path: Path) -> None:
    assert tls.make_sip(tmp_path, ["localhost"], NOW - timedelta(days=tls.CA_DAYS + 1))
    assert tls.make_sip(tmp_path, ["localhost"], NOW)
    assert not tls.make_sip(tmp_path, ["localhost"], NOW)
    (tmp_path / "sip.pem").write_text("nonsense")
    assert tls.make_sip(tmp_path, ["localhost"], NOW)
    assert loads(tmp_path).not_valid_after_utc > NOW
