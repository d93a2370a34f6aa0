"""The loop that goes on until a person owns an alert.

Crash-safe by order: the step, the next due time and its attempts are written in one transaction under a
lease, before anything is sent; a pending attempt without a living sender is sent again (at least once,
with the attempt's id as the channel's idempotency key).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.ids import new_token
from nightbell.core.log import Log
from nightbell.core.notice import Channel, ChannelError, NoticeKind, Notification
from nightbell.mailbox.models import Message, State, Urgency
from nightbell.oncall import rules
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState, Schedule
from nightbell.oncall.notifications import render
from nightbell.oncall.roster import on_call_ids
from nightbell.people.models import User
from nightbell.people.roles import Act, may
from nightbell.store.due import due

ACTOR = "system:worker"
Row = TypeVar("Row")
SEND_LEASE = timedelta(seconds=30)
STANDSTILL = timedelta(seconds=60)
MAX_TRIES = 6


@dataclass(frozen=True, slots=True)
class Sender:
    """How notifications leave: channels by name, in the order in which each person is told, and our address."""

    channels: Mapping[str, Channel]
    url: str


def _each(
    rows: Iterable[Row],
    step: Callable[[Row, datetime], int],
    now: datetime,
    limit: int,
    problems: list[Exception] | None,
) -> int:
    """Take `step` on each row until `limit` were done. One that fails must not hold up the others:
    its error goes to `problems`, for the caller to tell when all had their turn."""
    done = 0
    for row in rows:
        try:
            done += step(row, now)
        except Exception as error:
            if problems is None:
                raise
            problems.append(error)
        if done >= limit:
            break
    return done


def start_due(now: datetime, limit: int = 50, problems: list[Exception] | None = None) -> int:
    """Give messages that need an alert one. Urgency is a due row that is picked up here."""
    waiting = Message.objects.filter(needs_alert=True).select_related("practice").order_by("stored_at")
    return _each(waiting[:200], _start, now, limit, problems)


def _start(message: Message, now: datetime) -> bool:
    schedule = Schedule.objects.filter(practice=message.practice).first()
    steps = rules.read_steps(schedule.steps) if schedule else ()
    policy = rules.Policy(
        steps or rules.DEFAULT_STEPS,
        (schedule.fallback_id or "") if schedule else "",
        schedule.fallback_email if schedule else "",
    )
    with transaction.atomic():
        if not Message.objects.filter(pk=message.pk, needs_alert=True).update(needs_alert=False):
            return False
        alert, fresh = Alert.objects.get_or_create(
            message=message,
            defaults={
                "practice": message.practice, "token": new_token(), "policy": policy.to_text(),
                "started_at": now, "next_at": now,
            },
        )  # fmt: skip
        if not fresh:
            # Given back, or closed by mistake: it rings anew, from the policy's first step.
            Alert.objects.filter(pk=alert.pk).update(
                state=AlertState.OPEN, policy=policy.to_text(), began=F("step"), next_at=now,
                owner=None, owned_at=None,
            )  # fmt: skip
        audit.record(
            message.practice_id, actor=ACTOR, action="alert:start" if fresh else "alert:restart", now=now,
            message=message.id, detail={"alert": alert.id},
        )  # fmt: skip
    faults.point("alert.started")
    return True


def settle_owned(now: datetime) -> int:
    """End alerts whose message has an owner: the acknowledgement itself was an authenticated act."""
    settled = 0
    owned = (
        Alert.objects.filter(state=AlertState.OPEN)
        .exclude(message__state=State.NEW)
        .select_related("message")
    )
    for alert in owned[:100]:
        with transaction.atomic():
            # It may have been given back since it was read: then it must go on ringing.
            won = Alert.objects.filter(
                ~Q(message__state=State.NEW), pk=alert.pk, state=AlertState.OPEN
            ).update(
                state=AlertState.OWNED, owner=alert.message.owner, owned_at=alert.message.owned_at or now
            )
            if won:
                audit.record(
                    alert.practice_id, actor=ACTOR, action="alert:owned", now=now, message=alert.message_id,
                    detail={"alert": alert.id, "steps": alert.step},
                )  # fmt: skip
        settled += won
    return settled


def advance_due(now: datetime, problems: list[Exception] | None = None) -> int:
    """Take the next step of every alert that is due. Returns how many."""
    ready = Alert.objects.filter(due("next_at", now), state=AlertState.OPEN, message__state=State.NEW)
    rows = ready.select_related("practice", "message").order_by("next_at")[:200]
    return _each(rows, _advance, now, 50, problems)


def _advance(alert: Alert, now: datetime) -> bool:
    policy = rules.read_policy(alert.policy)
    order = on_call_ids(alert.practice, now)
    telling = rules.tell(policy, alert.step - alert.began, order, now)
    with transaction.atomic():
        won = Alert.objects.filter(
            pk=alert.pk, state=AlertState.OPEN, step=alert.step, next_at=alert.next_at
        ).update(step=alert.step + 1, next_at=telling.next_at)
        if not won:
            return False
        told = [*_people(telling.users), *(_fallback(policy, alert) if telling.fallback else [])]
        if alert.message.mailbox_id is None:
            told = _managers(alert) or told  # nobody else can see an unrouted message
        for user, address in told or [(None, "")]:
            _plan(alert, user, address, telling.kind, now)
        audit.record(
            alert.practice_id, actor=ACTOR, action="alert:step", now=now, message=alert.message_id,
            outcome="ok" if told else "failed",
            detail={"alert": alert.id, "step": alert.step, "told": [u.login for u, _ in told if u],
                    "fallback": telling.fallback},
        )  # fmt: skip
    faults.point("alert.recorded")
    return True


def _plan(alert: Alert, user: User | None, address: str, kind: str, now: datetime) -> None:
    Attempt.objects.get_or_create(
        alert=alert, step=alert.step, address=address,
        defaults={
            "user": user, "kind": kind, "recorded_at": now, "retry_at": now,
            "state": AttemptState.PENDING if address else AttemptState.FAILED,
            "answer": "" if address else "nobody to tell: set a fallback",
        },
    )  # fmt: skip


def _people(ids: Sequence[str]) -> list[tuple[User | None, str]]:
    found = User.objects.filter(is_active=True).in_bulk(list(ids))
    return [(found[i], found[i].email) for i in ids if i in found and found[i].email]


def _managers(alert: Alert) -> list[tuple[User | None, str]]:
    """Those who see the unrouted tray."""
    found = User.objects.filter(practice=alert.practice, is_active=True).exclude(email="").order_by("id")
    return [(user, user.email) for user in found if may(user.role, Act.UNROUTED)]


def _fallback(policy: rules.Policy | None, alert: Alert) -> list[tuple[User | None, str]]:
    """The last resort. An unreadable policy falls back on the schedule as it is now."""
    schedule = Schedule.objects.filter(practice=alert.practice).first()
    user_id, address = (policy.fallback_user, policy.fallback_email) if policy else ("", "")
    if not user_id and not address and schedule:
        user_id, address = schedule.fallback_id or "", schedule.fallback_email
    told = _people([user_id]) if user_id else []
    if address and address not in [a for _, a in told]:
        told.append((None, address))
    return told


def send_due(sender: Sender, now: datetime, log: Log, limit: int = 50) -> int:
    """Send pending attempts whose turn it is, at most `limit` of them. Returns how many left.

    The lease counts from `now`: who sends slowly takes one at a time.
    """
    pending = Attempt.objects.filter(due("retry_at", now), state=AttemptState.PENDING)
    sent = 0
    for attempt in pending.select_related("alert__practice", "alert__message", "user").order_by(
        "recorded_at"
    )[:50]:
        held = Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING, retry_at=attempt.retry_at)
        if not held.exists():
            continue  # another sender has it: no need to ask for the write lock to learn that
        if held.update(retry_at=now + SEND_LEASE, tries=attempt.tries + 1):
            faults.point("alert.leased")
            sent += _send(attempt, sender, now, log)
            limit -= 1
        if not limit:
            break
    return sent


def _send(attempt: Attempt, sender: Sender, now: datetime, log: Log) -> bool:
    alert = attempt.alert
    if alert.state != AlertState.OPEN or alert.message.state != State.NEW:
        Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(
            state=AttemptState.FAILED, answer="not needed: somebody has it"
        )
        return False
    language = attempt.user.language if attempt.user and attempt.user.language in ("en", "es") else "en"
    rendered = render(
        Notification(NoticeKind(attempt.kind), alert.practice.code, alert.token, language), sender.url
    )
    problems = []
    for name, channel in sender.channels.items():
        try:
            receipt = channel.send(rendered, attempt.address, attempt.id)
        except Exception as error:
            # Whatever it was, the next channel must have its turn, and the attempt must count as tried.
            log("notification.failed", channel=name, attempt=attempt.id, outcome=type(error).__name__)
            problems.append(error if isinstance(error, ChannelError) else ChannelError("the channel broke"))
            continue
        faults.point("alert.sent")
        _sent(attempt, name, receipt.sent, receipt.answer, now)
        return True
    _failed(attempt, problems, now)
    return False


def _sent(attempt: Attempt, channel: str, sent: bytes, answer: str, now: datetime) -> None:
    with transaction.atomic():
        Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(
            state=AttemptState.SENT, sent_at=now, sent=sent, answer=answer[:120], channel=channel
        )
        audit.record(
            attempt.alert.practice_id, actor=ACTOR, action="notification:sent", now=now,
            message=attempt.alert.message_id,
            detail={"attempt": attempt.id, "step": attempt.step, "channel": channel,
                    "to": attempt.user.login if attempt.user else "fallback"},
        )  # fmt: skip


def _failed(attempt: Attempt, problems: Sequence[ChannelError], now: datetime) -> None:
    """Try again soon; when it never can work, go to the next step of the alert at once."""
    final = attempt.tries + 1 >= MAX_TRIES or all(
        p.permanent for p in problems
    )  # no channel: nothing to try again
    answer = "; ".join(p.answer for p in problems)[:120] or "no channel is set up"
    with transaction.atomic():
        change: dict[str, object] = {"answer": answer}
        change |= (
            {"state": AttemptState.FAILED} if final else {"retry_at": rules.retry_at(attempt.tries + 1, now)}
        )
        if not Attempt.objects.filter(pk=attempt.pk, state=AttemptState.PENDING).update(**change):
            return  # another sender was quicker
        if final:
            _go_on(attempt, now)
            audit.record(
                attempt.alert.practice_id, actor=ACTOR, action="notification:failed", now=now, outcome="failed",
                message=attempt.alert.message_id, detail={"attempt": attempt.id, "step": attempt.step},
            )  # fmt: skip


def _go_on(attempt: Attempt, now: datetime) -> None:
    """Take the next step at once, if there is a further one: the last repeats at its own pace, or it would never rest."""
    policy = rules.read_policy(attempt.alert.policy)
    if policy is not None and attempt.step - attempt.alert.began + 1 < len(policy.steps):
        Alert.objects.filter(pk=attempt.alert_id, state=AlertState.OPEN, step=attempt.step + 1).update(
            next_at=now
        )


def find_forgotten(now: datetime) -> int:
    """Make due again what should ring and does not: urgent, without an owner, no alert open and none due.

    No step of ours leaves one behind; this is the net under them (two workers, a restore, a hand in the tables).
    """
    forgotten = Message.objects.filter(
        Q(joins=None) | Q(joins__state=State.DISPOSED),  # an addition whose first message is gone stands alone
        ~Exists(Alert.objects.filter(message=OuterRef("pk"), state=AlertState.OPEN)),
        urgency=Urgency.URGENT, state=State.NEW, needs_alert=False, stored_at__lt=now - STANDSTILL,
    )  # fmt: skip
    return forgotten.update(needs_alert=True, joins=None)


def telling(message_id: str, now: datetime) -> bool:
    """Whether people are really being told of this message: its alert is open, goes on, and reaches somebody."""
    alert = Alert.objects.filter(message_id=message_id, state=AlertState.OPEN)
    return alert.exclude(_untold(now) | _stuck(now)).exists()


def _stuck(now: datetime) -> Q:
    return Q(next_at__lt=now - STANDSTILL)


def _untold(now: datetime) -> Q:
    """Open alerts whose newest step failed whole, or of which nothing was sent since they began to ring."""
    latest = Attempt.objects.filter(alert=OuterRef("pk"), step=OuterRef("step") - 1)
    failed = Exists(latest.filter(state=AttemptState.FAILED)) & ~Exists(
        latest.exclude(state=AttemptState.FAILED)
    )
    since = Attempt.objects.filter(alert=OuterRef("pk"), step__gte=OuterRef("began"))
    in_vain = Exists(since.filter(recorded_at__lt=now - STANDSTILL)) & ~Exists(
        since.filter(state=AttemptState.SENT)
    )
    return failed | in_vain


def standing_still(now: datetime, practice_id: str = "") -> int:
    """The auditor: open alerts without a step in the near past or future, and urgent messages without an alert.

    practice_id: of one practice alone, '' for all.
    """
    ringing = Alert.objects.filter(state=AlertState.OPEN, message__state=State.NEW)
    waiting = Message.objects.filter(needs_alert=True, stored_at__lt=now - STANDSTILL)
    unsent = Attempt.objects.filter(
        Q(retry_at__lt=now - STANDSTILL) | Q(tries__gt=MAX_TRIES), state=AttemptState.PENDING
    )
    if practice_id:
        ringing, waiting = ringing.filter(practice_id=practice_id), waiting.filter(practice_id=practice_id)
        unsent = unsent.filter(alert__practice_id=practice_id)
    found = waiting.count() + unsent.count()
    if not ringing.exists():  # nearly always: what follows is asked for each practice every two seconds
        return found
    return found + ringing.filter(_stuck(now)).count() + ringing.filter(_untold(now)).count()


def tick(sender: Sender, now: datetime, log: Log) -> int:
    """One round. Returns how much was done, so that the caller knows whether to look again at once."""
    done = start_due(now) + settle_owned(now) + advance_due(now)
    return done + send_due(sender, now, log)
