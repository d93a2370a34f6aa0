"""The loop that goes on until a person owns an alert.

Crash-safe by order: the step, the next due time and its attempts are written in one transaction under a
compare-and-set, before anything is sent; a pending attempt without a living sender is sent again (at least once,
marked, with the attempt's id as the channel's idempotency key).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import F

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.log import Log
from nightbell.core.notice import NoticeKind
from nightbell.mailbox.models import Message, State
from nightbell.oncall import attempts, policies, whom
from nightbell.oncall.attempts import go_on
from nightbell.oncall.auditor import STANDSTILL, find_forgotten, pull_back, standing_still, telling
from nightbell.oncall.models import Alert, AlertState
from nightbell.oncall.owners import come_back
from nightbell.oncall.policies import Facts, Policy, Telling
from nightbell.oncall.sending import MAX_TRIES, SEND_LEASE, Sender, send_due
from nightbell.oncall.sending import TOGETHER as SEND_TOGETHER
from nightbell.oncall.start import ACTOR, TOGETHER, handfuls, settle_owned, several, start_calm, start_due

__all__ = [
    "MAX_TRIES", "SEND_LEASE", "SEND_TOGETHER", "STANDSTILL", "TOGETHER", "Sender", "advance_due", "come_back",
    "find_forgotten", "go_on", "pull_back", "send_due", "settle_owned", "standing_still", "start_calm", "start_due",
    "step_due", "telling", "tick",
]  # fmt: skip

DRILL = NoticeKind.DRILL.value


@dataclass(frozen=True, slots=True)
class Step:
    """What the next step of an alert is: whom it tells in which words, and when it goes on."""

    plan: whom.Plan
    decided: Telling
    kind: str
    next_at: datetime
    trouble: Exception | None


def advance_due(now: datetime, problems: list[Exception] | None = None) -> int:
    """Take the next step of every alert that is due, and what comes back to its owner. Returns how many."""
    return step_due(now, problems) + come_back(now, problems)


def step_due(now: datetime, problems: list[Exception] | None = None, limit: int = 50) -> int:
    """Take the next step of alerts that are due, at most `limit` of them. Returns how many."""
    ready = Alert.objects.filter(next_at__lte=now, state=AlertState.OPEN, message__state=State.NEW)
    done = 0
    troubles: list[Exception] = []

    def together(rows: Sequence[Alert], now: datetime) -> int:
        return _advance_all(rows, now, troubles)

    def alone(row: Alert, now: datetime) -> int:
        return _advance_all([row], now, troubles)

    for chunk in handfuls(ready.order_by("next_at", "id")):
        found = Alert.objects.select_related("practice", "message", "schedule").in_bulk(chunk[: limit - done])
        rows = [found[pk] for pk in chunk if pk in found]
        done += several(rows, together, alone, now, problems)
        if done >= limit:
            break
    if troubles:
        if problems is None:
            raise troubles[0]
        problems += troubles
    return done


def _advance_all(alerts: Sequence[Alert], now: datetime, troubles: list[Exception]) -> int:
    """One step of each. Alerts that ask the same are answered once. troubles: gets why the last resort was told in place of
    whom a schedule means."""
    known: dict[tuple[object, ...], Step] = {}
    steps: dict[str, Step] = {}
    for alert in alerts:
        asked = _asked(alert)
        if asked not in known:
            known[asked] = _step(alert, now)
        steps[alert.pk] = known[asked]
    with transaction.atomic():
        mine = _won(alerts)
        _move(mine, steps)
        _record(mine, steps, now)
    faults.point("alert.recorded")
    troubles += [trouble for alert in mine if (trouble := steps[alert.pk].trouble) is not None]
    return len(mine)


def _asked(alert: Alert) -> tuple[object, ...]:
    """All that a step depends on, beside the time: see _step and whom."""
    message = alert.message
    return (
        alert.practice_id, alert.schedule_id, alert.policy, alert.step - alert.began, alert.urgency,
        message.mailbox_id is None, "drill" in message.tags,
    )  # fmt: skip


def _step(alert: Alert, now: datetime) -> Step:
    policy, number = policies.read_policy(alert.policy), alert.step - alert.began
    there, trouble = _there(alert, policy, now)
    decided = policies.tell(policy, number, there, now, alert.urgency)
    plan = whom.resolve(alert, policy, decided, now)
    kind = DRILL if "drill" in alert.message.tags else decided.kind
    in_vain = plan.in_vain and policies.is_further(policy, number)
    next_at = now if in_vain else _not_at_night(alert, policy, decided.next_at)
    return Step(plan, decided, kind, next_at, trouble)


def _won(alerts: Sequence[Alert]) -> list[Alert]:
    """Those that are still where they were when their step was thought out: nobody else takes it then. Locked."""
    # Messages before alerts, as whoever hands one over does: else the two wait for each other for ever.
    messages = Message.objects.filter(pk__in=[alert.message_id for alert in alerts])
    list(messages.select_for_update().order_by("pk").values_list("pk", flat=True))
    still = Alert.objects.filter(pk__in=[alert.pk for alert in alerts], state=AlertState.OPEN)
    rows = still.select_for_update().order_by("pk").values_list("pk", "step", "next_at")
    held = {pk: (step, next_at) for pk, step, next_at in rows}
    return [alert for alert in alerts if held.get(alert.pk) == (alert.step, alert.next_at)]


def _move(alerts: Sequence[Alert], steps: Mapping[str, Step]) -> None:
    for next_at in {steps[alert.pk].next_at for alert in alerts}:
        same = [alert.pk for alert in alerts if steps[alert.pk].next_at == next_at]
        Alert.objects.filter(pk__in=same).update(step=F("step") + 1, next_at=next_at)


def _record(alerts: Sequence[Alert], steps: Mapping[str, Step], now: datetime) -> None:
    """Whom each step tells, whom it cannot tell, and the leaf of each."""
    attempts.record_all(
        [(alert, way, steps[alert.pk].kind) for alert in alerts for way in steps[alert.pk].plan.ways], now
    )
    for alert in alerts:
        step = steps[alert.pk]
        for user, why in step.plan.untold:
            attempts.untold(alert, user, step.kind, why, now)
        if not step.plan.ways and not step.plan.untold:
            attempts.untold(alert, None, step.decided.kind, whom.NOBODY, now)
    for practice in sorted({alert.practice_id for alert in alerts}):
        mine = [alert for alert in alerts if alert.practice_id == practice]
        audit.record_all(practice, [_leaf(alert, steps[alert.pk]) for alert in mine], now)


def _leaf(alert: Alert, step: Step) -> audit.Entry:
    plan = step.plan
    detail = {"alert": alert.id, "step": alert.step, "fallback": step.decided.last_resort,
              "told": sorted({way.user.login for way in plan.ways if way.user}),
              "ways": sorted({way.channel for way in plan.ways}),
              "untold": sorted({user.login for user, _ in plan.untold})}  # fmt: skip
    return audit.Entry(ACTOR, "alert:step", alert.message_id, "ok" if plan.ways else "failed", detail=detail)


def _there(alert: Alert, policy: Policy | None, now: datetime) -> tuple[Facts, Exception | None]:
    """Who is there. A schedule that cannot be read has nobody on call, so that the last resort is told."""
    try:
        return whom.facts(alert, policy, now), None
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        return Facts(), error


def _not_at_night(alert: Alert, policy: Policy | None, at: datetime) -> datetime:
    if policy is None or not policy.quiet or alert.urgency == whom.URGENT:
        return at
    try:
        return policies.by_day(at, ZoneInfo(alert.practice.zone))
    except (KeyError, ValueError):
        return at


def tick(sender: Sender, now: datetime, log: Log) -> int:
    """One round. Returns how much was done, so that the caller knows whether to look again at once."""
    done = start_due(now) + start_calm(now) + settle_owned(now) + pull_back(now) + advance_due(now)
    return done + send_due(sender, now, log)
