"""People hear of a call in time, and of what is missing of it, whatever goes wrong with the provider or with us."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.db.carriers.conftest import SPOKEN, Desk, left, publish
from tests.factories import tone
from tests.fakes.carrier import Speech

from nightbell.audit.models import Event
from nightbell.core import durable
from nightbell.core.log import Log
from nightbell.core.notice import Hearing, Word
from nightbell.core.sound import Decoded, SoundUnavailable
from nightbell.flow.plan import MenuKey, Plan
from nightbell.line import carrier_capture, carrier_intake, carrier_stand_in
from nightbell.line.carrier_models import CarrierCall, Stage
from nightbell.mailbox import service as mailbox
from nightbell.mailbox import transcribe
from nightbell.mailbox.models import Message
from nightbell.people.roles import Role
from nightbell.store import vault

MINUTE = timedelta(minutes=1)


class Ear:
    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
        said = "please call me about my prescription refill when you can"
        return Hearing(
            "en",
            tuple(Word(f" {one}", i * 0.1, i * 0.1 + 0.1, 0.95) for i, one in enumerate(said.split())),
            "fake",
        )


class NoDecoder:
    def decode(self, data: bytes, longest: float) -> Decoded:
        raise SoundUnavailable("the decoder", "it is not there", "install it")


def reasons(desk: Desk, message: Message, role: Role = Role.CLINICIAN) -> set[str]:
    return {one.kind for one in mailbox.message(desk.house.actor(role), message.id).row.reasons}


def go_on(desk: Desk, seconds: float, times: int) -> None:
    """As the worker's loops, which outlive every error."""
    for _ in range(times):
        try:
            desk.work(seconds=seconds)
        except Exception:
            continue


def test_an_urgent_call_rings_though_its_sound_cannot_be_decoded(desk: Desk) -> None:
    left(desk, urgent=True)
    for held in desk.api.recordings.values():
        held.data = b"ID3" + bytes(1000)  # no WAV: the decoder is needed
    desk.tools = replace(desk.tools, decoder=NoDecoder())
    go_on(desk, 30, 3)
    first = Message.objects.get()
    assert (first.urgency, first.needs_alert, first.audio_bytes) == ("urgent", True, 0)
    assert reasons(desk, first) >= {"key", "unfetched"}


def test_an_urgent_call_rings_though_its_state_is_lost_and_the_provider_is_away(desk: Desk) -> None:
    left(desk, urgent=True)
    vault.keyring().destroy(CarrierCall.objects.get().id)
    desk.api.answers["json"] = [500] * 6
    go_on(desk, 30, 3)
    first = Message.objects.get()
    assert (first.urgency, first.needs_alert, first.mailbox) == ("urgent", True, None)
    desk.api.answers.clear()
    go_on(desk, 300, 3)
    later = Message.objects.exclude(pk=first.pk).get()
    assert later.urgency == "urgent"
    assert abs(len(desk.heard(later)) - len(SPOKEN)) < 6400
    assert len(desk.api.deleted) == 1


def test_a_disk_that_was_full_keeps_nobody_from_being_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(desk, urgent=True)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(durable, "write_file", full)
        go_on(desk, 40, 3)
        assert not Message.objects.exists()
    assert carrier_stand_in.write_due(desk.tools, desk.now), (
        "as soon as there is room, whatever the fetching waits for"
    )


@pytest.mark.parametrize("attempts", [0, 1, 2, 3, 5])
def test_a_dead_provider_changes_nothing_about_the_minute(desk: Desk, attempts: int) -> None:
    left(desk, urgent=True)
    desk.api.answers["json"] = [500] * 400
    CarrierCall.objects.update(attempts=attempts)
    ended = CarrierCall.objects.get().ended_at
    assert ended is not None
    at = ended
    while CarrierCall.objects.get().stand_in_at is None and at < ended + 5 * MINUTE:
        carrier_stand_in.write_due(desk.tools, at)
        carrier_intake.run_one(desk.tools, at)
        at += timedelta(seconds=1)
    stand_in = CarrierCall.objects.get().stand_in_at
    assert stand_in is not None
    assert timedelta(seconds=60) <= stand_in - ended <= timedelta(seconds=61)


def test_what_went_wrong_while_a_call_was_up_does_not_keep_its_recording_waiting(desk: Desk) -> None:
    call = desk.call(keys={"menu-urgent": "1"}, speeches=[Speech(SPOKEN)])
    call.send("/hooks/twilio/voice", call.params())
    CarrierCall.objects.update(attempts=7, trouble="away")
    call.sent.clear()
    call.hang_up()
    row = CarrierCall.objects.get()
    assert (row.stage, row.attempts, row.trouble) == (Stage.ENDED, 0, "")


def test_people_are_told_though_the_providers_settings_were_taken_out(desk: Desk) -> None:
    left(desk, urgent=True)
    desk.tools = replace(desk.tools, carriers={})
    go_on(desk, 30, 3)
    assert Message.objects.get().urgency == "urgent"


def test_an_urgent_call_that_never_seems_to_end_rings_after_five_minutes(desk: Desk) -> None:
    call = desk.call()
    call.send("/hooks/twilio/voice", call.params())
    call.send("/hooks/twilio/step/1/2", call.params(Digits="1"))
    assert CarrierCall.objects.values_list("urgent", "stage").get() == (True, Stage.OPEN)
    desk.api.answers["json"] = [500] * 40
    go_on(desk, 100, 2)
    assert not Message.objects.exists()
    go_on(desk, 120, 1)
    assert Message.objects.get().needs_alert


def test_a_message_of_which_a_take_is_lost_says_so_before_and_after_its_words(desk: Desk) -> None:
    publish(desk, Plan(keys=(MenuKey("1", "menu-refill", asks="refill"),), callback=False))
    speeches = [Speech(tone(2.0 + i, 400.0 + 200 * i), "#") for i in range(3)]
    desk.call(keys={"menu-refill": "1"}, speeches=speeches).run().tell()
    desk.api.recordings.pop(sorted(desk.api.recordings)[1])
    go_on(desk, 60, 8)
    message = Message.objects.get()
    assert (message.kind, message.urgency) == ("message", "review")
    assert "unfetched" in reasons(desk, message)
    assert "unfetched" in reasons(desk, message, Role.FRONT_DESK)
    assert transcribe.run_one(Ear(), lambda: desk.now, Log("test"))
    message.refresh_from_db()
    assert (message.words, message.urgency) == ("ready", "review")
    assert "unfetched" in reasons(desk, message)


def test_what_was_lost_is_in_the_log_however_slow_intake_is(desk: Desk) -> None:
    left(desk)
    desk.api.recordings.clear()
    for _ in range(20):  # intake stands still meanwhile
        desk.now += timedelta(seconds=30)
        carrier_intake.run_one(desk.tools, desk.now)
    go_on(desk, 60, 3)
    assert Event.objects.get(action="carrier:lost").message == Message.objects.get().id


def test_a_stand_in_that_overtook_the_sound_is_joined_by_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker died after the stand-in was written and before the row said so."""
    left(desk, urgent=True)
    desk.api.answers["json"] = [500] * 3
    go_on(desk, 61, 1)
    CarrierCall.objects.update(stand_in_at=None)
    desk.api.answers.clear()
    go_on(desk, 600, 2)
    first = Message.objects.get(joins=None)
    later = Message.objects.get(joins=first)
    assert (first.audio_bytes, later.audio_bytes > 0) == (0, True)
    assert len(desk.api.deleted) == 1


def test_a_stand_in_that_was_taken_in_instead_of_the_sound_loses_nothing(desk: Desk) -> None:
    left(desk, urgent=True)
    desk.api.answers["json"] = [500] * 3
    go_on(desk, 61, 1)
    desk.api.answers.clear()
    CarrierCall.objects.update(stand_in_at=None, stage=Stage.SPOOLED)
    go_on(desk, 600, 2)
    assert Message.objects.get(joins__isnull=False).audio_bytes
    assert len(desk.api.deleted) == 1


def test_a_call_without_an_end_is_told_of_though_nobody_can_be_asked(desk: Desk) -> None:
    desk.call(leaves="greeting-reached").run()
    desk.tools = replace(desk.tools, carriers={})
    go_on(desk, 1700, 2)
    assert not Message.objects.exists()
    go_on(desk, 300, 1)
    assert Message.objects.get().kind == "missed"
    assert CarrierCall.objects.get().sealed is not None
    go_on(desk, 90_000, 1)
    assert CarrierCall.objects.get().sealed is None, "after a day nothing of the patient's is left here"


def test_a_copy_that_was_gone_already_is_not_called_deleted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(desk)
    original = carrier_capture.lies_whole

    def and_gone(wav: bytes, sound: bytes) -> bool:
        desk.api.recordings.clear()
        return original(wav, sound)

    monkeypatch.setattr(carrier_capture, "lies_whole", and_gone)
    desk.work()
    told = json.loads(bytes(Event.objects.get(action="carrier:deleted").leaf))["detail"]
    assert (told["deleted"], told["gone"]) == (0, 1)
