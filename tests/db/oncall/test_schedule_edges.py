"""Which change counts, who is the last resort of a further schedule, and who may stand in one at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.db.oncall.test_calendar import _file
from tests.factories import House, make_message

from nightbell.core.ids import new_ulid
from nightbell.oncall import (
    ical_import,
    policies,
    routes,
    schedule,
    schedule_admin,
    standing,
    start,
    swaps,
    voice,
    what_if_rows,
    whom,
)
from nightbell.oncall.errors import BadShift, BadSwap
from nightbell.oncall.models import Alert, Override, Route, Schedule, Shift, Swap, SwapState
from nightbell.oncall.roster import now_on_call, on_call_ids
from nightbell.people.models import Contact, User
from nightbell.people.roles import Role

NOW = datetime(2026, 11, 23, 17, tzinfo=UTC)  # Monday noon in New York
HOUR = timedelta(hours=1)
FAR_AHEAD = "7" + "Z" * 25  # the id of what a clock made that ran ahead


@pytest.fixture
def further(house: House) -> Schedule:
    """Another schedule, with nobody in it, and everything sent to it."""
    made = Schedule.objects.create(practice=house.practice, name="Surgery", main=False)
    Route.objects.create(practice=house.practice, schedule=made)
    return made


def _main(house: House) -> Schedule:
    return Schedule.objects.get(practice=house.practice, main=True)


def _told(house: House, urgent: bool = True) -> tuple[Alert, list[User | None]]:
    message = make_message(house.mailbox, urgent=urgent)
    start.start_due(message.stored_at)
    alert = Alert.objects.get(message=message)
    policy = policies.read_policy(alert.policy)
    plan = whom.last_resort(alert, policy, alert.started_at)
    return alert, [way.user for way in plan.ways]


def test_a_further_schedule_without_a_last_resort_has_the_main_ones(house: House, further: Schedule) -> None:
    desk = house.people[Role.FRONT_DESK]
    Schedule.objects.filter(main=True).update(fallback=desk)
    alert, told = _told(house)
    frozen = policies.read_policy(alert.policy)
    assert frozen is not None and (frozen.last_user, alert.schedule) == (desk.id, further)
    assert told == [desk]
    assert now_on_call(house.practice.id, NOW, further).fallback == desk.name
    assert what_if_rows._policy(house.practice, further.id, "").last_user == desk.id
    Schedule.objects.filter(pk=further.pk).update(fallback=house.people[Role.CLINICIAN])
    assert _told(house)[1] == [house.people[Role.CLINICIAN]]


def test_a_last_resort_that_left_gives_way_to_the_main_ones_before_the_managers(
    house: House, further: Schedule
) -> None:
    desk, ann = house.people[Role.FRONT_DESK], house.people[Role.CLINICIAN]
    Schedule.objects.filter(main=True).update(fallback=desk)
    Schedule.objects.filter(pk=further.pk).update(fallback=ann)
    User.objects.filter(pk=ann.pk).update(is_active=False)
    assert _told(house)[1] == [desk]


def test_a_rule_that_names_only_a_schedule_leaves_the_usual_steps(house: House, further: Schedule) -> None:
    steps = (policies.Step(policies.Who.ALL, 77),)
    Schedule.objects.filter(main=True).update(steps=[step.to_json() for step in steps])
    assert routes.choose(make_message(house.mailbox)).steps == steps
    own = (policies.Step(policies.Who.ON_CALL, 33),)
    Schedule.objects.filter(pk=further.pk).update(steps=[step.to_json() for step in own])
    assert routes.choose(make_message(house.mailbox)).steps == own


def _of_tomorrow(house: House, start: datetime, end: datetime) -> None:
    """A change that was made while the clock ran ahead."""
    Override.objects.create(
        id=FAR_AHEAD, schedule=_main(house), user=house.people[Role.MANAGER], starts_at=start, ends_at=end, number=1
    )  # fmt: skip


def test_the_newer_change_counts_whatever_the_clock_said(house: House) -> None:
    manager, desk = house.actor(Role.MANAGER, NOW), house.people[Role.FRONT_DESK]
    _of_tomorrow(house, NOW, NOW + 9 * HOUR)
    schedule.add_override(manager, desk.id, NOW, NOW + 2 * HOUR)
    assert on_call_ids(house.practice, NOW + HOUR)[0] == desk.id
    assert on_call_ids(house.practice, NOW + 3 * HOUR)[0] == house.people[Role.MANAGER].id
    assert sorted(Override.objects.values_list("number", flat=True)) == [1, 2]
    swap = swaps.ask(house.people[Role.MANAGER], NOW + 3 * HOUR, NOW + 4 * HOUR, [desk.id], NOW, False)
    assert swaps.answer(swap.id, desk, True, NOW) is swaps.Answered.TAKEN
    assert on_call_ids(house.practice, NOW + 3 * HOUR)[0] == desk.id


def test_a_swap_of_which_the_schedule_would_not_name_the_taker_is_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, soon = house.people[Role.FRONT_DESK], NOW + 3 * HOUR
    _of_tomorrow(house, soon, soon + HOUR)
    swap = swaps.ask(house.people[Role.MANAGER], soon, soon + HOUR, [desk.id], NOW, False)
    monkeypatch.setattr(swaps, "next_number", lambda _schedule: 0)
    with pytest.raises(BadSwap, match="would not name"):
        swaps.answer(swap.id, desk, True, NOW)
    assert Swap.objects.get().state == SwapState.ASKED
    assert Override.objects.count() == 1
    assert on_call_ids(house.practice, soon)[0] == house.people[Role.MANAGER].id


def test_what_a_file_says_is_so_afterwards_also_over_a_newer_change(house: House) -> None:
    manager, begin = house.actor(Role.MANAGER, NOW), datetime(2026, 11, 24, 22, tzinfo=UTC)
    User.objects.filter(pk=house.people[Role.FRONT_DESK].pk).update(name="José Núñez")
    desk = house.people[Role.FRONT_DESK].id
    data = _file((house.people[Role.FRONT_DESK].login, "20261124T220000Z", "DURATION:PT3H"))
    assert ical_import.take_over(manager, data) == 1
    assert ical_import.take_over(manager, data) == 0
    schedule.add_override(manager, house.people[Role.MANAGER].id, begin + HOUR, begin + 2 * HOUR)
    schedule.add_override(manager, house.people[Role.MANAGER].id, begin + 9 * HOUR, begin + 10 * HOUR)
    assert on_call_ids(house.practice, begin + 1.5 * HOUR)[0] != desk
    assert ical_import.preview(manager, data).staying == 1
    assert ical_import.take_over(manager, data) == 1
    assert {on_call_ids(house.practice, begin + n * HOUR / 2)[0] for n in range(6)} == {desk}


def test_a_file_of_many_stretches_is_a_few_questions(
    house: House, django_assert_max_num_queries: object
) -> None:
    manager, login = house.actor(Role.MANAGER, NOW), house.people[Role.FRONT_DESK].login
    days = [NOW + timedelta(days=n) for n in range(1, 200)]
    data = _file(*((login, f"{day:%Y%m%dT%H%M%SZ}", "DURATION:PT1H") for day in days))
    with django_assert_max_num_queries(60):  # type: ignore[operator]
        assert ical_import.take_over(manager, data) == 199


def test_whoever_proved_no_way_cannot_be_put_on_call(house: House) -> None:
    manager, desk = house.actor(Role.MANAGER, NOW), house.people[Role.FRONT_DESK]
    Contact.objects.filter(user=desk).update(verified_at=None)
    for change in (
        lambda: schedule.add_override(manager, desk.id, NOW, NOW + HOUR),
        lambda: schedule.add_shift(manager, desk.id, 0, 0, 60),
        lambda: schedule_admin.set_last_resort(manager, desk.id),
    ):
        with pytest.raises(BadShift, match="cannot be on call"):
            change()
    assert not Override.objects.exists() and not Shift.objects.filter(user=desk).exists()
    assert len(new_ulid()) == len(FAR_AHEAD)


def test_whoever_is_on_call_soon_and_cannot_be_told_is_shown(house: House) -> None:
    manager, ann = house.actor(Role.MANAGER, NOW), house.people[Role.CLINICIAN]
    assert standing.untold(manager, _main(house)) == []
    Contact.objects.filter(user=ann).update(ended_at=NOW)
    assert standing.untold(manager, _main(house)) == [ann.name]


def test_a_telephone_abroad_is_not_rung_though_it_was_proved(house: House) -> None:
    ann = house.people[Role.CLINICIAN]
    for n, address in enumerate(("+442079460000", "+18765550100", "+15035550177")):
        Contact.objects.create(
            user=ann, kind="voice", address=address, position=n, created_at=NOW, verified_at=NOW
        )
    found = voice.number_of(ann, NOW)
    assert found is not None and found.address == "+15035550177"
