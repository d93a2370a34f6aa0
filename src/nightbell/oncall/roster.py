"""The schedules of a practice as values for the rules, and as pages show them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Max, Q

from nightbell.mailbox.opening import person
from nightbell.mailbox.values import Person
from nightbell.oncall import rules
from nightbell.oncall.models import Holiday, Override, Rotation, Schedule, Shift
from nightbell.oncall.rotation import Layer, Span, Window
from nightbell.people import contacts
from nightbell.people.models import Practice, User
from nightbell.people.roles import Act, Role, may

LOOK_BACK = timedelta(days=70)  # an override that began so long ago may still decide where a duty of now ends


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
    """A stretch of the calendar. person None: nobody is on call (a gap). One of the three ids says whence it comes."""

    person: Person | None
    starts_at: datetime
    ends_at: datetime
    rank: int
    override_id: str
    shift_id: str
    rotation_id: str = ""


@dataclass(frozen=True, slots=True)
class WeekView:
    """Days from `monday` on, a week unless more were asked for. `duties` are in force: what is covered is left out."""

    monday: date
    zone: str
    duties: tuple[DutyView, ...]
    gaps: tuple[DutyView, ...]


@dataclass(frozen=True, slots=True)
class Lanes:
    """The same days as lanes: as planned, first and backup; the changes over it; and what is true of it all."""

    primary: tuple[DutyView, ...]
    backup: tuple[DutyView, ...]
    changes: tuple[DutyView, ...]
    on_call: tuple[DutyView, ...]
    gaps: tuple[DutyView, ...]
    holidays: Mapping[date, str]


def main_schedule(practice: Practice) -> Schedule | None:
    """The one that serves what no route sends elsewhere."""
    return Schedule.objects.filter(practice=practice, main=True).select_related("fallback").first()


def last_resort_of(schedule: Schedule | None) -> tuple[User | None, str]:
    """Who is told when nobody answers, a person or an address: the schedule's own, else the main schedule's.

    (None, '') where neither has any: then all managers are told.
    """
    if schedule is not None and not schedule.main and not (schedule.fallback_id or schedule.fallback_email):
        schedule = main_schedule(schedule.practice)
    return (schedule.fallback, schedule.fallback_email) if schedule is not None else (None, "")


def next_number(schedule: Schedule) -> int:
    """For an override that is made now: it covers all of before. The caller holds the schedule's row.

    No clock has a say in it: one that ran ahead would make overrides that nothing covers again.
    """
    last = Override.objects.filter(schedule=schedule).aggregate(last=Max("number"))["last"]
    return int(last or 0) + 1


def rota_of(practice: Practice, schedule: Schedule | None, since: datetime, also: str = "") -> rules.Rota:
    """A schedule as values, true from `since` on; None is an empty one. Nobody who is locked out stands in it.

    also: the id of somebody who counts as if they were not.
    """
    zone = ZoneInfo(practice.zone)
    if schedule is None:
        return rules.Rota(zone)
    there = Q(is_active=True) | Q(pk=also)
    active = set(User.objects.filter(there, practice=practice).values_list("id", flat=True))
    shifts = Shift.objects.filter(schedule=schedule, user__in=active)
    overrides = Override.objects.filter(schedule=schedule, user__in=active, ends_at__gt=since - LOOK_BACK)
    return rules.Rota(
        zone,
        tuple(rules.WeeklyShift(s.id, s.user_id, s.weekday, s.start, s.minutes, s.rank) for s in shifts),
        tuple(layer_of(row, active) for row in Rotation.objects.filter(schedule=schedule)),
        tuple(rules.Replacement(o.id, o.user_id, o.starts_at, o.ends_at, o.number) for o in overrides),
        frozenset(Holiday.objects.filter(schedule=schedule).values_list("day", flat=True)),
    )


def layer_of(row: Rotation, active: Collection[str]) -> Layer:
    """A rotation as a value. Who is not of the active keeps the turn empty, so that nobody else's moves.

    One that cannot be read has nobody in it: what lies below shows, and in the end the last resort is told.
    """
    try:
        members = tuple(member if member in active else "" for member in row.members)
        hours = tuple(
            Window(int(one["weekday"]), int(one["start"]), int(one["minutes"])) for one in row.hours
        )
    except (KeyError, TypeError, ValueError):
        members, hours = (), ()
    return Layer(
        row.id, members, row.unit, row.every, row.starts_on, row.handover, row.ends_on, hours,
        row.holidays_only, row.rank, row.position,
    )  # fmt: skip


def _rota(practice: Practice, since: datetime, schedule: Schedule | None = None) -> rules.Rota:
    return rota_of(practice, schedule or main_schedule(practice), since)


def on_call_ids(practice: Practice, now: datetime, schedule: Schedule | None = None) -> list[str]:
    """User ids on call now, first to be told first. schedule None: the main one."""
    return [duty.user for duty in _rota(practice, now, schedule).on_duty(now)]


def somebody(practice: Practice, now: datetime) -> bool:
    """Whether somebody can really be told at this moment: who is on call, or the last resort, or a manager."""
    able = User.objects.filter(contacts.proved(), practice=practice, is_active=True)
    leading = [role.value for role in Role if may(role, Act.UNROUTED)]
    last = Schedule.objects.filter(practice=practice, main=True)
    wanted = Q(pk__in=on_call_ids(practice, now)) | Q(role__in=leading) | Q(pk__in=last.values("fallback"))
    return able.filter(wanted).exists() or last.exclude(fallback_email="").exists()


def now_on_call(practice_id: str, now: datetime, schedule: Schedule | None = None) -> OnCallView:
    """For the foot of the rail, the schedule page and the API."""
    practice = Practice.objects.get(pk=practice_id)
    schedule = schedule or main_schedule(practice)
    change = rota_of(practice, schedule, now).handover(now)
    users = User.objects.in_bulk([user for user in (change.user, change.next_user) if user])
    last, address = last_resort_of(schedule)
    return OnCallView(
        person(users[change.user]) if change.user else None,
        change.until,
        person(users[change.next_user]) if change.next_user else None,
        change.next_from,
        last.name if last else address,
    )


def _midnights(practice: Practice, first: date, days: int) -> tuple[datetime, datetime]:
    zone = ZoneInfo(practice.zone)
    return datetime.combine(first, time(), zone), datetime.combine(first + timedelta(days=days), time(), zone)


def week_of(practice: Practice, monday: date, schedule: Schedule | None = None, days: int = 7) -> WeekView:
    """Local days from `monday`: duties in force, each whole, and gaps."""
    start, end = _midnights(practice, monday, days)
    rota = _rota(practice, start, schedule)
    found = rota.duties(start, end)
    return WeekView(monday, practice.zone, _views(found), _gaps(rules.gaps(found, start, end)))


def lanes_of(practice: Practice, first: date, days: int, schedule: Schedule | None = None) -> Lanes:
    """Local days from `first`, lane by lane."""
    start, end = _midnights(practice, first, days)
    schedule = schedule or main_schedule(practice)
    rota = rota_of(practice, schedule, start)
    found, planned = rota.duties(start, end), replace(rota, overrides=()).duties(start, end)
    named = Holiday.objects.filter(schedule=schedule, day__gte=first, day__lt=first + timedelta(days=days))
    return Lanes(
        _views([d for d in planned if d.rank == 0]),
        _views([d for d in planned if d.rank > 0]),
        _views([d for d in found if d.override]),
        _views([d for d in rules.first_only(found) if d.starts_at < end and d.ends_at > start]),
        _gaps(rules.gaps(found, start, end)),
        {one.day: one.name for one in named.order_by("day")},
    )


def _views(found: list[rules.Duty]) -> tuple[DutyView, ...]:
    users = User.objects.in_bulk({d.user for d in found})
    return tuple(
        DutyView(
            person(users[d.user]), d.starts_at, d.ends_at, d.rank,
            d.source if d.override else "",
            "" if d.override or d.rotation else d.source,
            d.source if d.rotation else "",
        )
        for d in found
    )  # fmt: skip


def _gaps(found: list[Span]) -> tuple[DutyView, ...]:
    return tuple(DutyView(None, a, b, 0, "", "") for a, b in found)
