"""The provider in trouble, and our own: nothing is lost, and nothing is deleted too early."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.db.carriers.conftest import SPOKEN, Crash, Desk, left
from tests.factories import CALLER
from tests.fakes.carrier import Speech
from tests.fakes.carrier_api import FakeRecording

from nightbell.audit.models import Event
from nightbell.core import faults
from nightbell.core.clock import utc_now
from nightbell.line import carrier_found, carrier_health
from nightbell.line.carrier_models import CarrierCall, CarrierRecording, Stage
from nightbell.mailbox import service as mailbox
from nightbell.mailbox import stored
from nightbell.mailbox.models import Message
from nightbell.people.roles import Role
from nightbell.server import hook_status
from nightbell.store import vault
from nightbell.web.callflow_sound import wav

# The provider in trouble.


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "audio/x-wav")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"RIFF" + bytes(4000))
    handler.close_connection = True


def _two_gigabytes(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "audio/x-wav")
    handler.send_header("Content-Length", str(2**31))
    handler.end_headers()


def _endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "audio/x-wav")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(1 << 20))
    except OSError:
        return


def _page(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", "5")
    handler.end_headers()
    handler.wfile.write(b"<html")


def _elsewhere(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "https://169.254.169.254/latest/meta-data")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_whatever_the_provider_answers_first_the_message_comes_whole(desk: Desk) -> None:
    left(desk)
    odd: list[Any] = [500, 404, _cut, _page, _two_gigabytes, _endless, _elsewhere]
    desk.api.answers["file"] = list(odd)
    desk.api.answers["json"] = [503, 401]
    for _ in range(40):
        if not desk.api.answers["file"] and not desk.api.answers["json"]:
            break
        assert not Message.objects.exists()
        desk.work(seconds=20, rounds=1)
    desk.work(seconds=100)
    message = Message.objects.get()
    assert (message.kind, message.end_reason) == ("message", "pound")
    assert abs(len(desk.heard(message)) - len(SPOKEN)) < 6400
    assert len(desk.api.deleted) == 1


def test_an_urgent_call_rings_while_its_recording_cannot_be_had_and_rings_again_with_it(desk: Desk) -> None:
    left(desk, urgent=True)
    desk.api.answers["file"] = [500] * 6
    desk.work(seconds=5)
    assert not Message.objects.exists()
    for _ in range(12):
        desk.work(seconds=10)
    first = Message.objects.get(joins=None)
    assert (first.kind, first.urgency, first.needs_alert) == ("missed", "urgent", True)
    reasons = [r.label for r in mailbox.message(desk.house.actor(Role.CLINICIAN), first.id).row.reasons]
    assert any("could not be fetched" in one for one in reasons)
    for _ in range(5):
        desk.work(seconds=120)
    later = Message.objects.get(joins=first)
    assert abs(len(desk.heard(later)) - len(SPOKEN)) < 6400
    assert len(desk.api.deleted) == 1


def test_a_recording_that_is_gone_leaves_a_missed_patient_and_a_look(desk: Desk) -> None:
    call = left(desk)
    desk.api.recordings.clear()
    desk.work(seconds=5)
    assert not Message.objects.exists()
    for _ in range(8):
        desk.work(seconds=60)
    message = Message.objects.get()
    assert (message.kind, message.urgency) == ("missed", "review")
    told = carrier_health.report(["twilio"], desk.now)
    assert told is not None and told["lost"] == 1
    assert Event.objects.get(action="carrier:lost").message == message.id
    assert hook_status.judged(told)[0] is False
    assert CarrierCall.objects.get().stage == Stage.DONE
    assert call.over


def test_a_file_that_is_no_recording_is_left_with_the_provider(desk: Desk) -> None:
    left(desk)
    for held in desk.api.recordings.values():
        held.data = b"RIFF....WAVEfmt not a sound at all"
    for _ in range(30):
        desk.work(seconds=120)
    assert Message.objects.get().kind == "missed"
    assert desk.api.deleted == []
    assert CarrierRecording.objects.get().status == "bad"


def test_a_callback_that_never_comes_is_made_up_for_by_asking(desk: Desk) -> None:
    desk.call(keys={"menu-routine": "2"}, speeches=[Speech(SPOKEN, held_back=True)]).run()
    desk.work(seconds=3)
    assert not Message.objects.exists()
    desk.work(seconds=20)
    assert Message.objects.get().kind == "message"


def test_an_expired_link_is_asked_for_anew(desk: Desk) -> None:
    left(desk, provider="telnyx")
    desk.api.sign_of_links = "fresh-2"  # every link that was ever sent is dead
    desk.work()
    assert Message.objects.get().kind == "message"


def test_nothing_is_deleted_before_it_was_compared(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    left(desk)
    original = stored.reader

    class Damaged:
        def read(self) -> bytes:
            return wav(SPOKEN[:-3200] + bytes(3200))

    monkeypatch.setattr(stored, "reader", lambda *_, **__: Damaged())
    desk.work()
    assert Message.objects.get().kind == "message"
    assert desk.api.deleted == []
    assert hook_status.judged(carrier_health.report(["twilio"], desk.now) or {})[0] is False
    monkeypatch.setattr(stored, "reader", original)
    desk.work(seconds=3601)
    assert len(desk.api.deleted) == 1


POINTS = ("carrier.fetched", "carrier.spooled", "carrier.verified", "carrier.deleted")


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_loses_nothing_and_does_nothing_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    left(desk)

    def die(name: str) -> None:
        if name == point:
            raise Crash

    monkeypatch.setattr(faults, "point", die)
    with pytest.raises(Crash):
        desk.work()
    monkeypatch.setattr(faults, "point", lambda name: None)
    desk.work(seconds=10)
    message = Message.objects.get()
    assert abs(len(desk.heard(message)) - len(SPOKEN)) < 6400
    assert len(desk.api.deleted) == 1
    assert CarrierCall.objects.get().stage == Stage.DONE
    assert Event.objects.filter(action="carrier:deleted").count() == 1


def encrypted(desk: Desk, held: FakeRecording) -> rsa.RSAPrivateKey:
    """As the provider does it with its own copy, when an account has a public key."""
    key = rsa.generate_private_key(65537, 2048)
    secret, iv = os.urandom(32), os.urandom(12)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    held.encryption = {
        "public_key_sid": "CR" + "1f" * 16,
        "encrypted_cek": base64.b64encode(key.public_key().encrypt(secret, oaep)).decode(),
        "iv": base64.b64encode(iv).decode(),
    }
    held.data = AESGCM(secret).encrypt(iv, held.data, None)
    return key


def test_an_encrypted_recording_waits_for_its_key_and_is_opened_in_the_worker_alone(desk: Desk) -> None:
    left(desk)
    (held,) = desk.api.recordings.values()
    key = encrypted(desk, held)
    desk.work()
    assert not Message.objects.exists()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (desk.keys / ("CR" + "1f" * 16 + ".pem")).write_bytes(pem)
    desk.work(seconds=60)
    assert abs(len(desk.heard(Message.objects.get())) - len(SPOKEN)) < 6400
    assert len(desk.api.deleted) == 1


# Our own trouble.


def test_a_caller_can_leave_a_message_while_the_keys_are_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise vault.KeysAway("the keys", "they are away", "wait")

    with monkeypatch.context() as gone:
        gone.setattr(type(vault.keyring()), "put", away)
        call = desk.call(speeches=[Speech(SPOKEN)]).run()
    assert "en/busy-short" in call.heard
    assert "en/saved" not in call.heard
    call.tell()
    desk.work()
    desk.work(seconds=200)
    message = Message.objects.get()
    assert (message.kind, message.practice) == ("message", desk.house.practice)
    view = mailbox.message(desk.house.actor(Role.CLINICIAN), message.id)
    assert view.row.callback_number == CALLER
    assert len(desk.api.deleted) == 1


def test_a_message_comes_though_its_calls_state_cannot_be_opened_any_more(desk: Desk) -> None:
    left(desk, urgent=True)
    vault.keyring().destroy(CarrierCall.objects.get().id)
    desk.work()
    message = Message.objects.get()
    assert (message.kind, message.practice) == ("message", desk.house.practice)
    assert mailbox.message(desk.house.actor(Role.CLINICIAN), message.id).row.callback_number == CALLER
    assert message.urgency == "urgent", "the row says so in clear"


@pytest.mark.parametrize("provider", ["twilio", "telnyx"])
def test_a_message_is_found_though_we_heard_nothing_of_the_call(desk: Desk, provider: str) -> None:
    """Our server was away; the provider's own way out recorded. Another number of the account is left alone."""
    odd = {"twilio": "RE" + "7" * 32, "telnyx": "77777777-aaaa-bbbb-cccc-000000000000"}[provider]
    for called, name in (("+15035550100", odd), ("+15035559999", odd.replace("77", "88"))):
        desk.call(provider, called=called).aside(name, timedelta(hours=5), SPOKEN)
    desk.tools = replace(desk.tools, carriers={provider: desk.tools.carriers[provider]})
    finder = carrier_found.Finder(desk.tools)
    assert finder.step(utc_now()) == 1
    assert finder.step(utc_now()) == 0, "not before some minutes"
    assert carrier_found.Finder(desk.tools).step(utc_now()) == 0
    desk.work(seconds=200)
    message = Message.objects.get()
    assert (message.kind, message.mailbox) == ("message", desk.house.mailbox)
    view = mailbox.message(desk.house.actor(Role.CLINICIAN), message.id)
    assert view.row.callback_number == CALLER
    assert desk.api.deleted == [odd]


def test_no_number_of_a_caller_lies_in_clear(
    desk: Desk, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = left(desk)
    rows = repr(list(CarrierCall.objects.values())) + repr(list(CarrierRecording.objects.values()))
    desk.work()
    rows += repr(list(CarrierCall.objects.values())) + repr(list(Event.objects.values()))
    said = capfd.readouterr()
    logged = (tmp_path / "log").read_text() + said.out + said.err
    for secret in ("5035550148", "503555", call.id):
        assert secret not in logged
    assert "5550148" not in rows
