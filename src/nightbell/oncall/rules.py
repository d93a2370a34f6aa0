"""Who is on call when. Pure: schedules and instants in, decisions out.

Shifts and rotations are local to the practice's zone, see oncall.rotation for how its clock is read; instants
are UTC. Two aware datetimes of one zone subtract as wall clocks in Python, so every length here is taken between
UTC instants.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from nightbell.oncall.rotation import Layer, instant, stretches, union, weekly, without
from nightbell.oncall.rotation import Span as Span


@dataclass(frozen=True, slots=True)
class WeeklyShift:
    """Starts on `weekday` (Monday 0), `start` minutes after local midnight, for `minutes`."""

    id: str
    user: str
    weekday: int
    start: int
    minutes: int
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Replacement:
    """An override: `user` is first on call from one instant (UTC) to another. `number` counts up in a schedule."""

    id: str
    user: str
    starts_at: datetime
    ends_at: datetime
    number: int = 0


@dataclass(frozen=True, slots=True)
class Duty:
    """Who is on call between two instants (UTC); `source` is the id of the shift, rotation or override."""

    user: str
    starts_at: datetime
    ends_at: datetime
    rank: int  # -1 override, 0 first, 1 backup
    source: str
    override: bool
    rotation: bool = False

    @property
    def span(self) -> Span:
        return self.starts_at, self.ends_at


_Height = tuple[int, bool, int, str]  # of what covers one another in a rank
_SHIFTS: _Height = (0, False, 0, "")


def duties(
    shifts: Iterable[WeeklyShift],
    overrides: Iterable[Replacement],
    zone: ZoneInfo,
    start: datetime,
    end: datetime,
    layers: Sequence[Layer] = (),
    holidays: Collection[date] = (),
) -> list[Duty]:
    """All duties that touch [start, end), each whole: overrides first, then by rank, each by its start.

    What is covered is left out. In a rank a rotation covers weekly shifts and rotations of a lower position, those
    of holidays all others; an override covers the first rank, a newer one an older. Shifts do not cover each other.
    """
    shifts, overrides = list(shifts), list(overrides)

    def planned(since: datetime, until: datetime) -> list[tuple[_Height, Duty]]:
        return [
            *((_SHIFTS, duty) for duty in _weekly(shifts, zone, since, until)),
            *_taken_in_turns(layers, holidays, zone, since, until),
            *(
                ((2, False, o.number, o.id), Duty(o.user, o.starts_at, o.ends_at, -1, o.id, True))
                for o in overrides
                if o.starts_at < until and o.ends_at > since
            ),
        ]

    found = planned(start, end)
    if found and (layers or overrides):
        # What covers a part of a duty may lie outside of [start, end), and still decides where the rest ends.
        found = planned(min(d.starts_at for _, d in found), max(d.ends_at for _, d in found))
    there = [duty for duty in _uncovered(found) if duty.starts_at < end and duty.ends_at > start]
    return sorted(there, key=lambda d: (d.rank, d.starts_at, d.source))


def _weekly(shifts: Sequence[WeeklyShift], zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[Duty]:
    first = start.astimezone(zone).date() - timedelta(days=8)
    last = end.astimezone(zone).date() + timedelta(days=1)
    for shift in shifts:
        for day in weekly(shift.weekday, first, last):
            begin = instant(day, shift.start, zone)
            finish = instant(day, shift.start + shift.minutes, zone)
            if begin < end and finish > start and finish > begin:
                yield Duty(shift.user, begin, finish, shift.rank, shift.id, False)


def _taken_in_turns(
    layers: Sequence[Layer], holidays: Collection[date], zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[tuple[_Height, Duty]]:
    for layer in layers:
        height = (1, layer.holidays_only, layer.position, layer.id)
        for user, begin, finish in stretches(layer, holidays, zone, start, end):
            yield height, Duty(user, begin, finish, layer.rank, layer.id, False, True)


def _uncovered(planned: Sequence[tuple[_Height, Duty]]) -> Iterator[Duty]:
    """What is in force of each duty, from the highest down."""
    covered: dict[int, list[Span]] = {}
    order = sorted(planned, key=lambda one: one[0], reverse=True)
    for _, level in groupby(order, key=lambda one: one[0]):
        there = [duty for _, duty in level]
        for duty in there:
            for begin, finish in without(
                [(duty.starts_at, duty.ends_at)], covered.get(max(duty.rank, 0), [])
            ):
                yield replace(duty, starts_at=begin, ends_at=finish)
        for rank in {max(duty.rank, 0) for duty in there}:
            here = [(d.starts_at, d.ends_at) for d in there if max(d.rank, 0) == rank]
            covered[rank] = union([*covered.get(rank, []), *here])


def on_duty(
    shifts: Iterable[WeeklyShift],
    overrides: Iterable[Replacement],
    zone: ZoneInfo,
    at: datetime,
    layers: Sequence[Layer] = (),
    holidays: Collection[date] = (),
) -> list[Duty]:
    """Who is on call at an instant, first to be told first. A person is named once."""
    seen: set[str] = set()
    order = []
    for duty in duties(shifts, overrides, zone, at, at + timedelta(microseconds=1), layers, holidays):
        if duty.user not in seen:
            seen.add(duty.user)
            order.append(duty)
    return order


@dataclass(frozen=True, slots=True)
class Handover:
    """Who is on call, until when somebody else is or nobody, and who comes next from when (None: not in sight)."""

    user: str | None
    until: datetime | None
    next_user: str | None
    next_from: datetime | None


def handover(
    shifts: Sequence[WeeklyShift],
    overrides: Sequence[Replacement],
    zone: ZoneInfo,
    at: datetime,
    ahead: timedelta = timedelta(days=8),
    layers: Sequence[Layer] = (),
    holidays: Collection[date] = (),
) -> Handover:
    """Look ahead for the next change of the first person on call. Shifts of one person in a row are one."""
    found = duties(shifts, overrides, zone, at, at + ahead, layers, holidays)
    edges = sorted({edge for d in found for edge in (d.starts_at, d.ends_at) if at < edge < at + ahead})

    def first(moment: datetime) -> str | None:
        there = [d for d in found if d.starts_at <= moment < d.ends_at]
        return there[0].user if there else None  # duties come first to be told first

    current = first(at)
    until = next((edge for edge in edges if first(edge) != current), None) if current else None
    later = [edge for edge in edges if edge >= (until or at)]
    start = next((edge for edge in later if first(edge) not in (None, current)), None)
    return Handover(current, until, first(start) if start else None, start)


def gaps(found: Sequence[Duty], start: datetime, end: datetime) -> list[Span]:
    """Stretches of [start, end) in which nobody is on call."""
    holes, reached = [], start
    for duty in sorted(found, key=lambda d: d.starts_at):
        if duty.starts_at > reached:
            holes.append((reached, min(duty.starts_at, end)))
        reached = max(reached, duty.ends_at)
        if reached >= end:
            return holes
    return [*holes, (reached, end)]


def first_only(found: Iterable[Duty]) -> list[Duty]:
    """Who is told first at each moment: what of `found` no one of a rank before is there for. By time."""
    there: list[Duty] = []
    covered: list[Span] = []
    for duty in sorted(found, key=lambda d: (d.rank, d.starts_at, d.source)):
        left = without([(duty.starts_at, duty.ends_at)], covered)
        there += [replace(duty, starts_at=begin, ends_at=finish) for begin, finish in left]
        covered = union([*covered, *left])
    return sorted(there, key=lambda d: d.starts_at)


@dataclass(frozen=True, slots=True)
class Rota:
    """A whole schedule as values."""

    zone: ZoneInfo
    shifts: tuple[WeeklyShift, ...] = ()
    layers: tuple[Layer, ...] = ()
    overrides: tuple[Replacement, ...] = ()
    holidays: frozenset[date] = frozenset()

    def duties(self, start: datetime, end: datetime) -> list[Duty]:
        """As the function of that name."""
        return duties(self.shifts, self.overrides, self.zone, start, end, self.layers, self.holidays)

    def on_duty(self, at: datetime) -> list[Duty]:
        """As the function of that name."""
        return on_duty(self.shifts, self.overrides, self.zone, at, self.layers, self.holidays)

    def handover(self, at: datetime) -> Handover:
        """Who is on call, until when, who next: within a week if that tells, else as far as turns of months reach."""
        for days in (8, 70):
            found = handover(
                self.shifts, self.overrides, self.zone, at, timedelta(days=days), self.layers, self.holidays
            )
            if found.next_user:
                break
        return found

    def gaps(self, start: datetime, end: datetime) -> list[Span]:
        """Stretches of [start, end) in which nobody is on call, in no rank."""
        return gaps(self.duties(start, end), start, end)
