"""Opening hours: what situation a practice is in at an instant, and when that changes. Pure.

Hours are wall times of the practice's zone, instants are UTC. A wall time is taken as the first instant at
which the clock on the wall shows it or a later time: one that the clock change skips is the moment of the
change, one that comes twice is the first, and hours never flicker while the clock goes back. Two aware
datetimes of one zone subtract as wall clocks in Python, so lengths are taken between UTC instants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

from nightbell.core.errors import NightbellError

ENDS_WITHIN = timedelta(days=14)
REOPENS_WITHIN = timedelta(days=60)
MIDNIGHT = 1440
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_STEP = timedelta(minutes=1)


class BadCalendar(NightbellError):
    """A calendar that no situation can be read from."""


class Kind(StrEnum):
    """What the practice is, for a caller."""

    OPEN = "open"
    LUNCH = "lunch"
    CLOSED = "closed"
    HOLIDAY = "holiday"
    CLOSURE = "closure"


@dataclass(frozen=True, slots=True)
class Day:
    """One weekday, in minutes after local midnight. opens None: closed all day; closes may be 1440."""

    opens: int | None = None
    closes: int | None = None
    lunch: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Closure:
    """Closed out of the ordinary, [starts, ends), aware. ends None: until somebody opens again.

    visits: callers who had a visit are told about it; at_once: made on the day, with no notice.
    """

    starts: datetime
    ends: datetime | None
    visits: bool = False
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Calendar:
    """A practice's hours. week: seven days, Monday first; holidays: local date to name, known up to and
    including known_until."""

    zone: str
    week: tuple[Day, ...]
    holidays: Mapping[date, str]
    known_until: date
    closures: tuple[Closure, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """What callers meet. ends: when the kind changes next, None if not within 14 days; reopens: when it is
    open next, None when it is open now or will not be within 60 days (both UTC); name: of the holiday, or ''.

    visits: a closure in force wants it said; holidays_known: False when the calendar's holidays ended.
    """

    kind: Kind
    ends: datetime | None
    reopens: datetime | None
    name: str
    visits: bool
    holidays_known: bool


_Span = tuple[datetime, Kind, str]


def situation(calendar: Calendar, at: datetime) -> Situation:
    """What the practice is at an aware instant. Closure goes before holiday, holiday before the week.

    Raises BadCalendar for an unknown zone or a week that has not seven days, ValueError for a naive time.
    """
    zone, now = _zone(calendar), _utc(at)
    today = now.astimezone(zone).date()
    closures = [one for one in _closures(calendar) if one.ends is None or now < one.ends]
    opens = any(day.opens is not None for day in calendar.week)
    kind, name = Kind.CLOSED, ""
    ends: datetime | None = None
    reopens: datetime | None = None
    for start, then, named in _timeline(calendar, closures, zone, today, opens):
        if start <= now:
            kind, name = then, named
            continue
        if start - now > (ENDS_WITHIN if kind is Kind.OPEN else REOPENS_WITHIN):
            break
        if ends is None and then is not kind and start - now <= ENDS_WITHIN:
            ends = start
        if then is Kind.OPEN and kind is not Kind.OPEN:
            reopens = start
        if reopens or (ends and (kind is Kind.OPEN or not opens)):
            break
    visits = any(one.visits for one in closures if _active(one, now))
    return Situation(kind, ends, reopens, name, visits, today <= calendar.known_until)


def next_open_day(calendar: Calendar, at: datetime) -> date | None:
    """The next local date after today that opens as the week says: no holiday, no closure at its opening.

    None when there is none within 60 days. Raises as `situation`.
    """
    zone, now = _zone(calendar), _utc(at)
    today = now.astimezone(zone).date()
    closures = _closures(calendar)
    for ahead in range(1, REOPENS_WITHIN.days + 1):
        day = today + timedelta(days=ahead)
        opening = next((start for start, kind, _ in _spans(calendar, zone, day) if kind is Kind.OPEN), None)
        if opening is not None and not any(_active(one, opening) for one in closures):
            return day
    return None


def _timeline(
    calendar: Calendar, closures: list[Closure], zone: ZoneInfo, first: date, opens: bool
) -> Iterator[_Span]:
    """From the start of `first`: each instant at which the kind may change, and what it is from there on.

    closures: those that are not over; opens: whether the week has hours. Days at whose midnight and in whose course
    nothing can change are left out: how quickly a line is found must not tell whose it is.
    """
    days = (REOPENS_WITHIN if opens else ENDS_WITHIN).days + 3
    shut = [_extent(one, zone, first, days) for one in closures]
    edges = {ahead for extent in shut for ahead in extent}
    lost = False  # the day before is one that the zone never had: what it would have begun begins now
    for ahead in range(max(1, min([days, *(begins + 1 for begins, ends in shut if ends == days)]))):
        day = first + timedelta(days=ahead)
        if ahead and any(begins < ahead < ends for begins, ends in shut):
            continue
        rests = _rests(calendar, day) and _rests(calendar, day - timedelta(days=1))
        if ahead and ahead not in edges and rests and not lost:
            continue
        spans = _spans(calendar, zone, day)
        starts, lost = {span[0] for span in spans}, not spans
        if ahead in edges or not ahead:
            starts |= _cuts(closures, _instant(day, 0, zone), _instant(day + timedelta(days=1), 0, zone))
        for start in sorted(starts):
            _, kind, name = next(span for span in reversed(spans) if span[0] <= start)
            closed = any(_active(one, start) for one in closures)
            yield (start, Kind.CLOSURE, "") if closed else (start, kind, name)


def _cuts(closures: list[Closure], midnight: datetime, next_midnight: datetime) -> set[datetime]:
    """The edges of closures within a day."""
    edges = (edge for one in closures for edge in (one.starts, one.ends) if edge is not None)
    return {edge for edge in edges if midnight < edge < next_midnight}


def _extent(closure: Closure, zone: ZoneInfo, first: date, days: int) -> tuple[int, int]:
    """On which days, counted from `first`, a closure starts and ends: -1 before it, `days` after so many."""
    return _days_ahead(closure.starts, zone, first, days), _days_ahead(closure.ends, zone, first, days)


def _days_ahead(edge: datetime | None, zone: ZoneInfo, first: date, days: int) -> int:
    """The local day, from its midnight (see `_instant`) to the next one, in which an instant lies."""
    if edge is None or (edge.date() - first).days > days + 1:
        return days
    if (edge.date() - first).days < -2:
        return -1
    day = edge.astimezone(zone).date()
    if edge >= _instant(day + timedelta(days=1), 0, zone):  # the clock went back over midnight
        day += timedelta(days=1)
    elif edge < _instant(day, 0, zone):
        day -= timedelta(days=1)
    return min(max((day - first).days, -1), days)


def _rests(calendar: Calendar, day: date) -> bool:
    """Whether it is a whole day without hours, and no holiday."""
    return calendar.week[day.weekday()].opens is None and day not in calendar.holidays


def _spans(calendar: Calendar, zone: ZoneInfo, day: date) -> list[_Span]:
    """One local day without closures, from its midnight: where each kind starts. Empty ones are left out."""
    if day in calendar.holidays:
        return [(_instant(day, 0, zone), Kind.HOLIDAY, calendar.holidays[day])]
    hours = calendar.week[day.weekday()]
    marks = [(0, Kind.CLOSED)]
    if hours.opens is not None and hours.closes is not None:
        opens = min(max(hours.opens, 0), MIDNIGHT)
        closes = min(max(hours.closes, opens), MIDNIGHT)
        # Lunch cannot make a practice open longer: what lies outside of its hours does not count.
        start, end = (min(max(mark, opens), closes) for mark in hours.lunch or (closes, closes))
        marks += [
            (opens, Kind.OPEN),
            (start, Kind.LUNCH),
            (max(start, end), Kind.OPEN),
            (closes, Kind.CLOSED),
        ]
    marks.append((MIDNIGHT, Kind.CLOSED))
    lasting = [mark for mark, after in pairwise(marks) if mark[0] < after[0]]
    instants = [(_instant(day, minute, zone), kind) for minute, kind in (*lasting, marks[-1])]
    return [(start, kind, "") for (start, kind), (end, _) in pairwise(instants) if start < end]


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which the wall clock shows this time or a later one."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    while True:
        instant = wall.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == wall:
            return instant
        wall += _STEP  # skipped by the clock change: the first time after the gap


def _zone(calendar: Calendar) -> ZoneInfo:
    """The calendar's zone. Raises BadCalendar for an unknown one, or a week that has not seven days."""
    if len(calendar.week) != len(WEEKDAYS):
        raise BadCalendar(
            "the opening hours", f"they have {len(calendar.week)} days", "give seven, Monday first"
        )
    try:
        return ZoneInfo(calendar.zone)
    except (KeyError, ValueError, OSError) as error:
        raise BadCalendar(
            f"the time zone {calendar.zone!r}", "it is not known", "use a name such as America/New_York"
        ) from error


def _utc(at: datetime) -> datetime:
    """The same instant in UTC. Raises ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError("naive datetime")
    return at.astimezone(UTC)


def _closures(calendar: Calendar) -> list[Closure]:
    """The closures in UTC. Raises ValueError for a naive time."""
    return [
        Closure(_utc(one.starts), one.ends and _utc(one.ends), one.visits, one.at_once)
        for one in calendar.closures
    ]


def _active(closure: Closure, now: datetime) -> bool:
    return closure.starts <= now and (closure.ends is None or now < closure.ends)


def problems(calendar: Calendar) -> list[str]:
    """What is wrong with a calendar, in sentences for the person who sets it. [] when all is well."""
    try:
        zone = _zone(calendar)
    except BadCalendar as error:
        return [str(error)]
    found: list[str] = []
    for weekday, hours in zip(WEEKDAYS, calendar.week, strict=True):
        found += [f"{weekday}: {problem}" for problem in _day_problems(hours)]
    found += [
        f"The holiday on {day} has no name." for day, name in calendar.holidays.items() if not name.strip()
    ]
    return found + _closure_problems(calendar, zone)


def _day_problems(hours: Day) -> Iterator[str]:
    opens, closes = hours.opens, hours.closes
    if opens is None or closes is None:
        if opens is not None or closes is not None:
            yield f"there is {'a closing' if opens is None else 'an opening'} time only; give both or neither."
        if hours.lunch:
            yield "there is a lunch break on a day without opening hours."
        return
    if not (0 <= opens <= MIDNIGHT and 0 <= closes <= MIDNIGHT):
        yield "opening and closing must lie between 0:00 and 24:00."
    elif opens >= closes:
        yield (
            f"it closes at {_shown(closes)}, not after it opens at {_shown(opens)}."
            " For hours past midnight close at 24:00 and open the next day at 0:00."
        )
    elif hours.lunch:
        yield from _lunch_problems(opens, closes, *hours.lunch)


def _lunch_problems(opens: int, closes: int, start: int, end: int) -> Iterator[str]:
    if start >= end:
        yield f"lunch ends at {_shown(end)}, not after it starts at {_shown(start)}."
    elif start < opens or end > closes:
        yield (
            f"lunch ({_shown(start)} to {_shown(end)}) lies outside of"
            f" the opening hours ({_shown(opens)} to {_shown(closes)})."
        )
    elif (start, end) == (opens, closes):
        yield "lunch takes all of the opening hours."


def _closure_problems(calendar: Calendar, zone: ZoneInfo) -> list[str]:
    if any(
        edge is not None and edge.tzinfo is None
        for one in calendar.closures
        for edge in (one.starts, one.ends)
    ):
        return ["A closure has a time without a zone."]
    closures = sorted(_closures(calendar), key=lambda one: one.starts)
    found, latest = [], None
    for one in closures:
        named = f"The closure from {one.starts.astimezone(zone):%Y-%m-%d %H:%M}"
        if one.ends is not None and one.ends <= one.starts:
            found.append(f"{named} ends before it has started.")
            continue
        if latest is not None and (latest.ends is None or one.starts < latest.ends):
            before = "has no end" if latest.ends is None else "has not ended by then"
            found.append(f"{named} overlaps another one: that one {before}.")
        if latest is None or (latest.ends is not None and (one.ends is None or one.ends > latest.ends)):
            latest = one
    return found


def _shown(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"
