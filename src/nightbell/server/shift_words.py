"""What somebody who is offered a shift is told of it, as clips. Times are the practice's."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from nightbell.flow import phrases
from nightbell.oncall.swaps import Asking
from nightbell.oncall.turns import Facts


def offered(asking: Asking, language: str, now: datetime) -> Facts:
    """Of the call to whoever is asked. now: UTC."""
    zone = ZoneInfo(asking.swap.schedule.practice.zone)
    here, start, end = (at.astimezone(zone) for at in (now, asking.swap.starts_at, asking.swap.ends_at))
    running = start <= here
    words: list[str] = ["shift-starts-now"] if running else ["shift-starts", *_when(start, here, language)]
    words += ["~150", "shift-ends", *_when(end, here, language)]
    return Facts(("alert-hello", "practice-name"), shift=tuple(words), running=running)


def _when(at: datetime, now: datetime, language: str) -> list[str]:
    language = language if language in ("en", "es") else "en"
    return list(phrases.day_and_time(at, now, language) or phrases.clock(at, language))
