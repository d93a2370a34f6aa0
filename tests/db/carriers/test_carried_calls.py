"""Calls by webhook, from the first request to a message and away with the provider's copy: both providers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.db.carriers.conftest import SPOKEN, Desk, publish
from tests.factories import CALLER, House, tone
from tests.fakes.carrier import Speech

from nightbell.adapters.carriers.twilio import TwilioHook
from nightbell.audit.models import Event
from nightbell.core.carriers import Ring
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.flow.plan import MenuKey, Plan
from nightbell.line import carrier_calls
from nightbell.line.carrier_models import CarrierCall, Stage
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message, Number
from nightbell.people.roles import Role
from nightbell.server import routing
from nightbell.store import vault
from nightbell.web.hooks import views


@pytest.mark.parametrize("provider", ["twilio", "telnyx"])
def test_an_urgent_call_in_spanish_becomes_a_message_and_goes_from_the_provider(
    desk: Desk, provider: str
) -> None:
    keys = {"press-2": "2", "menu-urgent": "1", "callback-seen": "1"}
    call = desk.call(provider, keys=keys, speeches=[Speech(SPOKEN)]).run()
    assert [one for one in call.heard if one.startswith("en/") and "emergency" not in one] == []
    assert call.heard.index("es/emergency-911-signs") < call.heard.index("es/saved")
    assert "es/promise-from" in call.heard
    assert not Message.objects.exists()
    call.tell()
    assert desk.api.deleted == []
    desk.work()
    message = Message.objects.get()
    assert (message.kind, message.urgency, message.needs_alert, message.language) == (
        "message",
        "urgent",
        True,
        "es",
    )
    assert message.promise == "within-30-min"
    assert (message.practice, message.mailbox) == (desk.house.practice, desk.house.mailbox)
    view = mailbox.message(desk.house.actor(Role.CLINICIAN), message.id)
    assert view.row.callback_number == CALLER
    heard = desk.heard(message)
    assert abs(len(heard) - len(SPOKEN)) < 1600 * 4
    row = CarrierCall.objects.get()
    assert row.stage == Stage.DONE
    assert (row.sid, row.sealed) == ("", None)
    assert not vault.keyring().has(row.id)
    assert len(desk.api.deleted) == 1
    assert Event.objects.filter(action="carrier:deleted", message=message.id).count() == 1


def test_every_part_of_a_guided_call_lies_where_it_was_said(desk: Desk) -> None:
    publish(desk, Plan(keys=(MenuKey("1", "menu-refill", asks="refill"),), callback=False))
    said = [tone(2.3, 400.0), tone(3.7, 600.0), tone(5.1, 800.0)]
    ends = ["#", "", "hangup"]  # by pound, by silence, by hanging up
    speeches = [Speech(pcm, by) for pcm, by in zip(said, ends, strict=True)]
    call = desk.call(keys={"menu-refill": "1"}, speeches=speeches).run()
    call.tell()
    desk.work()
    message = Message.objects.get()
    assert [part["name"] for part in message.parts] == ["name", "dob", "refill"]
    assert message.end_reason == "hang_up"
    heard = desk.heard(message)
    for part, pcm in zip(message.parts, said, strict=True):
        start = round(part["start_s"] * 8000) * 2
        assert heard[start : start + 320] != bytes(320)
        assert part["end_s"] - part["start_s"] >= len(pcm) / 16000 - 0.01
    assert len(desk.api.deleted) == 3


def test_a_number_that_is_keyed_in_is_read_back_and_kept(desk: Desk) -> None:
    keys = {
        "menu-routine": "2", "callback-seen": "2", "ask-callback": "15035550177", "you-entered": "1",
    }  # fmt: skip
    call = desk.call(keys=keys, speeches=[Speech(SPOKEN)]).run()
    read = [
        one.removeprefix("en/digit-")[0]
        for one in call.heard[call.heard.index("en/you-entered") :]
        if "digit-" in one
    ]
    assert "".join(read).startswith("5035550177")
    call.tell()
    desk.work()
    view = mailbox.message(desk.house.actor(Role.CLINICIAN), Message.objects.get().id)
    assert view.row.callback_number == "5035550177"


@pytest.mark.parametrize("provider", ["twilio", "telnyx"])
@pytest.mark.parametrize("by", ["called", "first"])
def test_the_staff_line_is_for_the_phone_alone_and_nothing_of_it_is_kept(
    desk: Desk, provider: str, by: str
) -> None:
    Number.objects.create(dialled="5035550177", mailbox=desk.house.mailbox, staff=True)
    routing.publish(load(), utc_now())
    call = desk.call(provider, speeches=[Speech(SPOKEN)], **{by: "+15035550177"}).run()
    assert call.heard[0] == "en/staff-hello" and "es/emergency-911" in call.heard and call.over
    assert not any(word in one for one in call.heard for word in ("pin", "tone", "notice", "record"))
    call.hang_up(9)
    call.tell()
    desk.work(seconds=400)
    assert not CarrierCall.objects.exists() and not Message.objects.exists()
    assert not desk.api.recordings


def test_who_hangs_up_during_the_greeting_is_a_missed_patient(desk: Desk) -> None:
    call = desk.call(leaves="greeting-reached").run()
    assert call.hang_up(12)[0] == 204
    desk.work()
    message = Message.objects.get()
    assert (message.kind, message.urgency, message.reached) == ("missed", "review", "first")
    assert CarrierCall.objects.get().stage == Stage.DONE


def test_nobody_tells_that_a_caller_hung_up_and_the_worker_asks(desk: Desk) -> None:
    desk.call(leaves="greeting-reached").run()
    desk.work()
    assert not Message.objects.exists()
    desk.work(seconds=121)
    assert Message.objects.get().kind == "missed"


def test_silence_at_the_tone_is_a_missed_patient(desk: Desk) -> None:
    call = desk.call(keys={"menu-routine": "2"}).run()
    assert "en/silence-speak" in call.heard
    call.tell()
    desk.work()
    assert Message.objects.get().kind == "missed"


def test_the_number_dialled_first_chooses_the_practice(desk: Desk, other: House) -> None:
    routing.publish(load(), utc_now())
    call = desk.call(first="+1 503 555 0190", keys={"menu-routine": "2"}, speeches=[Speech(SPOKEN)]).run()
    call.tell()
    desk.work()
    message = Message.objects.get()
    assert message.practice == other.practice


def test_what_is_told_of_the_caller_s_number_goes_into_the_capture(desk: Desk) -> None:
    call = desk.call(first="5035550100")
    for told, mark in (
        ("TN-Validation-Passed-A", "attest:verified:A"), ("TN-Validation-Failed-B", "attest:failed:B"),
        ("TN-Validation-Passed-C-Passthrough", "attest:verified:C"), ("No-TN-Validation", "attest:none:-"), ("", None),
    ):  # fmt: skip
        ring = replace(Ring("x"), attest=views._attest(told), first=call.first)
        row = f"CA{abs(hash(told)):032x}"[:34]
        carrier_calls.begin(
            "twilio", replace(ring, call=row), TwilioHook.abilities, utc_now(), lambda *_: "x"
        )
        facts = carrier_calls.unseal(CarrierCall.objects.get(digest=carrier_calls.digest(row)))
        assert facts is not None
        names = [name for _, name in facts.progress.marks]
        assert [name for name in names if name.startswith("attest")] == ([mark] if mark else [])
        assert "diverted:other" in names


def test_a_status_question_is_answered_from_the_patients_own_number(desk: Desk) -> None:
    first = desk.call(keys={"menu-routine": "2", "callback-seen": "1"}, speeches=[Speech(SPOKEN)]).run()
    first.tell()
    desk.work()
    keys = {"menu-status": "3", "status-number": "5035550148"}
    asked = desk.call(keys=dict(keys)).run()
    assert "en/status-left" in asked.heard
    stranger = desk.call(keys=dict(keys), caller="+15035550199").run()
    assert "en/status-none" in stranger.heard
    stranger.tell()
    desk.work()
    assert sorted(Message.objects.values_list("kind", flat=True))[:2] == ["message", "missed"]
