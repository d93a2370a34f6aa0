"""The schedule of a practice as values for the rules, and as pages show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Q

from nightbell.mailbox.opening import person
from nightbell.mailbox.values import Person
from nightbell.oncall import rules
from nightbell.oncall.models import Override, Schedule, Shift
from nightbell.people.models import Practice, User


@dataclass(frozen=True, slots=True)
class OnCallView:
    """Who is on call now until when, who comes next, and who is told when nobody answers."""

    now: Person | None
    until: datetime | None
    next: Person | None
    next_from: datetime | None
    fallback: str


@dataclass(frozen=True, slots=True)
class DutyView:
    """A stretch of a week. person None: nobody is on call (a gap)."""

    person: Person | None
    starts_at: datetime
    ends_at: datetime
    rank: int
    override_id: str
    shift_id: str


@dataclass(frozen=True, slots=True)
class WeekView:
    monday: date
    zone: str
    duties: tuple[DutyView, ...]
    gaps: tuple[DutyView, ...]


def _parts(practice: Practice) -> tuple[list[rules.WeeklyShift], list[rules.Replacement]]:
    schedule = Schedule.objects.filter(practice=practice).first()
    if schedule is None:
        return [], []
    shifts = Shift.objects.filter(schedule=schedule, user__is_active=True)
    overrides = Override.objects.filter(schedule=schedule, user__is_active=True)
    return (
        [rules.WeeklyShift(s.id, s.user_id, s.weekday, s.start, s.minutes, s.rank) for s in shifts],
        [rules.Replacement(o.id, o.user_id, o.starts_at, o.ends_at) for o in overrides],
    )


def on_call_ids(practice: Practice, now: datetime) -> list[str]:
    """User ids on call now, first to be told first."""
    shifts, overrides = _parts(practice)
    return [duty.user for duty in rules.on_duty(shifts, overrides, ZoneInfo(practice.zone), now)]


def somebody(practice: Practice, now: datetime) -> bool:
    """Whether somebody can really be told at this moment: who is on call, or whoever is told when nobody answers."""
    there = User.objects.filter(pk__in=on_call_ids(practice, now), is_active=True).exclude(email="").exists()
    return (
        there
        or Schedule.objects.filter(
            ~Q(fallback_email="") | (Q(fallback__is_active=True) & ~Q(fallback__email="")), practice=practice
        ).exists()
    )


def now_on_call(practice_id: str, now: datetime) -> OnCallView:
    """For the foot of the rail and the schedule page."""
    practice = Practice.objects.get(pk=practice_id)
    shifts, overrides = _parts(practice)
    change = rules.handover(shifts, overrides, ZoneInfo(practice.zone), now)
    users = User.objects.in_bulk([user for user in (change.user, change.next_user) if user])
    schedule = Schedule.objects.filter(practice=practice).select_related("fallback").first()
    fallback = ""
    if schedule:
        fallback = schedule.fallback.name if schedule.fallback else schedule.fallback_email
    return OnCallView(
        person(users[change.user]) if change.user else None,
        change.until,
        person(users[change.next_user]) if change.next_user else None,
        change.next_from,
        fallback,
    )


def week_of(practice: Practice, monday: date) -> WeekView:
    """Seven local days from `monday`: duties in force and gaps."""
    zone = ZoneInfo(practice.zone)
    start = datetime.combine(monday, time(), zone)
    end = datetime.combine(monday + timedelta(days=7), time(), zone)
    shifts, overrides = _parts(practice)
    found = rules.duties(shifts, overrides, zone, start, end)
    users = User.objects.in_bulk({d.user for d in found})
    return WeekView(
        monday,
        practice.zone,
        tuple(
            DutyView(
                person(users[d.user]), d.starts_at, d.ends_at, d.rank,
                d.source if d.override else "", "" if d.override else d.source,
            )
            for d in found
        ),
        tuple(DutyView(None, a, b, 0, "", "") for a, b in rules.gaps(found, start, end)),
    )  # fmt: skip
