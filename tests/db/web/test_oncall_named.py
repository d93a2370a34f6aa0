"""What a form names: an id that is none never means the main schedule, or any mailbox; pressed twice it is done once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.db.web.conftest import Https
from tests.db.web.oncall_pages import actions
from tests.factories import House

from nightbell.core.clock import utc_now
from nightbell.oncall import policy_admin, schedule
from nightbell.oncall import schedule_admin as admin
from nightbell.oncall.models import EscalationPolicy, Group, Holiday, Override, Route, Schedule
from nightbell.oncall.policies import Step, Who
from nightbell.oncall.policy_admin import BadPolicy, Rule
from nightbell.people.access import NotFound
from nightbell.people.roles import Role


@pytest.mark.parametrize("named", ["garbage", "0", "\x00", " ", "x" * 26])
def test_what_is_no_id_is_not_the_main_schedule(house: House, manager: Https, named: str) -> None:
    admin.new_feed(house.actor(Role.MANAGER))
    before, person = Schedule.objects.values_list().get(), house.people[Role.CLINICIAN].id
    day = f"{utc_now() + timedelta(days=3):%Y-%m-%d}"
    times = {"from_day": day, "from_time": "18:00", "to_day": day, "to_time": "20:00"}
    shift = {"user": person, "weekday": "0", "rank": "0", "start": "9:00", "end": "10:00"}
    forms = {
        "feed": {"end": "1"}, "override": {"user": person, **times}, "shift": shift, "holiday": {"day": day},
        "last-resort": {"user": person},
    }  # fmt: skip
    for path, form in forms.items():
        answer = manager.post(f"/oncall/{path}", form | {"schedule": named})
        assert answer.status_code == 404, path
    assert Schedule.objects.values_list().get() == before
    assert not Override.objects.exists() and not Holiday.objects.exists()
    for field in ("mailbox", "schedule", "policy"):
        answer = manager.post("/oncall/route/add", {"quiet": "1", "urgency": "routine", field: named})
        assert answer.status_code == 404, field
    assert not Route.objects.exists()


def test_pressed_twice_is_one_change_and_its_undo_takes_it_back(house: House) -> None:
    actor, user = house.actor(Role.MANAGER), house.people[Role.CLINICIAN]
    start = utc_now() + timedelta(days=1)
    end = start + timedelta(hours=2)
    one = schedule.add_override(actor, user.id, start, end)
    assert schedule.add_override(actor, user.id, start, end) == one
    assert Override.objects.count() == actions().count("schedule:override") == 1
    schedule.add_override(actor, house.people[Role.MANAGER].id, start, end)
    assert schedule.add_override(actor, user.id, start, end) != one, "it was covered by another"


def test_a_rule_or_policy_that_went_meanwhile_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = house.actor(Role.MANAGER)
    policy = policy_admin.save_policy(actor, "", "Nights", [Step(Who.ALL, 60)])
    route = policy_admin.add_route(actor, Rule(policy=policy))
    row, looked = Route.objects.get(), policy_admin.policy_of(actor, policy)
    policy_admin.remove_route(actor, route)
    for act in (
        lambda: policy_admin.move_route(actor, route, True),
        lambda: policy_admin.remove_route(actor, route),
    ):
        with pytest.raises(NotFound):
            act()
    monkeypatch.setattr(policy_admin, "_route", lambda *_: row)  # looked up before the other's change
    monkeypatch.setattr(policy_admin, "policy_of", lambda *_: looked)
    policy_admin.remove_policy(actor, policy)
    looked.pk = policy
    with pytest.raises(NotFound):
        policy_admin.remove_policy(actor, policy)
    with pytest.raises(BadPolicy):
        policy_admin.add_route(actor, Rule(policy=policy))
    assert actions().count("policy:remove") == 1 and not EscalationPolicy.objects.exists()


def test_a_group_goes_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = house.actor(Role.MANAGER)
    group = policy_admin.save_group(actor, "", "Nurses", [house.people[Role.FRONT_DESK].id])
    rows = [Group.objects.get(), Group.objects.get()]
    monkeypatch.setattr(policy_admin, "group_of", lambda *_: rows.pop())
    policy_admin.remove_group(actor, group)
    with pytest.raises(NotFound):
        policy_admin.remove_group(actor, group)
    assert actions().count("group:remove") == 1
