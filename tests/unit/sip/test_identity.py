"""SHAKEN tokens made here, by a certificate of an authority of our own."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from nightbell.sip.identity import Outcome, Verdict, judge, load, number, read
from nightbell.sip.message import Request, parse

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
URL = "https://certs.carrier.example/a1b2.pem"
CALLED = ("trunk7", "+15552014567")
KEY, OTHER, CA = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


def certificate(
    key: ec.EllipticCurvePrivateKey = KEY, days: tuple[int, int] = (-10, 10), ca: bool = False
) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(name("SHAKEN 1234"))
        .issuer_name(name("Test authority"))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(CA, SHA256())
    )


STORE = {"a1b2.pem": certificate()}


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(key: ec.EllipticCurvePrivateKey = KEY, head: dict[str, Any] | None = None, **body: Any) -> str:
    first = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": URL} | (head or {})
    second = {
        "attest": "A",
        "dest": {"tn": ["15552014567"]},
        "iat": int(NOW.timestamp()) - 5,
        "orig": {"tn": "15552017300"},
        "origid": "123e4567-e89b-12d3-a456-426655440000",
    } | body
    signed = ".".join(coded(json.dumps(part, separators=(",", ":")).encode()) for part in (first, second))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
    return f"{signed}.{coded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))};info=<{first['x5u']}>;alg=ES256;ppt=shaken"


def invite(*lines: str, sender: str = "<sip:+15552017300@carrier>") -> Request:
    extra = "".join(f"{line}\r\n" for line in lines)
    message = parse(
        f"INVITE sip:trunk7@us SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n{extra}From: {sender};tag=t\r\n"
        "To: <sip:+15552014567@us>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n".encode("utf-8", "surrogateescape")
    )
    assert isinstance(message, Request)
    return message


def judged(
    *lines: str,
    store: dict[str, x509.Certificate] = STORE,
    caller: str = "+15552017300",
    trusted: bool = True,
) -> Verdict:
    return judge(invite(*lines), caller, CALLED, store, NOW, trusted)


@pytest.mark.parametrize("level", ["A", "B", "C"])
def test_a_good_token_is_verified(level: str) -> None:
    verdict = judged(f"Identity: {token(attest=level)}", trusted=False)
    assert verdict == Verdict(Outcome.VERIFIED, level)
    assert verdict.mark == f"attest:verified:{level}"
    assert judged(f"Identity: {token()}", caller="5552017300").outcome is Outcome.VERIFIED


@pytest.mark.parametrize(
    "bad",
    [
        token(OTHER),
        token(iat=int(NOW.timestamp()) - 61),
        token(iat=int(NOW.timestamp()) + 61),
        token(orig={"tn": "15552017301"}),
        token(dest={"tn": ["15552014568"]}),
        token(dest={"tn": []}),
    ],
)
def test_a_token_that_lies_fails(bad: str) -> None:
    assert judged(f"Identity: {bad}") == Verdict(Outcome.FAILED)
    assert judged(f"Identity: {bad}").mark == "attest:failed:-"
    # The carrier's word does not mend what we saw to be false.
    assert (
        judged(
            f"Identity: {bad}", "P-Asserted-Identity: <sip:+15552017300@c>;verstat=TN-Validation-Passed"
        ).outcome
        is Outcome.FAILED
    )


def test_certificates_out_of_their_time_or_of_another_kind() -> None:
    line = f"Identity: {token()}"
    assert judged(line, store={"a1b2.pem": certificate(days=(-10, -1))}).outcome is Outcome.FAILED
    assert judged(line, store={"a1b2.pem": certificate(days=(1, 10))}).outcome is Outcome.FAILED
    assert judged(line, store={"other.pem": certificate()}).outcome is Outcome.NONE
    assert judged(f"Identity: {token(OTHER)}", f"Identity: {token()}").outcome is Outcome.VERIFIED


@pytest.mark.parametrize(
    "bad",
    [
        token(attest="D"),
        token(iat="now"),
        token(iat=True),
        token(iat=10**300),
        token(orig="15552017300"),
        token(dest=[]),
        token(head={"alg": "none"}),
        token(head={"ppt": "div"}),
        token().replace(f"<{URL}>", "<https://elsewhere/a1b2.pem>"),
        token().replace("info=", "inf="),
        "..c2ln;info=<https://certs.carrier.example/a1b2.pem>",
        "a.b.c",
        '"',
        "e30.e30.e30;info=<x>",
        "W10.W10.W10;info=<https://certs.carrier.example/a1b2.pem>",
        "x" * 20_000,
    ],
)
def test_what_is_no_token_is_passed_over(bad: str) -> None:
    if len(bad) < 8_000:
        assert judged(f"Identity: {bad}", trusted=False) == Verdict()
    assert read(bad) is None


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("P-Asserted-Identity: <tel:+15552017300;verstat=TN-Validation-Passed>", Verdict(Outcome.VERIFIED)),
        (
            "P-Asserted-Identity: <sip:+15552017300;verstat=TN-Validation-Passed-B@c;user=phone>",
            Verdict(Outcome.VERIFIED, "B"),
        ),
        ("P-Asserted-Identity: <sip:+15552017300@c>;verstat=TN-Validation-Failed", Verdict(Outcome.FAILED)),
        ("P-Asserted-Identity: <sip:+15552017300@c>;verstat=No-TN-Validation", Verdict()),
        ("P-Asserted-Identity: <sip:+15552017300@c>;verstat=TN-Validation-Passed-Z", Verdict()),
        ('P-Asserted-Identity: "', Verdict()),
        ("X: y", Verdict()),
    ],
)
def test_the_carriers_word_counts_by_a_trunk_alone(line: str, verdict: Verdict) -> None:
    assert judged(line) == verdict
    assert judged(line, trusted=False) == Verdict()


def test_the_level_in_a_line_of_its_own_and_a_word_in_from() -> None:
    passed = "P-Asserted-Identity: <sip:+15552017300@c>;verstat=TN-Validation-Passed"
    assert judged(passed, "P-Attestation-Indicator: A;") == Verdict(Outcome.VERIFIED, "A")
    request = invite(sender="<sip:+15552017300;verstat=TN-Validation-Passed-A@c>")
    assert judge(request, "+15552017300", CALLED, {}, NOW, True) == Verdict(Outcome.VERIFIED, "A")


def test_the_store_takes_what_it_can_use() -> None:
    good = certificate().public_bytes(Encoding.PEM)
    store = load(
        {
            "a.pem": good,
            "ca.pem": certificate(ca=True).public_bytes(Encoding.PEM),
            "b.pem": b"no",
            "c.pem": b"",
        }
    )
    assert list(store) == ["a.pem"]


def test_numbers_are_compared_as_digits() -> None:
    assert [number(text) for text in ("+1 (555) 201-7300", "5552017300", "+44 20 7946 0000", "15552017300;x", "")] == [
        "15552017300", "15552017300", "442079460000", "15552017300", ""
    ]  # fmt: skip


@given(st.text(max_size=100), st.binary(max_size=60))
def test_nothing_breaks_it(text: str, data: bytes) -> None:
    clean = "".join(char for char in text if char not in "\r\n")
    for value in (
        clean,
        f"{coded(data)}.{coded(data)}.{coded(data)};info=<{URL}>",
        f"e30.{coded(data)}.e30;{clean}",
    ):
        assert read(value) is None
        judged(f"Identity: {value}", f"P-Asserted-Identity: {clean}")
