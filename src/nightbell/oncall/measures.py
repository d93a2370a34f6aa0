"""Spans of waiting and wakings at night, as numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
