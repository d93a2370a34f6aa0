"""The only way from a person to a patient's data: policy, then the audit row, then PHI.

Missing and forbidden look alike: both raise NotFound. Nothing here opens anything unless the
audit event is committed (DESIGN decisions 5 and 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.errors import NightbellError
from nightbell.core.phi import Warrant
from nightbell.people.models import User
from nightbell.people.roles import COVERING, Act, Part, Role, may, sees

T = TypeVar("T")


class NotFound(NightbellError):
    """There is no such thing for this person."""


class Forbidden(NightbellError):
    """This role does not do that, anywhere."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, from where, when. `scopes` None: a person at a page; else a token limited to those acts."""

    user: User
    source: str  # IP address
    session: str  # digest of the session or token: play grants are bound to it
    now: datetime
    scopes: frozenset[str] | None = None

    @property
    def role(self) -> Role:
        return Role(self.user.role)

    @property
    def practice(self) -> str:
        return self.user.practice_id

    @property
    def name(self) -> str:
        return f"user:{self.user.login}"

    @property
    def covers(self) -> bool:
        """Whether this is a clinician of another practice, who sees only what they were told of."""
        return self.user.home_id is not None

    def may(self, act: Act) -> bool:
        if self.covers and act not in COVERING:
            return False
        return may(self.user.role, act) and (self.scopes is None or act.value in self.scopes)

    def sees(self, part: Part) -> bool:
        return sees(self.user.role, part)


def demand(actor: Actor, act: Act, message: str = "") -> None:
    """Raise Forbidden, with a row in the log, unless the actor may do `act`."""
    if actor.may(act):
        return
    write(actor, act, message=message, outcome="refused")
    raise Forbidden(
        f"Your log-in ({'covering' if actor.covers else actor.role.value.replace('_', ' ')}) cannot do this",
        "the role does not include it",
        "ask your office manager",
    )


def write(
    actor: Actor,
    act: Act | str,
    message: str = "",
    outcome: str = "ok",
    detail: Mapping[str, object] | None = None,
) -> str:
    """One audit event of this actor, in the caller's transaction or one of its own. Returns its id."""
    return audit.record(
        actor.practice,
        actor=actor.name,
        action=str(act),
        now=actor.now,
        message=message,
        outcome=outcome,
        source=actor.source,
        detail=detail,
    )


def reveal(
    actor: Actor,
    act: Act,
    opener: Callable[[Warrant], T],
    message: str = "",
    detail: Mapping[str, object] | None = None,
) -> T:
    """Commit the audit row, then call `opener` with the warrant that lets it open PHI.

    Raises Forbidden, or AuditClosed when the row cannot be written: then nothing is opened.
    """
    demand(actor, act, message)
    with transaction.atomic(durable=True):
        event = write(actor, act, message=message, detail=detail)
    faults.point("reveal.audited")
    return opener(Warrant(event))
