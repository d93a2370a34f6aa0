"""Whether a practice is open, for rooms below this one that must not know its line."""

from __future__ import annotations

from datetime import datetime

from nightbell.flow import hours
from nightbell.flow.plan import BadPlan
from nightbell.line.calendars import calendar
from nightbell.line.state import current, plan_of
from nightbell.people.access import NotFound
from nightbell.people.models import Practice


def is_open(practice: Practice, at: datetime) -> bool | None:
    """By the line in force; None where it cannot be read, or there is none. At lunch nobody is there."""
    try:
        found = calendar(practice, plan_of(current(practice.id)), at)
        return hours.situation(found, at).kind == hours.Kind.OPEN
    except (NotFound, BadPlan, hours.BadCalendar, KeyError, ValueError):
        return None
