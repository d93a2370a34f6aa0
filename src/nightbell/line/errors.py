"""Errors of the line room."""

from __future__ import annotations

from datetime import datetime

from nightbell.core.clock import iso
from nightbell.core.errors import NightbellError
from nightbell.flow.walk import Problem


class Stale(NightbellError):
    """Somebody else changed the line since this page was read. by: their name; at: when (UTC)."""

    def __init__(self, by: str, at: datetime) -> None:
        self.by, self.at = by, at
        super().__init__(
            "Your change was not kept",
            f"{by} changed the line at {iso(at)}, after you opened it",
            "look at what is there now, then make your change again",
        )


class NotReady(NightbellError):
    """A plan that callers must not meet yet. problems: all that stands in the way."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__("The line was not published", f"{first.where}: {first.what}{more}", first.mend)


class BadClosure(NightbellError):
    """A closure that makes no sense."""


class BadClip(NightbellError):
    """A recording that cannot be kept or used."""
