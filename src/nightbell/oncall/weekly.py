"""The weekly mail: that the numbers are ready. A link and nothing else, so that no mail box holds the practice's days."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from nightbell.core.notice import NoticeKind
from nightbell.oncall import notices
from nightbell.people.models import Practice, User
from nightbell.people.roles import Role

WEEKDAY, AT = 0, time(8)  # Monday morning, on the practice's clock
LATEST = timedelta(days=2)  # a worker that was away for longer leaves the week out


def due_week(now: datetime, zone: ZoneInfo) -> date | None:
    """The Monday of the week whose mail is due now; None when none is. Pure. The days that it is about are before."""
    today = now.astimezone(zone).date()
    monday = today - timedelta(days=(today.weekday() - WEEKDAY) % 7)
    begins = datetime.combine(monday, AT, zone)
    # Compared as UTC: the two have one zone, and Python would compare their wall clocks.
    late = now.timestamp() - begins.timestamp()
    return monday if 0 <= late < LATEST.total_seconds() else None


def plan_due(now: datetime) -> int:
    """Plan the mail of each practice whose Monday it is, to each of its managers, once. Returns how many are new.

    The key names week and person: planned again it changes nothing, whoever does it. A practice whose week cannot be told
    holds up no other: its error is raised when all had their turn.
    """
    planned, problems = 0, list[Exception]()
    for practice in Practice.objects.all():
        try:
            planned += _plan(practice, now)
        except Exception as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return planned


def _plan(practice: Practice, now: datetime) -> int:
    monday = due_week(now, ZoneInfo(practice.zone))
    if monday is None:
        return 0
    managers = User.objects.filter(practice=practice, role=Role.MANAGER, is_active=True).order_by("id")
    return sum(
        notices.plan(user, NoticeKind.WEEKLY, f"weekly:{monday.isoformat()}:{user.id}", now)
        for user in managers
    )
