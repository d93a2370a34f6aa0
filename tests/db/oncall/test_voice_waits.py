"""Right after a start, of ours or of the phone's, its hello may still be on the way: nothing is given up for that. And
how long is waited for a PIN, and for a free leg."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.db.oncall.test_voice import (  # noqa: F401
    CELL,
    OTHER_CELL,
    PIN,
    Phone,
    _night,
    _owned,
    _ring_in,
    _voiced,
    _with_phone,
    _woken,
    clinician,
    phone,
)
from tests.factories import House, make_message

from nightbell.core import clock
from nightbell.core.clock import utc_now
from nightbell.core.ids import new_ulid
from nightbell.core.notice import ChannelError, NoticeKind
from nightbell.oncall import callback, escalation, voice
from nightbell.oncall.models import Alert, Attempt, CallBack, VoiceCall
from nightbell.people.models import Contact, User
from nightbell.people.roles import Role
from nightbell.server import call_effects
from nightbell.server.voice_channel import VoiceChannel


def test_right_after_a_start_an_alert_waits_for_the_phone_and_no_try_counts(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    phone.here = False
    make_message(house.mailbox, urgent=True)
    night = _night(phone)
    night.tick()
    before = Alert.objects.get().next_at
    for _ in range(4):
        night.tick(1)
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.tries, attempt.twice) == ("pending", 0, False)
    assert Alert.objects.get().next_at == before, "nobody else is woken for it"
    assert not phone.got("place_call")
    assert not VoiceCall.objects.exists()
    phone.here = True
    night.tick(1)
    attempt.refresh_from_db()
    assert (attempt.state, attempt.tries, attempt.twice) == ("sent", 1, False)
    assert phone.rung(CELL) == attempt.reference


def test_a_phone_that_does_not_come_is_waited_for_no_longer(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    phone.here = False
    make_message(house.mailbox, urgent=True)
    night = _night(phone)
    night.tick()
    assert Alert.objects.get().step == 1
    phone.calling.seen -= voice.LOST_AFTER.total_seconds()
    for _ in range(3):
        night.tick(6)
    assert Attempt.objects.filter(step=0).get().tries == 3
    assert Alert.objects.get().step > 1, "the next step came at once"


def test_a_call_back_that_is_asked_for_right_after_a_start_waits_for_the_phone(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    phone.here = False
    message, actor = _owned(house), house.actor(Role.CLINICIAN)
    callback.ask(actor, message.id)
    for _ in range(2):
        phone.calling.step()
    found = callback.news(actor, message.id)
    assert found is not None
    assert (found.state, found.ended_at) == ("asked", None)
    assert not VoiceCall.objects.exists()
    phone.here = True
    phone.tell("hello", legs=[])
    phone.calling.step()
    assert len(phone.got("place_call")) == 1
    phone.leg(phone.rung(CELL), "answered")


def test_a_call_back_is_given_up_when_no_phone_came(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    phone.here = False
    message, actor = _owned(house), house.actor(Role.CLINICIAN)
    callback.ask(actor, message.id)
    phone.calling.seen -= voice.LOST_AFTER.total_seconds()
    phone.calling.step()
    found = callback.news(actor, message.id)
    assert found is not None
    assert (found.state, found.why) == ("ended", "no_phone")
    phone.here = True
    callback.ask(actor, message.id)


def test_a_phone_that_goes_while_it_is_ordered_costs_no_call_back(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message, actor = _owned(house), house.actor(Role.CLINICIAN)
    callback.ask(actor, message.id)
    looks = iter([True, True, False, True, True])  # ready at the look, gone at the order
    monkeypatch.setattr(phone.calling, "_ready", lambda: next(looks))
    phone.here = False
    phone.calling.step()
    assert CallBack.objects.get().ended_at is None
    phone.here = True
    phone.calling.step()
    assert [one["to"] for one in phone.got("place_call")] == [CELL, CELL]
    phone.leg(phone.rung(CELL), "answered")
    assert callback.news(actor, message.id).state == "ringing_you"  # type: ignore[union-attr]


def test_no_ring_of_a_swap_and_no_code_is_spent_while_the_phone_is_still_starting(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    call = _ring_in(phone, house, "6175550123")
    phone.keys(call, PIN + "#11")
    phone.here = False
    phone.calling.step()
    Contact.objects.filter(address=CELL).update(send_at=utc_now())
    with pytest.raises(ChannelError) as early:
        VoiceChannel(phone.calling).send(_voiced(NoticeKind.TEST), CELL, new_ulid())
    assert (early.value.not_yet, early.value.permanent) == (True, False)
    assert not phone.got("place_call")
    assert VoiceCall.objects.count() == 1
    phone.here = True
    phone.calling.step()
    assert len(phone.got("place_call")) == 1


@pytest.mark.parametrize("proved", [False, True])
def test_without_the_pin_the_staff_line_ends_after_a_while(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    proved: bool,
) -> None:
    call = _ring_in(phone, house, CELL.removeprefix("+1"))
    if proved:
        phone.keys(call, PIN + "#")
    talk = phone.calling._talks[call]
    assert isinstance(talk.effects, call_effects.Staff)
    talk.effects.since -= call_effects.UNPROVED_S + 1
    talk._looked -= 10
    talk.tick(clock.monotonic())
    assert (VoiceCall.objects.get(pk=call).ended_at is None) is proved


def test_that_no_leg_was_free_is_no_try(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    _, night, call = _woken(house, phone)
    for _ in range(escalation.MAX_TRIES + 1):
        phone.tell("leg", call=call, state="ended", code=503, why="unreachable", encrypted=False)
        assert (Attempt.objects.get().state, Attempt.objects.get().tries) == ("pending", 0)
        Alert.objects.update(next_at=night.now + timedelta(hours=1))
        night.tick(6)
        call = phone.rung(CELL)
    assert Attempt.objects.get().state == "sent"
    assert not Attempt.objects.get().twice
