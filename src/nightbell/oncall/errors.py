"""Errors of the on-call room."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nightbell.core.errors import NightbellError


class BadShift(NightbellError):
    """A shift or an override that makes no sense."""


class BadSwap(NightbellError):
    """A swap that makes no sense, or not any more."""


class BadCalendar(NightbellError):
    """A calendar file that no duties can be read from."""


class Uncovered(BadShift):
    """A change would leave nobody on call where somebody was. Nothing was changed; it needs a name under it.

    gaps: the stretches (UTC) that nobody would cover any more.
    """

    def __init__(self, gaps: Sequence[tuple[datetime, datetime]]) -> None:
        self.gaps = tuple(gaps)
        minutes = round(sum((end - start).total_seconds() for start, end in gaps) / 60)
        super().__init__(
            "Nothing was changed",
            f"nobody would be on call for {minutes // 60} h {minutes % 60} min in the next 60 days",
            "put somebody there first, or confirm it with your own name",
        )


class LastWay(NightbellError):
    """Somebody on duty would have no way to be told. Nothing was changed; it needs their name under it."""
