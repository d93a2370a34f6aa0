"""When a practice is open, as stretches, for rooms below this one that must not know its line."""

from __future__ import annotations

from datetime import datetime, timedelta

from nightbell.flow import hours
from nightbell.flow.plan import BadPlan
from nightbell.line.calendars import calendar
from nightbell.line.state import current, plan_of
from nightbell.people.access import NotFound
from nightbell.people.models import Practice


def spans(practice: Practice, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Where in [start, end) people are in the house by the line in force, lunch included. [] when it cannot be read, or there is none."""
    try:
        found = calendar(practice, plan_of(current(practice.id)), start)
        return _open(found, start, end)
    except (NotFound, BadPlan, hours.BadCalendar, KeyError, ValueError):
        return []


def _open(calendar: hours.Calendar, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    there = []
    while start < end:
        now = hours.situation(calendar, start)
        until = min(now.ends or start + timedelta(days=14), end)
        if now.kind in (hours.Kind.OPEN, hours.Kind.LUNCH):
            there.append((start, until))
        start = until
    return there
