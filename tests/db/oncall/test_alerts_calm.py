"""Messages that are not urgent, where a route tells of them: given back, and beside one that cannot begin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from tests.db.oncall.test_alerts import Phones, route
from tests.factories import House, make_message

from nightbell.audit import service as audit
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message, State
from nightbell.oncall import escalation
from nightbell.oncall import service as oncall
from nightbell.oncall.models import Alert
from nightbell.people.roles import Role


def test_a_calm_message_that_is_given_back_is_told_of_again_however_old(house: House) -> None:
    route(house, {"who": "on_call", "wait_s": 60})
    message, night = make_message(house.mailbox), Phones()
    Message.objects.update(words="ready")
    night.tick()
    mailbox.acknowledge(house.actor(Role.CLINICIAN, night.now), message.id)
    night.tick(1)
    night.pager.told.clear()
    Message.objects.update(stored_at=night.now - timedelta(days=2))
    oncall.release(house.actor(Role.CLINICIAN, night.now), message.id)
    night.tick(1)
    assert Alert.objects.get().state == "open"
    assert night.told("email") == ["clinician@ab12.example"]
    night.tick(1)
    assert len(night.told("email")) == 1, "it begins once"


def test_a_message_that_cannot_begin_or_end_costs_no_other_its_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    route(house, {"who": "on_call", "wait_s": 60})
    bad, good = sorted([make_message(house.mailbox), make_message(house.second)], key=lambda one: one.id)
    Message.objects.update(words="ready")
    night, record = Phones(), audit.record

    def recorded(practice: str, **given: Any) -> Any:
        if given.get("message") == bad.id:
            raise ValueError("bad")
        return record(practice, **given)

    with monkeypatch.context() as patch, CaptureQueriesContext(connection) as asked:
        patch.setattr(audit, "record", recorded)
        problems: list[Exception] = []
        escalation.start_calm(night.now, problems=problems)
    assert [str(one) for one in problems] == ["bad"]
    assert Alert.objects.get().message_id == good.id
    tables = [
        one for one in asked.captured_queries if 'FROM "oncall_route"' in one["sql"] and "JOIN" in one["sql"]
    ]
    assert len(tables) == 1 + 2, "the routes are asked for once, and once more for each that begins"
    escalation.start_calm(night.now)
    Message.objects.update(state=State.OWNED, owner=house.people[Role.CLINICIAN], owned_at=night.now)
    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", recorded)
        problems.clear()
        assert escalation.settle_owned(night.now, problems) == 1
    assert [str(one) for one in problems] == ["bad"]
    assert dict(Alert.objects.values_list("message_id", "state")) == {bad.id: "open", good.id: "owned"}
