"""A stored plan that cannot be read: found before a page or a command stumbles over it, and told with its mend."""

from __future__ import annotations

from datetime import datetime

from nightbell.flow.plan import BadPlan, Plan
from nightbell.line import holidays
from nightbell.line.errors import Damaged
from nightbell.line.models import Draft, Version
from nightbell.line.state import older_plans, plan_of, read_plan


def usable(plan: Plan, now: datetime) -> Plan:
    """The plan itself. Raises BadPlan for a country or state whose holidays are not known any more."""
    holidays.names(plan.country, plan.state, now.year)
    return plan


def live_plan(live: Version, now: datetime) -> Plan:
    """The plan in force. Raises Damaged, which names the version that answers in its place."""
    try:
        return usable(plan_of(live), now)
    except BadPlan as error:
        raise Damaged(live.number, instead=_instead(live, now)) from error


def made_plan(row: Draft, now: datetime) -> Plan:
    """The plan in the making; there must be one. Raises Damaged."""
    try:
        return usable(read_plan(row.plan), now)
    except BadPlan as error:
        raise Damaged(row.base, draft=True) from error


def readable(version: Version, now: datetime) -> Plan | None:
    """None for one that is damaged: the others must still be there to be brought back."""
    try:
        return usable(plan_of(version), now)
    except BadPlan:
        return None


def _instead(live: Version, now: datetime) -> int:
    """The newest older version that can be read; 0: callers hear the words of a new practice."""
    for plan, number in older_plans(live):
        try:
            usable(plan, now)
        except BadPlan:
            continue
        return number
    return 0
