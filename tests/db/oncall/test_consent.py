"""A patient's answer is on record before anybody hears that they are recorded; without the practice's decision nobody asks."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import DatabaseError
from tests.db.oncall.test_voice import (
    CALLER,
    CELL,
    PIN,
    Phone,
    _acts,
    _owned,
    _woken,
    clinician,
    phone,
)
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core import faults
from nightbell.core.clock import utc_now
from nightbell.mailbox import talks
from nightbell.mailbox.models import Message, Talk
from nightbell.oncall import callback, recording, voice
from nightbell.oncall.models import CallBack
from nightbell.people.access import Forbidden
from nightbell.people.models import RiskAcceptance, User
from nightbell.people.risk_rules import BadRisk
from nightbell.people.roles import Role

__all__ = ["clinician", "phone"]
WHY = "Our malpractice insurer asks for it."


@pytest.fixture
def decided(house: House) -> None:
    recording.allow(house.actor(Role.MANAGER), WHY, utc_now() + timedelta(days=30))


def _told(house: House, phone: Phone) -> tuple[Message, str, str]:
    """A clinician and a patient, who has heard that the call may be recorded."""
    message = _owned(house)
    callback.ask(house.actor(Role.CLINICIAN), message.id)
    phone.calling.step()
    mine = phone.rung(CELL)
    phone.leg(mine, "answered")
    phone.keys(mine, "1")
    theirs = phone.rung(CALLER)
    phone.leg(theirs, "answered")
    _heard(phone, mine, theirs)
    return message, mine, theirs


def _heard(phone: Phone, mine: str, theirs: str) -> None:
    """The patient has heard all that was said to them."""
    leg = phone.calling._talks[mine].legs["patient"]
    assert leg.call == theirs
    leg.deadline = 0.0
    phone.calling._talks[mine].tick(1.0)


def _consents() -> list[dict[str, object]]:
    found = Event.objects.filter(action="call:consent").order_by("seq")
    return [json.loads(bytes(one.leaf))["detail"] for one in found]


def test_a_yes_is_a_row_and_in_the_log_before_they_are_joined_on_record(
    house: House, phone: Phone, clinician: User, decided: None
) -> None:
    message, mine, theirs = _told(house, phone)
    assert phone.said(theirs) == ["connect-patient", "consent-told", "consent-key"]
    assert not Talk.objects.exists()
    phone.keys(theirs, "1")
    row = CallBack.objects.get()
    talk = Talk.objects.get()
    assert (talk.id, talk.message, talk.agreed) == (row.id, message, True)
    assert phone.got("join") == []
    assert _consents() == [{"call": row.id, "leg": theirs, "agreed": True, "recorded": True}]
    assert _acts(message)[-1] == "call:consent"
    assert (phone.said(theirs)[-1], phone.said(mine)[-2:]) == ("notice-call", ["notice-call", "connect-now"])
    phone.silence(mine)
    assert phone.got("join") == [{"a": mine, "b": theirs, "record": row.id}]


@pytest.mark.parametrize("key", ["2", "9", ""])
def test_everything_else_is_a_no_and_is_on_record_too(
    house: House, phone: Phone, clinician: User, decided: None, key: str
) -> None:
    _, mine, theirs = _told(house, phone)
    phone.keys(theirs, key)
    if not key:
        _heard(phone, mine, theirs)
    assert Talk.objects.get().agreed is False
    assert [one["agreed"] for one in _consents()] == [False]
    assert phone.said(theirs)[-1] == "consent-off"
    phone.silence(mine)
    assert phone.got("join") == [{"a": mine, "b": theirs}]


def test_during_an_alert_it_is_the_same(house: House, phone: Phone, clinician: User, decided: None) -> None:
    _, _, mine = _woken(house, phone)
    phone.leg(mine, "answered")
    phone.keys(mine, "1" + PIN + "#4")
    theirs = phone.rung(CALLER)
    phone.leg(theirs, "answered")
    _heard(phone, mine, theirs)
    phone.keys(theirs, "1")
    phone.silence(mine)
    assert phone.got("join")[-1]["record"] == CallBack.objects.get().id


def test_what_the_practice_withdrew_meanwhile_or_cannot_be_noted_is_not_recorded(
    house: House, phone: Phone, clinician: User, decided: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, mine, theirs = _told(house, phone)
    recording.withdraw(house.actor(Role.MANAGER))
    phone.keys(theirs, "1")
    phone.silence(mine)
    assert phone.got("join")[-1] == {"a": mine, "b": theirs}
    assert not Talk.objects.exists(), "they did agree"
    assert [(one["agreed"], one["recorded"]) for one in _consents()] == [(True, False)]
    phone.leg(mine, "ended", "hung_up")
    recording.allow(house.actor(Role.MANAGER), WHY, utc_now() + timedelta(days=30))

    def fails(*_: object) -> bool:
        raise DatabaseError("the disk is full")

    Message.objects.update(owner=None, state="new")
    monkeypatch.setattr(talks, "note", fails)
    _, mine, theirs = _told(house, phone)
    phone.keys(theirs, "1")
    phone.silence(mine)
    assert phone.got("join")[-1] == {"a": mine, "b": theirs}
    assert phone.said(theirs)[-1] == "consent-off"


def test_after_a_restart_two_who_speak_are_left_in_peace_and_nothing_new_is_recorded(
    house: House, phone: Phone, clinician: User, decided: None
) -> None:
    _, mine, theirs = _told(house, phone)
    phone.keys(theirs, "1")
    phone.silence(mine)
    anew = Phone()
    anew.calling.heard("phone-1", {"event": "hello", "legs": [mine, theirs]})
    anew.calling.step()
    assert anew.got("join") == [{"a": mine, "b": theirs}], "the phone has them joined, on record as they were"


def test_a_worker_that_dies_with_the_answer_noted_records_nothing_and_asks_no_second_time(
    house: House, phone: Phone, clinician: User, decided: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was asked is on record; they are joined without a recording, as nobody has heard that there is one."""
    message, mine, theirs = _told(house, phone)

    def dies(name: str) -> None:
        if name == "consent.noted":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(faults, "point", dies)
        with pytest.raises(KeyboardInterrupt):
            phone.keys(theirs, "1")
    assert phone.got("join") == []
    anew = Phone()
    anew.calling.heard("phone-1", {"event": "hello", "legs": [mine, theirs]})
    anew.calling.step()
    assert anew.got("join") == [{"a": mine, "b": theirs}]
    assert _acts(message).count("call:consent") == 1
    assert Talk.objects.get().wav_bytes == 0


def test_the_default_is_never_and_a_decision_runs_out(house: House, phone: Phone, clinician: User) -> None:
    now, practice = utc_now(), house.practice.id
    assert not voice.may_record(practice, now)
    manager = house.actor(Role.MANAGER)
    for role in (Role.CLINICIAN, Role.COMPLIANCE, Role.IT_ADMIN):
        with pytest.raises(Forbidden):
            recording.allow(house.actor(role), WHY, now + timedelta(days=30))
    with pytest.raises(BadRisk):
        recording.allow(manager, "no", now + timedelta(days=30))
    assert not voice.may_record(practice, now)
    recording.allow(manager, WHY, now + timedelta(days=30))
    assert voice.may_record(practice, now)
    assert not voice.may_record(practice, now + timedelta(days=31))
    row = RiskAcceptance.objects.get()
    assert (row.reason, row.accepted_by) == (WHY, house.people[Role.MANAGER].login.join(("user:", "")))
    recording.withdraw(manager)
    assert not voice.may_record(practice, now)
    acts = list(Event.objects.filter(log_id=practice).order_by("seq").values_list("action", flat=True))
    assert acts[-2:] == ["callback:record_allow", "callback:record_withdraw"]
