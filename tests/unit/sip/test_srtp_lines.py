"""Lines of keys and fingerprints (RFC 4568, RFC 8122)."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.sip.srtp import (
    PROFILES,
    Crypto,
    Fingerprint,
    Security,
    SrtpKeys,
    parse_crypto,
    parse_fingerprint,
)

# A key of RFC 4568's own examples.
KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


def test_it_reads_the_lines_of_the_rfc() -> None:
    got = parse_crypto(f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20")
    assert got == Crypto(1, "AES_CM_128_HMAC_SHA1_80", base64.b64decode(KEY))
    assert parse_crypto(f"2 AES_CM_128_HMAC_SHA1_32 INLINE:{KEY}|1048576 WSH=256 -FUTURE=1") is not None


@pytest.mark.parametrize(
    ("suite", "sender"),
    [
        ("AES_256_CM_HMAC_SHA1_80", "PJSIP"),
        ("AES_CM_128_HMAC_SHA1_80", "PJSIP, baresip, linphone"),
        ("AEAD_AES_256_GCM", "baresip"),
        ("AEAD_AES_128_GCM", "linphone"),
    ],
)
def test_it_reads_what_it_writes(suite: str, sender: str) -> None:
    one = Crypto(7, suite, bytes(range(sum(PROFILES[suite]))))
    assert parse_crypto(one.line()) == one
    assert parse_crypto(one.line().rstrip("=")) == one  # some leave the padding out


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"1 AES_CM_128_HMAC_SHA1_80 {KEY}",
        f"1 AES_CM_128_HMAC_SHA1_80 uri:{KEY}",
        f"1 F8_128_HMAC_SHA1_80 inline:{KEY}",
        f"x AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"-1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY[:-4]}",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY[:-1]}ä",
        f"1 AEAD_AES_256_GCM inline:{KEY}",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^49",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|0",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|",
        # the RFC's own example of a key with an index, and one of two keys
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:32",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTCP",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} WSH=64 FUTURE",
        f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} " + "-X" * 300,
    ],
)
def test_it_passes_over_lines_that_we_must_not_take(line: str) -> None:
    assert parse_crypto(line) is None


@given(st.text(max_size=80))
def test_any_text_is_a_line_or_none(text: str) -> None:
    parse_crypto(text)
    parse_crypto("1 AES_CM_128_HMAC_SHA1_80 inline:" + text)
    parse_fingerprint(text)
    parse_fingerprint("sha-256 " + text)


def test_fingerprints() -> None:
    one = Fingerprint("sha-256", bytes(range(32)))
    assert parse_fingerprint(one.line()) == one
    assert parse_fingerprint(one.line().upper()) == one
    for bad in (
        "sha-1 " + ":".join(["AB"] * 20),
        "sha-256 " + ":".join(["AB"] * 31),
        "sha-256",
        "",
        "md5 AB",
    ):
        assert parse_fingerprint(bad) is None


def test_no_key_is_ever_shown() -> None:
    key = b"thirty bytes that are a secret"
    line = Crypto(1, "AES_CM_128_HMAC_SHA1_80", key)
    keys = SrtpKeys("AES_CM_128_HMAC_SHA1_80", key, key)
    for shown in (repr(line), str(line), repr(keys), repr(Security(crypto=(line,), keys=keys))):
        assert "secret" not in shown
        assert base64.b64encode(key).decode()[:8] not in shown
