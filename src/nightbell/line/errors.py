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


class Damaged(NightbellError):
    """A stored plan that cannot be read. version: its number, of a draft that of the one it was made from; draft: it is
    the draft's; instead: the version that answers meanwhile, 0 for the words of a new practice, None when the plan
    is not in force."""

    def __init__(self, version: int, draft: bool = False, instead: int | None = None) -> None:
        self.version, self.draft, self.instead = version, draft, instead
        if draft:
            super().__init__(
                "The draft of the call flow cannot be read",
                "what is stored of it is damaged; callers hear what was published",
                "discard the draft, on the page of the call flow",
            )
            return
        heard = "" if instead is None else f"; callers hear {heard_instead(instead)} in its place"
        super().__init__(
            f"Version {version} of the call flow cannot be read",
            f"what is stored of it is damaged{heard}",
            "begin anew, on the page of the call flow"
            if instead == 0
            else "bring back an older version: Call flow, Versions",
        )


def heard_instead(number: int) -> str:
    """What callers hear while the version in force is damaged."""
    return f"version {number}" if number else "the words of a new practice"


class BadClosure(NightbellError):
    """A closure that makes no sense."""


class BadClip(NightbellError):
    """A recording that cannot be kept or used."""
