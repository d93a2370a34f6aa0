"""Who refreshes a call, and when (RFC 4028)."""

import pytest

from nightbell.sip.message import Request, Response, parse
from nightbell.sip.timers import (
    Expiry,
    TooBrief,
    agree,
    answer_lines,
    asked,
    granted,
    least,
    may_update,
    request_lines,
)


def invite(extra: str) -> Request:
    message = parse(
        f"INVITE sip:line@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n{extra}From: <sip:a@h>;tag=t\r\n"
        "To: <sip:line@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n".encode()
    )
    assert isinstance(message, Request)
    return message


def ok(extra: str) -> Response:
    message = parse(
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n{extra}From: <sip:a@h>;tag=t\r\n"
        "To: <sip:line@h>;tag=u\r\nCall-ID: c\r\nCSeq: 1 UPDATE\r\n\r\n".encode()
    )
    assert isinstance(message, Response)
    return message


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("", None),
        ("Supported: timer\r\n", None),
        ("Require: timer\r\n", None),
        ("Session-Expires: 1800\r\n", Expiry(1800, True)),  # a proxy's wish: only we can do it
        ("Supported: timer\r\nSession-Expires: 1800\r\n", Expiry(1800, False)),
        ("k: 100rel, TIMER\r\nx: 600;refresher=uac\r\n", Expiry(600, False)),
        ("Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n", Expiry(600, True)),
        ("Require: timer\r\nSession-Expires: 90;refresher=nobody\r\n", Expiry(90, False)),
        ("Session-Expires: 20\r\n", Expiry(90, True)),
        ("Supported: timer\r\nSession-Expires: soon\r\n", None),
        ("Supported: timer\r\nSession-Expires: -5\r\n", None),
        ("Supported: timer\r\nSession-Expires: 9999999999\r\n", Expiry(86_400, False)),
        ("Supported: timer\r\nSession-Expires: 600 \t;refresher=uas\r\n", Expiry(600, True)),
        (
            "Supported: timer\r\nSession-Expires: 600\x1d\x1f;refresher=uas\r\n",
            None,
        ),  # str.strip() takes them, int() not
        ("Session-Expires: 600\x1c;x\r\n", None),
    ],
)
def test_what_is_agreed(extra: str, expected: Expiry | None) -> None:
    assert agree(invite(extra)) == expected


def test_too_brief() -> None:
    with pytest.raises(TooBrief):
        agree(invite("Supported: timer\r\nSession-Expires: 89\r\n"))


def test_the_lines_and_times() -> None:
    assert answer_lines(Expiry(600, False)) == (
        ("Require", "timer"),
        ("Session-Expires", "600;refresher=uac"),
    )
    assert answer_lines(Expiry(600, True)) == (("Session-Expires", "600;refresher=uas"),)
    assert ("Session-Expires", "600;refresher=uac") in request_lines(Expiry(600, True))
    raised = request_lines(Expiry(90, True), 300)
    assert ("Session-Expires", "300;refresher=uac") in raised and ("Min-SE", "300") in raised
    assert (Expiry(600, True).refresh_after, Expiry(600, False).ends_after) == (300, 568)
    assert Expiry(90, False).ends_after == 60


def test_what_the_other_side_grants() -> None:
    assert granted(ok("")) is None
    assert granted(ok("Session-Expires: 600;refresher=uac\r\n")) == Expiry(600, True)
    assert granted(ok("Session-Expires: 600;refresher=uas\r\n")) == Expiry(600, False)
    assert [least(ok(f"Min-SE: {text}\r\n")) for text in ("300", "300;x=y", "1", "much")] == [
        300,
        300,
        90,
        90,
    ]
    assert may_update(ok("Allow: INVITE, update\r\n")) and not may_update(ok("Allow: INVITE\r\n"))
    assert asked(ok('Session-Expires: 600;"\r\n')) == (600, "")
