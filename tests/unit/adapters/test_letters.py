"""A letter that is written at once has the bytes that laying it out gives."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nightbell.adapters import letters
from nightbell.core.ids import new_token, new_ulid
from nightbell.core.notice import NoticeKind, Notification, Rendered
from nightbell.oncall.notifications import LANGUAGES, render

WHEN = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
SENDER, ADDRESS = "line@practice.example", "alice@practice.example"
BODIES = (
    "Sign in to see it.\n", "a\n\nb\n", ".\n..\n.x\n", "From here\n", ">From\n", "a=b =\n", "x" * 76 + "\n", "x" * 77 + "\n",
    "x" * 998 + "\n", "ends with a space \n", " begins with one\n", "\ttab\n", "no end", "", "\n", "two ends\n\n", "a\r\nb\n",
    "a\rb\n", "a\x0bb\n", "a\x85b\n", "a\u2028b\n", "é\n", "a\x00b\n", "-- \nx\n", "--=\n",
)  # fmt: skip


def both(rendered: Rendered, sender: str, address: str) -> tuple[bytes, bytes, bool]:
    """As it leaves, as laying it out gives it, and whether it was written at once."""
    reference, at_once = new_ulid(), []
    written = letters._written

    def no(headers: object, body: str) -> bytes:
        at_once.append(bool(written(headers, body)))  # type: ignore[arg-type]
        return b""

    leaves = letters.compose(rendered, sender, address, reference, WHEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(letters, "_written", no)
        return leaves, letters.compose(rendered, sender, address, reference, WHEN), at_once[0]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", NoticeKind)
def test_every_notification_is_the_same(kind: NoticeKind, language: str) -> None:
    code = "123456" if kind is NoticeKind.VERIFY else ""
    rendered = render(Notification(kind, "QX07", new_token(), language, code), "https://bell.example:8443")
    leaves, laid_out, at_once = both(rendered, SENDER, ADDRESS)
    assert leaves == laid_out
    assert at_once or kind is not NoticeKind.URGENT or language == "es", "what is urgent is not to wait"


@pytest.mark.parametrize("body", BODIES)
def test_every_body_is_the_same_or_laid_out(body: str) -> None:
    leaves, laid_out, _ = both(Rendered("Nightbell", body, ""), SENDER, ADDRESS)
    assert leaves == laid_out


@pytest.mark.parametrize("length", [1, 30, 60, 61, 62, 63, 64])
def test_every_address_and_subject_is_the_same_or_laid_out(length: int) -> None:
    address = "a" * length + "@practice.example"
    for subject in ("s" * length, "s " * length, "é", "a  b", ""):
        leaves, laid_out, _ = both(Rendered(subject, "b\n", ""), address, address)
        assert leaves == laid_out
