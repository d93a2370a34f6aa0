"""What pages say: times, spans, numbers, owners, reasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nightbell.mailbox.values import Person, Reason, Row
from nightbell.web import format as form
from nightbell.web.actions import action_word
from nightbell.web.present import flags, row_view, rung_words, short_name, why

NOW = datetime(2026, 11, 24, 12, 41, tzinfo=UTC)  # Tuesday 07:41 in New York
ZONE = "America/New_York"


def row(**change: object) -> Row:
    values: dict[str, object] = {
        "id": "01M85Z4AV1M2ZEPJAXKYN2FSHQ", "kind": "message", "state": "new", "urgency": "routine",
        "mailbox_id": "01M85Z4AV1M2ZEPJAXKYN2FSHR", "mailbox": "Refills", "received_at": NOW - timedelta(hours=14, minutes=29),
        "duration_s": 13.4, "language": "en", "end_reason": "hang_up", "pressed_urgent": False, "has_audio": True,
        "words_status": "ready", "callback_number": "+15035550134", "callback_uncertain": False,
        "first_words": "Hello this is", "reasons": (), "owner": None, "owned_at": None, "closed_at": None, "outcome": "",
        "unheard": True,
    }  # fmt: skip
    return Row(**(values | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=40), "under 1 m"),
        (timedelta(minutes=24), "24 m"),
        (timedelta(hours=14, minutes=29), "14 h 29 m"),
        (timedelta(hours=1, minutes=9), "1 h 09 m"),
        (timedelta(days=3, hours=4), "3 d 4 h"),
        (timedelta(seconds=-5), "under 1 m"),
    ],
)
def test_it_says_how_long_somebody_waits(passed: timedelta, text: str) -> None:
    assert form.span(passed) == text


def test_it_tells_times_on_the_clock_of_the_practice() -> None:
    assert form.clock_time(NOW, ZONE, NOW) == "07:41"
    assert form.clock_time(NOW - timedelta(hours=14, minutes=29), ZONE, NOW) == "Mon 17:12"
    assert form.clock_time(NOW - timedelta(days=52), ZONE, NOW) == "3 Oct 08:41"
    assert form.clock_time(NOW - timedelta(days=400), ZONE, NOW) == "20 Oct 2025 08:41"


def test_it_crosses_the_end_of_summer_time_without_losing_an_hour() -> None:
    before = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)  # 01:30 summer time
    assert form.clock_time(before, ZONE, before + timedelta(hours=1)) == "01:30"
    assert form.clock_time(before + timedelta(hours=1), ZONE, before + timedelta(hours=1)) == "01:30"
    assert form.span(timedelta(hours=1)) == "1 h 00 m"


@pytest.mark.parametrize(
    ("number", "shown", "dialled"),
    [
        ("+15035550134", "(503) 555-0134", "+15035550134"),
        ("5035550134", "(503) 555-0134", "+15035550134"),
        ("15035550134", "(503) 555-0134", "+15035550134"),
        ("+442071838750", "+442071838750", "+442071838750"),
        ("1234", "1234", "1234"),
        ("", "", ""),
        ("anonymous", "anonymous", ""),
    ],
)
def test_it_shows_and_dials_numbers(number: str, shown: str, dialled: str) -> None:
    assert form.phone(number) == shown
    assert form.dial(number) == dialled


def test_a_row_names_its_owner_and_says_when_it_is_you() -> None:
    owner = Person("01M85Z4AV1M2ZEPJAXKYN2FSHQ", "Dr. Anika Patel", "AP", 1)
    taken = row(state="acknowledged", owner=owner, owned_at=NOW)
    assert row_view(taken, "somebody", ZONE, NOW).owner_text == "Dr Patel since 07:41"
    assert row_view(taken, owner.id, ZONE, NOW).owner_text == "You since 07:41"
    assert short_name("Ana Ruiz") == "Ana Ruiz"


def test_a_row_never_invents_words() -> None:
    assert "Words follow" in row_view(row(words_status="pending", first_words=None), "", ZONE, NOW).says
    assert "Listen" in row_view(row(words_status="failed", first_words=None), "", ZONE, NOW).says
    assert "not shown to your role" in row_view(row(first_words=None), "", ZONE, NOW).says
    missed = row(kind="missed", has_audio=False, duration_s=0, first_words=None, words_status="empty")
    assert row_view(missed, "", ZONE, NOW).says == "Hung up before the tone."


def test_a_row_tells_a_withheld_number_from_one_that_is_not_shown() -> None:
    assert row_view(row(callback_number=""), "", ZONE, NOW).title == "Number withheld"
    assert row_view(row(callback_number=None), "", ZONE, NOW).title == "Number not shown"


def test_a_flag_that_lies_within_another_is_said_once() -> None:
    long, short = (
        Reason("red_flag", "cardiac", "left arm feels numb.", 5.0, 6.2),
        Reason("red_flag", "x", "arm feels numb.", 5.3, 6.2),
    )
    key = Reason("key", "pressed 1 for urgent", "", 0, 0)
    assert flags((key, long, short)) == (long,)
    assert why((key, long, short)) == "pressed 1 for urgent · “left arm feels numb” at 0:05"


def test_an_unknown_action_is_still_readable() -> None:
    assert action_word("keyring:new_period") == "keyring, new period"


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("17:30", 1050), ("1730", 1050), ("5:30 pm", 1050), ("5:30 P.M.", 1050), ("530pm", 1050), ("730", 450), ("5 pm", 1020),
        ("12 am", 0), ("12:15 pm", 735), ("00:00", 0), ("24:00", 1440), (" 8:05 ", 485),
        ("", None), ("5", None), ("24:01", None), ("25:00", None), ("13 pm", None), ("0 am", None), ("8:60", None),
        ("half past", None), ("-1:00", None), ("1:2", None), ("٣:٠٠", None), ("m", None), ("5:30 m", None),
    ],
)  # fmt: skip
def test_it_reads_times_as_people_write_them(text: str, minutes: int | None) -> None:
    assert form.read_clock(text) == minutes


def test_the_ladder_says_only_what_is_known() -> None:
    assert rung_words("next", "email", "") == "is told next", "the channel is chosen when it is sent"
    assert rung_words("now", "", "") == "is being told"
    assert rung_words("done", "outbox", "x") == "demo outbox"
    assert rung_words("failed", "email", "refused") == "not told: email, refused"
