"""Reading an iCalendar file of who is on call: events and their repeats within a year. Pure; for bytes of any kind.

The file is a stranger's: its size, its events, the work of reckoning its repeats and what comes out are bounded,
its own tables of time zones (rules that repeat too) are cut out unread, and whatever is wrong with it is one kind
of error. A repeated event keeps its times on the wall clock, as calendars show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from icalendar import Calendar
from icalendar.parser import Contentline, Contentlines
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from nightbell.oncall import ical_rule
from nightbell.oncall.errors import BadCalendar
from nightbell.oncall.rotation import instant

MOST_BYTES = 512 * 1024
MOST = 2000  # of each: events in a file, their times within the year, the changes that it makes
MOST_WORK = 400_000  # days that are looked at for repeats, in all
LONGEST = timedelta(days=31, hours=2)
AHEAD, OLDEST = timedelta(days=366), timedelta(days=20 * 366)
SHOWN = 120  # characters of a summary


@dataclass(frozen=True, slots=True)
class Entry:
    """One occurrence: its summary, the addresses and names of its attendees, and its instants (UTC)."""

    summary: str
    attendees: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class _Time:
    """A time as the file has it: on the wall, where; `day` when it is a whole day."""

    wall: datetime
    zone: ZoneInfo
    day: bool

    @property
    def at(self) -> datetime:
        return _instant(self.wall, self.zone)


def read(data: bytes, zone: ZoneInfo, now: datetime) -> list[Entry]:
    """All that is not over and begins within a year, by its start. zone: of times that name none. Raises BadCalendar."""
    if len(data) > MOST_BYTES:
        raise _bad("it is over 512 kB", "export a shorter time")
    try:
        calendar = Calendar.from_ical(_without_zones(data))
        events = list(
            islice((calendar if isinstance(calendar, Calendar) else Calendar()).walk("VEVENT"), MOST + 1)
        )
        found = _entries(events, zone, now)
    except BadCalendar:
        raise
    except Exception as error:
        # A stranger's bytes in a library of others: whatever it stumbled over, the file cannot be read.
        raise _bad("it is damaged, or no calendar", "export it again as .ics") from error
    if not events:
        raise _bad("there is no event in it", "export the calendar of who is on call as .ics")
    return sorted(found, key=lambda one: (one.starts_at, one.ends_at, one.summary))


def _without_zones(data: bytes) -> str:
    """Line by line, once: a stranger's file may begin any number of tables and end none. The lines are put together and taken
    apart by whoever reads the rest: what is a table there (folded, in small letters, with parameters) is one here."""
    kept, inside = [], False
    for line in Contentlines.from_ical(data):  # type: ignore[no-untyped-call]
        edge = _edge_of_zone(line)
        if edge == "END" and not inside:
            raise _bad("a table of a time zone in it has no beginning", "export it again as .ics")
        inside = inside or edge == "BEGIN"
        if not inside:
            kept.append(line)
        elif edge == "END":
            inside = False
    if inside:
        raise _bad("a table of a time zone in it has no end", "export it again as .ics")
    return "\r\n".join(kept)


def _edge_of_zone(line: Contentline) -> str:
    """'BEGIN' or 'END' of a table of a time zone, '' for any other line."""
    if "VTIMEZONE" not in line.upper():
        return ""
    try:
        name, _, value = line.parts()
    except ValueError:
        return ""  # nor will the rest be read
    found = name.upper() in ("BEGIN", "END") and value.strip().upper() == "VTIMEZONE"
    return name.upper() if found else ""


class _Wrong(Exception):
    """What is wrong with one event, to be said after its name."""

    def __init__(self, why: str, mend: str) -> None:
        self.why, self.mend = why, mend
        super().__init__(why)


def _bad(why: str, mend: str) -> BadCalendar:
    return BadCalendar("The calendar was not read", why, mend)


def _entries(events: list[Any], zone: ZoneInfo, now: datetime) -> list[Entry]:
    if len(events) > MOST:
        raise _bad(f"it has over {MOST:,} events", "export a shorter time")
    moved = _moved(events, zone)
    found: list[Entry] = []
    work = [MOST_WORK]
    for event in events:
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue
        without = moved.get(str(event.get("UID", "")), set()) if "RECURRENCE-ID" not in event else set()
        try:
            for start, end in _spans(event, zone, now, work):
                if start not in without:
                    found.append(Entry(_summary(event), _attendees(event), start, end))
                if len(found) > MOST:
                    raise _bad(
                        f"its events come over {MOST:,} times within a year",
                        "export the calendar of who is on call alone",
                    )
        except _Wrong as wrong:
            raise _bad(f"{_named(event)} {wrong.why}", wrong.mend) from wrong
    return found


def _spans(
    event: Mapping[str, Any], zone: ZoneInfo, now: datetime, work: list[int]
) -> Iterator[tuple[datetime, datetime]]:
    """Its occurrences that are not over and begin within a year. One that lies within the hour that the clocks skip in
    spring has no time at all: it is left out."""
    for start, end in _times(event, zone, now, work):
        if end <= now or start >= now + AHEAD:
            continue
        if end <= start and _lasts_on_the_wall(event, zone):
            continue
        if not timedelta() < end - start <= LONGEST:
            raise _Wrong("lasts over 31 days, or ends before it starts", "mend or remove that event")
        yield start, end


def _lasts_on_the_wall(event: Mapping[str, Any], zone: ZoneInfo) -> bool:
    first = _time(event["DTSTART"], zone)
    if "DTEND" not in event:
        return first.day or ("DURATION" in event and event["DURATION"].dt > timedelta())
    last = _time(event["DTEND"], zone)
    return last.wall > first.wall if last.zone == first.zone else last.at > first.at


def _named(event: Mapping[str, Any]) -> str:
    """An event as whoever mends the file finds it: its title and the day on which it first begins."""
    title, given = _summary(event), getattr(event.get("DTSTART"), "dt", None)
    day = f" of {given.day} {given:%B} {given.year}" if isinstance(given, date) else ""
    return (f'the event "{title}"' if title else "an event without a title") + day


def _moved(events: list[Any], zone: ZoneInfo) -> dict[str, set[datetime]]:
    """By UID: the starts of repeats in whose place another event stands."""
    moved: dict[str, set[datetime]] = {}
    for event in events:
        if "RECURRENCE-ID" in event:
            if event["RECURRENCE-ID"].params.get("RANGE"):
                raise _bad(
                    f"{_named(event)} was moved with all after it, which we cannot follow",
                    "export it without repeats",
                )
            try:
                at = _time(event["RECURRENCE-ID"], zone).at
            except _Wrong as wrong:
                raise _bad(f"{_named(event)} {wrong.why}", wrong.mend) from wrong
            moved.setdefault(str(event.get("UID", "")), set()).add(at)
    return moved


def _summary(event: Mapping[str, Any]) -> str:
    text = "".join(one for one in str(event.get("SUMMARY", "")) if one.isprintable())
    return text.strip()[:SHOWN]


def _attendees(event: Mapping[str, Any]) -> tuple[str, ...]:
    found = event.get("ATTENDEE", [])
    people: list[str] = []
    for one in (found if isinstance(found, list) else [found])[:20]:
        people += [re.sub(r"(?i)\Amailto:", "", str(one)), str(one.params.get("CN", ""))]
    return tuple(text[:SHOWN] for text in people if text)


def _time(value: Any, zone: ZoneInfo) -> _Time:
    """A date or time of the file. Raises _Wrong for a zone that nobody knows."""
    given = value.dt
    if not isinstance(given, datetime):
        return _Time(datetime.combine(given, time()), zone, True)
    name = str(value.params.get("TZID", ""))
    if given.utcoffset() == timedelta() and not name:
        return _Time(given.replace(tzinfo=None), ZoneInfo("UTC"), False)
    return _Time(given.replace(tzinfo=None), _zone(name) if name else zone, False)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(WINDOWS_TO_OLSON.get(name, name))
    except (KeyError, ValueError, OSError) as error:
        raise _Wrong(
            "uses a time zone that is not known", "export it with zones such as America/New_York"
        ) from error


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    minutes = wall.hour * 60 + wall.minute
    return instant(wall.date(), minutes, zone) + timedelta(seconds=wall.second)


def _times(
    event: Mapping[str, Any], zone: ZoneInfo, now: datetime, work: list[int]
) -> Iterator[tuple[datetime, datetime]]:
    """Start and end of each occurrence, as many as may matter. work: what may still be spent, counted down."""
    first = _time(event["DTSTART"], zone)
    lasts = _length(event, first, zone)
    skipped = {_key(one, first) for one in _listed(event.get("EXDATE"), zone)}
    walls: set[datetime] = set()
    if "RECURRENCE-ID" not in event and "RRULE" in event:
        walls.update(_repeats(event["RRULE"], first, now, work))
    else:
        walls.add(first.wall)
    walls.update(
        one.at.astimezone(first.zone).replace(tzinfo=None) for one in _listed(event.get("RDATE"), zone)
    )
    for wall in walls:
        if wall in skipped or wall.date() in skipped:
            continue
        yield _instant(wall, first.zone), lasts(wall)


def _key(one: _Time, first: _Time) -> date | datetime:
    """A left-out day or time, as the walls of the event are told apart."""
    if one.day and not first.day:
        return one.wall.date()
    return one.at.astimezone(first.zone).replace(tzinfo=None)


def _listed(value: Any, zone: ZoneInfo) -> Iterator[_Time]:
    """EXDATE or RDATE: once or often, each with many times, as many as the bytes of the file can hold."""
    for group in value if isinstance(value, list) else [value] if value is not None else []:
        for one in group.dts:
            if isinstance(one.dt, tuple):
                raise _Wrong("is repeated by periods, which we cannot follow", "export it without repeats")
            yield _time(one, zone)


def _length(event: Mapping[str, Any], first: _Time, zone: ZoneInfo) -> Any:
    """From the start on the wall to the end as an instant: by the clock for a DTEND, else as RFC 5545 has it."""
    if "DTEND" in event:
        last = _time(event["DTEND"], zone)
        if last.zone == first.zone:
            return lambda wall: _instant(wall + (last.wall - first.wall), first.zone)
        exact = last.at - first.at
        return lambda wall: _instant(wall, first.zone) + exact
    given = event["DURATION"].dt if "DURATION" in event else timedelta(days=1 if first.day else 0)
    days = timedelta(days=given.days)
    return lambda wall: _instant(wall + days, first.zone) + (given - days)


def _repeats(given: Any, first: _Time, now: datetime, work: list[int]) -> Iterator[datetime]:
    """The walls of a rule, from its beginning to a year ahead."""

    def on_the_wall(value: date | datetime) -> datetime:
        if not isinstance(value, datetime):
            return ical_rule.end_of(value)
        return value.astimezone(first.zone).replace(tzinfo=None) if value.tzinfo else value

    try:
        rule = ical_rule.parse(given, on_the_wall)
    except (ical_rule.Unreadable, AttributeError) as error:
        raise _Wrong("is repeated in a way that no duty is", "export it without repeats") from error
    horizon = (now + AHEAD + timedelta(days=2)).astimezone(first.zone).replace(tzinfo=None)
    if first.wall < horizon - AHEAD - OLDEST:
        raise _Wrong("is repeated since over 20 years", "begin it later")
    work[0] -= ical_rule.days_of(rule, first.wall, horizon)
    if work[0] < 0:
        raise _bad("its repeats are too many to reckon", "export a shorter time")
    return ical_rule.times(rule, first.wall, horizon)
