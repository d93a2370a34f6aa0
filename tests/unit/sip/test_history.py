"""Which number was dialled first, by what carriers write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.sip.history import diverted, first_dialled, reason_line, reasons
from nightbell.sip.message import Request, parse
from nightbell.sip.trunk import DIALLED, Dialled

OURS = frozenset(["5552014567", "+15552014567", "5552019999"])


def invite(extra: str = "", uri: str = "sip:trunk7@us", to: str = "<sip:trunk7@us>") -> Request:
    message = parse(
        f"INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n{extra}From: <sip:a@h>;tag=t\r\n"
        f"To: {to}\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n".encode("utf-8", "surrogateescape")
    )
    assert isinstance(message, Request)
    return message


def found(request: Request, order: tuple[Dialled, ...] = DIALLED) -> tuple[str, str]:
    return first_dialled(request, OURS.__contains__, order)


HISTORY = (
    "History-Info: <sip:+15552014567@carrier?Reason=SIP%3Bcause%3D302>;index=1, "
    "<sip:5552019999@carrier;cause=302>;index=1.1;mp=1\r\n"
)
# The newest on top: the patient dialled …4567, which went to …9999, which went on to us.
DIVERSION = (
    "Diversion: <sip:5552019999@carrier>;reason=unconditional;counter=1\r\n"
    "Diversion: <sip:5552014567@carrier>;reason=no-answer;privacy=off\r\n"
)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (invite(HISTORY), ("+15552014567", "history")),
        (invite(HISTORY + DIVERSION), ("+15552014567", "history")),
        (invite(DIVERSION), ("5552014567", "diversion")),
        (
            invite(DIVERSION.replace("\r\nDiversion:", ",").replace("5552014567", "+1999")),
            ("5552019999", "diversion"),
        ),
        (invite("P-Called-Party-ID: <sip:5552014567@us>\r\n"), ("5552014567", "called")),
        (invite(to='"Doctor, your" <sip:5552014567@us>'), ("5552014567", "to")),
        (invite(uri="sip:5552014567@us"), ("5552014567", "request")),
        (invite("Diversion: <tel:+15552014567>;reason=user-busy\r\n"), ("+15552014567", "diversion")),
        # Out of order, and asking for privacy: still the first of the way.
        (
            invite(
                "History-Info: <sip:5552019999@c>;index=1.1\r\nHistory-Info: <sip:5552014567@c?Privacy=history>;index=1\r\n"
            ),
            ("5552014567", "history"),
        ),
        (
            invite("History-Info: <sip:anonymous@anonymous.invalid>;index=1\r\n", uri="sip:5552014567@us"),
            ("5552014567", "request"),
        ),
        # Broken or of nobody's: passed over.
        (
            invite('Diversion: "<sip:5552014567@c>\r\nHistory-Info: <<>>;;\r\n', uri="sip:5552019999@us"),
            ("5552019999", "request"),
        ),
        (invite("Diversion: <sip:911@c>\r\n"), ("", "")),
    ],
)
def test_the_first_of_ours_counts(request_: Request, expected: tuple[str, str]) -> None:
    assert found(request_) == expected


def test_the_order_is_the_trunks() -> None:
    request = invite(DIVERSION, uri="sip:5552019999@us")
    assert found(request, (Dialled.REQUEST, Dialled.DIVERSION)) == ("5552019999", "request")
    assert found(request, (Dialled.TO,)) == ("", "")


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        (DIVERSION, "no-answer"),
        (HISTORY, "always"),
        ("Diversion: <sip:1@c>;reason=user-busy\r\n", "busy"),
        ('Diversion: <sip:1@c>;reason="no-answer"\r\n', "no-answer"),
        ("Diversion: <sip:1@c>;reason=because\r\n", "other"),
        ("Diversion: <sip:1@c>\r\n", "other"),
        ("History-Info: <sip:1@c>;index=1, <sip:2@c;cause=486>;index=1.1\r\n", "busy"),
        ("History-Info: <sip:1@c?Reason=SIP%3Bcause%3D408%3Btext%3D%22x%22>;index=1\r\n", "no-answer"),
        ("", ""),
    ],
)
def test_why_it_came_on(extra: str, why: str) -> None:
    assert diverted(invite(extra)) == why
    assert diverted(invite(uri="sip:1@us;cause=408")) == "no-answer"


def test_reasons_of_an_end() -> None:
    request = invite('Reason: SIP;cause=200;text="Call completed elsewhere", Q.850;cause=16;text="x"\r\n')
    assert reasons(request) == ("SIP-200", "Q.850-16")
    assert reasons(invite("Reason: SIP;cause=9999, X;cause=1, SIP;cause=, Q.850;cause=500\r\n")) == ()
    assert reasons(invite("Reason: SIP;cause=699, q.850 ; cause=3\r\n")) == ("SIP-other", "Q.850-other")
    assert reason_line(503, "the line is stopped") == ("Reason", 'SIP;cause=503;text="the line is stopped"')


@given(
    st.text(alphabet='<>"\\;,=?.:@sip1459 5%3D', max_size=120),
    st.sampled_from(["History-Info", "Diversion", "P-Called-Party-ID", "Reason"]),
)
def test_nothing_breaks_it(text: str, name: str) -> None:
    request = invite(f"{name}: {text}\r\n", uri="sip:5552014567@us")
    assert found(request)[0] in OURS
    assert len(diverted(request)) < 12
    assert len(reasons(request)) <= 4


def test_a_long_way_is_bounded() -> None:
    many = "".join(f"Diversion: <sip:{n}@c>\r\n" for n in range(200))
    assert found(invite(many, uri="sip:5552014567@us")) == ("5552014567", "request")
    one = "Diversion: " + ", ".join(f"<sip:{n}@c>" for n in range(200)) + ", <sip:5552014567@c>\r\n"
    assert found(invite(one)) == ("5552014567", "diversion")
