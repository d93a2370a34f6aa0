"""Reading the audit log: itself an audited act."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nightbell.audit.models import Event
from nightbell.people.access import Actor, demand, write
from nightbell.people.models import User
from nightbell.people.roles import Act


@dataclass(frozen=True, slots=True)
class AuditItem:
    """One event as shown. `actor` is 'user:<login>' or 'system:<process>'."""

    seq: int
    time: datetime
    actor: str
    action: str
    message: str
    outcome: str
    source: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Newest first. `next` is the cursor of the following page, None at the end."""

    items: tuple[AuditItem, ...]
    next: str | None


def query(
    actor: Actor,
    user: str = "",
    message: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str = "",
    limit: int = 100,
    act: Act = Act.AUDIT,
) -> AuditPage:
    """Events of the actor's practice by user (login), message and time (since <= time < until).

    Raises Forbidden, AuditClosed, or ValueError for a cursor that is not ours.
    """
    demand(actor, act)
    known = User.objects.filter(practice_id=actor.practice, login=user.removeprefix("user:")).exists()
    # What was typed may be a patient's name: only what is a login goes into a log that keeps it for ever.
    write(actor, act, message=message, detail={"user": user if known else "", "pages_from": cursor})
    events = Event.objects.filter(log_id=actor.practice).order_by("-seq")
    if user:
        events = events.filter(actor=user if ":" in user else f"user:{user}")
    if message:
        events = events.filter(message=message)
    if since:
        events = events.filter(at__gte=since)
    if until:
        events = events.filter(at__lt=until)
    if cursor:
        if not cursor.isdigit():
            raise ValueError("cursor")
        events = events.filter(seq__lt=int(cursor))
    found = list(events[: limit + 1])
    items = tuple(
        AuditItem(e.seq, e.at, e.actor, e.action, e.message, e.outcome, e.source) for e in found[:limit]
    )
    return AuditPage(items, str(items[-1].seq) if len(found) > limit else None)
