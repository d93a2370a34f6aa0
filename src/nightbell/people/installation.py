"""Deciding for the whole installation, not for one practice: by a person at a page, or by the machine's own user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nightbell.audit import service as audit
from nightbell.people.access import Actor, demand
from nightbell.people.models import User
from nightbell.people.roles import Act


@dataclass(frozen=True, slots=True)
class By:
    """Who decides, and when (UTC). name: as in the log, 'user:<login>' or 'os:<user>'; user: None at the command line."""

    name: str
    now: datetime
    source: str = ""
    user: User | None = None


def by_person(actor: Actor, act: Act) -> By:
    """A signed-in person, if the role includes `act`. Raises Forbidden."""
    demand(actor, act)
    return By(actor.name, actor.now, actor.source, actor.user)


def note(by: By, action: str, detail: Mapping[str, object]) -> None:
    """The row in the installation's log, last in the transaction. detail: ids, numbers and words of ours."""
    audit.record(
        audit.INSTALLATION, actor=by.name, action=action, now=by.now, source=by.source, detail=detail
    )
