"""The loop that goes on until a person owns an alert.

Crash-safe by order: the step, the next due time and its attempts are written in one transaction under a
compare-and-set, before anything is sent; a pending attempt without a living sender is sent again (at least once,
marked, with the attempt's id as the channel's idempotency key).
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import F

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.log import Log
from nightbell.core.notice import NoticeKind
from nightbell.mailbox.models import State
from nightbell.oncall import attempts, owners, policies, whom
from nightbell.oncall.attempts import go_on
from nightbell.oncall.auditor import STANDSTILL, find_forgotten, pull_back, standing_still, telling
from nightbell.oncall.models import Alert, AlertState
from nightbell.oncall.policies import Facts, Policy
from nightbell.oncall.sending import MAX_TRIES, SEND_LEASE, Sender, send_due
from nightbell.oncall.start import ACTOR, each, settle_owned, start_calm, start_due

__all__ = [
    "MAX_TRIES", "SEND_LEASE", "STANDSTILL", "Sender", "advance_due", "find_forgotten", "go_on", "pull_back",
    "send_due", "settle_owned", "standing_still", "start_calm", "start_due", "telling", "tick",
]  # fmt: skip

DRILL = NoticeKind.DRILL.value


def advance_due(now: datetime, problems: list[Exception] | None = None) -> int:
    """Take the next step of every alert that is due, and what comes back to its owner. Returns how many."""
    ready = Alert.objects.filter(next_at__lte=now, state=AlertState.OPEN, message__state=State.NEW)
    rows = ready.select_related("practice", "message", "schedule").order_by("next_at")[:200]
    done = each(rows, _advance, now, 50, problems)
    return done + owners.come_back(now, problems)


def _advance(alert: Alert, now: datetime) -> bool:
    policy, number = policies.read_policy(alert.policy), alert.step - alert.began
    there, trouble = _there(alert, policy, now)
    decided = policies.tell(policy, number, there, now, alert.urgency)
    plan = whom.resolve(alert, policy, decided, now)
    kind = DRILL if "drill" in alert.message.tags else decided.kind
    in_vain = plan.in_vain and policies.is_further(policy, number)
    next_at = now if in_vain else _not_at_night(alert, policy, decided.next_at)
    with transaction.atomic():
        won = Alert.objects.filter(
            pk=alert.pk, state=AlertState.OPEN, step=alert.step, next_at=alert.next_at
        ).update(step=F("step") + 1, next_at=next_at)
        if not won:
            return False
        for way in plan.ways:
            attempts.record(alert, way, kind, now)
        for user, why in plan.untold:
            attempts.untold(alert, user, kind, why, now)
        if not plan.ways and not plan.untold:
            attempts.untold(alert, None, decided.kind, whom.NOBODY, now)
        audit.record(
            alert.practice_id, actor=ACTOR, action="alert:step", now=now, message=alert.message_id,
            outcome="ok" if plan.ways else "failed",
            detail={"alert": alert.id, "step": alert.step, "fallback": decided.last_resort,
                    "told": sorted({way.user.login for way in plan.ways if way.user}),
                    "ways": sorted({way.channel for way in plan.ways}),
                    "untold": sorted({user.login for user, _ in plan.untold})},
        )  # fmt: skip
    faults.point("alert.recorded")
    if trouble is not None:
        raise trouble  # the last resort was told in place of whom the schedule means; now the loop may tell of it
    return True


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
