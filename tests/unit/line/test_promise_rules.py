"""What may be promised: tables for the sums, and nothing that is known to be false."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from nightbell.flow.hours import Calendar, Closure, Day
from nightbell.line.promise import Span, routine, urgent

OPEN, SHUT = Day(480, 1020, None), Day(None, None, None)
WEEK = (*(OPEN,) * 5, SHUT, SHUT)
CALENDAR = Calendar("America/New_York", WEEK, {}, date(2027, 12, 31), ())


def minutes(*some: float) -> list[timedelta]:
    return [timedelta(minutes=one) for one in some]


@pytest.mark.parametrize(
    ("team", "standing", "meant", "took", "oldest", "clip"),
    [
        (True, False, 30, [], None, "within-30-min"),
        (True, False, 5, [], None, "within-5-min"),
        (False, False, 30, [], None, ""),
        (True, True, 30, [], None, ""),
        # Slower than meant: what really happens is said.
        (True, False, 30, [50, 50, 50, 50, 50], None, "within-50-min"),
        (True, False, 30, [50, 50, 50, 50], None, "within-50-min"),  # a few can only make it later
        (True, False, 30, [1, 1, 1, 50], None, "within-50-min"),  # and of those the slowest counts
        (True, False, 30, [100], None, "within-2-h"),
        (True, False, 30, [5, 5], None, "within-30-min"),
        (True, False, 30, [5, 5, 5, 5, 5], None, "within-30-min"),  # quicker: the practice's own word
        (True, False, 30, [1, 2, 3, 4, 100], None, "within-2-h"),  # of five, nine tenths is the slowest
        (True, False, 30, [*range(1, 10), 100], None, "within-30-min"),  # of ten, the ninth
        (True, False, 30, [*range(1, 9), 55, 100], None, "within-60-min"),
        (True, False, 30, [50.01] * 5, None, "within-60-min"),  # rounds up
        (True, False, 30, [50.0] * 5, None, "within-50-min"),
        # Who waits already must not hear less than the one before.
        (True, False, 30, [], 31, "within-35-min"),
        (True, False, 30, [5] * 5, 200, "within-4-h"),
        (True, False, 30, [], 1440, "within-24-h"),
        (True, False, 30, [], 1440.5, ""),
        (True, False, 30, [3000] * 5, None, ""),
        (True, False, 1440, [], None, "within-24-h"),
    ],
)
def test_an_urgent_caller_hears_a_time_that_is_kept(
    team: bool, standing: bool, meant: int, took: list[float], oldest: float | None, clip: str
) -> None:
    waiting = None if oldest is None else timedelta(minutes=oldest)
    assert urgent(team, standing, meant, minutes(*took), waiting) == clip


# Wednesday 25 November 2026, 9 in the evening in New York; Thursday is Thanksgiving in THANKS.
NOW = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
THANKS = Calendar("America/New_York", WEEK, {date(2026, 11, 26): "Thanksgiving Day"}, date(2027, 12, 31), ())


def local(day: int, hour: int) -> datetime:
    """A time of November 2026 in New York (UTC-5)."""
    return datetime(2026, 11, day, tzinfo=UTC) + timedelta(hours=hour + 5)


# In on Monday 16, due by the end of Tuesday 17.
IN_TIME: Span = (local(16, 20), local(17, 23))
LATE: Span = (local(16, 20), local(18, 0))
OPEN_LATE: Span = (local(16, 20), None)
UNDECIDED: Span = (local(25, 12), None)
# In on Friday 20 after hours: due by the end of Monday 23.
WEEKEND: Span = (local(20, 20), local(23, 16))


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ([], True),
        ([LATE] * 4, True),  # too few to know
        ([LATE] * 5, False),
        ([IN_TIME] * 4 + [LATE], True),  # exactly 80 %
        ([IN_TIME] * 3 + [LATE], True),
        ([IN_TIME] * 7 + [LATE] * 2, False),
        ([IN_TIME] * 8 + [LATE] * 2, True),
        ([IN_TIME] * 4 + [OPEN_LATE] * 2, False),
        ([OPEN_LATE] * 5, False),
        ([UNDECIDED] * 30, True),
        ([UNDECIDED] * 30 + [LATE] * 5, False),  # what came in today hides nothing
        ([WEEKEND] * 4 + [LATE], True),
        ([IN_TIME] * 20 + [LATE] * 100, True),  # the last twenty count
        ([LATE] * 5 + [IN_TIME] * 15 + [IN_TIME] * 80, False),
    ],
)
def test_a_routine_caller_hears_of_the_next_open_day_while_it_is_kept(last: list[Span], said: bool) -> None:
    assert routine(CALENDAR, last, NOW) == ("promise-open-day" if said else "")


def test_a_holiday_gives_a_day_more() -> None:
    in_time = [(local(25, 20), local(27, 12))] * 5
    later = NOW + timedelta(days=5)
    assert routine(THANKS, in_time, later) == "promise-open-day"
    assert routine(CALENDAR, in_time, later) == ""


@pytest.mark.parametrize(("days", "said"), [(13, True), (30, False), (None, False)])
def test_a_practice_that_stays_shut_promises_nothing(days: int | None, said: bool) -> None:
    ends = None if days is None else NOW + timedelta(days=days)
    shut = Calendar(CALENDAR.zone, WEEK, {}, CALENDAR.known_until, (Closure(NOW, ends),))
    assert routine(shut, [], NOW) == ("promise-open-day" if said else "")


def test_a_practice_that_is_never_open_promises_nothing() -> None:
    assert routine(Calendar(CALENDAR.zone, (SHUT,) * 7, {}, CALENDAR.known_until, ()), [], NOW) == ""
