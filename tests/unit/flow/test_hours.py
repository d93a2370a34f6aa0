"""What situation a practice is in: closure, holiday, lunch, open, closed, and when that changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.flow.hours import (
    BadCalendar,
    Calendar,
    Closure,
    Day,
    Kind,
    Situation,
    next_open_day,
    problems,
    situation,
)

ZONE = "America/New_York"
SHUT = Day(None, None, None)
OFFICE = Day(8 * 60, 17 * 60, (12 * 60, 13 * 60))
ROUND = Day(0, 1440)
WEEK = (OFFICE,) * 5 + (SHUT, SHUT)
HOLIDAYS = {
    date(2026, 11, 26): "Thanksgiving Day",
    date(2026, 12, 25): "Christmas Day",
    date(2027, 1, 1): "New Year's Day",
}
KNOWN = date(2028, 12, 31)


def _at(text: str, zone: str = ZONE, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def _calendar(
    week: tuple[Day, ...] = WEEK,
    closures: tuple[Closure, ...] = (),
    holidays: Mapping[date, str] = HOLIDAYS,
    zone: str = ZONE,
) -> Calendar:
    return Calendar(zone, week, holidays, KNOWN, closures)


def _closure(starts: str, ends: str | None, *, visits: bool = False) -> Closure:
    return Closure(_at(starts), _at(ends) if ends else None, visits, at_once=False)


STORM = _closure("2026-11-18T10:30", "2026-11-18T14:15", visits=True)


# 2026-11-16 is a Monday.
@pytest.mark.parametrize(
    ("at", "kind", "ends", "reopens"),
    [
        ("2026-11-16T07:59", Kind.CLOSED, "2026-11-16T08:00", "2026-11-16T08:00"),
        ("2026-11-16T08:00", Kind.OPEN, "2026-11-16T12:00", None),
        ("2026-11-16T11:59:59", Kind.OPEN, "2026-11-16T12:00", None),
        ("2026-11-16T12:00", Kind.LUNCH, "2026-11-16T13:00", "2026-11-16T13:00"),
        ("2026-11-16T13:00", Kind.OPEN, "2026-11-16T17:00", None),
        ("2026-11-16T17:00", Kind.CLOSED, "2026-11-17T08:00", "2026-11-17T08:00"),
        ("2026-11-20T17:00", Kind.CLOSED, "2026-11-23T08:00", "2026-11-23T08:00"),
        ("2026-11-25T23:59", Kind.CLOSED, "2026-11-26T00:00", "2026-11-27T08:00"),
        ("2026-11-26T00:00", Kind.HOLIDAY, "2026-11-27T00:00", "2026-11-27T08:00"),
        ("2026-11-26T12:30", Kind.HOLIDAY, "2026-11-27T00:00", "2026-11-27T08:00"),
        ("2026-12-31T18:00", Kind.CLOSED, "2027-01-01T00:00", "2027-01-04T08:00"),
        ("2028-02-28T18:00", Kind.CLOSED, "2028-02-29T08:00", "2028-02-29T08:00"),
        ("2028-02-29T12:00", Kind.LUNCH, "2028-02-29T13:00", "2028-02-29T13:00"),
    ],
)
def test_it_knows_the_situation_and_when_it_ends(at: str, kind: Kind, ends: str, reopens: str | None) -> None:
    name = {"2026-11-26": "Thanksgiving Day"}.get(at[:10], "")
    wanted = Situation(kind, _at(ends), _at(reopens) if reopens else None, name, False, True)
    assert situation(_calendar(), _at(at)) == wanted


@pytest.mark.parametrize(
    ("at", "kind", "ends", "reopens", "visits"),
    [
        ("2026-11-18T10:29", Kind.OPEN, "2026-11-18T10:30", None, False),
        ("2026-11-18T10:30", Kind.CLOSURE, "2026-11-18T14:15", "2026-11-18T14:15", True),
        ("2026-11-18T12:30", Kind.CLOSURE, "2026-11-18T14:15", "2026-11-18T14:15", True),
        ("2026-11-18T14:15", Kind.OPEN, "2026-11-18T17:00", None, False),
    ],
)
def test_a_closure_goes_before_lunch_and_ends_in_the_middle_of_the_day(
    at: str, kind: Kind, ends: str, reopens: str | None, visits: bool
) -> None:
    wanted = Situation(kind, _at(ends), _at(reopens) if reopens else None, "", visits, True)
    assert situation(_calendar(closures=(STORM,)), _at(at)) == wanted


def test_closures_that_overlap_are_one_and_any_of_them_can_speak_of_visits() -> None:
    long = _closure("2026-11-18T09:00", "2026-11-18T12:00")
    inner = _closure("2026-11-18T09:30", "2026-11-18T10:00", visits=True)
    touching = _closure("2026-11-18T14:15", "2026-11-19T00:00")
    calendar = _calendar(closures=(touching, STORM, inner, long))
    found = situation(calendar, _at("2026-11-18T09:45"))
    assert (found.kind, found.ends, found.visits) == (Kind.CLOSURE, _at("2026-11-19T00:00"), True)
    assert found.reopens == _at("2026-11-19T08:00")
    assert not situation(calendar, _at("2026-11-18T09:15")).visits


def test_a_closure_goes_before_a_holiday_and_the_holiday_is_back_after_it() -> None:
    calendar = _calendar(closures=(_closure("2026-11-26T06:00", "2026-11-26T09:00"),))
    found = situation(calendar, _at("2026-11-26T07:00"))
    assert (found.kind, found.name, found.ends) == (Kind.CLOSURE, "", _at("2026-11-26T09:00"))
    after = situation(calendar, _at("2026-11-26T09:00"))
    assert (after.kind, after.name, after.ends) == (
        Kind.HOLIDAY,
        "Thanksgiving Day",
        _at("2026-11-27T00:00"),
    )


def test_a_holiday_on_a_day_without_hours_is_a_holiday() -> None:
    calendar = _calendar(holidays={date(2026, 7, 4): "Independence Day"})
    found = situation(calendar, _at("2026-07-04T10:00"))
    assert (found.kind, found.name) == (Kind.HOLIDAY, "Independence Day")
    assert (found.ends, found.reopens) == (_at("2026-07-05T00:00"), _at("2026-07-06T08:00"))


def test_two_holidays_in_a_row_are_one_situation_under_the_name_of_the_day() -> None:
    calendar = _calendar(holidays={date(2026, 12, 24): "Christmas Eve", date(2026, 12, 25): "Christmas Day"})
    eve, christmas = (situation(calendar, _at(f"2026-12-{day}T10:00")) for day in (24, 25))
    assert eve.ends == christmas.ends == _at("2026-12-26T00:00")
    assert (eve.name, christmas.name) == ("Christmas Eve", "Christmas Day")


def test_a_closure_without_an_end_has_none_and_does_not_reopen() -> None:
    calendar = _calendar(closures=(_closure("2026-11-18T10:30", None),))
    found = situation(calendar, _at("2026-11-18T11:00"))
    assert (found.kind, found.ends, found.reopens) == (Kind.CLOSURE, None, None)
    before = situation(calendar, _at("2026-11-17T18:00"))
    assert (before.ends, before.reopens) == (_at("2026-11-18T08:00"), _at("2026-11-18T08:00"))
    assert next_open_day(calendar, _at("2026-11-17T18:00")) == date(2026, 11, 18)
    assert next_open_day(calendar, _at("2026-11-18T11:00")) is None


@pytest.mark.parametrize(
    ("days", "ends", "reopens"), [(14, True, True), (15, False, True), (60, False, True), (61, False, False)]
)
def test_it_looks_14_days_ahead_for_the_end_and_60_for_the_reopening(
    days: int, ends: bool, reopens: bool
) -> None:
    at = _at("2026-05-04T10:00")
    end = at + timedelta(days=days)
    week = (ROUND,) * 7
    found = situation(_calendar(week, (Closure(at, end),)), at)
    assert (found.ends, found.reopens) == (end if ends else None, end if reopens else None)
    early = situation(_calendar(week, (Closure(end, None),)), at)
    assert (early.kind, early.ends) == (Kind.OPEN, end if ends else None)


def test_a_practice_that_never_closes_has_no_end_not_even_at_midnight_or_a_clock_change() -> None:
    for at in ("2026-03-07T23:59", "2026-03-08T00:00", "2026-11-01T01:30", "2026-12-31T23:59"):
        found = situation(_calendar((ROUND,) * 7, holidays={}), _at(at))
        assert found == Situation(Kind.OPEN, None, None, "", False, True)


def test_a_practice_that_never_opens_is_closed_without_an_end() -> None:
    found = situation(_calendar((SHUT,) * 7, holidays={}), _at("2026-11-18T11:00"))
    assert found == Situation(Kind.CLOSED, None, None, "", False, True)
    assert next_open_day(_calendar((SHUT,) * 7), _at("2026-11-18T11:00")) is None


def test_open_until_24_00_and_again_from_0_00_has_no_closed_moment_between() -> None:
    week = (Day(9 * 60, 1440), Day(0, 12 * 60), *(SHUT,) * 5)
    calendar = _calendar(week)
    for at in ("2026-11-16T23:59:59.999999", "2026-11-17T00:00", "2026-11-17T00:00:00.000001"):
        found = situation(calendar, _at(at))
        assert (found.kind, found.ends) == (Kind.OPEN, _at("2026-11-17T12:00"))


@pytest.mark.parametrize(
    ("at", "opens", "wanted"),
    [  # the clock goes from 2:00 EST to 3:00 EDT on 2026-03-08, and from 2:00 EDT to 1:00 EST on 2026-11-01
        ("2026-03-08T00:00", 2 * 60 + 30, datetime(2026, 3, 8, 7, 0, tzinfo=UTC)),
        ("2026-03-08T00:00", 8 * 60, datetime(2026, 3, 8, 12, 0, tzinfo=UTC)),
        ("2026-11-01T00:00", 60 + 30, datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
        ("2026-11-01T00:00", 8 * 60, datetime(2026, 11, 1, 13, 0, tzinfo=UTC)),
    ],
)
def test_an_opening_that_the_clock_skips_or_shows_twice_is_one_instant(
    at: str, opens: int, wanted: datetime
) -> None:
    calendar = _calendar((Day(opens, 20 * 60),) * 7)
    assert situation(calendar, _at(at)).reopens == wanted
    assert situation(calendar, wanted - timedelta(seconds=1)).kind is Kind.CLOSED
    for minutes in range(180):
        assert situation(calendar, wanted + timedelta(minutes=minutes)).kind is Kind.OPEN


def test_hours_that_lie_in_the_skipped_hour_do_not_happen() -> None:
    calendar = _calendar((*(SHUT,) * 6, Day(2 * 60, 3 * 60)))
    assert situation(calendar, _at("2026-03-08T00:30")).reopens == _at("2026-03-15T02:00")
    assert next_open_day(calendar, _at("2026-03-07T12:00")) == date(2026, 3, 15)


def test_a_whole_day_that_a_zone_skipped_is_no_day() -> None:
    calendar = _calendar((ROUND,) * 5 + (SHUT, ROUND), zone="Pacific/Apia", holidays={})
    found = situation(calendar, _at("2011-12-29T12:00", "Pacific/Apia"))  # Friday the 30th never came
    assert (found.kind, found.ends) == (Kind.OPEN, _at("2011-12-31T00:00", "Pacific/Apia"))
    assert next_open_day(calendar, _at("2011-12-29T12:00", "Pacific/Apia")) == date(2012, 1, 1)
    calendar = _calendar((SHUT,) * 4 + (ROUND, SHUT, SHUT), zone="Pacific/Kwajalein", holidays={})
    ends = situation(calendar, datetime(1993, 8, 21, tzinfo=UTC)).ends  # a Friday; the Saturday never came
    assert ends == datetime(1993, 8, 21, 12, tzinfo=UTC)


def test_the_day_is_the_local_one_whatever_zone_the_instant_comes_in() -> None:
    utc = _at("2026-11-26T23:30")  # the 27th in UTC
    assert situation(_calendar(), utc).kind is Kind.HOLIDAY
    assert situation(_calendar(), utc.astimezone(ZoneInfo("Asia/Tokyo"))) == situation(_calendar(), utc)


def test_it_says_when_the_holidays_are_no_longer_known() -> None:
    calendar = Calendar(ZONE, WEEK, HOLIDAYS, date(2026, 12, 31))
    assert situation(calendar, _at("2026-12-31T23:59")).holidays_known
    assert not situation(calendar, _at("2027-01-01T00:00")).holidays_known


@pytest.mark.parametrize(
    ("at", "closures", "wanted"),
    [
        ("2026-11-16T07:00", (), date(2026, 11, 17)),
        ("2026-11-20T10:00", (), date(2026, 11, 23)),
        ("2026-11-25T10:00", (), date(2026, 11, 27)),
        ("2026-11-17T18:00", (STORM,), date(2026, 11, 18)),
        ("2026-11-17T18:00", (_closure("2026-11-18T07:00", "2026-11-18T08:01"),), date(2026, 11, 19)),
        ("2026-11-17T18:00", (_closure("2026-11-18T07:00", "2026-11-18T08:00"),), date(2026, 11, 18)),
    ],
)
def test_the_next_open_day_is_one_that_opens_as_the_week_says(
    at: str, closures: tuple[Closure, ...], wanted: date
) -> None:
    assert next_open_day(_calendar(closures=closures), _at(at)) == wanted


def test_a_naive_time_an_unknown_zone_and_a_short_week_are_refused() -> None:
    at = _at("2026-11-16T10:00")
    with pytest.raises(ValueError, match="naive"):
        situation(_calendar(), at.replace(tzinfo=None))
    for zone in ("America/Nowhere", "America", "../etc/passwd", ""):
        with pytest.raises(BadCalendar, match="time zone"):
            situation(_calendar(zone=zone), at)
    with pytest.raises(BadCalendar, match="6 days"):
        next_open_day(_calendar((OFFICE,) * 6), at)


@pytest.mark.parametrize(
    ("calendar", "wanted"),
    [
        (_calendar(closures=(STORM,)), []),
        (_calendar((ROUND,) * 7), []),
        (_calendar((OFFICE,) * 6), ["6 days"]),
        (_calendar(zone="Mars/Olympus"), ["Mars/Olympus"]),
        (_calendar((Day(1020, 480), *WEEK[1:])), ["Monday: it closes at 8:00, not after it opens at 17:00"]),
        (_calendar((Day(480, 480), *WEEK[1:])), ["Monday: it closes at 8:00"]),
        (_calendar((*WEEK[:6], Day(0, 1441))), ["Sunday: opening and closing must lie between"]),
        (_calendar((*WEEK[:6], Day(-1, 60))), ["Sunday: opening and closing must lie between"]),
        (_calendar((*WEEK[:6], Day(480, None))), ["Sunday: there is an opening time only"]),
        (_calendar((*WEEK[:6], Day(None, 480))), ["Sunday: there is a closing time only"]),
        (_calendar((*WEEK[:6], Day(None, None, (720, 780)))), ["Sunday: there is a lunch break on a day"]),
        (_calendar((*WEEK[:6], Day(480, 720, (700, 721)))), ["Sunday: lunch (11:40 to 12:01) lies outside"]),
        (_calendar((*WEEK[:6], Day(480, 720, (470, 500)))), ["Sunday: lunch (7:50 to 8:20) lies outside"]),
        (_calendar((*WEEK[:6], Day(480, 720, (600, 600)))), ["Sunday: lunch ends at 10:00"]),
        (_calendar((*WEEK[:6], Day(480, 720, (480, 720)))), ["Sunday: lunch takes all"]),
        (_calendar(holidays={date(2026, 7, 4): " "}), ["The holiday on 2026-07-04 has no name"]),
        (_calendar(closures=(STORM, STORM)), ["2026-11-18 10:30 overlaps"]),
        (
            _calendar(
                closures=(STORM, _closure("2026-11-18T14:15", None), _closure("2027-01-04T08:00", None))
            ),
            ["2027-01-04 08:00 overlaps another one: that one has no end"],
        ),
        (_calendar(closures=(_closure("2026-11-18T10:30", "2026-11-18T10:30"),)), ["ends before it"]),
        (_calendar(closures=(Closure(STORM.starts.replace(tzinfo=None), None),)), ["time without a zone"]),
    ],
)
def test_it_names_each_problem_of_a_calendar_in_words(calendar: Calendar, wanted: list[str]) -> None:
    found = problems(calendar)
    assert len(found) == len(wanted)
    assert all(part in sentence for part, sentence in zip(wanted, found, strict=True)), found


def test_lunch_outside_of_the_hours_does_not_open_a_closed_practice() -> None:
    calendar = _calendar((Day(480, 720, (700, 800)), *WEEK[1:]))
    assert situation(calendar, _at("2026-11-16T11:45")).kind is Kind.LUNCH
    assert situation(calendar, _at("2026-11-16T12:30")).kind is Kind.CLOSED


# The oracle goes through a week minute by minute with a clock on the wall that stands still while the real
# one goes back. Its kinds come from that clock alone, not from instants of opening.

WEEKS = [
    (zone, first)
    for zone, days in {
        "America/New_York": ("2026-03-06", "2026-10-30"),
        "America/Los_Angeles": ("2026-03-06", "2026-10-30"),
        "America/Phoenix": ("2026-03-06", "2026-10-30"),
        "Pacific/Honolulu": ("2026-03-06", "2026-10-30"),
        "Europe/Madrid": ("2026-03-27", "2026-10-23"),
        "America/Havana": ("2026-03-06", "2026-10-30"),  # its clock changes at midnight
    }.items()
    for first in (date.fromisoformat(day) for day in days)
]
MINUTES = 7 * 1440


@cache
def _wall(zone: str, first: date) -> list[tuple[datetime, date, int]]:
    """Each minute of a week: the instant, and the date and minute of the day on that clock."""
    place, shown = ZoneInfo(zone), datetime.combine(first, time())
    start = datetime.combine(first, time(), UTC) + timedelta(hours=12)
    week = []
    for minute in range(MINUTES):
        instant = start + timedelta(minutes=minute)
        shown = max(shown, instant.astimezone(place).replace(tzinfo=None))
        week.append((instant, shown.date(), shown.hour * 60 + shown.minute))
    return week


def _oracle(calendar: Calendar, instant: datetime, day: date, minute: int) -> Kind:
    for one in calendar.closures:
        if one.starts <= instant and (one.ends is None or instant < one.ends):
            return Kind.CLOSURE
    if day in calendar.holidays:
        return Kind.HOLIDAY
    hours = calendar.week[day.weekday()]
    if hours.opens is None or hours.closes is None or not hours.opens <= minute < hours.closes:
        return Kind.CLOSED
    return Kind.LUNCH if hours.lunch and hours.lunch[0] <= minute < hours.lunch[1] else Kind.OPEN


# Near the clock changes, at the edges of a day, and anywhere.
_minute = st.one_of(st.sampled_from((0, 60, 90, 119, 120, 150, 180, 181, 1439, 1440)), st.integers(0, 1440))


@st.composite
def _days(draw: st.DrawFn) -> Day:
    marks = sorted(draw(st.lists(_minute, min_size=4, max_size=4)))
    if draw(st.integers(0, 4)) == 0 or marks[0] == marks[3]:
        return SHUT
    lunch = (marks[1], marks[2]) if marks[1] < marks[2] else None
    return Day(marks[0], marks[3], lunch)


@st.composite
def _calendars(draw: st.DrawFn, zone: str, first: date) -> Calendar:
    start = _wall(zone, first)[0][0]
    closures = []
    for begin, length in draw(
        st.lists(st.tuples(st.integers(-600, MINUTES), st.integers(1, 2000)), max_size=3)
    ):
        starts = start + timedelta(minutes=begin)
        closures.append(Closure(starts, starts + timedelta(minutes=length) if length < 1900 else None))
    off = draw(st.lists(st.integers(0, 7), max_size=2))
    holidays = {first + timedelta(days=days): f"holiday {days}" for days in off}
    week = tuple(draw(_days()) for _ in range(7))
    return Calendar(zone, week, holidays, KNOWN, tuple(closures))


@pytest.mark.parametrize(("zone", "first"), WEEKS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_week_of_situations_agrees_with_a_clock_read_minute_by_minute(
    zone: str, first: date, data: st.DataObject
) -> None:
    calendar = data.draw(_calendars(zone, first))
    walked = _wall(zone, first)
    kinds = [_oracle(calendar, *minute) for minute in walked]
    last = walked[-1][0]
    changes = [0, *(at for at, (was, now) in enumerate(pairwise(kinds), start=1) if was is not now)]
    for here, after in zip(changes, [*changes[1:], None], strict=True):
        ends = walked[after][0] if after else None
        opening = next((at for at in changes if at > here and kinds[at] is Kind.OPEN), None)
        # At the first, a middle and the last minute of each stretch: the same kind, end and reopening.
        for at in {here, (here + (after or MINUTES)) // 2, (after or MINUTES) - 1}:
            found = situation(calendar, walked[at][0])
            assert found.kind is kinds[at]
            assert found.ends == ends or (ends is None and found.ends is not None and found.ends > last)
            assert found.name == (calendar.holidays[walked[at][1]] if kinds[at] is Kind.HOLIDAY else "")
            if kinds[at] is Kind.OPEN:
                assert found.reopens is None
            elif opening:
                assert found.reopens == walked[opening][0]
            else:
                assert found.reopens is None or found.reopens > last
