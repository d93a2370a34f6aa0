"""Closing at once and ahead: in force at once, ended by whoever opens, and never part of a draft."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.flow.hours import Kind, situation
from nightbell.flow.plan import Plan
from nightbell.line import service
from nightbell.line.models import Closure
from nightbell.people.access import Actor, NotFound
from nightbell.people.roles import Role

NOON = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)  # a Tuesday, in New York
HOUR = timedelta(hours=1)


def manager(house: House, now: datetime = NOON) -> Actor:
    return house.actor(Role.MANAGER, now)


def kind(house: House, at: datetime) -> Kind:
    return situation(service.calendar(house.practice, Plan(), at), at).kind


def test_closing_at_once_lasts_until_somebody_opens(house: House) -> None:
    assert kind(house, NOON) == Kind.OPEN
    service.close_now(manager(house), visits=True)
    assert kind(house, NOON) == Kind.CLOSURE
    assert kind(house, NOON + 100 * HOUR) == Kind.CLOSURE
    seen = situation(service.calendar(house.practice, Plan(), NOON), NOON)
    assert (seen.visits, seen.reopens) == (True, None)
    assert service.reopen_now(manager(house, NOON + HOUR)) == 1
    assert kind(house, NOON + HOUR) == Kind.OPEN
    assert service.reopen_now(manager(house, NOON + 2 * HOUR)) == 0
    ended = Closure.objects.get()
    assert (ended.ends_at, ended.ended_by) == (NOON + HOUR, house.people[Role.MANAGER])
    rows = Event.objects.filter(action__startswith="line:").order_by("seq").values_list("action", flat=True)
    assert list(rows) == ["line:close", "line:reopen"]


def test_pressing_it_twice_closes_once(house: House) -> None:
    first = service.close_now(manager(house), visits=True)
    assert service.close_now(manager(house, NOON + HOUR), visits=True) == first
    second = service.close_now(manager(house, NOON + HOUR), visits=False)
    assert second != first
    assert [one.id for one in service.closures(house.practice.id, NOON + HOUR)] == [second]


def test_a_planned_closure_comes_and_goes_by_itself(house: House) -> None:
    made = service.add_closure(manager(house), NOON + HOUR, NOON + 3 * HOUR, visits=False)
    assert [kind(house, NOON + n * HOUR) for n in range(4)] == [
        Kind.OPEN, Kind.CLOSURE, Kind.CLOSURE, Kind.OPEN,
    ]  # fmt: skip
    seen = service.closures(house.practice.id, NOON)
    assert [(one.id, one.in_force, one.at_once) for one in seen] == [(made, False, False)]
    assert service.closures(house.practice.id, NOON + HOUR)[0].in_force
    assert service.closures(house.practice.id, NOON + 3 * HOUR) == []


def test_opening_ends_a_planned_one_too_but_none_to_come(house: House) -> None:
    service.add_closure(manager(house), NOON + HOUR, NOON + 30 * HOUR, visits=False)
    later = service.add_closure(manager(house), NOON + 100 * HOUR, NOON + 101 * HOUR, visits=False)
    assert service.reopen_now(manager(house, NOON + 2 * HOUR)) == 1
    assert kind(house, NOON + 2 * HOUR) == Kind.OPEN
    assert [one.id for one in service.closures(house.practice.id, NOON + 2 * HOUR)] == [later]


def test_one_to_come_is_taken_out_and_one_in_force_ends(house: House) -> None:
    to_come = service.add_closure(manager(house), NOON + 9 * HOUR, NOON + 10 * HOUR, visits=False)
    running = service.add_closure(manager(house), NOON, NOON + 5 * HOUR, visits=False)
    service.remove_closure(manager(house, NOON + HOUR), to_come)
    service.remove_closure(manager(house, NOON + HOUR), running)
    assert list(Closure.objects.values_list("id", "ends_at")) == [(running, NOON + HOUR)]
    for gone in (to_come, running, "01J00000000000000000000001"):
        with pytest.raises(NotFound):
            service.remove_closure(manager(house, NOON + HOUR), gone)


@pytest.mark.parametrize(
    ("starts", "ends"),
    [
        (NOON + HOUR, NOON + HOUR),
        (NOON + HOUR, NOON),
        (NOON - 2 * HOUR, NOON),
        (NOON, NOON + timedelta(days=367)),
        (NOON + timedelta(days=800), NOON + timedelta(days=801)),
        (NOON.replace(tzinfo=None) + HOUR, NOON.replace(tzinfo=None) + 2 * HOUR),
    ],
)
def test_a_closure_that_makes_no_sense_is_not_kept(house: House, starts: datetime, ends: datetime) -> None:
    with pytest.raises(service.BadClosure):
        service.add_closure(manager(house), starts, ends, visits=False)
    assert not Closure.objects.exists()


def test_no_closure_is_another_practices(house: House, other: House) -> None:
    made = service.add_closure(manager(house), NOON, NOON + 5 * HOUR, visits=False)
    with pytest.raises(NotFound):
        service.remove_closure(manager(other), made)
    assert service.reopen_now(manager(other)) == 0
    assert kind(other, NOON) == Kind.OPEN
    assert kind(house, NOON) == Kind.CLOSURE


def test_closures_that_overlap_keep_nobody_from_publishing(house: House) -> None:
    service.add_closure(manager(house), NOON, NOON + 5 * HOUR, visits=False)
    service.close_now(manager(house, NOON + HOUR), visits=False)
    actor = manager(house, NOON + HOUR)
    assert service.publish(actor, service.save(actor, 0, Plan(max_seconds=90))).number == 2
    assert kind(house, NOON + HOUR) == Kind.CLOSURE


def test_the_calendar_knows_this_year_and_the_next(house: House) -> None:
    plan = Plan(state="TX", observed=None)
    days = service.calendar(house.practice, plan, datetime(2027, 1, 1, 4, 0, tzinfo=UTC))  # still 2026 there
    assert days.known_until.isoformat() == "2027-12-31"
    assert {day.year for day in days.holidays} == {2026, 2027}
    assert "Texas Independence Day" in days.holidays.values()
