"""It got worse: a later call that belongs to an earlier message, and wakes people for it anew."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet

from nightbell.audit import service as audit
from nightbell.mailbox.models import Kind, Message, State, Urgency

ACTOR = "system:worker"
NOBODYS: dict[str, object] = {
    "state": State.NEW,
    "owner": None,
    "owned_at": None,
    "closed_at": None,
    "closed_by": None,
    "outcome": "",
    "tried_at": None,
}


def first_of(practice_id: str, message_id: str) -> Message | None:
    """The message to join, locked: of the same practice, alive, and no test. In the caller's transaction."""
    found = Message.objects.filter(practice_id=practice_id, pk=message_id).select_related(None).first()
    if found is not None and found.joins_id:
        message_id = found.joins_id
    alive = Message.objects.select_for_update().exclude(Q(state=State.DISPOSED) | Q(kind=Kind.STATUS))
    first = alive.filter(practice_id=practice_id, pk=message_id).first()
    return None if first is None or "test" in first.tags else first


def together(message_id: str) -> QuerySet[Message]:
    """A first message and its additions."""
    return Message.objects.filter(Q(pk=message_id) | Q(joins_id=message_id))


def root(message: Message) -> str:
    """The id of the message that is worked on: itself, or the one that it joins."""
    return message.joins_id or message.id


def worsen(first: Message, addition: Message, now: datetime) -> None:
    """The first message is nobody's again, urgent, and rings; whoever had it is told like all. In a transaction."""
    together(first.id).exclude(state=State.DISPOSED).update(**NOBODYS)
    Message.objects.filter(pk=first.pk).update(urgency=Urgency.URGENT, needs_alert=True)
    audit.record(
        first.practice_id, actor=ACTOR, action="message:worse", now=now, message=first.id,
        detail={"addition": addition.id, "was": first.state, "owner": first.owner.login if first.owner else ""},
    )  # fmt: skip
