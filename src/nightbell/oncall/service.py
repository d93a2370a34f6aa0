"""What people do with an alert, and what they may see of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message, Shown
from nightbell.oncall import whom
from nightbell.oncall.auditor import telling
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState
from nightbell.oncall.owners import hand_over
from nightbell.oncall.roster import OnCallView, now_on_call
from nightbell.people.access import Actor, NotFound, write
from nightbell.people.models import User

__all__ = ["OnCallView", "Rung", "hand_over", "now_on_call"]

FALLBACK = "Fallback"
TELEPHONE = "telephone"


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder: who was told, is being told or is next. No PHI."""

    name: str
    channel: str
    state: str  # done, now, next, failed
    at: datetime
    answer: str
    receipt: str = ""  # '', 'delivered' or 'undelivered', as the provider told afterwards


def ladder(message_id: str) -> tuple[Rung, ...]:
    """Who was told of a message, and who will be told next."""
    alert = (
        Alert.objects.filter(message_id=message_id).select_related("practice", "message", "schedule").first()
    )
    if alert is None:
        return ()
    rungs = []
    for attempt in Attempt.objects.filter(alert=alert).select_related("user").order_by("recorded_at", "id"):
        state = {AttemptState.SENT: "done", AttemptState.PENDING: "now"}.get(
            AttemptState(attempt.state), "failed"
        )
        name = attempt.user.name if attempt.user else FALLBACK
        answer = f"{attempt.answer}; perhaps twice" if attempt.twice else attempt.answer
        at = attempt.sent_at or attempt.recorded_at
        covers = attempt.user is not None and attempt.user.home_id is not None
        channel = (
            "" if covers else attempt.channel
        )  # which telephones they have is their own practice's matter
        rungs.append(Rung(name, channel, state, at, answer, attempt.receipt))
    if alert.state == AlertState.OPEN:
        rungs.append(_next_rung(alert))
    return tuple(rungs)


def rings(message_id: str, now: datetime) -> bool:
    """Whether people are being told of this message until one of them has it: not when nothing reaches anybody."""
    return telling(message_id, now)


def _next_rung(alert: Alert) -> Rung:
    try:
        names = whom.next_names(alert)
    except (ValueError, LookupError, TypeError, ArithmeticError):
        names = ()  # a schedule that cannot be read: the last resort will be told
    return Rung(", ".join(names) or FALLBACK, "", "next", alert.next_at, "")


def take_by_pin(message_id: str, user: User, now: datetime, how: str) -> mailbox.Taken:
    """Take a message by telephone, for somebody whose PIN was right (people.pins.check_pin). how: the call's id.

    As mailbox.service.acknowledge: one wins, the other learns who was first. Whoever was handed it and keys the PIN has
    opened it. Raises NotNow, NotFound, Forbidden.
    """
    actor = Actor(user, TELEPHONE, f"{TELEPHONE}:{how}", now)
    taken = mailbox.acknowledge(actor, message_id)
    if taken.mine and taken.at != now:
        write(actor, "message:accept", message=message_id)
    return taken


def release(actor: Actor, message_id: str) -> None:
    """Give a message back so that anybody can take it; an urgent one rings from the first step. Raises NotNow."""
    mailbox.reopen(actor, message_id)


def practice_of(token: str) -> str:
    """Whose alert a notification's link is of, '' for none: for somebody who works in more than one practice."""
    found = (
        Alert.objects.filter(token=token).values_list("practice_id", flat=True) if len(token) == 22 else ()
    )
    return next(iter(found), "")


def was_shown(token: str, guest: User) -> bool:
    """Whether somebody who covers here may see the message behind a notification's link."""
    found = Message.objects.filter(alert__token=token).values_list("pk", "joins_id").first()
    return (
        found is not None
        and Shown.objects.filter(user=guest, message__in=[pk for pk in found if pk]).exists()
    )


def alert_for_token(actor: Actor, token: str) -> str:
    """The message behind a notification's link. Raises NotFound for any other practice's token."""
    alert = (
        Alert.objects.filter(token=token, practice_id=actor.practice).first() if len(token) == 22 else None
    )
    if alert is None:
        write(actor, "notification:open", outcome="not_found")
        raise NotFound("This link leads nowhere", "it is old, or for another practice", "go to the inbox")
    write(actor, "notification:open", message=alert.message_id)
    return alert.message_id
