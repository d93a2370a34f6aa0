"""Public holidays: the right days, the practice's choice of them, and an unknown state is refused."""

from __future__ import annotations

from datetime import date

import pytest

from nightbell.flow.plan import BadPlan
from nightbell.line import holidays


@pytest.mark.parametrize(
    ("state", "day", "name"),
    [
        ("", date(2026, 11, 26), "Thanksgiving Day"),  # the fourth Thursday of November
        ("", date(2027, 11, 25), "Thanksgiving Day"),
        ("", date(2026, 5, 25), "Memorial Day"),  # the last Monday of May
        ("", date(2026, 7, 4), "Independence Day"),
        ("", date(2026, 7, 3), "Independence Day (observed)"),  # the fourth is a Saturday
        ("", date(2028, 12, 25), "Christmas Day"),
        ("TX", date(2026, 3, 2), "Texas Independence Day"),
        ("MA", date(2026, 4, 20), "Patriots' Day"),
    ],
)
def test_it_knows_the_day(state: str, day: date, name: str) -> None:
    assert name in holidays.kept("US", state, [day.year], None)[day]


def test_a_state_without_the_holiday_is_open() -> None:
    assert date(2026, 3, 2) not in holidays.kept("US", "NY", [2026], None)


def test_only_the_chosen_ones_are_kept_on_whichever_day_they_fall() -> None:
    kept = holidays.kept("US", "NY", [2026, 2027], ("Independence Day", "Washington's Birthday"))
    assert list(kept) == [
        date(2026, 2, 16), date(2026, 7, 3), date(2026, 7, 4),
        date(2027, 2, 15), date(2027, 7, 4), date(2027, 7, 5),
    ]  # fmt: skip
    assert kept[date(2027, 2, 15)] == "Washington's Birthday"  # shares the day with one that is not kept
    assert holidays.kept("US", "NY", [2026], ()) == {}


def test_the_choices_are_plain_names_with_their_own_day() -> None:
    choices = holidays.choices("US", "", 2026)
    assert choices["Independence Day"] == date(2026, 7, 4)
    assert not any(name.endswith(holidays.OBSERVED) for name in choices)
    assert list(choices.values()) == sorted(choices.values())


@pytest.mark.parametrize(("country", "state"), [("US", "XX"), ("ZZ", ""), ("", "")])
def test_an_unknown_place_is_refused(country: str, state: str) -> None:
    with pytest.raises(BadPlan):
        holidays.names(country, state, 2026)
