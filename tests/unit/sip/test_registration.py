"""What a registrar's answer means, and when to try again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.sip.message import Response, parse
from nightbell.sip.registration import away, back_off, contact, granted, min_expires
from nightbell.sip.trunk import Kind, Trunk

TRUNK = Trunk("T1", "Carrier", Kind.REGISTER, domain="carrier.example", user="5552014567")
OURS = contact("<sip:192.0.2.7:5061;transport=tls>", TRUNK, reliable=True)


def answer(*lines: str) -> Response:
    extra = "".join(f"{line}\r\n" for line in lines)
    message = parse(
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKx\r\n{extra}From: <sip:a@h>;tag=t\r\n"
        "To: <sip:a@h>;tag=u\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\r\n".encode()
    )
    assert isinstance(message, Response)
    return message


def test_our_contact() -> None:
    assert OURS.startswith('<sip:5552014567@192.0.2.7:5061;transport=tls>;+sip.instance="<urn:uuid:')
    assert OURS.endswith(";reg-id=1")
    assert contact("<sips:[2001:db8::1]>", TRUNK, False) == "<sips:5552014567@[2001:db8::1]>"
    assert contact("<sip:h>", TRUNK, True) == contact("<sip:h>", TRUNK, True)  # the same after a restart


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((f"Contact: {OURS};expires=120", "Expires: 3600"), 120),
        ((f"Contact: <sip:x@h>;expires=50, {OURS};expires=70",), 70),
        (("Contact: <sip:5552014567@203.0.113.9:41000>;expires=90",), 90),  # rewritten by a NAT's keeper
        (("Contact: <sip:5552014567@192.0.2.7:5061>", "Expires: 300"), 300),
        (("Expires: 300",), 300),
        ((), 600),
        ((f"Contact: {OURS}",), 600),
        ((f"Contact: {OURS};expires=1",), 10),
        ((f"Contact: {OURS};expires=999999999",), 86_400),
        ((f"Contact: {OURS};expires=0",), 0),
        ((f"Contact: {OURS};expires=soon",), 600),
        (("Contact: <sip:x@h>;expires=50, <sip:y@h>;expires=50",), 0),  # two, and neither is ours
    ],
)
def test_for_how_long(lines: tuple[str, ...], seconds: int) -> None:
    assert granted(answer(*lines), OURS, 600) == seconds


def test_min_expires() -> None:
    assert [
        min_expires(answer(f"Min-Expires: {text}"), 600) for text in ("3600", "60", "x", "999999999")
    ] == [3600, 600, 600, 600]


def test_who_is_away_and_how_long_we_wait() -> None:
    assert [code for code in (403, 404, 408, 480, 500, 503, 603) if away(code)] == [408, 480, 500, 503]
    assert [back_off(n, False, 1.0) for n in (1, 2, 3, 9, 99)] == [30, 60, 120, 1800, 1800]
    assert [back_off(n, True, 1.0) for n in (1, 2, 3, 9, 10**6)] == [30, 60, 120, 120, 120]
    assert back_off(1, True, 0.0) == 15


@given(st.text(alphabet='<>"\\;,=?.:@sip1459 expires', max_size=80))
def test_nothing_breaks_it(text: str) -> None:
    response = answer("Expires: 60")
    response.headers["contact"] = [text]
    assert 0 <= granted(response, OURS, 600) <= 86_400
