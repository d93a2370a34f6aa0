"""Masked call backs: who is rung, what each sees, whose outcome it is, and what a crash leaves of them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from tests.db.oncall.test_voice import (
    CELL,
    PIN,
    Phone,
    _acts,
    _connected,
    _log,
    _night,
    _owned,
    _woken,
    clinician,
    phone,
)
from tests.factories import CALLER, House, make_message

from nightbell.core import faults
from nightbell.core.clock import utc_now
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.models import State
from nightbell.oncall import callback, escalation, voice
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.models import Alert, Attempt, CallBack, Reach, VoiceCall
from nightbell.people.models import Contact, User
from nightbell.people.roles import Role

__all__ = ["clinician", "phone"]


def test_during_an_alert_the_patient_is_rung_masked_and_the_outcome_closes_it(
    house: House, phone: Phone, clinician: User
) -> None:
    message, _, mine = _woken(house, phone)
    phone.leg(mine, "answered")
    phone.keys(mine, "1" + PIN + "#4")
    order = phone.got("place_call")[-1]
    assert (order["to"], order["caller"]) == (CALLER, "+15035550100")
    acts = _acts(message)
    assert acts.index("message:acknowledge") < acts.index("call:ask") < acts.index("call:patient")
    theirs = _connected(phone, mine)
    assert phone.said(theirs) == ["connect-patient"]
    row = CallBack.objects.get()
    assert (row.answered_at is None, row.ended_at) == (False, None)
    phone.leg(theirs, "ended", "hung_up")
    phone.tell("parted", a=mine, b=theirs)
    phone.keys(mine, "1")
    message.refresh_from_db()
    assert (message.state, message.outcome) == (State.CLOSED, "reached")
    assert Reach.objects.get().call == row
    phone.silence(mine)
    row.refresh_from_db()
    assert row.ended_at is not None
    assert CALLER not in _log()


def test_a_page_has_the_clinician_rung_and_after_a_key_the_patient(
    house: House, phone: Phone, clinician: User
) -> None:
    message, actor = _owned(house), house.actor(Role.CLINICIAN)
    callback.ask(actor, message.id)
    with pytest.raises(NotNow):
        callback.ask(actor, message.id)
    assert callback.news(actor, message.id).state == "asked"  # type: ignore[union-attr]
    phone.calling.step()
    phone.calling.step()
    assert len(phone.got("place_call")) == 1
    mine = phone.rung(CELL)
    phone.leg(mine, "answered")
    assert "call:patient" not in _acts(message), "nobody has shown that they are there"
    phone.keys(mine, "1")
    theirs = _connected(phone, mine)
    assert callback.news(actor, message.id).state == "talking"  # type: ignore[union-attr]
    phone.leg(mine, "ended", "hung_up")
    assert ("hang_up", {"call": theirs}) in phone.orders
    found = callback.news(actor, message.id)
    assert found is not None
    assert (found.state, found.why, found.settled) == ("ended", "hung_up", False)
    callback.ask(actor, message.id)


def test_only_the_owner_rings_the_patient_and_only_by_a_proved_telephone(
    house: House, clinician: User
) -> None:
    message = make_message(house.mailbox)
    with pytest.raises(NotNow, match="not yours"):
        callback.ask(house.actor(Role.CLINICIAN), message.id)
    mailbox.acknowledge(house.actor(Role.CLINICIAN), message.id)
    Contact.objects.filter(address=CELL).update(verified_at=None)
    with pytest.raises(NotNow, match="no proved telephone"):
        callback.ask(house.actor(Role.CLINICIAN), message.id)
    assert not CallBack.objects.exists()


def test_a_patient_who_does_not_answer_comes_back_to_the_owner(
    house: House, phone: Phone, clinician: User
) -> None:
    message = _owned(house)
    callback.ask(house.actor(Role.CLINICIAN), message.id)
    phone.calling.step()
    mine = phone.rung(CELL)
    phone.leg(mine, "answered")
    phone.keys(mine, "1")
    phone.leg(phone.rung(CALLER), "ended", "no_answer")
    assert "connect-retry" in phone.said(mine)
    phone.leg(mine, "ended", "hung_up")
    reach = Reach.objects.get()
    assert (reach.outcome, reach.back_at is None) == ("no_answer", False)


def test_who_gave_the_message_away_meanwhile_gets_no_number(
    house: House, phone: Phone, clinician: User
) -> None:
    message = _owned(house)
    callback.ask(house.actor(Role.CLINICIAN), message.id)
    phone.calling.step()
    mine = phone.rung(CELL)
    phone.leg(mine, "answered")
    mailbox.reopen(house.actor(Role.CLINICIAN), message.id)
    phone.keys(mine, "1")
    assert len(phone.got("place_call")) == 1
    assert "call:patient" not in _acts(message)


def test_after_a_crash_what_nobody_drives_is_ended_and_the_alert_goes_on(
    house: House, phone: Phone, clinician: User
) -> None:
    _, night, call = _woken(house, phone)
    phone.leg(call, "answered")
    after = Phone()  # another worker
    night.sender = after.calling.sender(night.sender, False)
    after.tell("hello", legs=[call])
    after.calling.step()
    assert after.orders[0] == ("hang_up", {"call": call})
    assert Attempt.objects.get().state == "failed"
    night.tick(1)
    assert after.rung(CELL) != call


class Killed(BaseException):
    pass


@pytest.mark.parametrize("noted", [True, False])
def test_a_telephone_that_rings_while_we_are_killed_is_rung_again(
    house: House, phone: Phone, clinician: User, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has answered it, so that it was no answer; whether its sender had noted that it left, or had not."""

    def die(name: str) -> None:
        if name == "alert.sent" and not noted:
            raise Killed

    make_message(house.mailbox, urgent=True)
    night = _night(phone)
    with monkeypatch.context() as killing, suppress(Killed):
        killing.setattr(faults, "point", die)
        night.tick()
    call, step = phone.rung(CELL), Alert.objects.get().step
    assert Attempt.objects.get().state == ("sent" if noted else "pending")
    after = Phone()
    night.sender = after.calling.sender(night.sender, False)
    after.tell("hello", legs=[call])
    after.calling.step()
    assert after.orders[0] == ("hang_up", {"call": call})
    night.tick(6 if noted else 31)
    assert after.rung(CELL) != call
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.receipt, attempt.reference) == ("sent", "", after.rung(CELL))
    assert Alert.objects.get().step == step, "nobody else is woken for it"


def test_a_call_that_no_phone_knows_is_lost(house: House, phone: Phone, clinician: User) -> None:
    _, _, call = _woken(house, phone)
    after = Phone()
    after.calling.began -= voice.LOST_AFTER.total_seconds()
    after.calling.step()
    assert VoiceCall.objects.get(pk=call).ended_at is None, "it was begun a moment ago"
    VoiceCall.objects.update(started_at=utc_now() - 2 * voice.LOST_AFTER)
    after.calling.step()
    assert (VoiceCall.objects.get(pk=call).why, Attempt.objects.get().state) == ("lost", "failed")


def test_killed_between_row_and_order_it_is_ordered_under_the_same_id(
    house: House, phone: Phone, clinician: User
) -> None:
    make_message(house.mailbox, urgent=True)
    now = utc_now()
    escalation.start_due(now)
    escalation.advance_due(now)
    attempt = Attempt.objects.get()
    row = voice.plan(house.practice.id, Purpose.ALERT, now, user=clinician, attempt=attempt)
    night = _night(phone)
    night.tick()
    assert [one["call"] for one in phone.got("place_call")] == [row.id]
    assert VoiceCall.objects.count() == 1


def test_killed_after_the_call_had_ended_the_attempt_is_still_failed(
    house: House, phone: Phone, clinician: User
) -> None:
    make_message(house.mailbox, urgent=True)
    now = utc_now()
    escalation.start_due(now)
    escalation.advance_due(now)
    attempt = Attempt.objects.get()
    row = voice.plan(house.practice.id, Purpose.ALERT, now, user=clinician, attempt=attempt)
    voice.finish(row.id, "busy", now)  # before the sender has written that it sent
    assert Attempt.objects.get().state == "pending"
    night = _night(phone)
    night.tick()
    assert Attempt.objects.filter(step=0).get().state == "failed"
    assert Alert.objects.get().step > 1


def test_two_who_speak_with_each_other_are_not_parted_by_a_new_worker(
    house: House, phone: Phone, clinician: User
) -> None:
    message = _owned(house)
    callback.ask(house.actor(Role.CLINICIAN), message.id)
    phone.calling.step()
    mine = phone.rung(CELL)
    phone.leg(mine, "answered")
    phone.keys(mine, "1")
    theirs = _connected(phone, mine)
    after = Phone()
    after.tell("hello", legs=[mine, theirs])
    after.calling.step()
    assert not after.got("hang_up")
    assert after.got("join") == [{"a": mine, "b": theirs}]
    after.leg(theirs, "ended", "hung_up")
    after.keys(mine, "2")
    assert (Reach.objects.get().outcome, CallBack.objects.get().ended_at) == ("left_word", None)


def test_a_phone_that_is_gone_for_a_moment_costs_no_call(house: House, phone: Phone, clinician: User) -> None:
    _, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.calling.heard("phone-2", {"event": "hello", "legs": [call]})  # it is back before its end is seen
    phone.tell("gone", legs=[call])
    talk = phone.calling._talks[call]
    assert talk._gone_at is None
    phone.calling.heard("phone-2", {"event": "gone", "legs": [call]})
    phone.tell("hello", legs=[])
    talk.tick(1e12)
    assert (talk.over.is_set(), Attempt.objects.get().state) == (True, "failed")


def test_without_a_phone_it_is_tried_again(house: House, phone: Phone, clinician: User) -> None:
    """One that has been away for longer than a start takes: each try counts, and others are told."""
    phone.here = False
    phone.calling.seen -= voice.LOST_AFTER.total_seconds()
    make_message(house.mailbox, urgent=True)
    night = _night(phone)
    night.tick()
    assert (Attempt.objects.get().state, Attempt.objects.get().tries) == ("pending", 1)
    phone.here = True
    night.tick(3)
    assert Attempt.objects.get().state == "sent"
    assert len({one["call"] for one in phone.got("place_call")}) > 1
