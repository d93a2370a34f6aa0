"""Spans of waiting, wakings at night and what each shift was like, as numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

NIGHT_FROM, NIGHT_UNTIL = 22, 7  # hours on the practice's clock
WAKING = ("push", "sms", "voice")  # channels that wake; a mail at night is read in the morning
ONE_WAKING = timedelta(minutes=10)  # push, text and call about one thing wake once


@dataclass(frozen=True, slots=True)
class Spans:
    """How many, and within which span half of them and nine in ten were (nearest rank); None for none."""

    count: int
    p50: timedelta | None
    p90: timedelta | None


def spans(found: Iterable[timedelta | None]) -> Spans:
    """Pure. A span below zero (a clock was set) counts as none at all."""
    known = sorted(max(one, timedelta()) for one in found if one is not None)
    return Spans(len(known), _rank(known, 50), _rank(known, 90))


def _rank(known: Sequence[timedelta], per_cent: int) -> timedelta | None:
    return known[-(-len(known) * per_cent // 100) - 1] if known else None


@dataclass(frozen=True, slots=True)
class Nights:
    """Who was told at night: in how many nights, how often in all, and in the worst night."""

    user: str
    nights: int
    wakings: int
    worst: int


def is_night(at: datetime, zone: ZoneInfo) -> bool:
    """Whether it is night on the practice's clock."""
    hour = at.astimezone(zone).hour
    return hour >= NIGHT_FROM or hour < NIGHT_UNTIL


def night_of(at: datetime, zone: ZoneInfo) -> date:
    """The day on which the night began that this moment lies in."""
    return (at.astimezone(zone) - timedelta(hours=NIGHT_UNTIL)).date()


def wakings(told: Iterable[tuple[str, datetime]], zone: ZoneInfo) -> tuple[Nights, ...]:
    """told: user and moment of each notification that left. Pure. Those that follow within ten minutes are one."""
    by_user: dict[str, dict[date, int]] = {}
    last: dict[str, datetime] = {}
    for user, at in sorted(told, key=lambda one: one[1]):
        before = last.get(user)
        last[user] = at
        if not is_night(at, zone) or (
            before is not None and at - before < ONE_WAKING and is_night(before, zone)
        ):
            continue
        nights = by_user.setdefault(user, {})
        night = night_of(at, zone)
        nights[night] = nights.get(night, 0) + 1
    found = (Nights(user, len(n), sum(n.values()), max(n.values())) for user, n in by_user.items())
    return tuple(sorted(found, key=lambda one: (-one.wakings, one.user)))


def mails(told: Iterable[Told], zone: ZoneInfo) -> tuple[tuple[str, int], ...]:
    """How many mails left to whom at night, most first. Pure."""
    found = Counter(one.user for one in told if one.mail and is_night(one.at, zone))
    return tuple(sorted(found.items(), key=lambda one: (-one[1], one[0])))


@dataclass(frozen=True, slots=True)
class Turn:
    """A shift of duty: a person on call by a schedule between two instants (UTC)."""

    user: str
    schedule: str
    starts_at: datetime
    ends_at: datetime
    backup: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """A notification of an alert that left, to a person. wakes: by a channel that wakes; mail: by one that is read later."""

    user: str
    schedule: str
    at: datetime
    alert: str
    urgent: bool
    wakes: bool
    mail: bool = False


@dataclass(frozen=True, slots=True)
class ShiftNumbers:
    """One shift. turn None: what came to this person outside of their shifts (last resort, named by a policy); unsure: by
    the plan as it stands now, and it was another one then.

    alerts: that they were told of; taken: of those, from their first notification of it until they took it.
    """

    user: str
    turn: Turn | None
    alerts: int
    wakings: int
    urgent: int
    taken: Spans
    unsure: bool = False


def by_shift(
    turns: Iterable[Turn],
    told: Iterable[Told],
    taken: Mapping[str, tuple[str, datetime]],
    zone: ZoneInfo,
    rewritten: Mapping[str, Sequence[tuple[datetime, datetime]]] | None = None,
) -> tuple[ShiftNumbers, ...]:
    """Newest shift first, then what came outside of any. taken: who took an alert's message first, and when; rewritten:
    by schedule, stretches in which another plan than that of now may have held. Pure.

    A waking is counted as in `wakings`, in the shift in which it began; it is urgent if anything in it was.
    """
    theirs: dict[str, list[Turn]] = {}
    for shift in turns:
        theirs.setdefault(shift.user, []).append(shift)
    found: dict[tuple[str, Turn | None, bool], list[Told]] = {
        (user, shift, False): [] for user, those in theirs.items() for shift in those
    }
    for one in sorted(told, key=lambda t: t.at):
        turn = _turn_of(one, theirs.get(one.user, []))
        before = (rewritten or {}).get(one.schedule, ()) if turn is None else ()
        unsure = any(start <= one.at < end for start, end in before)
        found.setdefault((one.user, turn, unsure), []).append(one)
    rows = [
        replace(_shift(user, turn, those, taken, zone), unsure=unsure)
        for (user, turn, unsure), those in found.items()
    ]
    placed = [(row.turn.starts_at, row.user, row) for row in rows if row.turn is not None]
    placed.sort(key=lambda one: one[:2], reverse=True)
    outside = [row for row in rows if row.turn is None]
    return (
        *(row for _, _, row in placed),
        *sorted(outside, key=lambda row: (-row.wakings, row.user, row.unsure)),
    )


def _turn_of(one: Told, turns: Sequence[Turn]) -> Turn | None:
    """The shift that lies around a notification: of the schedule that it came by before others, first before backup."""
    there = [turn for turn in turns if turn.starts_at <= one.at < turn.ends_at]
    return min(there, key=lambda t: (t.schedule != one.schedule, t.backup, t.starts_at), default=None)


def _shift(
    user: str,
    turn: Turn | None,
    told: Sequence[Told],
    taken: Mapping[str, tuple[str, datetime]],
    zone: ZoneInfo,
) -> ShiftNumbers:
    first: dict[str, datetime] = {}
    for one in told:
        first.setdefault(one.alert, one.at)
    known = [(at, taken[alert]) for alert, at in first.items() if alert in taken]
    woke = _wakings([one for one in told if one.wakes], zone)
    return ShiftNumbers(
        user, turn, len(first), len(woke), sum(woke),
        spans(when - at for at, (who, when) in known if who == user),
    )  # fmt: skip


def _wakings(told: Sequence[Told], zone: ZoneInfo) -> list[bool]:
    """Each waking at night, and whether anything in it was urgent."""
    found: list[bool] = []
    before: datetime | None = None
    for one in told:
        follows = before is not None and one.at - before < ONE_WAKING and is_night(before, zone)
        before = one.at
        if not is_night(one.at, zone):
            continue
        if follows:
            found[-1] = found[-1] or one.urgent
        else:
            found.append(one.urgent)
    return found
