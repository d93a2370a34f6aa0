"""Pure decisions about accepted risks: how one stands, and whether it may be accepted like that."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from nightbell.core.errors import NightbellError

USUAL, LONGEST = timedelta(days=365), timedelta(days=731)
SOON = timedelta(days=30)
LEAST_WORDS, MOST_WORDS = 10, 1000


class BadRisk(NightbellError, ValueError):
    """A risk cannot be accepted like that. `field`: 'reason' or 'until'."""

    def __init__(self, field: str, why: str, mend: str) -> None:
        self.field = field
        super().__init__("The risk was not accepted", why, mend)


class Standing(StrEnum):
    """How an acceptance stands at a moment."""

    GOOD = "good"
    SOON = "soon"  # it runs out within 30 days
    EXPIRED = "expired"


def standing(until: datetime, now: datetime) -> Standing:
    """Pure. until: UTC."""
    if now >= until:
        return Standing.EXPIRED
    return Standing.SOON if until - now <= SOON else Standing.GOOD


def end_of(day: date) -> datetime:
    """Until when something is accepted that is accepted until the end of this day: its last moment in UTC, for an
    installation has practices in several zones. Raises OverflowError."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def last_day(until: datetime) -> date:
    """The day that a person chose, from `end_of` it: midnight belongs to the day before."""
    return (until.astimezone(UTC) - timedelta(microseconds=1)).date()


def check(reason: str, until: datetime, now: datetime) -> str:
    """The reason as it is kept. Raises BadRisk: no real reason, or a time that is past or over two years ahead."""
    words = " ".join(reason.split())
    if not LEAST_WORDS <= len(words) <= MOST_WORDS or not words.isprintable():
        mend = f"write {LEAST_WORDS} to {MOST_WORDS} characters: why, and what protects the calls instead"
        raise BadRisk("reason", "nobody could judge the reason later", mend)
    if until <= now:
        raise BadRisk("until", "the day is past", "choose a day to come")
    if until > now + LONGEST:
        raise BadRisk("until", "that is over two years ahead", "choose an earlier day; it can be renewed")
    return words
