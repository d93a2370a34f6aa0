"""Recordings that are found, matched or had afterwards: a provider that forgets, a key that did not fit, a list read once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.db.carriers.conftest import SPOKEN, Desk, left
from tests.db.carriers.test_carrier_told import go_on
from tests.db.carriers.test_carrier_trouble import encrypted
from tests.factories import CALLER
from tests.fakes.carrier import Speech

from nightbell.core.clock import utc_now
from nightbell.core.ids import new_ulid
from nightbell.line import carrier_calls, carrier_found, carrier_health, carrier_intake, carrier_lines
from nightbell.line.carrier_models import CarrierCall, CarrierRecording, Stage
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message
from nightbell.people.roles import Role
from nightbell.server import hook_status
from nightbell.store import vault

NAMES = {"twilio": "RE" + "7" * 32, "telnyx": "77777777-aaaa-bbbb-cccc-000000000000"}
DEAD = {"twilio": "RE" + "9" * 32, "telnyx": "99999999-aaaa-bbbb-cccc-000000000000"}


def number_of(desk: Desk, message: Message) -> str | None:
    return mailbox.message(desk.house.actor(Role.CLINICIAN), message.id).row.callback_number


def without_state(desk: Desk, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    """A call that left its message while our keys were away."""

    def away(*_: Any) -> None:
        raise vault.KeysAway("the keys", "they are away", "wait")

    with monkeypatch.context() as gone:
        gone.setattr(type(vault.keyring()), "put", away)
        call = desk.call(provider, speeches=[Speech(SPOKEN)]).run()
    call.tell()


@pytest.mark.parametrize("forgotten", [404, 422])
def test_a_provider_that_forgot_the_call_still_tells_who_left_its_recording(
    desk: Desk, forgotten: int
) -> None:
    desk.api.forgotten = forgotten
    desk.call("telnyx").aside(NAMES["telnyx"], timedelta(hours=9), SPOKEN)
    desk.tools = replace(desk.tools, carriers={"telnyx": desk.tools.carriers["telnyx"]})
    assert carrier_found.Finder(desk.tools).step(utc_now()) == 1
    go_on(desk, 300, 3)
    message = Message.objects.get()
    assert (message.kind, message.mailbox, number_of(desk, message)) == (
        "message",
        desk.house.mailbox,
        CALLER,
    )
    assert desk.api.deleted == [NAMES["telnyx"]]


@pytest.mark.parametrize("forgotten", [404, 422])
def test_a_call_without_state_becomes_a_message_though_the_provider_forgot_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, forgotten: int
) -> None:
    desk.api.forgotten = forgotten
    without_state(desk, monkeypatch, "telnyx")
    go_on(desk, 900, 3)
    message = Message.objects.get()
    assert (message.mailbox, number_of(desk, message)) == (desk.house.mailbox, CALLER)
    assert CarrierCall.objects.get().stage == Stage.DONE


def test_a_call_that_the_provider_never_heard_of_becomes_an_entry_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_state(desk, monkeypatch, "twilio")
    desk.api.calls.clear()
    desk.api.recordings.clear()
    for _ in range(12):
        desk.work(seconds=300)  # and no error
    assert (Message.objects.get().kind, CarrierCall.objects.get().stage) == ("missed", Stage.DONE)


@pytest.mark.parametrize("provider", ["twilio", "telnyx"])
def test_one_call_that_cannot_be_asked_for_keeps_no_other_from_being_found(desk: Desk, provider: str) -> None:
    for name in (DEAD[provider], NAMES[provider]):
        desk.call(provider).aside(name, timedelta(hours=1), SPOKEN)
    carrier = desk.tools.carriers[provider]
    asked: list[str] = []
    facts = carrier.facts

    class OneBad:
        name = provider
        since, recordings, fetch, delete = carrier.since, carrier.recordings, carrier.fetch, carrier.delete

        def facts(self, call: str) -> Any:
            asked.append(call)
            if len(asked) == 1:
                raise carrier_found.CarrierAway("The carrier", "it answered 400", "wait")
            return facts(call)

    desk.tools = replace(desk.tools, carriers={provider: OneBad()})
    assert carrier_found.Finder(desk.tools).step(utc_now()) == 1


def test_a_list_of_numbers_that_could_not_be_read_once_hides_no_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.call().aside(NAMES["twilio"], timedelta(hours=1), SPOKEN)
    desk.tools = replace(desk.tools, carriers={"twilio": desk.tools.carriers["twilio"]})
    finder = carrier_found.Finder(desk.tools)
    with monkeypatch.context() as unreadable:
        unreadable.setattr(carrier_lines, "_body", dict)
        assert finder.step(utc_now()) == 0
    with monkeypatch.context() as before:
        before.setattr(carrier_lines, "_body", lambda: {"numbers": {"5035557777": {}}, "version": 1})
        finder._next = 0.0
        assert finder.step(utc_now()) == 0
    finder._next = 0.0
    assert finder.step(utc_now()) == 1, "its number was added meanwhile"


def put(folder: Path, key: rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / ("CR" + "1f" * 16 + ".pem")).write_bytes(pem)


@pytest.mark.parametrize("days", [0, 4])
def test_a_key_that_does_not_fit_loses_nothing(desk: Desk, days: int) -> None:
    left(desk)
    (held,) = desk.api.recordings.values()
    desk.tools = replace(desk.tools, carriers={"twilio": desk.tools.carriers["twilio"]})
    key = encrypted(desk, held)
    put(desk.keys, rsa.generate_private_key(65537, 2048))
    go_on(desk, 300, 10)
    told = carrier_health.report(["twilio"], desk.now) or {}
    assert told["trouble"] == ["recording-key"]
    if days:
        go_on(desk, days * 86400, 1)
        go_on(desk, 300, 3)
        told = carrier_health.report(["twilio"], desk.now) or {}
        assert CarrierCall.objects.get().stage == Stage.DONE
        assert f"twilio {held.id}" in hook_status.judged(told)[1], "a person can look for it there"
    put(desk.keys, key)
    desk.now += timedelta(hours=7)
    carrier_found.Finder(desk.tools).step(desk.now)
    go_on(desk, 600, 3)
    with_sound = Message.objects.get(audio_bytes__gt=0)
    assert abs(len(desk.heard(with_sound)) - len(SPOKEN)) < 6400
    assert with_sound.practice == desk.house.practice
    assert desk.api.deleted == [held.id]
    row = CarrierCall.objects.get()
    assert (row.stage, row.trouble, row.sid) == (Stage.DONE, "", "")


def test_a_recording_is_given_to_no_take_when_nobody_can_say_which(desk: Desk) -> None:
    """Nothing was recorded at the first tone, and no word came of the second."""
    left(desk)
    CarrierRecording.objects.all().delete()
    CarrierCall.objects.update(takes=2)
    go_on(desk, 130, 2)
    takes = dict(CarrierRecording.objects.values_list("take", "status"))
    assert (takes.pop(0), takes.pop(1)) == ("absent", "absent")
    assert list(takes.values()) == ["completed"]
    message = Message.objects.get()
    assert abs(len(desk.heard(message)) - len(SPOKEN)) < 6400
    assert len(desk.api.deleted) == 1


def test_a_call_that_is_over_is_not_ended_twice(desk: Desk) -> None:
    left(desk)
    call = CarrierCall.objects.get()
    CarrierCall.objects.update(stage=Stage.DONE, sealed=None)
    call.sealed = None
    assert not carrier_calls.finish(call, None, utc_now())
    assert CarrierCall.objects.get().stage == Stage.DONE


def test_a_key_without_a_call_is_swept_and_one_that_is_being_made_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(desk)
    ring = vault.keyring()
    old, fresh = new_ulid(int(utc_now().timestamp() * 1000) - 7_200_000), new_ulid()
    for name in (old, fresh):
        ring.put(name, carrier_calls.KEY, bytes(32))
    assert carrier_calls.sweep_keys(utc_now()) == 1
    assert (ring.has(old), ring.has(fresh), ring.has(CarrierCall.objects.get().id)) == (False, True, True)
    before = set(ring.ids(carrier_calls.KEY))

    def broken(**_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(CarrierCall.objects, "create", broken)
    desk.call().run()
    assert set(ring.ids(carrier_calls.KEY)) == before


def test_settings_that_were_taken_out_are_told_of_while_calls_wait(desk: Desk) -> None:
    left(desk)
    told = carrier_health.report([], utc_now())
    assert told is not None and told["trouble"] == ["no-settings"]
    assert carrier_intake.run_one(replace(desk.tools, carriers={}), utc_now()) is False
