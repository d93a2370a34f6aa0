"""The calendar of a practice: its week, the holidays it keeps, its own days and closures."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from nightbell.flow import hours
from nightbell.flow.plan import BadPlan, Plan
from nightbell.line import holidays
from nightbell.line.models import Closure
from nightbell.people.models import Practice

LONGEST_HOLIDAY_NAME = 60


def calendar(practice: Practice, plan: Plan, now: datetime, back: timedelta = timedelta()) -> hours.Calendar:
    """Holidays from the year of `now` less `back` to the end of the next; closures that were in force since then.

    Raises BadPlan for a state without a calendar.
    """
    zone = ZoneInfo(practice.zone)
    since = now - back
    first, last = since.astimezone(zone).year, now.astimezone(zone).year + 1
    days = holidays.kept(plan.country, plan.state, range(first, last + 1), plan.observed)
    days |= {one.day: one.name for one in plan.own_days if first <= one.day.year <= last}
    found = Closure.objects.filter(practice=practice).exclude(ends_at__lte=since).order_by("starts_at", "id")
    shut = tuple(hours.Closure(one.starts_at, one.ends_at, one.visits, one.at_once) for one in found)
    return hours.Calendar(practice.zone, plan.week, dict(sorted(days.items())), date(last, 12, 31), shut)


def check_holidays(plan: Plan) -> None:
    """Raises BadPlan: no calendar for that state, or a day of its own without a name."""
    if plan.state and plan.state not in holidays.states(plan.country):
        raise BadPlan(
            f"no holidays are known for {plan.country[:8]} {plan.state[:8]}", "choose the state from the list"
        )
    holidays.states(plan.country)
    for one in plan.own_days:
        if not 0 < len(one.name.strip()) <= LONGEST_HOLIDAY_NAME or not one.name.isprintable():
            raise BadPlan(f"the day off on {one.day} has no usable name", "give it a short name")
