"""Sending what was recorded: under a lease, by the channel of the attempt's kind, again when a sender died."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.log import Log
from nightbell.core.notice import Channel, ChannelError, NoticeKind, Notification, Receipt
from nightbell.mailbox.models import Message, State
from nightbell.oncall import policies, receipts
from nightbell.oncall.attempts import ENOUGH, go_on
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState
from nightbell.oncall.notifications import render
from nightbell.oncall.start import ACTOR
from nightbell.people import contacts

SEND_LEASE = timedelta(seconds=30)
MAX_TRIES = 6
LONGEST_PAUSE = timedelta(minutes=10)  # that a far side may ask for
AHEAD = LONGEST_PAUSE + timedelta(minutes=1)  # further ahead nothing of ours is due: a clock ran ahead
NOT_NEEDED = "not needed: somebody has it"
NO_CHANNEL = "no channel is set up"


@dataclass(frozen=True, slots=True)
class Sender:
    """How notifications leave: a channel by kind of contact ('email', 'sms', 'push', 'voice', 'other'), and our
    address. A kind without a channel cannot be used."""

    channels: Mapping[str, Channel]
    url: str


def due_attempts(now: datetime) -> QuerySet[Attempt]:
    return Attempt.objects.filter(
        Q(retry_at__lte=now) | Q(retry_at__gt=now + AHEAD), state=AttemptState.PENDING
    )


def send_due(
    sender: Sender, now: datetime, log: Log, limit: int = 50, without: Collection[str] = (), only: str = ""
) -> int:
    """Send pending attempts whose turn it is, at most `limit` of them. Returns how many left.

    The lease counts from `now`: who sends slowly takes one at a time. without, only: kinds of channels that others
    send by, or the one of this sender.
    """
    pending = due_attempts(now).exclude(channel__in=without)
    if only:
        pending = pending.filter(channel=only)
    rows = pending.select_related("alert__practice", "alert__message", "user", "contact")
    sent = 0
    for attempt in rows.order_by("recorded_at", "id")[:50]:
        held = Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING, retry_at=attempt.retry_at)
        if not held.exists():
            continue  # another sender has it: no need to ask for the write lock to learn that
        if _lease(attempt, held, now):
            faults.point("alert.leased")
            sent += _send(attempt, sender, now, log)
            limit -= 1
        if not limit:
            break
    return sent


def _lease(attempt: Attempt, held: QuerySet[Attempt], now: datetime) -> bool:
    """Whoever had it and left no answer was killed, perhaps after it had left: then it is marked."""
    attempt.twice = attempt.twice or (attempt.tries > 0 and not attempt.answer)
    return bool(
        held.update(retry_at=now + SEND_LEASE, tries=attempt.tries + 1, answer="", twice=attempt.twice)
    )


def _send(attempt: Attempt, sender: Sender, now: datetime, log: Log) -> bool:
    alert = attempt.alert
    if not is_needed(attempt, alert, alert.message):
        Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(
            state=AttemptState.FAILED, answer=NOT_NEEDED
        )
        return False
    if attempt.reference:  # the provider told of it before it answered us: it has left
        _sent(attempt, Receipt(b"", "the provider has it", attempt.reference), now)
        return True
    channel = sender.channels.get(attempt.channel)
    refused = _refusal(attempt, channel)
    if channel is None or refused is not None:
        _failed(attempt, refused or ChannelError(NO_CHANNEL, permanent=True), now)
        return False
    language = attempt.user.language if attempt.user and attempt.user.language in ("en", "es") else "en"
    notification = Notification(NoticeKind(attempt.kind), alert.practice.code, alert.token, language)
    receipt, problem = deliver(channel, notification, sender.url, attempt.address, attempt.id, log)
    if receipt is None:
        _failed(attempt, problem or ChannelError("the channel broke"), now)
        return False
    faults.point("alert.sent")
    _sent(attempt, receipt, now)
    return True


def deliver(
    channel: Channel, notification: Notification, url: str, address: str, reference: str, log: Log
) -> tuple[Receipt | None, ChannelError | None]:
    """Hand one notification to a channel. Whatever breaks there is a failure of this way, and of no other."""
    try:
        return channel.send(render(notification, url), address, reference), None
    except ChannelError as error:
        problem = error
    except Exception as error:
        log.failure("channel.broke", error, channel=channel.name, attempt=reference)
        problem = ChannelError("the channel broke")
    log("notification.failed", channel=channel.name, attempt=reference, outcome=type(problem).__name__)
    return None, problem


def _refusal(attempt: Attempt, channel: Channel | None) -> ChannelError | None:
    if attempt.contact is not None and (attempt.contact.ended_at or attempt.contact.verified_at is None):
        return ChannelError("this way was taken away", permanent=True)
    if attempt.tries >= MAX_TRIES:
        return ChannelError("given up: no sender outlived it", permanent=True)
    return ChannelError(NO_CHANNEL, permanent=True) if channel is None else None


def is_needed(attempt: Attempt, alert: Alert, message: Message) -> bool:
    """Whether it is still to be told: to all while nobody has the message, to its owner alone while they have it."""
    if attempt.alone:
        return message.state == State.OWNED and message.owner_id == attempt.user_id
    return alert.state == AlertState.OPEN and message.state == State.NEW


def _sent(attempt: Attempt, receipt: Receipt, now: datetime) -> None:
    with transaction.atomic():
        won = Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(
            state=AttemptState.SENT, sent_at=now, sent=receipt.sent, answer=receipt.answer[:120],
            reference=receipt.reference[:80],
        )  # fmt: skip
        if not won:  # slower than the lease: another sender was at it too
            Attempt.objects.filter(pk=attempt.pk).update(twice=True)
        receipts.settle(attempt.id, now)
        audit.record(
            attempt.alert.practice_id, actor=ACTOR, action="notification:sent", now=now,
            message=attempt.alert.message_id,
            detail={"attempt": attempt.id, "step": attempt.step, "channel": attempt.channel,
                    "to": attempt.user.login if attempt.user else "fallback"}
            | ({"twice": True} if attempt.twice or not won else {}),
        )  # fmt: skip


def _failed(attempt: Attempt, problem: ChannelError, now: datetime) -> None:
    """Try again soon; when it never can work, or often did not, the next step of the alert comes at once."""
    tries = attempt.tries + 1
    final = problem.permanent or tries >= MAX_TRIES
    pause = min(timedelta(seconds=max(0.0, problem.after_s)), LONGEST_PAUSE)
    change: dict[str, object] = {
        "answer": problem.answer[:120] or "failed", "twice": attempt.twice or problem.unsure,
    }  # fmt: skip
    change |= (
        {"state": AttemptState.FAILED}
        if final
        else {"retry_at": max(policies.retry_at(tries, now), now + pause)}
    )
    with transaction.atomic():
        if not Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(**change):
            return  # another sender was quicker
        if problem.gone and attempt.contact_id:
            contacts.disown(attempt.contact_id, f"{attempt.channel} gone", now)
        if final or tries >= ENOUGH or pause > SEND_LEASE:
            go_on(attempt, now)
        if final:
            audit.record(
                attempt.alert.practice_id, actor=ACTOR, action="notification:failed", now=now, outcome="failed",
                message=attempt.alert.message_id,
                detail={"attempt": attempt.id, "step": attempt.step, "channel": attempt.channel},
            )  # fmt: skip
    faults.point("alert.failed")
