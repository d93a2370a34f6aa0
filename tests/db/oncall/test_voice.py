"""Calls as rows and orders: who is rung, what counts as told, one owner, masked call backs, and what a crash leaves behind."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.db.test_escalation import Night, Pager
from tests.factories import CALLER, House, make_message, tone

from nightbell.audit.models import Event
from nightbell.core.capture import Codec
from nightbell.core.clock import utc_now
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, NoticeKind, Notification, Rendered
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message, PlayGrant, State
from nightbell.oncall import service as oncall
from nightbell.oncall import voice
from nightbell.oncall.models import Alert, Attempt, VoiceCall
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


def _owned(house: House) -> Message:
    message = make_message(house.mailbox)
    mailbox.acknowledge(house.actor(Role.CLINICIAN), message.id)
    return message


def _voiced(kind: NoticeKind, code: str = "") -> Rendered:
    return render(Notification(kind, "AB12", "", "en", code), "https://bell.example")


def test_a_code_is_told_once_it_was_heard_and_not_kept(
    house: House, phone: Phone, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = VoiceChannel(phone.calling)
    Contact.objects.filter(address=CELL).update(send_at=utc_now())

    def listens(talk: Conversation) -> None:
        phone.leg(talk.call, "answered")
        phone.keys(talk.call, "1")
        phone.silence(talk.call)

    def machine(talk: Conversation) -> None:
        phone.leg(talk.call, "answered")
        phone.silence(talk.call, 3)

    monkeypatch.setattr(Conversation, "start", machine)
    with pytest.raises(ChannelError, match="nobody listened"):
        channel.send(_voiced(NoticeKind.VERIFY, "502814"), CELL, new_ulid())
    monkeypatch.setattr(Conversation, "start", listens)
    receipt = channel.send(_voiced(NoticeKind.VERIFY, "502814"), CELL, new_ulid())
    assert receipt.answer == "heard"
    assert b"digit" not in receipt.sent
    with pytest.raises(ChannelError, match="under way"):  # they have not hung up yet: it would be engaged
        channel.send(_voiced(NoticeKind.TEST), CELL, new_ulid())
    phone.leg(receipt.reference, "ended", "hung_up")
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
