"""TLS in memory: names, and what is no handshake."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.phone.certs import Authority

from nightbell.phone.tls import MAX_HANDSHAKE, Tls, TlsBroken, covers, names_of

LISTENING: list[Tls] = []


@pytest.fixture(scope="module", autouse=True)
def listening(tmp_path_factory: pytest.TempPathFactory) -> None:
    LISTENING.append(Tls(Authority(tmp_path_factory.mktemp("ca")).issue("a.example")))


def hello() -> bytes:
    """The first bytes of a real client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@given(st.binary(max_size=400), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=6))
@settings(deadline=None, max_examples=60)
def test_whatever_comes_is_a_handshake_or_broken(noise: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(hello())
    for at, value in changes:
        damaged[at % len(damaged)] = value
    for data in (noise, bytes(damaged) + noise):
        stream = LISTENING[-1].accept()
        with contextlib.suppress(TlsBroken):
            assert stream.feed(data) == b"" and not stream.done
        stream.out()


def test_a_handshake_is_bounded() -> None:
    stream = LISTENING[-1].accept()
    record = b"\x16\x03\x03\x40\x00\x01\x00\xff\xff" + bytes(0x4000 - 4)
    with pytest.raises(TlsBroken):
        stream.feed(record * (MAX_HANDSHAKE // len(record) + 2))


def test_nothing_is_said_before_the_handshake_is_done() -> None:
    stream = LISTENING[-1].accept()
    stream.feed(hello())
    with pytest.raises(TlsBroken):
        stream.write(b"INVITE")


@pytest.mark.parametrize(
    ("names", "wanted", "right"),
    [
        (("sip.example",), "sip.example", True),
        (("sip.example",), "SIP.example.", True),
        (("sip.example",), "example", False),
        (("example",), "sip.example", False),
        (("*.pop.carrier.example",), "a.pop.carrier.example", True),
        (("*.pop.carrier.example",), "b.a.pop.carrier.example", False),
        (("*.pop.carrier.example",), "pop.carrier.example", False),
        (("*.example",), "sip.example", False),
        (("*",), "sip", False),
        (("s*.carrier.example",), "sip.carrier.example", False),
        (("192.0.2.1",), "192.0.2.1", True),
        (("*.0.2.1",), "192.0.2.1", False),
        ((), "", False),
    ],
)
def test_which_names_a_certificate_covers(names: tuple[str, ...], wanted: str, right: bool) -> None:
    assert covers(names, wanted) is right


def test_whom_a_certificate_names(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("names"))

    def names(*given_names: str) -> tuple[str, ...]:
        pair = authority.issue(*given_names)
        return names_of(x509.load_pem_x509_certificate(pair.certificate.read_bytes()))

    assert names("A.Example", "sip:sbc.example", "sip:alice@evil.example", "192.0.2.1", "2001:db8::1") == (
        "sbc.example", "a.example", "192.0.2.1", "2001:db8::1",
    )  # fmt: skip
    assert names("sip:alice@evil.example") == (), "the common name is for those without a list"
    assert names_of(x509.load_pem_x509_certificate(authority.file.read_bytes())) == ("ca",)
