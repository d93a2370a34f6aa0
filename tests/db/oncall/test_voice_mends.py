"""Telephones when things go wrong: clocks, crashes between two steps, a full desk, a busy clinician, and calls of which
nobody said what came of them."""

from __future__ import annotations

import base64
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.db.oncall.test_voice import (  # noqa: F401
    CELL,
    OTHER_CELL,
    PIN,
    Phone,
    _acts,
    _connected,
    _night,
    _owned,
    _ring_in,
    _voiced,
    _with_phone,
    _woken,
    clinician,
    phone,
)
from tests.db.test_got_worse import worse
from tests.factories import CALLER, House, make_message, tone

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.core.clock import utc_now
from nightbell.core.ids import new_ulid
from nightbell.core.notice import ChannelError, NoticeKind
from nightbell.mailbox.models import Message, State
from nightbell.oncall import callback, escalation, notices, swaps, voice
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.models import Alert, Attempt, CallBack, Notice, Reach, Swap, VoiceCall
from nightbell.people import risks
from nightbell.people.installation import By
from nightbell.people.models import Contact, RiskAcceptance, User
from nightbell.people.roles import Role
from nightbell.server import conversation
from nightbell.server.voice_channel import VoiceChannel
from nightbell.sip import g711

NEWER = "6175550188"


def test_a_clock_that_is_set_back_begins_no_storm_of_calls(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    call = _ring_in(phone, house, "6175550123")
    phone.keys(call, PIN + "#11")
    real = clock.utc_now
    monkeypatch.setattr(clock, "utc_now", lambda: real() - timedelta(hours=1))
    for _ in range(4):
        phone.calling.step()
        assert len(phone.got("place_call")) == 1, "one that is not over is not placed again"
    for _ in range(4):
        Swap.objects.update(next_at=real() + timedelta(hours=1))
        phone.leg(phone.rung(), "ended", "no_answer")
        Swap.objects.update(next_at=real() + timedelta(hours=1))
        VoiceCall.objects.exclude(ended_at=None).update(ended_at=real() - timedelta(hours=9))
        phone.calling.step()
    assert len(phone.got("place_call")) == 2


def test_a_second_message_waits_for_the_telephone_that_rings_already(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    _, night, first = _woken(house, phone)
    make_message(house.mailbox, urgent=True)
    night.tick(1)
    assert len(phone.got("place_call")) == 1
    waits = Attempt.objects.get(state="pending")
    assert waits.alert.next_at > utc_now() + timedelta(seconds=30), "nor does the next step come at once"
    phone.leg(first, "ended", "no_answer")
    night.tick(25)
    assert phone.rung(CELL) != first
    waits.refresh_from_db()
    assert waits.state == "sent"


@pytest.mark.parametrize("proved", [False, True])
def test_who_shows_the_number_of_the_clinician_keeps_no_alert_from_them_without_the_pin(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    proved: bool,
) -> None:
    inside = _ring_in(phone, house, CELL.removeprefix("+1"))
    phone.keys(inside, PIN[:-1] + "*" if not proved else PIN + "#")
    make_message(house.mailbox, urgent=True)
    _night(phone).tick(1)
    assert len(phone.got("place_call")) == (0 if proved else 1)
    assert Attempt.objects.get().state == ("pending" if proved else "sent")


def test_without_a_free_leg_of_our_own_it_is_sent_again_and_nobody_else_is_woken(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    _, night, first = _woken(house, phone)
    before = Alert.objects.get().next_at
    phone.tell("leg", call=first, state="ended", code=503, why="unreachable", encrypted=False)
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.receipt, Alert.objects.get().next_at) == ("pending", "", before)
    night.tick(6)
    assert phone.rung(CELL) != first
    second = phone.rung(CELL)
    phone.leg(second, "trying")
    phone.tell("leg", call=second, state="ended", code=503, why="unreachable", encrypted=False)
    assert Attempt.objects.get().state == "failed", "a carrier's 503 is an answer"


def test_killed_before_the_order_it_is_sent_again_though_the_row_was_found_lost_first(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    make_message(house.mailbox, urgent=True)
    now = utc_now()
    escalation.start_due(now)
    escalation.advance_due(now)
    attempt = Attempt.objects.get()
    contact = Contact.objects.get(address=CELL)
    row = voice.plan(
        house.practice.id,
        Purpose.ALERT,
        now - 2 * voice.LOST_AFTER,
        user=clinician,
        contact=contact,
        attempt=attempt,
    )
    phone.calling.began -= 100.0
    phone.calling.step()
    row.refresh_from_db()
    assert row.why == "lost"
    _night(phone).tick(1)
    attempt.refresh_from_db()
    assert (attempt.state, attempt.receipt) == ("sent", "")
    assert phone.rung(CELL) == attempt.reference != row.id


def test_one_that_cannot_be_seen_to_costs_no_other_its_turn(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = _owned(house)
    callback.ask(house.actor(Role.CLINICIAN), message.id)
    stray, caller = new_ulid(), new_ulid()
    voice.plan(house.practice.id, Purpose.NOTICE, utc_now(), id=stray)
    phone.tell("hello", legs=[stray])
    phone.leg(caller, "incoming", dialled="5035550109", caller="", practice=house.practice.id)
    with monkeypatch.context() as broken:
        broken.setattr(
            phone.calling, "_colleagues", lambda user: (_ for _ in ()).throw(OSError("no database"))
        )
        broken.setattr(swaps, "asking", lambda: (_ for _ in ()).throw(OSError("no database")))
        with pytest.raises(OSError, match="no database"):
            phone.calling.step()
    assert ("hang_up", {"call": stray}) in phone.orders
    assert phone.rung(CELL), "the call back was placed"
    phone.calling.step()
    assert VoiceCall.objects.get(pk=caller).purpose == Purpose.STAFF


def test_a_call_that_cannot_write_what_was_heard_still_ends(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    talk = phone.calling._talks[call]

    def breaks(talk: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(talk.effects, "cut", breaks)
    monkeypatch.setattr(
        conversation, "connection", SimpleNamespace(close=lambda: None)
    )  # that is the test's own
    phone.keys(call, "1")
    assert not talk.over.is_set()
    talk.end("ended")
    assert ("hang_up", {"call": call}) in phone.orders
    assert VoiceCall.objects.get(pk=call).ended_at is not None


def test_no_call_outlasts_what_it_may(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    _, _, call = _woken(house, phone)
    talk = phone.calling._talks[call]
    talk.end_late(clock.monotonic() + 3_600)
    assert not talk.over.is_set()
    talk.end_late(clock.monotonic() + 3_700)
    assert VoiceCall.objects.get(pk=call).why == "lost"


def _on_record(house: House) -> None:
    by = By("os:test", utc_now())
    until = by.now + timedelta(days=9)
    risks.accept(by, voice.LISTENING, house.practice.id, "by phone", "There is no data out there.", until, "")


def test_what_was_decided_for_a_time_is_over_after_it(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    """Nobody hears a message over the phone network by a decision that has run out."""
    _on_record(house)
    assert voice.may_listen(house.practice.id, utc_now())
    _, _, call = _woken(house, phone)
    RiskAcceptance.objects.update(until=utc_now() - timedelta(days=3))
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#2")
    assert phone.got("sound") == []
    assert not voice.may_listen(house.practice.id, utc_now())


def test_it_got_worse_what_was_said_last_is_heard_first_and_its_number_rung(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    _on_record(house)
    first = make_message(house.mailbox, pcm=tone(2.0))
    later = tone(1.0, 700)
    addition = worse(house, first.id, pcm=later, caller=NEWER)
    Message.objects.filter(pk=addition.pk).update(received_at=first.received_at + timedelta(minutes=9))
    _night(phone).tick()
    call = phone.rung(CELL)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#2")
    played = base64.b64decode(phone.got("sound")[-1]["ulaw"])
    assert played == g711.encode(later, Codec.PCMU)
    assert (_acts(addition).count("message:play"), _acts(first).count("message:play")) == (1, 0)
    phone.silence(call)
    assert (_acts(addition).count("message:play_ended"), _acts(first).count("message:play")) == (1, 1)
    phone.silence(call)
    assert _acts(first).count("message:play_ended") == 1
    assert phone.said(call)[-2:] == ["act-connect", "press-4"]
    phone.keys(call, "4")
    assert phone.got("place_call")[-1]["to"] == f"+1{NEWER}"
    theirs = phone.rung(f"+1{NEWER}")
    phone.leg(theirs, "answered")
    phone.silence(call)
    phone.leg(theirs, "ended", "hung_up")
    phone.keys(call, "1")
    first.refresh_from_db()
    assert first.state == State.CLOSED


@pytest.mark.parametrize("number", ["5035550100", ""])
def test_the_patient_is_not_offered_where_nobody_could_be_shown_a_number(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    number: str,
) -> None:
    type(house.practice).objects.filter(pk=house.practice.pk).update(number=number)
    _, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#")
    assert ("act-connect" in phone.said(call)) is bool(number)


def test_what_was_not_played_is_not_closed_by_key(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    first = make_message(house.mailbox)
    worse(house, first.id)
    _night(phone).tick()
    call = phone.rung(CELL)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#4")
    theirs = _connected(phone, call)
    phone.leg(theirs, "ended", "hung_up")
    phone.keys(call, "1")
    first.refresh_from_db()
    assert first.state == State.OWNED
    phone.silence(call)
    assert Reach.objects.get().outcome == "unsettled"


@pytest.mark.parametrize("why", ["unreachable", "no_trunk", "not_allowed", "lost"])
def test_what_rang_nowhere_is_no_try(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    why: str,
) -> None:
    message = _owned(house)
    callback.ask(house.actor(Role.CLINICIAN), message.id)
    phone.calling.step()
    mine = phone.rung(CELL)
    phone.leg(mine, "answered")
    phone.keys(mine, "1")
    phone.leg(phone.rung(CALLER), "ended", why)
    assert phone.said(mine)[-2:] == ["sorry", "outcome-open"]
    phone.silence(mine)
    assert not Reach.objects.exclude(outcome="unsettled").exists()
    message.refresh_from_db()
    assert message.tried_at is None


def test_who_hangs_up_without_a_key_gets_the_message_back(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    message, actor = _owned(house), house.actor(Role.CLINICIAN)
    callback.ask(actor, message.id)
    phone.calling.step()
    mine = phone.rung(CELL)
    phone.leg(mine, "answered")
    phone.keys(mine, "1")
    _connected(phone, mine)
    phone.leg(mine, "ended", "hung_up")
    reach = Reach.objects.get()
    assert (reach.outcome, reach.call, reach.user) == ("unsettled", None, clinician)
    assert reach.back_at is not None
    news = callback.news(actor, message.id)
    assert news is not None
    assert not news.settled, "its page still asks"


def test_a_chosen_number_that_is_gone_is_not_replaced_by_another(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    message = _owned(house)
    callback.ask(house.actor(Role.CLINICIAN), message.id, source="keyed")
    phone.calling.step()
    mine = phone.rung(CELL)
    phone.leg(mine, "answered")
    phone.keys(mine, "1")
    assert len(phone.got("place_call")) == 1
    assert phone.said(mine)[-1] == "outcome-open"
    phone.silence(mine)
    assert CallBack.objects.get().why == "no_number"


def test_who_is_locked_out_during_the_call_does_nothing_more(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    message, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#")
    User.objects.filter(pk=clinician.pk).update(is_active=False)
    phone.keys(call, "1")
    message.refresh_from_db()
    assert message.owner is None
    assert ("hang_up", {"call": call}) in phone.orders
    assert VoiceCall.objects.get(pk=call).why == "locked_out"


def test_a_role_that_was_taken_away_during_the_call_counts_at_once(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
) -> None:
    message, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#")
    User.objects.filter(pk=clinician.pk).update(role=Role.IT_ADMIN.value)
    phone.keys(call, "1")
    message.refresh_from_db()
    assert message.owner is None


def test_a_notice_rings_its_own_person_by_a_proved_telephone_and_comes_again_when_nobody_answers(
    house: House,
    phone: Phone,  # noqa: F811
    clinician: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager = house.people[Role.MANAGER]
    Contact.objects.create(user=manager, kind="voice", address=CELL, created_at=utc_now())
    notices.plan(manager, NoticeKind.GAP, "gap:1", utc_now())
    notices.plan(clinician, NoticeKind.GAP, "gap:2", utc_now())
    channel, planned = VoiceChannel(phone.calling), Notice.objects.get(user=manager)
    with pytest.raises(ChannelError, match="nobody's"):
        channel.send(_voiced(NoticeKind.GAP), CELL, planned.id)
    for why, never in (("busy", False), ("no_answer", False), ("not_allowed", True)):

        def ends(talk: Any, why: str = why) -> None:
            phone.leg(talk.call, "ended", why)

        monkeypatch.setattr("nightbell.server.conversation.Conversation.start", ends)
        with pytest.raises(ChannelError) as failed:
            channel.send(_voiced(NoticeKind.GAP), CELL, Notice.objects.get(user=clinician).id)
        assert failed.value.permanent is never
    assert set(VoiceCall.objects.values_list("user", flat=True)) == {clinician.id}
