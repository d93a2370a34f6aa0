"""Turns, hours and layers where it matters most: what the clock does in spring and autumn, by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from nightbell.oncall.rotation import Layer, Window, instant, meet, union, without
from nightbell.oncall.rules import Duty, Replacement, Rota, WeeklyShift, first_only

NEW_YORK = ZoneInfo("America/New_York")
AUTUMN, SPRING = date(2026, 11, 1), date(2027, 3, 14)  # the clock goes back at 02:00, and forward at 02:00


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _layer(**given: object) -> Layer:
    start: dict[str, object] = {
        "id": "r", "members": ("ann", "bob"), "unit": "day", "every": 1, "starts_on": date(2026, 10, 30), "handover": 480,
    }  # fmt: skip
    return Layer(**(start | given))  # type: ignore[arg-type]


def _rota(*layers: Layer, **more: object) -> Rota:
    return Rota(NEW_YORK, layers=layers, **more)  # type: ignore[arg-type]


def _spans(found: list[Duty]) -> list[tuple[str, str, str]]:
    return [(d.user, f"{d.starts_at:%m-%d %H:%M}", f"{d.ends_at:%m-%d %H:%M}") for d in found]


@pytest.mark.parametrize(
    ("zone", "day", "minutes", "expected"),
    [
        ("America/New_York", AUTUMN, 90, "2026-11-01T05:30"),  # comes twice: the first
        ("America/New_York", AUTUMN, 120, "2026-11-01T07:00"),  # after both
        ("America/New_York", SPRING, 119, "2027-03-14T06:59"),
        ("America/New_York", SPRING, 120, "2027-03-14T07:00"),  # skipped: the moment of the change
        ("America/New_York", SPRING, 150, "2027-03-14T07:00"),
        ("America/New_York", SPRING, 180, "2027-03-14T07:00"),
        ("America/New_York", SPRING, 181, "2027-03-14T07:01"),
        ("America/Havana", date(2026, 3, 8), 0, "2026-03-08T05:00"),  # midnight itself is skipped
        ("Australia/Lord_Howe", date(2026, 10, 4), 130, "2026-10-03T15:30"),  # by half an hour
        ("Pacific/Apia", date(2011, 12, 30), 480, "2011-12-30T10:00"),  # a whole day was skipped
        ("Asia/Kolkata", date(2026, 3, 29), 150, "2026-03-28T21:00"),
        ("America/New_York", date(2026, 11, 24), 1440 + 60, "2026-11-25T06:00"),  # past midnight
    ],
)
def test_a_wall_time_is_the_first_moment_at_which_the_clock_has_shown_it(
    zone: str, day: date, minutes: int, expected: str
) -> None:
    assert instant(day, minutes, ZoneInfo(zone)) == _utc(expected)


def test_turns_of_days_change_at_the_wall_clock_and_turns_of_hours_do_not() -> None:
    start, end = _utc("2026-10-31T12:00"), _utc("2026-11-03T13:00")
    assert _spans(_rota(_layer()).duties(start, end)) == [
        ("bob", "10-31 12:00", "11-01 13:00"),  # 25 hours
        ("ann", "11-01 13:00", "11-02 13:00"),
        ("bob", "11-02 13:00", "11-03 13:00"),
    ]
    assert _spans(_rota(_layer(unit="hours", every=24)).duties(start, end)) == [
        ("bob", "10-31 12:00", "11-01 12:00"),
        ("ann", "11-01 12:00", "11-02 12:00"),
        ("bob", "11-02 12:00", "11-03 12:00"),
        ("ann", "11-03 12:00", "11-04 12:00"),
    ]


def test_a_handover_in_skipped_time_is_at_the_change() -> None:
    found = _rota(_layer(handover=150)).duties(_utc("2027-03-14T00:00"), _utc("2027-03-15T00:00"))
    assert [f"{d.starts_at:%H:%M}" for d in found] == ["07:30", "07:00"]


def test_hours_within_skipped_time_are_empty_and_in_doubled_time_do_not_flicker() -> None:
    early = _layer(members=("ann",), hours=(Window(6, 120, 60),))
    assert _rota(early).duties(_utc("2027-03-14T00:00"), _utc("2027-03-15T00:00")) == []
    late = _layer(members=("ann",), hours=(Window(6, 60, 30),))
    assert _spans(_rota(late).duties(_utc("2026-11-01T00:00"), _utc("2026-11-02T00:00"))) == [
        ("ann", "11-01 05:00", "11-01 05:30")
    ]


def test_weeks_follow_each_other_and_end_at_the_handover_of_the_last_day() -> None:
    weeks = _layer(unit="week", every=2, starts_on=date(2026, 10, 5), ends_on=date(2026, 11, 10))
    found = _rota(weeks).duties(_utc("2026-10-01T00:00"), _utc("2026-12-01T00:00"))
    assert _spans(found) == [
        ("ann", "10-05 12:00", "10-19 12:00"),
        ("bob", "10-19 12:00", "11-02 13:00"),
        ("ann", "11-02 13:00", "11-10 13:00"),
    ]
    after = replace(weeks, id="s", starts_on=date(2026, 11, 10), ends_on=None)
    assert _rota(weeks, after).gaps(_utc("2026-10-05T12:00"), _utc("2026-12-01T00:00")) == []


def test_holidays_go_before_and_a_higher_layer_covers_only_where_it_has_somebody() -> None:
    base = _layer(members=("ann",))
    above = _layer(id="a", members=("bob", ""), position=3)
    feast = _layer(id="h", members=("cyd",), unit="week", holidays_only=True)
    rota = _rota(base, above, feast, holidays=frozenset({date(2026, 11, 26)}))
    found = rota.duties(_utc("2026-11-25T13:00"), _utc("2026-11-28T13:00"))
    assert _spans(found) == [
        ("bob", "11-25 13:00", "11-26 05:00"),
        ("cyd", "11-26 05:00", "11-27 05:00"),
        ("ann", "11-27 05:00", "11-27 13:00"),
        ("bob", "11-27 13:00", "11-28 13:00"),
    ]


def test_an_override_over_a_clock_change_is_as_long_as_its_instants() -> None:
    night = Replacement("o1", "dee", _utc("2026-11-01T02:00"), _utc("2026-11-01T12:00"))
    newer = Replacement("o2", "eve", _utc("2026-11-01T05:30"), _utc("2026-11-01T06:30"))  # 01:30 to 01:30
    rota = _rota(_layer(), overrides=(newer, night))
    there = [
        rota.on_duty(_utc(f"2026-11-01T{hour}"))[0].user
        for hour in ("02:00", "05:29", "05:30", "06:29", "06:30")
    ]
    assert there == ["dee", "dee", "eve", "eve", "dee"]


def test_who_is_told_first_leaves_no_one_twice_and_no_minute_out() -> None:
    backup = WeeklyShift("b", "bob", 1, 0, 1440, 1)
    first = WeeklyShift("a", "ann", 1, 480, 540)
    start, end = _utc("2026-11-24T05:00"), _utc("2026-11-25T05:00")
    found = first_only(Rota(NEW_YORK, (backup, first)).duties(start, end))
    assert _spans(found) == [
        ("bob", "11-24 05:00", "11-24 13:00"),
        ("ann", "11-24 13:00", "11-24 22:00"),
        ("bob", "11-24 22:00", "11-25 05:00"),
    ]


def test_the_handover_looks_as_far_as_turns_of_months_reach() -> None:
    change = _rota(_layer(unit="week", every=4)).handover(_utc("2026-10-30T13:00"))
    assert (change.user, change.next_user, change.until) == ("ann", "bob", _utc("2026-11-27T13:00"))


def test_stretches_are_joined_cut_and_met() -> None:
    a, b, c, d = (_utc("2026-01-01T00:00") + timedelta(hours=n) for n in range(4))
    assert union([(c, d), (a, b), (b, c), (d, d)]) == [(a, d)]
    assert without([(a, d)], [(b, c)]) == [(a, b), (c, d)]
    assert without([(a, b)], [(a, b)]) == []
    assert meet([(a, c)], [(a, b), (b, d)]) == [(a, b), (b, c)]
