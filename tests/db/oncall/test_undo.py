"""One's own last change of a plan, taken back: exactly what was there before, or a clear refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, timedelta
from typing import Any

import pytest
from tests.db.oncall.test_schedule import MONDAY, NOON
from tests.db.oncall.test_schedule import _turns as turns
from tests.db.web.conftest import signed_in
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.oncall import kept, schedule, swaps, undo
from nightbell.oncall.errors import BadShift, Uncovered
from nightbell.oncall.models import Change, Holiday, Notice, Override, Rotation, Schedule, Shift
from nightbell.oncall.roster import week_of
from nightbell.people.access import Actor, Forbidden, NotFound
from nightbell.people.roles import Role

HOUR = timedelta(hours=1)
Act = Callable[[Actor, House], object]


def manager(house: House) -> Actor:
    return house.actor(Role.MANAGER, NOON)


def plan() -> list[Any]:
    """Every row of every plan."""
    return [list(model.objects.order_by("pk").values()) for model in kept.KINDS.values()]


def last(house: House) -> str:
    found = undo.made(manager(house))
    assert found
    return found


def _override(actor: Actor, house: House) -> str:
    return schedule.add_override(actor, house.people[Role.FRONT_DESK].id, NOON, NOON + 8 * HOUR)


def _rotation(actor: Actor, house: House) -> str:
    return schedule.add_rotation(actor, turns(house.people[Role.FRONT_DESK], name="Nights"))


def _shift(actor: Actor, house: House) -> str:
    return schedule.add_shift(actor, house.people[Role.FRONT_DESK].id, 2, 0, 1440, rank=1)


def _holiday(actor: Actor, house: House) -> None:
    schedule.add_holiday(actor, date(2026, 12, 25), "Christmas")


CHANGES: dict[str, tuple[Act | None, Act]] = {
    "an override": (None, _override),
    "an override taken away": (
        _override,
        lambda a, h: schedule.remove_override(a, Override.objects.get().id),
    ),
    "a rotation": (None, _rotation),
    "a rotation changed": (
        _rotation,
        lambda a, h: schedule.change_rotation(
            a, Rotation.objects.get().id, turns(h.people[Role.MANAGER], every=2)
        ),
    ),
    "a rotation taken away": (_rotation, lambda a, h: schedule.remove_rotation(a, Rotation.objects.get().id)),
    "a shift": (None, _shift),
    "a shift taken away": (_shift, lambda a, h: schedule.remove_shift(a, Shift.objects.get(rank=1).id)),
    "a holiday": (None, _holiday),
    "a holiday named": (_holiday, lambda a, h: schedule.add_holiday(a, date(2026, 12, 25), "Xmas")),
    "a holiday taken away": (_holiday, lambda a, h: schedule.remove_holiday(a, date(2026, 12, 25))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_undone_everything_is_as_it_was(house: House, name: str) -> None:
    before, change = CHANGES[name]
    if before is not None:
        before(manager(house), house)
    was = plan()
    change(manager(house), house)
    assert plan() != was
    change_id = last(house)
    undo.undo(manager(house), change_id)
    assert plan() == was
    row = Event.objects.get(action="schedule:undo")
    assert json.loads(bytes(row.leaf))["detail"]["change"] == change_id
    with pytest.raises(BadShift, match="already|since"):
        undo.undo(manager(house), change_id)
    assert plan() == was


def test_only_ones_own_and_only_who_may(house: House, other: House) -> None:
    _override(manager(house), house)
    found = last(house)
    with pytest.raises(Forbidden):
        undo.undo(house.actor(Role.CLINICIAN, NOON), found)
    with pytest.raises(NotFound):
        undo.undo(other.actor(Role.MANAGER, NOON), found)
    Change.objects.update(by=other.people[Role.MANAGER])
    with pytest.raises(NotFound):
        undo.undo(manager(house), found)


def _later(house: House, how: str) -> str:
    actor = manager(house)
    made = _override(actor, house)
    desk, doctor = house.people[Role.FRONT_DESK], house.people[Role.CLINICIAN]
    found = last(house)
    if how == "covered":
        colleague = house.people[Role.MANAGER]
        Override.objects.create(
            schedule=Schedule.objects.get(),
            user=colleague,
            starts_at=NOON + HOUR,
            ends_at=NOON + 2 * HOUR,
            number=9,
        )
    elif how == "changed":
        Override.objects.filter(pk=made).update(ends_at=NOON + 3 * HOUR)
    elif how == "swap":
        swaps.ask(desk, NOON, NOON + HOUR, [doctor.id], NOON, False)
    elif how == "mine":
        _holiday(actor, house)
    return found


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("covered", "Manager Núñez was put on call in that time since"),
        ("changed", "somebody has changed it since"),
        ("swap", "a shift in that time is being given away"),
        ("mine", "you have changed this plan since"),
    ],
)
def test_what_stands_on_it_is_said_and_nothing_is_undone(house: House, how: str, why: str) -> None:
    found = _later(house, how)
    was = plan()
    with pytest.raises(BadShift) as refused:
        undo.undo(manager(house), found)
    assert refused.value.why == why and refused.value.mend
    assert plan() == was and Change.objects.get(pk=found).undone_at is None


def test_a_time_that_is_over_and_a_shift_given_away_since(house: House) -> None:
    _override(manager(house), house)
    found = last(house)
    with pytest.raises(BadShift, match="over"):
        undo.undo(house.actor(Role.MANAGER, NOON + 9 * HOUR), found)
    _shift(manager(house), house)
    swaps.ask(
        house.people[Role.CLINICIAN],
        NOON + 9 * HOUR,
        NOON + 10 * HOUR,
        [house.people[Role.MANAGER].id],
        NOON,
        False,
    )
    with pytest.raises(BadShift, match="given away since"):
        undo.undo(manager(house), last(house))


def test_step_by_step_back(house: House) -> None:
    was = plan()
    for act in (_override, _shift, _holiday):
        act(manager(house), house)
    for _ in range(3):
        undo.undo(manager(house), last(house))
    assert plan() == was and undo.made(manager(house)) == ""


def test_taking_back_what_covers_a_gap_needs_the_name(house: House) -> None:
    Shift.objects.all().delete()
    _override(manager(house), house)
    found = last(house)
    with pytest.raises(Uncovered):
        undo.undo(manager(house), found)
    assert Override.objects.exists() and Change.objects.get().undone_at is None
    undo.undo(manager(house), found, "Manager Núñez")
    assert not Override.objects.exists()
    detail = json.loads(bytes(Event.objects.get(action="schedule:undo").leaf))["detail"]
    assert detail["confirmed"] is True


def test_both_of_a_swap_learn_when_it_is_taken_back_and_when_it_holds_again(house: House) -> None:
    doctor, desk = house.people[Role.CLINICIAN], house.people[Role.FRONT_DESK]
    swap = swaps.ask(doctor, NOON, NOON + HOUR, [desk.id], NOON, False)
    swaps.answer(swap.id, desk, True, NOON)
    told = Notice.objects.filter(key__contains=":back:")
    schedule.remove_override(manager(house), Override.objects.get().id)
    assert sorted(told.values_list("user__role", flat=True)) == ["clinician", "front_desk"]
    undo.undo(manager(house), last(house))
    assert Override.objects.get().swap == swap and told.count() == 4
    duty = week_of(house.practice, MONDAY).duties
    assert any(d.person is not None and d.person.id == desk.id for d in duty)


def test_one_click_on_the_page(house: House) -> None:
    client, now = signed_in(house.people[Role.MANAGER]), utc_now()
    days = [(now + timedelta(days=n)).astimezone(UTC) for n in (2, 3)]
    form = {
        "user": house.people[Role.FRONT_DESK].id, "from_day": f"{days[0]:%Y-%m-%d}", "from_time": "17:00",
        "to_day": f"{days[1]:%Y-%m-%d}", "to_time": "8:00",
    }  # fmt: skip
    answer = client.post("/oncall/override", form)
    found = Change.objects.get()
    assert f"undo={found.id}" in answer["Location"]
    assert f'action="/oncall/undo/{found.id}"' in client.get(answer["Location"]).content.decode()
    undone = client.post(f"/oncall/undo/{found.id}")
    assert undone["Location"] == "/oncall/?did=undone" and not Override.objects.exists()
    assert b"Undone. It is as it was before." in client.get(undone["Location"]).content
    again = client.post(f"/oncall/undo/{found.id}")
    assert again.status_code == 422 and b"Nothing was undone" in again.content
    kept_shift = client.post(
        "/oncall/shift", {"user": form["user"], "weekday": "1", "rank": "1", "start": "17:00", "end": "8:00"}
    )
    assert "undo=" in kept_shift["Location"] and kept_shift["Location"].startswith("/oncall/plan")


def test_an_imported_calendar_is_no_one_click(house: House) -> None:
    """Many rows at once: each can be taken away on the calendar, and older changes beneath them stay as they are."""
    schedule.changed(manager(house), "", "schedule:import", lambda s: (0, {}), "")
    assert undo.made(manager(house)) == ""
    assert not Holiday.objects.exists()
