"""The rows of what an alert tells whom: recorded before anything is sent, once per alert, step and way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import Q

from nightbell.mailbox import shown
from nightbell.mailbox.models import Urgency
from nightbell.oncall import policies
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState
from nightbell.oncall.whom import Way
from nightbell.people.models import ContactKind, User

MAIL = ContactKind.EMAIL.value  # read in the morning; every other way wakes
ENOUGH = 3  # tries in vain, a few seconds, after which the next step does not wait for this way any more


def record(alert: Alert, way: Way, kind: str, now: datetime, alone: bool = False) -> None:
    """An attempt, before it is sent: once per alert, step and way."""
    Attempt.objects.get_or_create(
        alert=alert, step=alert.step, channel=way.channel, address=way.address,
        defaults={
            "user": way.user, "contact": way.contact, "kind": kind, "recorded_at": now, "retry_at": now,
            "alone": alone,
        },
    )  # fmt: skip
    if way.user is not None:
        shown.show(alert.message_id, way.user, now)


def record_all(told: Sequence[tuple[Alert, Way, str]], now: datetime) -> None:
    """As `record`, for several: alert, way and kind of each. They leave in this order, which their times keep."""
    Attempt.objects.bulk_create(
        [
            Attempt(
                alert=alert, step=alert.step, channel=way.channel, address=way.address, user=way.user,
                contact=way.contact, kind=kind, recorded_at=now + timedelta(microseconds=number), retry_at=now,
            )
            for number, (alert, way, kind) in enumerate(told)
        ],
        ignore_conflicts=True,
    )  # fmt: skip
    for alert, way, _ in told:
        if way.user is not None:
            shown.show(alert.message_id, way.user, now)


def untold(alert: Alert, user: User | None, kind: str, why: str, now: datetime) -> None:
    """Whom a step meant and could not tell is seen in the ladder. The address is nobody's: it tells rows apart."""
    Attempt.objects.get_or_create(
        alert=alert, step=alert.step, channel="", address=user.id if user else "",
        defaults={
            "user": user, "kind": kind, "recorded_at": now, "retry_at": now, "answer": why,
            "state": AttemptState.FAILED,
        },
    )  # fmt: skip


def go_on(attempt: Attempt, now: datetime) -> bool:
    """Make what follows an attempt due at once, when no way of its step is out any more. In the caller's transaction.

    A mail that was taken, or is about to be, wakes nobody: when the ways that wake have failed, an urgent alert does not wait
    for it. Whoever was handed a message has their time all the same.

    Of an alert that rings: its next step, unless this was the last one, which repeats at its own pace, or it would
    never rest. Of a message that was handed over: its way back. Returns whether something became due.
    """
    others = Attempt.objects.filter(alert=attempt.alert_id, step=attempt.step).exclude(pk=attempt.pk)
    in_vain = Q(state=AttemptState.FAILED) | (
        Q(state=AttemptState.PENDING, tries__gte=ENOUGH) & ~Q(answer="")
    )
    out = others.exclude(in_vain)
    if attempt.channel != MAIL and not attempt.alone and attempt.alert.urgency == Urgency.URGENT:
        out = out.exclude(channel=MAIL)
    if out.exists():
        return False
    alerts = Alert.objects.filter(pk=attempt.alert_id, step=attempt.step + 1)
    if attempt.alone:
        return bool(alerts.exclude(handed_until=None).update(handed_until=now))
    policy = policies.read_policy(attempt.alert.policy)
    if not policies.is_further(policy, attempt.step - attempt.alert.began):
        return False
    return bool(alerts.filter(state=AlertState.OPEN).update(next_at=now))
