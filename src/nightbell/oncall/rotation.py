"""Whose turn it is: rotations with hours, holidays and several layers, reckoned on the practice's wall clock. Pure.

A wall time is taken as the first instant at which the clock on the wall shows it or a later time, as opening
hours are (flow.hours): one that the clock change skips is the moment of the change, one that comes twice is the
first. So nothing flickers while the clock goes back, an edge never comes before an earlier one, and a stretch
that lies wholly within skipped time is empty. Turns of days and weeks change at the wall clock; turns of hours
count elapsed hours from the first handover, whatever the clock does. Instants are UTC: two aware datetimes of
one zone subtract as wall clocks in Python.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count, pairwise
from zoneinfo import ZoneInfo

Span = tuple[datetime, datetime]  # [start, end), UTC
DAY = timedelta(days=1)
LONGEST_WINDOW = timedelta(days=7)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of duty: from `start` minutes after local midnight of `weekday` (Monday 0), for `minutes` on the clock."""

    weekday: int
    start: int
    minutes: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One rotation. `members` take turns of `every` units from `handover` (minutes) on `starts_on`.

    An empty member ('') keeps its turn, and nobody is there in it: whoever is locked out moves nobody else's.
    ends_on: the first day on which no turn begins; the last one ends there at the handover. hours: () is at all
    hours. holidays_only: on the schedule's holidays alone, before all other layers of its rank.
    """

    id: str
    members: tuple[str, ...]
    unit: str  # 'day', 'week' or 'hours'
    every: int
    starts_on: date
    handover: int
    ends_on: date | None = None
    hours: tuple[Window, ...] = ()
    holidays_only: bool = False
    rank: int = 0
    position: int = 0


@lru_cache(maxsize=65536)
def instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which the wall clock shows `minutes` after midnight of `day`, or a later time."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    found = wall.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    # Skipped: reckoned with the offset of before, the time lies after the change; with that of after, before it.
    early, late = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), found
    while late - early > _SECOND:
        middle = early + (late - early) // 2
        if middle.astimezone(zone).replace(tzinfo=None) >= wall:
            late = middle
        else:
            early = middle
    return late.replace(microsecond=0)


def stretches(
    layer: Layer, holidays: Collection[date], zone: ZoneInfo, start: datetime, end: datetime
) -> list[tuple[str, datetime, datetime]]:
    """Whose duty of this layer touches [start, end), each whole: user, from when, until when. In their order."""
    turns = list(_turns(layer, zone, start, end))
    allowed: list[list[Span]] = []
    if layer.hours and turns:
        allowed.append(_windows(layer.hours, zone, turns[0][1], turns[-1][2]))
    if layer.holidays_only:
        allowed.append(_days(holidays, zone))
    found = []
    for user, begin, finish in turns:
        pieces = [(begin, finish)]
        for spans in allowed:
            pieces = meet(pieces, spans)
        found += [(user, a, b) for a, b in pieces if a < end and b > start]
    return found


def _turns(
    layer: Layer, zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[tuple[str, datetime, datetime]]:
    if not layer.members or layer.every < 1:
        return
    until = instant(layer.ends_on, layer.handover, zone) if layer.ends_on else None
    for number, (begin, finish) in _boundaries(layer, zone, start):
        finish = min(finish, until) if until else finish
        if begin >= end or finish < begin:
            return
        user = layer.members[number % len(layer.members)]
        if user and begin < finish and finish > start:
            yield user, begin, finish


def _boundaries(layer: Layer, zone: ZoneInfo, start: datetime) -> Iterator[tuple[int, Span]]:
    """Turn number and its span, from the one that `start` lies in or the one before it."""
    if layer.unit == "hours":
        first, length = instant(layer.starts_on, layer.handover, zone), timedelta(hours=layer.every)
        for number in count(max(0, (start - first) // length)):
            yield number, (first + number * length, first + (number + 1) * length)
    days = layer.every * (7 if layer.unit == "week" else 1)
    past = (start.astimezone(zone).date() - layer.starts_on).days // days - 1
    edges = (
        (number, instant(layer.starts_on + number * days * DAY, layer.handover, zone))
        for number in count(max(0, past))
    )
    for (number, begin), (_, finish) in pairwise(edges):
        yield number, (begin, finish)


def _windows(hours: Sequence[Window], zone: ZoneInfo, start: datetime, end: datetime) -> list[Span]:
    """The hours of duty that touch [start, end), joined where they overlap or meet."""
    first = start.astimezone(zone).date() - LONGEST_WINDOW - DAY
    last = end.astimezone(zone).date() + DAY
    found = []
    for window in hours:
        for day in weekly(window.weekday, first, last):
            begin, finish = (
                instant(day, window.start, zone),
                instant(day, window.start + window.minutes, zone),
            )
            if begin < finish:
                found.append((begin, finish))
    return union(found)


def _days(holidays: Collection[date], zone: ZoneInfo) -> list[Span]:
    return union([(instant(day, 0, zone), instant(day, 1440, zone)) for day in holidays])


def weekly(weekday: int, first: date, last: date) -> Iterator[date]:
    """Each day of the week from `first` to `last`, both included."""
    day = first + DAY * ((weekday - first.weekday()) % 7)
    while day <= last:
        yield day
        day += 7 * DAY


def _end(span: Span) -> datetime:
    return span[1]


def union(spans: Iterable[Span]) -> list[Span]:
    """The same time as stretches that do not touch, in their order. Empty ones are dropped."""
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def meet(spans: Iterable[Span], others: Sequence[Span]) -> list[Span]:
    """What of `spans` lies within `others` (in their order, not touching each other)."""
    common = []
    for start, end in spans:
        for a, b in others[bisect_right(others, start, key=_end) :]:
            if a >= end:
                break
            common.append((max(start, a), min(end, b)))
    return common


def without(spans: Iterable[Span], others: Sequence[Span]) -> list[Span]:
    """What of `spans` lies outside of `others` (in their order, not touching each other)."""
    left = []
    for start, end in spans:
        for a, b in others[bisect_right(others, start, key=_end) :]:
            if a >= end or start >= end:
                break
            if a > start:
                left.append((start, a))
            start = max(start, b)
        if start < end:
            left.append((start, end))
    return left
