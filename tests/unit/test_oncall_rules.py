"""Who is on call when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from nightbell.oncall import rules

NEW_YORK = ZoneInfo("America/New_York")
NIGHT = [rules.WeeklyShift(f"s{d}", "ann", d, 17 * 60, 15 * 60) for d in range(7)]


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


@pytest.mark.parametrize(
    ("local", "user"),
    [
        ("2026-11-24T16:59", None),
        ("2026-11-24T17:00", "ann"),
        ("2026-11-25T07:59", "ann"),
        ("2026-11-25T08:00", None),
    ],
)
def test_it_finds_who_is_on_call_over_midnight(local: str, user: str | None) -> None:
    found = [d.user for d in rules.on_duty(NIGHT, [], NEW_YORK, _at(local))]
    assert found == ([user] if user else [])


def test_a_night_is_an_hour_longer_when_the_clock_goes_back() -> None:
    night = rules.on_duty(NIGHT, [], NEW_YORK, _at("2026-11-01T00:30"))[0]
    assert night.ends_at - night.starts_at == timedelta(hours=16)
    spring = rules.on_duty(NIGHT, [], NEW_YORK, _at("2027-03-14T00:30"))[0]
    assert spring.ends_at - spring.starts_at == timedelta(hours=14)


def test_an_override_goes_before_the_week_and_ends() -> None:
    swap = rules.Replacement("o", "bob", _at("2026-11-24T20:00"), _at("2026-11-24T22:00"))
    assert [d.user for d in rules.on_duty(NIGHT, [swap], NEW_YORK, _at("2026-11-24T21:00"))] == ["bob"]
    assert [d.user for d in rules.on_duty(NIGHT, [swap], NEW_YORK, _at("2026-11-24T22:00"))] == ["ann"]


def test_it_finds_the_gaps_of_a_day() -> None:
    start, end = _at("2026-11-24T00:00"), _at("2026-11-25T00:00")
    found = rules.duties(NIGHT, [], NEW_YORK, start, end)
    assert rules.gaps(found, start, end) == [(_at("2026-11-24T08:00"), _at("2026-11-24T17:00"))]
    assert rules.gaps([], start, end) == [(start, end)]


def test_the_walk_in_steps_agrees_with_the_duties_over_a_clock_change() -> None:
    start, end = _at("2026-10-31T12:00"), _at("2026-11-02T12:00")
    found = rules.duties(NIGHT, [], NEW_YORK, start, end)
    moment = start
    while moment < end:
        by_list = any(d.starts_at <= moment < d.ends_at for d in found)
        assert bool(rules.on_duty(NIGHT, [], NEW_YORK, moment)) == by_list
        moment += timedelta(minutes=10)


def test_it_looks_past_shifts_of_the_same_person_for_the_handover() -> None:
    day = [rules.WeeklyShift(f"d{d}", "bob", d, 8 * 60, 9 * 60) for d in range(3)]  # Monday to Wednesday
    change = rules.handover(NIGHT + day, [], NEW_YORK, _at("2026-11-24T18:00"))
    assert (change.user, change.until) == ("ann", _at("2026-11-25T08:00"))
    assert (change.next_user, change.next_from) == ("bob", _at("2026-11-25T08:00"))
    whole = [rules.WeeklyShift(f"w{d}", "ann", d, 0, 1440) for d in range(7)]
    assert rules.handover(whole, [], NEW_YORK, _at("2026-11-24T18:00")) == rules.Handover(
        "ann", None, None, None
    )
    swap = rules.Replacement("o", "bob", _at("2026-11-24T20:00"), _at("2026-11-24T22:00"))
    change = rules.handover(whole, [swap], NEW_YORK, _at("2026-11-24T18:00"))
    assert (change.until, change.next_user) == (_at("2026-11-24T20:00"), "bob")
    alone = rules.handover(NIGHT, [], NEW_YORK, _at("2026-11-24T12:00"))
    assert (alone.user, alone.until, alone.next_user) == (None, None, "ann")
    assert alone.next_from == _at("2026-11-24T17:00")
