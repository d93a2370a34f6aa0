"""Calls as rows and orders: who is rung, what counts as told, one owner, masked call backs, and what a crash leaves behind."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.db.oncall.test_covering import cover
from tests.db.test_escalation import Night, Pager
from tests.factories import CALLER, House, make_message, tone

from nightbell.audit.models import Event
from nightbell.core.capture import Codec
from nightbell.core.clock import utc_now
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, NoticeKind, Notification, Rendered
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.models import Message, PlayGrant, State
from nightbell.oncall import callback, escalation, swaps, voice
from nightbell.oncall import service as oncall
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.models import Alert, Attempt, CallBack, Override, Reach, Shift, Swap, VoiceCall
from nightbell.oncall.notifications import render
from nightbell.people import pins, risks
from nightbell.people.installation import By
from nightbell.people.models import Contact, User
from nightbell.people.roles import Role
from nightbell.server import calling as calls
from nightbell.server.calling import Calling
from nightbell.server.conversation import Conversation
from nightbell.server.voice_channel import VoiceChannel
from nightbell.sip import g711

PIN, CELL, OTHER_CELL = "295817", "+16175550123", "+16175550124"


@dataclass
class Phone:
    """What a phone is told, and what it tells; conversations are driven by hand. here: whether one is connected."""

    here: bool = True
    orders: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    calling: Calling = field(init=False)

    def __post_init__(self) -> None:
        self.calling = Calling(self.order, Log("test"), ready=lambda: self.here)

    def order(self, command: str, data: Mapping[str, Any], beside: str = "") -> bool:
        if command == "place_call":
            assert VoiceCall.objects.filter(pk=data["call"], ended_at=None).exists(), (
                "a row comes before the call"
            )
        self.orders.append((command, dict(data)))
        return self.here

    def got(self, command: str) -> list[dict[str, Any]]:
        return [data for name, data in self.orders if name == command]

    def said(self, call: str) -> list[str]:
        clips = [clip for one in self.got("say") if one["call"] == call for clip in one["clips"]]
        return [clip.split("/")[-1] for clip in clips if not clip.startswith("~")]

    def rung(self, to: str = "") -> str:
        """The newest call that was placed (to that number)."""
        return str([one["call"] for one in self.got("place_call") if to in ("", one["to"])][-1])

    def tell(self, event: str, **fields: Any) -> None:
        self.calling.heard("phone-1", {"event": event, **fields})
        for talk in set(map(id, self.calling._talks.values())):
            found = next(one for one in self.calling._talks.values() if id(one) == talk)
            while not found.events.empty() and not found.over.is_set():
                found.take(found.events.get())

    def leg(self, call: str, state: str, why: str = "", **more: Any) -> None:
        self.tell("leg", call=call, state=state, code=0, why=why, encrypted=True, **more)

    def keys(self, call: str, keys: str) -> None:
        for key in keys:
            self.tell("key", call=call, key=key)

    def silence(self, call: str, times: int = 1) -> None:
        """All was heard, and the time for a key is over."""
        for _ in range(times):
            talk = self.calling._talks[call]
            talk.tick(1e12)


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> Phone:
    monkeypatch.setattr(Conversation, "start", lambda talk: None)
    monkeypatch.setattr(calls, "dials", lambda: True)
    monkeypatch.setattr(pins, "_strangers", {})
    return Phone()


@pytest.fixture
def clinician(house: House) -> User:
    return _with_phone(house, Role.CLINICIAN, CELL)


def _with_phone(house: House, role: Role, number: str, pin: str = PIN) -> User:
    user, now = house.people[role], utc_now()
    Contact.objects.filter(user=user).update(ended_at=now)
    Contact.objects.create(user=user, kind="voice", address=number, created_at=now, verified_at=now)
    pins.set_pin(house.actor(role), pin)
    return user


def _night(phone: Phone, *pagers: Pager) -> Night:
    night = Night(*(pagers or (Pager(),)))
    night.sender = phone.calling.sender(night.sender, False)
    return night


def _woken(house: House, phone: Phone, **options: Any) -> tuple[Message, Night, str]:
    message = make_message(house.mailbox, urgent=True, **options)
    night = _night(phone)
    night.tick()
    return message, night, phone.rung(CELL)


def _log() -> str:
    return str([bytes(leaf) for leaf in Event.objects.values_list("leaf", flat=True)])


def _acts(message: Message) -> list[str]:
    return list(Event.objects.filter(message=message.id).order_by("seq").values_list("action", flat=True))


def test_who_is_on_call_is_rung_proves_it_and_takes_the_message(
    house: House, phone: Phone, clinician: User
) -> None:
    message, _, call = _woken(house, phone)
    order = phone.got("place_call")[0]
    assert (order["to"], order["caller"], order["practice"]) == (CELL, "+15035550100", house.practice.id)
    assert Attempt.objects.get().state == "sent"
    phone.leg(call, "ringing")
    phone.leg(call, "answered")
    assert phone.said(call)[:3] == ["alert-hello", "practice-name", "alert-urgent"]
    phone.keys(call, "1" + PIN + "#")
    attempt = Attempt.objects.get()
    assert (attempt.receipt, attempt.reference) == ("delivered", call)
    phone.keys(call, "1")
    message.refresh_from_db()
    assert (message.state, message.owner) == (State.OWNED, clinician)
    assert "taken" in phone.said(call)
    assert {"pin:check", "message:acknowledge"} <= set(Event.objects.values_list("action", flat=True))
    phone.leg(call, "ended", "hung_up")
    row = VoiceCall.objects.get()
    assert (row.why, row.answered_at is None, row.ended_at is None) == ("hung_up", False, False)
    assert Attempt.objects.get().state == "sent"
    assert PIN not in _log()


@pytest.mark.parametrize("why", ["busy", "no_answer", "refused", "unreachable", "no_trunk", "lost"])
def test_who_is_not_reached_is_no_answer_and_the_next_comes_at_once(
    house: House, phone: Phone, clinician: User, why: str
) -> None:
    _, night, call = _woken(house, phone)
    before = Alert.objects.get().next_at
    phone.leg(call, "ended", why)
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.answer) == ("failed", voice.WORDS[why])
    assert Alert.objects.get().next_at < before
    night.tick(1)
    assert phone.rung(CELL) != call, "the next step rings anew"


def test_a_machine_is_no_answer_and_hears_no_urgency_beyond_the_first_words(
    house: House, phone: Phone, clinician: User
) -> None:
    _, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.silence(call, 2)
    assert phone.said(call)[-1] == "alert-machine"
    phone.silence(call)
    assert ("hang_up", {"call": call}) in phone.orders
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.answer, attempt.receipt) == (
        "failed",
        voice.WORDS["unproved"],
        "undelivered",
    )


def test_a_guessed_pin_locks_and_the_next_comes_at_once(house: House, phone: Phone, clinician: User) -> None:
    message, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "1" + "111222#" * 5)
    assert phone.said(call)[-1] == "pin-locked"
    phone.keys(call, "1" + PIN + "#1")
    phone.silence(call)
    assert Attempt.objects.get().answer == voice.WORDS["locked"]
    assert Alert.objects.get().next_at <= utc_now()
    message.refresh_from_db()
    assert message.owner is None


def test_a_wrong_number_is_never_rung_again(house: House, phone: Phone, clinician: User) -> None:
    _, night, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "99")
    phone.silence(call)
    contact = Contact.objects.get(address=CELL)
    assert (contact.ended_why, Attempt.objects.get().answer) == ("key 9", voice.WORDS["wrong_number"])
    night.tick(1)
    night.tick(200)
    assert len(phone.got("place_call")) == 1


def test_two_who_take_it_in_the_same_second_have_one_owner(
    house: House, phone: Phone, clinician: User
) -> None:
    other = _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    policy = [{"who": "all", "id": "", "how": [], "wait_s": 60}]
    house.practice.schedules.update(steps=policy)
    message, _, first = _woken(house, phone)
    second = phone.rung(OTHER_CELL)
    for call in (first, second):
        phone.leg(call, "answered")
        phone.keys(call, "1" + PIN + "#")
    phone.keys(second, "1")
    phone.keys(first, "1")
    message.refresh_from_db()
    assert message.owner == other
    assert "taken-other" in phone.said(first)
    assert "taken" in phone.said(second)


def test_when_somebody_has_it_the_others_ring_no_more(house: House, phone: Phone, clinician: User) -> None:
    message, _, call = _woken(house, phone)
    phone.leg(call, "ringing")
    mailbox.acknowledge(house.actor(Role.MANAGER), message.id)
    talk = phone.calling._talks[call]
    talk.tick(1e12)
    assert ("hang_up", {"call": call}) in phone.orders
    assert Attempt.objects.get().answer == voice.WORDS["not_needed"]


def test_passing_it_on_tells_the_next_at_once(house: House, phone: Phone, clinician: User) -> None:
    message, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#3")
    assert phone.said(call)[-1] in ("passed", "pass-last")
    assert Alert.objects.get().next_at <= utc_now()
    assert "alert:pass" in _acts(message)


def test_the_last_one_cannot_pass_it_on(house: House, phone: Phone, clinician: User) -> None:
    house.practice.schedules.update(
        steps=[{"who": "last_resort", "id": "", "how": [], "wait_s": 300}], fallback=clinician
    )
    message, _, call = _woken(house, phone)
    before = Alert.objects.get().next_at
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#3")
    assert not {"passed", "pass-last"} & set(phone.said(call))
    assert Alert.objects.get().next_at == before, "or it would ring without a pause"
    phone.keys(call, "1")
    assert "message:acknowledge" in _acts(message)


def test_who_was_handed_a_message_accepts_it_by_key(house: House, phone: Phone, clinician: User) -> None:
    message = make_message(house.mailbox, urgent=True)
    manager = house.actor(Role.MANAGER)
    mailbox.acknowledge(manager, message.id)
    oncall.hand_over(manager, message.id, clinician.id)
    _night(phone).tick()
    call = phone.rung(CELL)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#")
    assert "act-pass" not in phone.said(call)
    phone.keys(call, "1")
    assert _acts(message)[-1] == "message:accept"


def test_nothing_is_played_until_the_practice_put_that_on_record(
    house: House, phone: Phone, clinician: User
) -> None:
    message, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#2")
    assert "listen-not-here" in phone.said(call)
    assert not phone.got("sound")
    assert "message:play" not in _acts(message)


def test_a_message_is_played_after_its_row_and_how_much_is_written(
    house: House, phone: Phone, clinician: User
) -> None:
    by = By("os:test", utc_now())
    risks.accept(
        by,
        voice.LISTENING,
        house.practice.id,
        "by phone",
        "There is no data out there.",
        by.now + timedelta(days=9),
        "",
    )
    pcm = tone(9.0)
    message, _, call = _woken(house, phone, pcm=pcm)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#2")
    pieces = phone.got("sound")
    assert [one["last"] for one in pieces] == [False, True]
    played = g711.decode(b"".join(base64.b64decode(one["ulaw"]) for one in pieces), Codec.PCMU)
    assert played == g711.decode(g711.encode(pcm, Codec.PCMU), Codec.PCMU)
    assert _acts(message).count("message:play") == 1
    phone.keys(call, "7")
    assert _acts(message).count("message:play_ended") == 1
    assert PlayGrant.objects.get().heard_ms < 1000, "it was cut at once"
    assert not message.hearings.exists(), "nobody has heard a word of it"
    phone.keys(call, "2")
    assert not message.hearings.exists(), "it has just begun"
    phone.silence(call)
    heard = message.hearings.get()
    assert (heard.user, heard.heard_ms) == (clinician, message.duration_ms)
    phone.keys(call, "1")
    assert _acts(message)[-1] == "message:acknowledge"


def _connected(phone: Phone, mine: str) -> str:
    """The patient has answered, both have heard what they hear, and the bridge is closed."""
    theirs = phone.rung(CALLER)
    phone.leg(theirs, "answered")
    phone.silence(mine)
    assert phone.got("join")[-1] == {"a": mine, "b": theirs}
    phone.tell("joined", a=mine, b=theirs)
    return theirs


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


def _owned(house: House) -> Message:
    message = make_message(house.mailbox)
    mailbox.acknowledge(house.actor(Role.CLINICIAN), message.id)
    return message


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
    after = Phone()  # another worker
    night.sender = after.calling.sender(night.sender, False)
    after.tell("hello", legs=[call])
    after.calling.step()
    assert after.orders[0] == ("hang_up", {"call": call})
    assert Attempt.objects.get().state == "failed"
    night.tick(1)
    assert after.rung(CELL) != call


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


def _voiced(kind: NoticeKind, code: str = "") -> Rendered:
    return render(Notification(kind, "AB12", "", "en", code), "https://bell.example")


def test_a_code_is_told_once_it_was_heard_and_not_kept(
    house: House, phone: Phone, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = VoiceChannel(phone.calling)
    Contact.objects.filter(address=CELL).update(send_at=utc_now())

    def listens(talk: Conversation) -> None:
        phone.leg(talk.call, "answered")
        phone.silence(talk.call)

    monkeypatch.setattr(Conversation, "start", listens)
    receipt = channel.send(_voiced(NoticeKind.VERIFY, "502814"), CELL, new_ulid())
    assert receipt.answer == "heard"
    assert b"digit" not in receipt.sent
    monkeypatch.setattr(Conversation, "start", lambda talk: phone.leg(talk.call, "ended", "busy"))
    with pytest.raises(ChannelError, match="busy"):
        channel.send(_voiced(NoticeKind.TEST), CELL, new_ulid())
    assert not VoiceCall.objects.filter(ended_at=None).exclude(pk=receipt.reference).exists()


def test_a_number_that_charges_whoever_rings_it_is_not_rung(house: House, phone: Phone) -> None:
    with pytest.raises(ChannelError, match="cannot be called"):
        VoiceChannel(phone.calling).send(_voiced(NoticeKind.TEST), "+19005550123", new_ulid())
    assert phone.orders == []


def test_a_demo_leaves_telephones_to_its_outbox(
    house: House, phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "dials", lambda: False)
    outbox = Pager("voice")
    VoiceChannel(phone.calling, outbox).send(_voiced(NoticeKind.TEST), CELL, new_ulid())
    assert (len(outbox.told), phone.orders) == (1, [])


def _ring_in(phone: Phone, house: House, caller: str) -> str:
    call = new_ulid()
    phone.leg(call, "incoming", dialled="5035550109", caller=caller, practice=house.practice.id)
    phone.calling.step()
    phone.leg(call, "answered")
    for talk in list(phone.calling._talks.values()):
        while not talk.events.empty():
            talk.take(talk.events.get())
    return call


def test_a_shift_is_given_away_at_night_by_telephone(house: House, phone: Phone, clinician: User) -> None:
    desk = _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    call = _ring_in(phone, house, "6175550123")
    phone.keys(call, PIN + "#1")
    assert "swap-choose" in phone.said(call)
    phone.keys(call, "1")
    assert phone.said(call)[-1] == "swap-calling"
    phone.calling.step()
    asked = phone.rung()
    user = VoiceCall.objects.get(pk=asked).user
    assert user is not None
    assert user in (desk, house.people[Role.MANAGER])
    phone.leg(asked, "answered")
    phone.keys(asked, "1" + PIN + "#")
    assert "swap-offer" in phone.said(asked)
    assert "shift-ends" in phone.said(asked)
    phone.keys(asked, "1")
    assert phone.said(asked)[-1] in ("swap-yours-now", "swap-yours")
    assert Override.objects.get().user == user
    phone.calling._talks[call].tick(1e12)
    assert "swap-done" in phone.said(call)


def test_who_does_not_answer_goes_to_the_next_at_once(house: House, phone: Phone, clinician: User) -> None:
    _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    _with_phone(house, Role.MANAGER, "+16175550125")
    call = _ring_in(phone, house, "6175550123")
    phone.keys(call, PIN + "#11")
    phone.calling.step()
    first = phone.rung()
    phone.leg(first, "ended", "no_answer")
    swaps.due(utc_now())
    phone.calling.step()
    assert phone.rung() != first
    phone.calling._talks[call].tick(1e12)
    assert "swap-no-answer" in phone.said(call)
    assert not Override.objects.exists()


@pytest.mark.parametrize("caller", ["2125550000", "", "anonymous"])
def test_a_stranger_on_the_staff_line_never_gets_in(
    house: House, phone: Phone, clinician: User, caller: str
) -> None:
    call = _ring_in(phone, house, caller)
    phone.keys(call, (PIN + "#") * 5)
    assert phone.said(call) == ["staff-hello", "pin-enter", *["pin-wrong"] * 4, "pin-locked-staff"]
    assert not Event.objects.filter(action="pin:check").exists(), "nobody's PIN is locked by a stranger"
    assert not Swap.objects.exists()


def test_by_the_answers_nobody_learns_whose_numbers_are_known(
    house: House, phone: Phone, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stranger, somebody without a PIN and somebody with one, calling three times: the same turns, and as much hashing
    wherever no lock spares it."""
    hashed: list[str] = []
    for name in ("make_password", "check_password"):
        slow = getattr(pins, name)
        monkeypatch.setattr(pins, name, lambda *pin, slow=slow: hashed.append("") or slow(*pin))
    _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    pins.Pin.objects.filter(user=house.people[Role.FRONT_DESK]).delete()
    heard = []
    for caller in ("2125550000", OTHER_CELL, CELL):
        hashed.clear()
        said = []
        for tries in (3, 5, 1):
            call = _ring_in(phone, house, caller)
            phone.keys(call, "111222#" * tries)
            said.append(phone.said(call))
            phone.leg(call, "ended", "hung_up")
        heard.append((said, len(hashed)))
    assert heard[0] == heard[1] == heard[2]
    assert [len(one) for one in heard[0][0]] == [5, 4, 3], (
        "locked at the fifth, and at the first of the next call"
    )
    assert heard[0][1] == 5


def test_who_is_not_on_call_has_nothing_to_give_away(house: House, phone: Phone, clinician: User) -> None:
    Shift.objects.all().delete()
    call = _ring_in(phone, house, "6175550123")
    phone.keys(call, PIN + "#1")
    assert phone.said(call)[-2:] == ["sorry", "goodbye"]


def test_who_covers_from_another_practice_is_rung_takes_it_and_gives_the_shift_away(
    house: House, other: House, phone: Phone
) -> None:
    """By their own telephone and PIN, which the practice that they cover does not know."""
    guest = cover(house, other)
    _with_phone(other, Role.CLINICIAN, CELL)
    Shift.objects.filter(schedule__practice=house.practice).update(user=guest)
    message, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#1")
    message.refresh_from_db()
    assert (message.state, message.owner) == (State.OWNED, guest)
    taken = Event.objects.get(action="message:acknowledge")
    assert (taken.log_id, taken.actor) == (house.practice.id, f"user:{guest.login}")
    phone.leg(call, "ended", "hung_up")
    _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    inside = _ring_in(phone, house, "6175550123")
    phone.keys(inside, PIN + "#1")
    assert "swap-choose" in phone.said(inside)
    at_home = _ring_in(phone, other, "6175550123")
    phone.keys(at_home, PIN + "#1")
    assert VoiceCall.objects.get(pk=at_home).user == other.people[Role.CLINICIAN], (
        "on each line who they are there"
    )
