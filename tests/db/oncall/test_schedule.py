"""What managers do with the schedule: who may, what takes effect, and what must be confirmed by name."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.oncall import schedule, schedule_admin
from nightbell.oncall.errors import BadShift, Uncovered
from nightbell.oncall.models import Holiday, Override, Rotation, Schedule, Shift
from nightbell.oncall.roster import lanes_of, now_on_call, on_call_ids, week_of
from nightbell.oncall.rotation import Window
from nightbell.people.access import Actor, Forbidden, NotFound
from nightbell.people.models import User
from nightbell.people.practices import lock_out
from nightbell.people.roles import Role

MONDAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 17, tzinfo=UTC)  # Monday noon in New York


def _team(house: House) -> list[User]:
    return [house.people[role] for role in (Role.CLINICIAN, Role.FRONT_DESK, Role.MANAGER)]


def _empty(house: House) -> None:
    Shift.objects.all().delete()


def _turns(*people: User, **given: Any) -> schedule.Turns:
    fields: dict[str, Any] = {"unit": "week", "every": 1, "starts_on": MONDAY, "handover": 8 * 60} | given
    return schedule.Turns(tuple(user.id for user in people), **fields)


def _manager(house: House, now: datetime = NOON) -> Actor:
    return house.actor(Role.MANAGER, now)


def _detail(action: str) -> dict[str, Any]:
    return dict(json.loads(bytes(Event.objects.get(action=action).leaf))["detail"])


def test_an_override_is_made_by_the_manager_and_takes_effect(house: House) -> None:
    manager = house.actor(Role.MANAGER)
    desk = house.people[Role.FRONT_DESK]
    made = schedule.add_override(
        manager, desk.id, manager.now - timedelta(minutes=1), manager.now + timedelta(hours=2)
    )
    view = now_on_call(house.practice.id, utc_now())
    assert view.now is not None
    assert view.now.id == desk.id
    assert on_call_ids(house.practice, utc_now()) == [desk.id]  # whom it covers is not woken too
    schedule.remove_override(manager, made)
    assert not Override.objects.exists()
    with pytest.raises(Forbidden):
        schedule.add_override(
            house.actor(Role.CLINICIAN), desk.id, manager.now, manager.now + timedelta(hours=1)
        )


def _bad_times(now: datetime) -> list[tuple[datetime, datetime]]:
    hour = timedelta(hours=1)
    return [
        (now, now - hour),
        (now - 3 * hour, now - hour),
        (now, now + timedelta(days=60)),
        (now.replace(tzinfo=None), now + hour),
    ]


def test_it_refuses_an_override_that_makes_no_sense(house: House, other: House) -> None:
    manager = house.actor(Role.MANAGER)
    for starts, ends in _bad_times(manager.now):
        with pytest.raises(BadShift):
            schedule.add_override(manager, house.people[Role.CLINICIAN].id, starts, ends)
    with pytest.raises(BadShift):  # another practice's person looks like nobody
        schedule.add_override(
            manager, other.people[Role.CLINICIAN].id, manager.now, manager.now + timedelta(hours=1)
        )


def test_people_take_turns_and_a_locked_person_moves_nobody_elses(house: House) -> None:
    ann, bob, cyd = _team(house)
    _empty(house)
    schedule.add_rotation(_manager(house), _turns(ann, bob, cyd))

    def there() -> list[list[str]]:
        return [on_call_ids(house.practice, NOON + timedelta(weeks=week)) for week in range(4)]

    assert there() == [[ann.id], [bob.id], [cyd.id], [ann.id]]
    lock_out(bob, "os:test", NOON)
    assert there() == [[ann.id], [], [cyd.id], [ann.id]]


def test_a_rotation_covers_the_week_below_it_and_shows_it_where_it_has_nobody(house: House) -> None:
    ann, bob, cyd = _team(house)  # ann stands in the week at all hours
    nights = tuple(Window(day, 17 * 60, 15 * 60) for day in range(7))
    made = schedule.add_rotation(_manager(house), _turns(bob, cyd, unit="day", hours=nights))
    assert on_call_ids(house.practice, NOON) == [ann.id]
    assert on_call_ids(house.practice, NOON + timedelta(hours=6)) == [bob.id]
    assert on_call_ids(house.practice, NOON + timedelta(hours=30)) == [cyd.id]
    week = week_of(house.practice, MONDAY)
    assert {duty.rotation_id for duty in week.duties} == {"", made}
    assert not week.gaps
    schedule.change_rotation(_manager(house), made, _turns(cyd, unit="day", hours=nights))
    assert on_call_ids(house.practice, NOON + timedelta(hours=6)) == [cyd.id]
    schedule.remove_rotation(_manager(house), made)
    assert on_call_ids(house.practice, NOON + timedelta(hours=6)) == [ann.id]


def test_the_lanes_tell_what_was_planned_what_was_changed_and_what_is_true(house: House) -> None:
    ann, bob, cyd = _team(house)
    _empty(house)
    manager = _manager(house)
    schedule.add_rotation(manager, _turns(ann, ends_on=MONDAY + timedelta(days=4)))
    schedule.add_rotation(manager, _turns(bob, rank=1, ends_on=MONDAY + timedelta(days=2)))
    schedule.add_override(manager, cyd.id, NOON, NOON + timedelta(hours=8))
    schedule.add_holiday(manager, date(2026, 11, 26), "Thanksgiving")
    lanes = lanes_of(house.practice, MONDAY, 7)
    assert [duty.person.id for duty in lanes.primary if duty.person] == [ann.id]
    assert [duty.person.id for duty in lanes.backup if duty.person] == [bob.id]
    assert [duty.person.id for duty in lanes.changes if duty.person] == [cyd.id]
    assert [duty.person.id for duty in lanes.on_call if duty.person] == [ann.id, cyd.id, ann.id]
    assert [gap.ends_at - gap.starts_at for gap in lanes.gaps] == [timedelta(hours=8), timedelta(hours=64)]
    assert lanes.holidays == {date(2026, 11, 26): "Thanksgiving"}


def test_a_change_that_leaves_a_minute_uncovered_needs_a_name_under_it(house: House) -> None:
    manager = _manager(house)
    sunday = Shift.objects.get(weekday=6)
    for typed in ("", "x", house.people[Role.CLINICIAN].name):
        with pytest.raises(Uncovered) as refused:
            schedule.remove_shift(manager, sunday.id, typed)
        assert len(refused.value.gaps) == 8  # Sundays of 60 days
        assert refused.value.gaps[0] == (
            datetime(2026, 11, 29, 5, tzinfo=UTC), datetime(2026, 11, 30, 5, tzinfo=UTC)
        )  # fmt: skip
    assert Shift.objects.filter(pk=sunday.id).exists()
    assert not Event.objects.filter(action="schedule:shift_removed").exists()
    schedule.remove_shift(manager, sunday.id, f"  {manager.user.name.upper()} ")
    assert not Shift.objects.filter(pk=sunday.id).exists()
    written = _detail("schedule:shift_removed")
    assert (written["uncovered_count"], written["confirmed"]) == (8, True)
    assert written["uncovered"][0] == ["2026-11-29T05:00:00.000Z", "2026-11-30T05:00:00.000Z"]


def test_who_covers_a_minute_twice_may_go_once(house: House) -> None:
    manager, (ann, bob, _) = _manager(house), _team(house)
    extra = schedule.add_shift(manager, bob.id, 6, 0, 1440, 1)
    schedule.remove_shift(manager, Shift.objects.get(weekday=6, user=ann).id)
    with pytest.raises(Uncovered):
        schedule.remove_shift(manager, extra)


def test_rotations_and_holidays_are_weighed_too(house: House) -> None:
    manager, (ann, bob, _) = _manager(house), _team(house)
    _empty(house)
    made = schedule.add_rotation(manager, _turns(ann, bob))
    with pytest.raises(Uncovered):
        schedule.change_rotation(manager, made, _turns(ann, bob, ends_on=date(2026, 12, 7)))
    with pytest.raises(Uncovered):
        schedule.remove_rotation(manager, made)
    schedule.remove_rotation(manager, made, manager.user.name)
    schedule.add_rotation(manager, _turns(ann, holidays_only=True))
    schedule.add_holiday(manager, date(2026, 12, 25), "Christmas")
    assert on_call_ids(house.practice, datetime(2026, 12, 25, 12, tzinfo=UTC)) == [ann.id]
    with pytest.raises(Uncovered):
        schedule.remove_holiday(manager, date(2026, 12, 25))
    assert Holiday.objects.exists()


@pytest.mark.parametrize(
    "given",
    [
        {"unit": "month"}, {"every": 0}, {"every": 53}, {"starts_on": date(1970, 1, 1)}, {"handover": 1440},
        {"ends_on": MONDAY}, {"ends_on": date(9999, 1, 1)}, {"rank": 3}, {"name": "x" * 61},
        {"hours": (Window(7, 0, 60),)}, {"hours": (Window(0, 0, 0),)}, {"hours": (Window(0, 0, 60),) * 22},
    ],
)  # fmt: skip
def test_it_refuses_a_rotation_that_makes_no_sense(house: House, given: dict[str, Any]) -> None:
    with pytest.raises(BadShift):
        schedule.add_rotation(_manager(house), _turns(house.people[Role.CLINICIAN], **given))
    assert not Rotation.objects.exists()


def test_it_refuses_people_who_cannot_be_on_call(house: House, other: House) -> None:
    for user in (other.people[Role.CLINICIAN], house.people[Role.DISPATCHER]):
        with pytest.raises(BadShift):
            schedule.add_rotation(_manager(house), _turns(user))
    with pytest.raises(BadShift):
        schedule.add_rotation(_manager(house), _turns())


def test_a_damaged_rotation_has_nobody_in_it_and_breaks_nothing(house: House) -> None:
    made = schedule.add_rotation(_manager(house), _turns(house.people[Role.FRONT_DESK]))
    for damage in ({"members": [{"x": []}]}, {"hours": [{"weekday": "?"}]}, {"members": 3}, {"every": 0}):
        Rotation.objects.filter(pk=made).update(**damage)
        assert on_call_ids(house.practice, NOON) == [house.people[Role.CLINICIAN].id]


def test_another_practices_schedule_looks_like_none(house: House, other: House) -> None:
    manager = _manager(house)
    theirs = Schedule.objects.get(practice=other.practice)
    rotation = schedule.add_rotation(_manager(other), _turns(other.people[Role.CLINICIAN]))
    shift = Shift.objects.filter(schedule=theirs).first()
    assert shift is not None
    for act in (
        lambda: schedule.week(manager, MONDAY, theirs.id),
        lambda: schedule.remove_shift(manager, shift.id),
        lambda: schedule.remove_rotation(manager, rotation),
        lambda: schedule.change_rotation(manager, rotation, _turns(house.people[Role.CLINICIAN])),
        lambda: schedule.add_holiday(manager, MONDAY, "x", theirs.id),
        lambda: schedule_admin.new_feed(manager, theirs.id),
        lambda: schedule_admin.rename(manager, theirs.id, "Ours"),
    ):
        with pytest.raises(NotFound):
            act()


def test_only_those_who_edit_schedules_do(house: House) -> None:
    actor, ann = house.actor(Role.CLINICIAN, NOON), house.people[Role.CLINICIAN]
    shift = Shift.objects.filter(weekday=0).get()
    for act in (
        lambda: schedule.add_rotation(actor, _turns(ann)),
        lambda: schedule.remove_shift(actor, shift.id),
        lambda: schedule.add_holiday(actor, MONDAY),
        lambda: schedule.remove_holiday(actor, MONDAY),
        lambda: schedule_admin.add_schedule(actor, "x"),
        lambda: schedule_admin.new_feed(actor),
        lambda: schedule_admin.end_feed(actor),
        lambda: schedule_admin.set_last_resort(actor, ann.id),
    ):
        with pytest.raises(Forbidden):
            act()


def test_a_schedule_of_its_own_for_a_mailbox(house: House) -> None:
    manager, (ann, bob, _) = _manager(house), _team(house)
    made = schedule_admin.add_schedule(manager, "  Weekend   line ")
    row = Schedule.objects.get(pk=made)
    assert (row.name, row.main) == ("Weekend line", False)
    schedule.add_rotation(manager, _turns(bob), made)
    assert on_call_ids(house.practice, NOON, row) == [bob.id]
    assert on_call_ids(house.practice, NOON) == [ann.id]
    with pytest.raises(BadShift):  # the main one
        schedule_admin.remove_schedule(manager, Schedule.objects.get(practice=house.practice, main=True).id)
    schedule_admin.remove_schedule(manager, made)
    assert not Schedule.objects.filter(pk=made).exists()
    schedule_admin.set_last_resort(manager, bob.id)
    assert Schedule.objects.get(practice=house.practice).fallback == bob
