"""Who is on call when, and what an alert does next. Pure: schedules and instants in, decisions out.

Shifts are weekly and local to the practice's zone; instants are UTC. Two aware datetimes of one zone
subtract as wall clocks in Python, so every length here is taken between UTC instants.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MAX_STEPS = 20
RETRY_BACKOFF_S = (2, 5, 15, 30)


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
    """An override: `user` is on call from one instant (UTC) to another, whatever the week says."""

    id: str
    user: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Duty:
    """Who is on call between two instants (UTC); `source` is the shift's or override's id."""

    user: str
    starts_at: datetime
    ends_at: datetime
    rank: int
    source: str
    override: bool


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """A local wall time as UTC. A time that the clock change skips is taken as if it had not."""
    local = datetime.combine(day + timedelta(days=minutes // 1440), time(minutes // 60 % 24, minutes % 60))
    return local.replace(tzinfo=zone).astimezone(UTC)


def duties(
    shifts: Iterable[WeeklyShift],
    overrides: Iterable[Replacement],
    zone: ZoneInfo,
    start: datetime,
    end: datetime,
) -> list[Duty]:
    """All duties that touch [start, end), overrides first, then shifts by rank, each by its start."""
    found = [
        Duty(o.user, o.starts_at, o.ends_at, -1, o.id, True)
        for o in overrides
        if o.starts_at < end and o.ends_at > start
    ]
    first = start.astimezone(zone).date() - timedelta(days=8)
    last = end.astimezone(zone).date() + timedelta(days=1)
    for shift in shifts:
        day = first + timedelta(days=(shift.weekday - first.weekday()) % 7)
        while day <= last:
            begin = _instant(day, shift.start, zone)
            finish = _instant(day, shift.start + shift.minutes, zone)
            if begin < end and finish > start and finish > begin:
                found.append(Duty(shift.user, begin, finish, shift.rank, shift.id, False))
            day += timedelta(days=7)
    return sorted(found, key=lambda d: (d.rank, d.starts_at, d.source))


def on_duty(
    shifts: Iterable[WeeklyShift], overrides: Iterable[Replacement], zone: ZoneInfo, at: datetime
) -> list[Duty]:
    """Who is on call at an instant, first to be told first. A person is named once."""
    seen: set[str] = set()
    order = []
    for duty in duties(shifts, overrides, zone, at, at + timedelta(microseconds=1)):
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
) -> Handover:
    """Look ahead for the next change of the first person on call. Shifts of one person in a row are one."""
    found = duties(shifts, overrides, zone, at, at + ahead)
    edges = sorted({edge for d in found for edge in (d.starts_at, d.ends_at) if at < edge < at + ahead})

    def first(moment: datetime) -> str | None:
        there = [d for d in found if d.starts_at <= moment < d.ends_at]
        return there[0].user if there else None  # duties come first to be told first

    current = first(at)
    until = next((edge for edge in edges if first(edge) != current), None) if current else None
    later = [edge for edge in edges if edge >= (until or at)]
    start = next((edge for edge in later if first(edge) not in (None, current)), None)
    return Handover(current, until, first(start) if start else None, start)


def gaps(found: Sequence[Duty], start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Stretches of [start, end) in which nobody is on call."""
    holes, reached = [], start
    for duty in sorted(found, key=lambda d: d.starts_at):
        if duty.starts_at > reached:
            holes.append((reached, min(duty.starts_at, end)))
        reached = max(reached, duty.ends_at)
        if reached >= end:
            return holes
    return [*holes, (reached, end)]


@dataclass(frozen=True, slots=True)
class Step:
    """Tell `target` ('first': on call now; 'next': the second on call; 'fallback'), then wait."""

    target: str
    wait_s: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What an alert does until it is owned. The last step repeats for ever. Frozen when an alert starts."""

    steps: tuple[Step, ...]
    fallback_user: str
    fallback_email: str

    def to_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


DEFAULT_STEPS = (Step("first", 120), Step("first", 180), Step("next", 180), Step("fallback", 300))
TARGETS = frozenset({"first", "next", "fallback"})


def read_policy(text: str) -> Policy | None:
    """Read a frozen policy; None when it is unreadable: the caller then tells the fallback, never nobody."""
    try:
        stored = json.loads(text)
        steps = read_steps(stored["steps"])
        return Policy(steps, str(stored["fallback_user"]), str(stored["fallback_email"])) if steps else None
    except (ValueError, KeyError, TypeError):
        return None


def read_steps(stored: object) -> tuple[Step, ...]:
    """Steps as a practice set them. Empty when there is anything wrong with them."""
    if not isinstance(stored, list) or not 0 < len(stored) <= MAX_STEPS:
        return ()
    steps = []
    for item in stored:
        if not isinstance(item, dict) or item.get("target") not in TARGETS:
            return ()
        wait = item.get("wait_s")
        if not isinstance(wait, int) or not 1 <= wait <= 3600:
            return ()
        steps.append(Step(item["target"], wait))
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Telling:
    """One decision: whom to tell now ('' user: the fallback address), and when to go on if nobody takes it."""

    users: tuple[str, ...]
    fallback: bool
    kind: str  # 'urgent' the first time, 'again' after
    next_at: datetime


def tell(policy: Policy | None, step: int, on_call: Sequence[str], now: datetime) -> Telling:
    """What step number `step` (0 first, the last repeats for ever) does, given who is on call now in order.

    Nobody on call, no second person, or no readable policy: the fallback is told at once.
    """
    if policy is None:
        return Telling(tuple(on_call[:1]), True, "urgent" if step == 0 else "again", _later(now, 120))
    rule = policy.steps[min(step, len(policy.steps) - 1)]
    kind = "urgent" if step == 0 else "again"
    wanted = {"first": on_call[:1], "next": on_call[1:2], "fallback": ()}[rule.target]
    fallback = rule.target == "fallback" or not wanted
    return Telling(tuple(wanted), fallback, kind, _later(now, rule.wait_s))


def retry_at(tries: int, now: datetime) -> datetime:
    """When a notification that could not be sent is tried again."""
    return _later(now, RETRY_BACKOFF_S[min(tries, len(RETRY_BACKOFF_S)) - 1])


def _later(now: datetime, seconds: int) -> datetime:
    return now + timedelta(seconds=seconds)
