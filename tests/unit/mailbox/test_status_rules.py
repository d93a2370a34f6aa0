"""What a caller may truthfully be told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from nightbell.mailbox.status_rules import Standing, fits, standing

LEFT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
LATER, LAST = LEFT + timedelta(minutes=8), LEFT + timedelta(minutes=30)
NEW = Standing("new", urgent=True, rings=True, received_at=LEFT)


@pytest.mark.parametrize(
    ("message", "state", "at"),
    [
        (NEW, "waiting", LEFT),
        (replace(NEW, rings=False), "left", LEFT),
        (replace(NEW, urgent=False, rings=False), "waiting_open", LEFT),
        (replace(NEW, heard_at=LATER), "heard", LATER),
        (replace(NEW, urgent=False, heard_at=LATER), "heard", LATER),
        (replace(NEW, state="acknowledged"), "owned", None),
        (replace(NEW, state="acknowledged", heard_at=LATER), "owned", LATER),
        *(
            (replace(NEW, state="acknowledged", heard_at=LATER, tried_at=LAST, outcome=outcome), state, at)
            for outcome, state, at in (
                ("left_word", "tried", LAST), ("no_answer", "tried", LAST), ("wrong_number", "owned", LATER),
                ("", "owned", LATER),
            )
        ),
        *(
            (replace(NEW, state="closed", closed_at=LAST, heard_at=LATER, outcome=outcome), state, at)
            for outcome, state, at in (
                ("reached", "done", None), ("emergency", "done", None), ("no_call_needed", "left", LEFT),
                ("left_word", "tried", LAST), ("wrong_number", "left", LEFT),
            )
        ),
    ],
)  # fmt: skip
def test_it_says_what_is_true(message: Standing, state: str, at: datetime | None) -> None:
    assert standing(message) == (state, at)


@pytest.mark.parametrize(
    ("confirmed", "number", "caller", "told"),
    [
        ("5035550148", "5035550148", "5035550148", True),
        ("5035550148", "5035550148", "5035550149", False),
        ("5035550148", "5035550149", "5035550148", False),
        ("5035550148", "5035550149", "5035550149", False),
        ("5035550148", "5035550148", "", False),
        ("", "", "", False),
    ],
)
def test_it_speaks_only_to_the_number_that_was_confirmed(
    confirmed: str, number: str, caller: str, told: bool
) -> None:
    assert fits(confirmed, number, caller) is told
