"""A promise that ran out: a caller was told by when somebody calls, and nobody has closed the message by then."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F, Q

from nightbell.audit import service as audit
from nightbell.mailbox.joining import root
from nightbell.mailbox.models import Kind, Message, Outcome, State, Urgency
from nightbell.people.models import Practice

ACTOR = "system:worker"
OPEN = (State.NEW, State.OWNED)
IN_TIME = Q(state=State.OWNED, outcome=Outcome.LEFT_WORD, tried_at__lte=F("promised_by"))  # a call came


def find_broken(now: datetime) -> int:
    """Note each broken promise once, and move a routine message that nobody has to those for review.

    What is urgent and nobody's rings already. One that fails does not hold up the others; its error is raised when all
    had their turn. Returns how many were noted.
    """
    found = Message.objects.filter(
        practice__in=Practice.objects.all(),  # by the index of the inbox: closed ones are never read
        state__in=OPEN, promised_by__lte=now, late_at=None,
    )  # fmt: skip
    found = found.exclude(IN_TIME)
    rows = found.exclude(kind=Kind.STATUS).order_by("promised_by", "id").values_list("id", "tags")
    noted, problem = 0, None
    for pk in [pk for pk, tags in rows if "test" not in tags]:
        try:
            noted += _note(pk, now)
        except Exception as error:
            problem = error
    if problem is not None:
        raise problem
    return noted


def _note(message_id: str, now: datetime) -> bool:
    """One transaction, and the row is taken first: of two workers, or after a crash, one notes it."""
    with transaction.atomic():
        mine = Message.objects.filter(pk=message_id, late_at=None, state__in=OPEN, promised_by__lte=now)
        if not mine.update(late_at=now):
            return False
        message = Message.objects.get(pk=message_id)
        raised = Message.objects.filter(
            pk=message_id, state=State.NEW, urgency=Urgency.ROUTINE
        ).update(urgency=Urgency.REVIEW)  # fmt: skip
        audit.record(
            message.practice_id, actor=ACTOR, action="promise:broken", now=now, message=root(message),
            detail={"promise": message.promise, "state": message.state, "review": bool(raised)}
            | ({"addition": message_id} if message.joins_id else {}),
        )  # fmt: skip
    return True
