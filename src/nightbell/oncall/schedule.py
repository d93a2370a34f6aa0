"""What people do with the schedules: shifts, rotations, holidays, overrides; who may, and what must be confirmed.

A change that leaves a minute without anybody on call that had somebody is refused with the minutes (`Uncovered`),
unless the person types their own name under it. Before and after are compared in the transaction of the change,
with the schedule's row held, so that two changes that are harmless alone cannot open a gap together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from django.db import transaction

from nightbell.core.clock import iso
from nightbell.core.ids import new_ulid
from nightbell.core.notice import NoticeKind
from nightbell.oncall import gaps, kept, notices
from nightbell.oncall.errors import BadShift, Uncovered
from nightbell.oncall.models import Holiday, Override, Rotation, RotationUnit, Schedule, Shift
from nightbell.oncall.roster import (
    Lanes,
    OnCallView,
    WeekView,
    lanes_of,
    next_number,
    now_on_call,
    rota_of,
    week_of,
)
from nightbell.oncall.rotation import Window
from nightbell.people import contacts
from nightbell.people.access import Actor, NotFound, demand, write
from nightbell.people.models import User
from nightbell.people.roles import Act, may

T = TypeVar("T")
MOST_OVERRIDE = timedelta(days=31, hours=2)  # a month on the wall may be longer than one of days
MOST = {RotationUnit.DAY: 366, RotationUnit.WEEK: 52, RotationUnit.HOURS: 2000}  # units of one turn
MOST_MEMBERS, MOST_HOURS, MOST_SCHEDULES = 60, 21, 50
FAR = timedelta(days=731)
RANKS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Turns:
    """A rotation as a person sets it: see oncall.models.Rotation. members: user ids in their order."""

    members: tuple[str, ...]
    unit: str
    every: int
    starts_on: date
    handover: int
    ends_on: date | None = None
    hours: tuple[Window, ...] = ()
    holidays_only: bool = False
    rank: int = 0
    position: int = 0
    name: str = ""


def week(actor: Actor, monday: date, schedule_id: str = "") -> WeekView:
    """The schedule of a week, of the main schedule unless another is named."""
    demand(actor, Act.SCHEDULE)
    return week_of(actor.user.practice, monday, schedule_of(actor, schedule_id))


def lanes(actor: Actor, first: date, days: int, schedule_id: str = "") -> Lanes:
    """The same, lane by lane."""
    demand(actor, Act.SCHEDULE)
    return lanes_of(actor.user.practice, first, days, schedule_of(actor, schedule_id))


def schedules(actor: Actor) -> list[Schedule]:
    """All of the practice, the main one first."""
    demand(actor, Act.SCHEDULE)
    return list(Schedule.objects.filter(practice_id=actor.practice).order_by("-main", "name", "id"))


def schedule_of(actor: Actor, schedule_id: str) -> Schedule | None:
    """The one with this id, '' for the main one, which may not be there. Raises NotFound."""
    mine = Schedule.objects.filter(practice_id=actor.practice).select_related("practice", "fallback")
    found = mine.filter(pk=schedule_id).first() if schedule_id else mine.filter(main=True).first()
    if schedule_id and found is None:
        raise NotFound(
            "There is no such schedule", "it was removed, or is another practice's", "reload the page"
        )
    return found


@dataclass(frozen=True, slots=True)
class There:
    """Who is on call at an instant, in the order in which they are told (each with the rank), and who comes next."""

    schedule: Schedule | None
    at: datetime
    order: tuple[tuple[User, int], ...]
    change: OnCallView


def there(actor: Actor, at: datetime | None = None, schedule_id: str = "") -> There:
    """Now, or at an instant, by the main schedule or another. Raises NotFound, or BadShift for a far time."""
    demand(actor, Act.SCHEDULE)
    at = at or actor.now
    if abs(at - actor.now) > FAR:
        raise BadShift("Nobody can be named", "that is over two years away", "ask for a nearer time")
    schedule, practice = schedule_of(actor, schedule_id), actor.user.practice
    duties = rota_of(practice, schedule, at).on_duty(at)
    users = User.objects.in_bulk([duty.user for duty in duties])
    order = tuple((users[duty.user], max(duty.rank, 0)) for duty in duties)
    return There(schedule, at, order, now_on_call(practice.id, at, schedule))


def colleagues(actor: Actor) -> list[User]:
    """Who may be put on call."""
    demand(actor, Act.SCHEDULE)
    return list(User.objects.filter(practice_id=actor.practice, is_active=True).order_by("name"))


def colleague(actor: Actor, user_id: str) -> User:
    """Somebody who may be put on call. Raises BadShift."""
    user = User.objects.filter(pk=user_id, practice_id=actor.practice, is_active=True).first()
    if user is None:
        raise BadShift(
            "Nobody was put on call", "there is no such person in your practice", "choose one from the list"
        )
    if not may(user.role, Act.TAKE):
        raise BadShift(
            f"{user.name} cannot be on call", "this role does not take messages", "choose somebody who does"
        )
    if not User.objects.filter(contacts.proved(), pk=user.pk).exists():
        raise BadShift(
            f"{user.name} cannot be on call",
            "they have proved no way to be told",
            "have them prove a phone or email under How I am told",
        )
    return user


def changed(
    actor: Actor,
    schedule_id: str,
    action: str,
    change: Callable[[Schedule], tuple[T, Mapping[str, object]]],
    confirm: str,
    kind: str = "",
    key: str = "",
) -> T:
    """Make a change, weigh what it uncovers, write it down: one transaction. `change` gives its result and detail.

    confirm: the actor's own name, where minutes may be left uncovered. kind, key: of what row, as oncall.kept, so that
    it can be taken back; without a key the result is it; without a kind it cannot. Raises Uncovered, Forbidden or
    NotFound.
    """
    demand(actor, Act.EDIT_SCHEDULE)
    with transaction.atomic():
        schedule = _held(actor, schedule_id)
        before = gaps.uncovered(schedule, actor.now)
        was = kept.snapshot(schedule, kind, key) if kind and key else None
        result, detail = change(schedule)
        opened = gaps.opened(before, gaps.uncovered(schedule, actor.now))
        if opened and not confirms(actor, confirm):
            raise Uncovered(opened)
        if kind:
            kept.keep(actor, schedule, kind, key or str(result), was)
        write(actor, action, detail={"schedule": schedule.id, **detail, **uncovered_detail(opened)})
    return result


def _held(actor: Actor, schedule_id: str) -> Schedule:
    """The schedule, its row locked until the transaction ends. The main one is made when it is not there."""
    if not schedule_id:
        Schedule.objects.get_or_create(practice=actor.user.practice, main=True)
    found = schedule_of(actor, schedule_id)
    if found is None:
        raise NotFound("There is no such schedule")
    Schedule.objects.select_for_update().get(pk=found.pk)
    return found


def confirms(actor: Actor, typed: str) -> bool:
    """Whether somebody typed their own name, however they space and capitalise it."""
    plain = " ".join(typed.split()).casefold()
    return bool(plain) and plain == " ".join(actor.user.name.split()).casefold()


def uncovered_detail(opened: Sequence[tuple[datetime, datetime]]) -> dict[str, object]:
    """What a person put their name under, for the log: the first stretches, and how many there are."""
    if not opened:
        return {}
    shown = [[iso(start), iso(end)] for start, end in opened[: gaps.KEPT_GAPS]]
    return {"uncovered": shown, "uncovered_count": len(opened), "confirmed": True}


def add_override(
    actor: Actor, user_id: str, starts_at: datetime, ends_at: datetime, schedule_id: str = ""
) -> str:
    """Put a person first on call from one instant to another, whatever the schedule says. Returns its id."""
    demand(actor, Act.EDIT_SCHEDULE)
    user = colleague(actor, user_id)
    starts_at, ends_at = _checked_times(actor, starts_at, ends_at)

    with transaction.atomic():
        again = _same(_held(actor, schedule_id), user, starts_at, ends_at)
        return again or _put(actor, user, starts_at, ends_at, schedule_id)


def _same(schedule: Schedule, user: User, starts_at: datetime, ends_at: datetime) -> str:
    """The change that says this already and is covered by none: pressed twice it is one, or to take it back would leave
    it."""
    over = Override.objects.filter(schedule=schedule, starts_at__lt=ends_at, ends_at__gt=starts_at)
    last = over.order_by("-number", "-id").first()
    if last is None or (last.user_id, last.starts_at, last.ends_at) != (user.id, starts_at, ends_at):
        return ""
    return str(last.id)


def _put(actor: Actor, user: User, starts_at: datetime, ends_at: datetime, schedule_id: str) -> str:
    def change(schedule: Schedule) -> tuple[str, Mapping[str, object]]:
        made = Override.objects.create(
            schedule=schedule, user=user, starts_at=starts_at, ends_at=ends_at, made_by=actor.user,
            number=next_number(schedule),
        )  # fmt: skip
        return made.id, {"override": made.id, "user": user.login}

    return changed(actor, schedule_id, "schedule:override", change, "", "override")


def _checked_times(actor: Actor, starts_at: datetime, ends_at: datetime) -> tuple[datetime, datetime]:
    """Both in UTC: two times of one zone would subtract as the clock on the wall shows them."""
    if starts_at.tzinfo is None or ends_at.tzinfo is None:
        raise BadShift("The override was not kept", "a time has no zone", "give both times with a zone")
    starts_at, ends_at = starts_at.astimezone(UTC), ends_at.astimezone(UTC)
    if not timedelta() < ends_at - starts_at <= MOST_OVERRIDE:
        raise BadShift(
            "The override was not kept", "it ends before it starts or lasts over 31 days", "check the times"
        )
    if ends_at <= actor.now:
        raise BadShift("The override was not kept", "it lies in the past", "check the date")
    return starts_at, ends_at


def remove_override(actor: Actor, override_id: str, confirm: str = "") -> None:
    """Take an override away. Raises NotFound, or Uncovered when nobody would be there then."""
    _remove(actor, Override, override_id, "override", "schedule:override_removed", confirm)


def add_shift(
    actor: Actor, user_id: str, weekday: int, start: int, minutes: int, rank: int = 0, schedule_id: str = ""
) -> str:
    """Add a weekly shift. weekday: Monday 0; start: minutes after local midnight. Returns its id."""
    demand(actor, Act.EDIT_SCHEDULE)
    user = colleague(actor, user_id)
    if not (0 <= weekday <= 6 and 0 <= start < 1440 and 15 <= minutes <= 7 * 1440 and rank in RANKS):
        raise BadShift(
            "The shift was not kept", "its day, start or length is out of range", "check the times"
        )

    def change(schedule: Schedule) -> tuple[str, Mapping[str, object]]:
        made = Shift.objects.create(
            schedule=schedule, user=user, weekday=weekday, start=start, minutes=minutes, rank=rank
        )
        return made.id, {"shift": made.id, "user": user.login}

    return changed(actor, schedule_id, "schedule:shift", change, "", "shift")


def remove_shift(actor: Actor, shift_id: str, confirm: str = "") -> None:
    """Take a weekly shift away. Raises NotFound, or Uncovered when nobody would be there then."""
    _remove(actor, Shift, shift_id, "shift", "schedule:shift_removed", confirm)


def _remove(actor: Actor, model: Any, row_id: str, word: str, action: str, confirm: str) -> None:
    demand(actor, Act.EDIT_SCHEDULE)
    row = model.objects.filter(pk=row_id, schedule__practice_id=actor.practice).first()
    if row is None:
        raise NotFound(f"There is no such {word}", "it was removed already", "reload the page")

    def change(schedule: Schedule) -> tuple[None, Mapping[str, object]]:
        if not model.objects.filter(pk=row_id, schedule=schedule).delete()[0]:
            raise NotFound(f"There is no such {word}", "it was removed already", "reload the page")
        if isinstance(row, Override) and row.swap_id:
            tell_of_swap(row, actor.now)
        return None, {word: row_id}

    changed(actor, row.schedule_id, action, change, confirm, word, row_id)


def tell_of_swap(row: Override, now: datetime) -> None:
    """An accepted swap was taken back, or holds again: both of them must know whose night it is. In the caller's
    transaction."""
    if row.swap is not None:
        told = new_ulid()
        for user in (row.swap.user, row.user):
            notices.plan(user, NoticeKind.SWAP, f"swap:{row.swap_id}:back:{told}:{user.id}", now)


def add_rotation(actor: Actor, turns: Turns, schedule_id: str = "", confirm: str = "") -> str:
    """Add a rotation. Returns its id. Raises BadShift, or Uncovered: an empty turn covers nobody, but turns that
    people are locked out of may."""
    demand(actor, Act.EDIT_SCHEDULE)
    fields = _fields(actor, turns)

    def change(schedule: Schedule) -> tuple[str, Mapping[str, object]]:
        made = Rotation.objects.create(schedule=schedule, **fields)
        return made.id, {"rotation": made.id, "members": _logins(turns.members)}

    return changed(actor, schedule_id, "schedule:rotation", change, confirm, "rotation")


def change_rotation(actor: Actor, rotation_id: str, turns: Turns, confirm: str = "") -> None:
    """Set a rotation anew. Raises NotFound, BadShift or Uncovered."""
    demand(actor, Act.EDIT_SCHEDULE)
    row = Rotation.objects.filter(pk=rotation_id, schedule__practice_id=actor.practice).first()
    if row is None:
        raise NotFound("There is no such rotation", "it was removed already", "reload the page")
    fields = _fields(actor, turns, kept=tuple(row.members))

    def change(schedule: Schedule) -> tuple[None, Mapping[str, object]]:
        if not Rotation.objects.filter(pk=rotation_id, schedule=schedule).update(**fields):
            raise NotFound("There is no such rotation", "it was removed already", "reload the page")
        return None, {"rotation": rotation_id, "members": _logins(turns.members)}

    changed(actor, row.schedule_id, "schedule:rotation_changed", change, confirm, "rotation", rotation_id)


def remove_rotation(actor: Actor, rotation_id: str, confirm: str = "") -> None:
    """Take a rotation away. Raises NotFound, or Uncovered when nobody would be there then."""
    _remove(actor, Rotation, rotation_id, "rotation", "schedule:rotation_removed", confirm)


def _fields(actor: Actor, turns: Turns, kept: tuple[str, ...] = ()) -> dict[str, Any]:
    """The columns of a rotation. kept: members who may stay although they could not be put in now."""
    unit = next((one for one in RotationUnit if one.value == turns.unit), None)
    today = actor.now.date()
    if unit is None or not 1 <= turns.every <= MOST[unit]:
        raise BadShift(
            "The rotation was not kept", "its turns are of no length that we know", "check its length"
        )
    if abs(turns.starts_on - today) > 5 * FAR or not 0 <= turns.handover < 1440:
        raise BadShift("The rotation was not kept", "its first day or hour is out of range", "check the year")
    if turns.ends_on is not None and not turns.starts_on < turns.ends_on <= today + 5 * FAR:
        raise BadShift("The rotation was not kept", "it ends before it starts, or too late", "check the days")
    if not 1 <= len(turns.members) <= MOST_MEMBERS:
        raise BadShift("The rotation was not kept", "nobody is in it, or over 60", "choose who takes turns")
    for member in set(turns.members) - set(kept):
        colleague(actor, member)
    if (
        turns.rank not in RANKS
        or not 0 <= turns.position <= 99
        or len(turns.name) > 60
        or not turns.name.isprintable()
    ):
        raise BadShift("The rotation was not kept", "its rank, place or name is out of range", "check them")
    return {
        "name": turns.name.strip(), "rank": turns.rank, "position": turns.position, "unit": unit.value,
        "every": turns.every, "starts_on": turns.starts_on, "handover": turns.handover, "ends_on": turns.ends_on,
        "members": list(turns.members), "hours": _hours(turns.hours), "holidays_only": turns.holidays_only,
    }  # fmt: skip


def _hours(hours: Sequence[Window]) -> list[dict[str, int]]:
    if len(hours) > MOST_HOURS or not all(
        0 <= w.weekday <= 6 and 0 <= w.start < 1440 and 15 <= w.minutes <= 7 * 1440 for w in hours
    ):
        raise BadShift(
            "The rotation was not kept", "its hours are out of range", "check days, starts and lengths"
        )
    return [{"weekday": w.weekday, "start": w.start, "minutes": w.minutes} for w in hours]


def _logins(members: Sequence[str]) -> list[str]:
    users = User.objects.in_bulk(set(members))
    return [users[member].login if member in users else "" for member in members]


def add_holiday(actor: Actor, day: date, name: str = "", schedule_id: str = "", confirm: str = "") -> None:
    """Make a local day a holiday: its holiday layers cover the others. Raises BadShift, or Uncovered."""
    if abs(day - actor.now.date()) > FAR or len(name) > 60 or not name.isprintable():
        raise BadShift("The holiday was not kept", "its day or name is out of range", "check them")

    def change(schedule: Schedule) -> tuple[None, Mapping[str, object]]:
        Holiday.objects.update_or_create(schedule=schedule, day=day, defaults={"name": name.strip()})
        return None, {"day": day.isoformat()}

    changed(actor, schedule_id, "schedule:holiday", change, confirm, "holiday", day.isoformat())


def remove_holiday(actor: Actor, day: date, schedule_id: str = "", confirm: str = "") -> None:
    """Make a holiday a day like others. Raises NotFound, or Uncovered."""

    def change(schedule: Schedule) -> tuple[None, Mapping[str, object]]:
        if not Holiday.objects.filter(schedule=schedule, day=day).delete()[0]:
            raise NotFound("There is no such holiday", "it was removed already", "reload the page")
        return None, {"day": day.isoformat()}

    changed(actor, schedule_id, "schedule:holiday_removed", change, confirm, "holiday", day.isoformat())
