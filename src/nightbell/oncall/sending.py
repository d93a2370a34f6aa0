"""Sending what was recorded: under a lease, by the channel of the attempt's kind, again when a sender died."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Case, F, Q, QuerySet, When

from nightbell.audit import service as audit
from nightbell.core import clock, faults
from nightbell.core.log import Log
from nightbell.core.notice import Channel, ChannelError, NoticeKind, Notification, Receipt
from nightbell.mailbox.models import Message, State, Urgency
from nightbell.oncall import policies, receipts
from nightbell.oncall.attempts import ENOUGH, go_on
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState
from nightbell.oncall.notifications import render
from nightbell.oncall.start import ACTOR, several
from nightbell.people import contacts

SEND_LEASE = timedelta(seconds=30)
TOGETHER = 17  # leased at once by one sender
NOTE_S = 0.25  # seconds in which notifications may leave before it is noted that they did
SLOW_S = 1.0  # seconds after which a sender gives back what it leased and has not tried
MAX_TRIES = 6
LONGEST_PAUSE = timedelta(minutes=10)  # that a far side may ask for
AHEAD = LONGEST_PAUSE + timedelta(minutes=1)  # further ahead nothing of ours is due: a clock ran ahead
URGENT_FIRST = Case(When(alert__urgency=Urgency.URGENT, then=0), default=1)
NOT_NEEDED = "not needed: somebody has it"
NO_MORE = "this person is told no more"
NO_CHANNEL = "no channel is set up"
TAKEN_AWAY = "this way was taken away"
NOT_TRIED = (NOT_NEEDED, NO_MORE, TAKEN_AWAY)  # failed, and tells nothing of the way
OURS = "this number is answered here"


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
    sent, seen = 0, list[str]()
    while len(seen) < limit:
        leased = _lease(pending.exclude(pk__in=seen), min(limit - len(seen), TOGETHER), now)
        if not leased:
            break
        faults.point("alert.leased")
        seen += [attempt.id for attempt in leased]
        sent += _send_all(leased, sender, now, log)
    return sent


def _lease(pending: QuerySet[Attempt], most: int, now: datetime) -> list[Attempt]:
    """Take the first for half a minute, what is urgent before the rest; as they were before, but for `twice`.

    Whoever had one and left no answer was killed, perhaps after it had left: then it is marked.
    """
    if not pending.exists():
        return []  # no need to ask for the write lock to learn that
    with transaction.atomic():
        rows = pending.select_related("alert__practice", "alert__message", "user", "contact")
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True, of=("self",))
        leased = list(rows.order_by(URGENT_FIRST, "recorded_at", "id")[:most])
        for attempt in leased:
            attempt.twice = attempt.twice or (attempt.tries > 0 and not attempt.answer)
        held = Attempt.objects.filter(pk__in=[attempt.pk for attempt in leased])
        held.filter(pk__in=[attempt.pk for attempt in leased if attempt.twice]).update(twice=True)
        held.update(retry_at=now + SEND_LEASE, tries=F("tries") + 1, answer="")
    return leased


def _send_all(leased: Sequence[Attempt], sender: Sender, now: datetime, log: Log) -> int:
    """One after another. That they left is noted for several at once: so long only as that takes no longer than NOTE_S, for
    who is killed before does not know of them."""
    began = noted = clock.monotonic()
    sent, count, number = list[tuple[Attempt, Receipt]](), 0, 0
    try:
        for number, attempt in enumerate(leased):
            if number and clock.monotonic() - began > SLOW_S:
                _give_back(leased[number:], now)
                break
            receipt = _send(attempt, sender, now, log)
            if receipt is not None:
                sent.append((attempt, receipt))
            if clock.monotonic() - noted > NOTE_S:
                count, noted = count + _note(sent, now), clock.monotonic()
    except Exception:
        try:
            _note(sent, now)
        finally:
            _give_back(leased[number + 1 :], now)
        raise
    return count + _note(sent, now)


def _give_back(leased: Sequence[Attempt], now: datetime) -> None:
    """They were not tried: whoever is quicker takes them at once, as they were."""
    for attempt in leased:
        Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING, retry_at=now + SEND_LEASE).update(
            retry_at=now, tries=attempt.tries, answer=attempt.answer
        )


def _send(attempt: Attempt, sender: Sender, now: datetime, log: Log) -> Receipt | None:
    alert = attempt.alert
    if not is_needed(attempt, alert, alert.message):
        Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(
            state=AttemptState.FAILED, answer=NOT_NEEDED
        )
        return None
    if attempt.reference:  # the provider told of it before it answered us: it has left
        return Receipt(b"", "the provider has it", attempt.reference)
    channel = sender.channels.get(attempt.channel)
    refused = _refusal(attempt, channel)
    if channel is None or refused is not None:
        _failed(attempt, refused or ChannelError(NO_CHANNEL, permanent=True), now)
        return None
    language = attempt.user.language if attempt.user and attempt.user.language in ("en", "es") else "en"
    notification = Notification(NoticeKind(attempt.kind), alert.practice.code, alert.token, language)
    receipt, problem = deliver(channel, notification, sender.url, attempt.address, attempt.id, log)
    if receipt is None:
        _failed(attempt, problem or ChannelError("the channel broke"), now)
        return None
    faults.point("alert.sent")
    return receipt


def deliver(
    channel: Channel, notification: Notification, url: str, address: str, reference: str, log: Log
) -> tuple[Receipt | None, ChannelError | None]:
    """Hand one notification to a channel. Whatever breaks there is a failure of this way, and of no other.

    A number that became one of ours since it was proved is told nothing: a line of ours would answer.
    """
    if address.startswith("+") and contacts.is_ours(address):
        return None, ChannelError(OURS, permanent=True)
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
        return ChannelError(TAKEN_AWAY, permanent=True)
    if attempt.user is not None and not attempt.user.is_active:
        return ChannelError(NO_MORE, permanent=True)
    if attempt.tries >= MAX_TRIES:
        return ChannelError("given up: no sender outlived it", permanent=True)
    return ChannelError(NO_CHANNEL, permanent=True) if channel is None else None


def is_needed(attempt: Attempt, alert: Alert, message: Message) -> bool:
    """Whether it is still to be told: to all while nobody has the message, to its owner alone while they have it. What is
    left of steps before it was given back is not: it rings anew from the first one."""
    if attempt.alone:
        return message.state == State.OWNED and message.owner_id == attempt.user_id
    return alert.state == AlertState.OPEN and message.state == State.NEW and attempt.step >= alert.began


def _note(sent: list[tuple[Attempt, Receipt]], now: datetime) -> int:
    """That these left: the list keeps those that could not be noted, and only they leave again. Returns how many were."""
    problems: list[Exception] = []

    def note(some: Sequence[tuple[Attempt, Receipt]], now: datetime) -> int:
        done, noted = _sent_all(some, now), {attempt.id for attempt, _ in some}
        sent[:] = [one for one in sent if one[0].id not in noted]
        return done

    done = several(list(sent), note, lambda one, now: note([one], now), now, problems)
    if problems:
        raise problems[0]  # all had their turn
    return done


def _sent_all(sent: Sequence[tuple[Attempt, Receipt]], now: datetime) -> int:
    with transaction.atomic():
        for attempt, receipt in sent:
            won = Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(
                state=AttemptState.SENT, sent_at=now, sent=receipt.sent, answer=receipt.answer[:120],
                reference=receipt.reference[:80],
            )  # fmt: skip
            if not won:  # slower than the lease: another sender was at it too
                attempt.twice = True
                Attempt.objects.filter(pk=attempt.pk).update(twice=True)
        receipts.settle_all([attempt.id for attempt, _ in sent], now)
        for practice in sorted({attempt.alert.practice_id for attempt, _ in sent}):
            mine = [attempt for attempt, _ in sent if attempt.alert.practice_id == practice]
            audit.record_all(practice, [_leaf(attempt) for attempt in mine], now)
    return len(sent)


def _leaf(attempt: Attempt) -> audit.Entry:
    detail = {"attempt": attempt.id, "step": attempt.step, "channel": attempt.channel,
              "to": attempt.user.login if attempt.user else "fallback"}  # fmt: skip
    twice = {"twice": True} if attempt.twice else {}
    return audit.Entry(ACTOR, "notification:sent", attempt.alert.message_id, detail=detail | twice)


def _put_off(attempt: Attempt, problem: ChannelError, now: datetime) -> None:
    """Nothing was tried: the lease is given back, and the try does not count."""
    Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(
        retry_at=now + timedelta(seconds=problem.after_s), tries=attempt.tries, answer=problem.answer[:120]
    )


def _failed(attempt: Attempt, problem: ChannelError, now: datetime) -> None:
    """Try again soon; when it never can work, or often did not, the next step of the alert comes at once."""
    if problem.not_yet:
        _put_off(attempt, problem, now)
        return
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
        if final or tries >= ENOUGH or pause > SEND_LEASE:
            go_on(attempt, now)  # alerts before the log, as who steps them does
        if problem.gone and attempt.contact_id:
            contacts.disown(attempt.contact_id, f"{attempt.channel} gone", now)
        if final:
            audit.record(
                attempt.alert.practice_id, actor=ACTOR, action="notification:failed", now=now, outcome="failed",
                message=attempt.alert.message_id,
                detail={"attempt": attempt.id, "step": attempt.step, "channel": attempt.channel},
            )  # fmt: skip
    faults.point("alert.failed")
