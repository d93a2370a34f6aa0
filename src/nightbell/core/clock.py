"""The only door to the machine's clocks. Everything above takes time as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day (aware, UTC) and a monotonic time in seconds."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


SYSTEM = SystemClock()


def utc_now() -> datetime:
    """The time of day, aware, in UTC."""
    return SYSTEM.now()


def monotonic() -> float:
    """Seconds that never go back; comparable within one machine's uptime."""
    return time.monotonic()


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and a Z, sortable as text.

    Raises ValueError for a naive datetime: a time without a zone is a bug at the caller's.
    """
    if moment.tzinfo is None:
        raise ValueError("naive datetime")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    """Read what `iso` wrote, or any RFC 3339 time with an offset. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"time without a zone: {text!r}")
    return moment.astimezone(UTC)
