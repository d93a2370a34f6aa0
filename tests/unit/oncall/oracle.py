"""Who is on call, reckoned another way than the product does: from what the clock on the wall has shown so far.

The product turns each wall time into an instant and works with stretches. Here there are no stretches: for one
instant the furthest wall time that the clock has ever shown is found, and all is plain arithmetic on it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from nightbell.oncall.rotation import Layer, Window
from nightbell.oncall.rules import Replacement, Rota, WeeklyShift

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
LONGER_THAN_ANY_CHANGE = timedelta(hours=27)
ZONES = sorted(available_timezones())
TIMES = (0, 1, 59, 60, 61, 90, 119, 120, 121, 150, 179, 180, 181, 240, 480, 1020, 1380, 1410, 1439)
PEOPLE = ("ann", "bob", "cyd", "dee", "")


def _wall(zone: ZoneInfo, at: datetime) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None)


@lru_cache(maxsize=200_000)
def _change(zone: ZoneInfo, hour: int) -> tuple[datetime, datetime] | None:
    """The change of the offset within the 28 hours after an hour of the epoch: the first instant of the new one,
    and what the clock would have shown then by the old one."""
    early = datetime.fromtimestamp(hour * 3600, UTC)
    late = early + LONGER_THAN_ANY_CHANGE + timedelta(hours=1)
    before = early.astimezone(zone).utcoffset()
    if late.astimezone(zone).utcoffset() == before or before is None:
        return None
    while late - early > SECOND:
        middle = early + timedelta(seconds=int((late - early).total_seconds() / 2))
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late, late.replace(tzinfo=None) + before


def shown(zone: ZoneInfo, at: datetime) -> datetime:
    """The furthest whole second that the clock on the wall has shown up to an instant."""
    local = _wall(zone, at)
    change = _change(zone, int((at - LONGER_THAN_ANY_CHANGE).timestamp()) // 3600)
    if change is None or change[0] > at:
        return local
    return max(local, change[1] - SECOND)


def _begins(zone: ZoneInfo, wall: datetime) -> datetime:
    """The first instant at which the clock has shown a wall time: for turns that count elapsed hours."""
    early, late = (wall.replace(tzinfo=UTC) + side * LONGER_THAN_ANY_CHANGE for side in (-1, 1))
    while late - early > SECOND:
        middle = early + timedelta(seconds=int((late - early).total_seconds() / 2))
        if shown(zone, middle) >= wall:
            late = middle
        else:
            early = middle
    return late


def _at(day: date, minutes: int) -> datetime:
    return datetime.combine(day, time()) + timedelta(minutes=minutes)


def _within(weekday: int, start: int, minutes: int, wall: datetime) -> bool:
    for back in range(9):
        day = wall.date() - back * DAY
        if day.weekday() == weekday and _at(day, start) <= wall < _at(day, start + minutes):
            return True
    return False


def _in_turn(layer: Layer, rota: Rota, wall: datetime, at: datetime) -> str:
    first = _at(layer.starts_on, layer.handover)
    if wall < first or (layer.ends_on and wall >= _at(layer.ends_on, layer.handover)):
        return ""
    if layer.hours and not any(_within(w.weekday, w.start, w.minutes, wall) for w in layer.hours):
        return ""
    if layer.holidays_only and wall.date() not in rota.holidays:
        return ""
    if layer.unit == "hours":
        turn = (at - _begins(rota.zone, first)) // timedelta(hours=layer.every)
    else:
        turn = (wall - first) // (DAY * layer.every * {"day": 1, "week": 7}[layer.unit])
    return layer.members[turn % len(layer.members)]


def who(rota: Rota, at: datetime) -> dict[int, set[str]]:
    """Rank to the people who are on call in it at an instant. Ranks without anybody are left out."""
    wall = shown(rota.zone, at)
    found: dict[int, set[str]] = {}
    for rank in range(3):
        layers = [layer for layer in rota.layers if layer.rank == rank]
        layers.sort(key=lambda layer: (layer.holidays_only, layer.position, layer.id))
        in_turn = [user for layer in layers if (user := _in_turn(layer, rota, wall, at))]
        weekly = {
            s.user for s in rota.shifts if s.rank == rank and _within(s.weekday, s.start, s.minutes, wall)
        }
        people = {in_turn[-1]} if in_turn else weekly
        newest = [o for o in sorted(rota.overrides, key=lambda o: o.id) if o.starts_at <= at < o.ends_at]
        if rank == 0 and newest:
            people = {newest[-1].user}
        if people:
            found[rank] = people
    return found


@dataclass(frozen=True)
class Case:
    """A schedule and a stretch of a few days to look at it, often around a change of its clock."""

    rota: Rota
    start: datetime
    end: datetime


@lru_cache(maxsize=20_000)
def _changes(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """Days of a year on which the offset changes, found from one month to the next."""
    months = [datetime(year, 1, 1, tzinfo=UTC) + 28 * n * DAY for n in range(14)]
    found = []
    for early, late in pairwise(months):
        before = early.astimezone(zone).utcoffset()
        if late.astimezone(zone).utcoffset() == before:
            continue
        while late - early > DAY:
            middle = early + ((late - early) // 2 // DAY) * DAY
            early, late = (middle, late) if middle.astimezone(zone).utcoffset() == before else (early, middle)
        found.append(early)
    return tuple(found)


def _minutes(dice: random.Random) -> int:
    return dice.choice(TIMES) if dice.random() < 0.7 else dice.randrange(1440)


def _length(dice: random.Random) -> int:
    return (
        dice.choice((15, 60, 120, 540, 900, 1440, 2880, 10080))
        if dice.random() < 0.7
        else dice.randint(15, 10080)
    )


def _layer(dice: random.Random, number: int, day: date) -> Layer:
    starts_on = day - DAY * dice.choice((0, 1, 3, 10, 200))
    unit = dice.choice(("day", "week", "hours"))
    return Layer(
        id=f"layer{number}",
        members=tuple(dice.choice(PEOPLE) for _ in range(dice.randint(1, 4))),
        unit=unit,
        every=dice.choice((1, 1, 2, 3)) if unit == "week" else dice.choice((1, 2, 5, 12, 36)),
        starts_on=starts_on,
        handover=_minutes(dice),
        ends_on=starts_on + DAY * dice.randint(0, 14) if dice.random() < 0.2 else None,
        hours=tuple(Window(dice.randrange(7), _minutes(dice), _length(dice)) for _ in range(dice.choice((0, 0, 1, 3, 7)))),
        holidays_only=dice.random() < 0.2,
        rank=dice.choice((0, 0, 1)),
        position=dice.randrange(3),
    )  # fmt: skip


def random_case(dice: random.Random, zone: ZoneInfo) -> Case:
    """One schedule as no practice would have it, and often as one would."""
    year = dice.randint(2015, 2036) if dice.random() < 0.7 else dice.randint(1976, 2014)
    near = _changes(zone, year)
    middle = (
        dice.choice(near)
        if near and dice.random() < 0.7
        else datetime(year, 1, 1, tzinfo=UTC) + dice.randrange(364) * DAY
    )
    start = middle + timedelta(seconds=dice.randrange(-3 * 86400, 86400))
    day = start.astimezone(zone).date()
    overrides = []
    for number in range(dice.choice((0, 0, 1, 3))):
        begin = start + timedelta(minutes=dice.randrange(-2000, 5000))
        overrides.append(
            Replacement(
                f"over{number}", dice.choice(PEOPLE[:-1]), begin, begin + timedelta(minutes=_length(dice))
            )
        )
    shifts = [
        WeeklyShift(f"shift{n}", dice.choice(PEOPLE[:-1]), dice.randrange(7), _minutes(dice), _length(dice), dice.choice((0, 0, 1)))
        for n in range(dice.choice((0, 1, 4)))
    ]  # fmt: skip
    rota = Rota(
        zone, tuple(shifts), tuple(_layer(dice, n, day) for n in range(dice.choice((0, 1, 2, 3)))), tuple(overrides),
        frozenset(day + DAY * dice.randrange(-2, 6) for _ in range(dice.randint(0, 3))),
    )  # fmt: skip
    return Case(rota, start, start + timedelta(minutes=dice.randrange(600, 6000)))
