"""What the marks of a call say."""

from __future__ import annotations

from datetime import UTC, datetime

from nightbell.core.capture import Mark
from nightbell.core.ids import new_ulid
from nightbell.mailbox.marks import Said, read


def said(*names: str) -> Said:
    return read([Mark(at, name) for at, name in enumerate(names)])


def test_a_call_without_marks_says_nothing() -> None:
    assert said() == Said()


def test_the_last_word_counts() -> None:
    tray, other = new_ulid(), new_ulid()
    told = said(
        "language:es",
        "language:en",
        "callback:seen",
        "callback:5035550148",
        f"mailbox:{tray}",
        f"mailbox:{other}",
    )
    assert (told.language, told.callback, told.mailbox) == ("en", "5035550148", other)


def test_what_was_pressed_as_urgent_is_not_taken_back() -> None:
    told = said("urgent", "urgency:review")
    assert told.urgent
    assert told.review


def test_a_promise_is_a_clip_and_a_time() -> None:
    told = said("promise:within-30-min:2026-11-24T03:40:00Z")
    assert (told.promise, told.promised_by) == ("within-30-min", datetime(2026, 11, 24, 3, 40, tzinfo=UTC))
    assert said("promise:promise-open-day:-").promised_by is None
    assert said("promise:promise-open-day:-").promise == "promise-open-day"


def test_tags_are_words_of_our_own() -> None:
    assert said("slow", "short", "test", "status:waiting_open").tags == [
        "relay", "short", "test", "status:waiting_open",
    ]  # fmt: skip


def test_what_cannot_be_read_is_passed_over() -> None:
    assert said(
        "language:fr", "callback:12", "callback:+1503", "mailbox:x", "joins:", "status:Where is Ana?",
        "promise:A b:now", "urgency:purple", "part:", ":", "",
    ) == Said()  # fmt: skip


def test_whether_the_number_is_the_callers() -> None:
    assert said("attest:verified:A").tags == ["number-verified"]
    assert said("attest:failed:-").tags == ["number-failed"]
    for other in (
        "attest:none:-",
        "attest:verified:B",
        "attest:verified:-",
        "attest:",
        "attest:verified:A:x",
    ):
        assert said(other).tags == []
