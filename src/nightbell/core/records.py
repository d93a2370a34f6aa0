"""The port to a practice's own record system: one resource at a time, each made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from nightbell.core.errors import NightbellError, TemporaryError


@dataclass(frozen=True, slots=True)
class Kept:
    """What the far side did. made: False where it had the resource already; place: its own address of it, or ''."""

    made: bool
    place: str


class RecordsAway(TemporaryError):
    """The record system was not reached, did not answer in time, or cannot work now: the same again may work.
    `refused`: it does not know our token, which a person must mend."""

    def __init__(self, why: str, mend: str = "wait", refused: bool = False) -> None:
        self.refused = refused
        super().__init__("The record system", why, mend)


class RecordsRefused(NightbellError):
    """The record system will not take this resource, however often it is asked."""

    def __init__(self, why: str) -> None:
        super().__init__("The record system", why, "look at its own log, then sign the note anew")


class Records(Protocol):
    """A record system. `create` makes a resource unless one with the same identifier is there (`search`).

    Raises RecordsAway or RecordsRefused; their texts hold nothing of the resource and nothing that the far side said.
    """

    def create(self, resource: Mapping[str, Any], search: str) -> Kept: ...
