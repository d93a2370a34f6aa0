"""From a sealed capture to a message: exactly once, and readable only by way of the audit log."""

from __future__ import annotations

import os
import tempfile
from array import array
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from tests.factories import CALLER, House, make_capture, make_message, tone

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.mailbox import intake, playing, service
from nightbell.mailbox.models import Message
from nightbell.people.roles import Role
from nightbell.sealing import spool
from nightbell.store import vault
from nightbell.store.models import Job


def test_this_tier_runs_on_the_engine_that_was_asked_for(house: House) -> None:
    wanted = os.environ.get("NIGHTBELL_TEST_DATABASE", "sqlite").split(":")[0]
    assert connection.vendor == wanted
    assert str(load().home).startswith(tempfile.gettempdir())
    assert load() == settings.CONFIG


def test_it_turns_a_capture_into_one_message_and_removes_the_capture(house: House) -> None:
    path = make_capture(house.mailbox, seconds=3)
    taken = intake.take_in(path, utc_now())
    assert taken is not None and taken.result == "stored"
    message = Message.objects.get()
    assert (message.kind, message.urgency, message.duration_ms) == ("message", "routine", 3000)
    assert not path.exists()
    assert Job.objects.filter(kind="transcribe", key=message.id).count() == 1


def test_it_takes_the_same_capture_only_once_when_killed_before_the_capture_went(house: House) -> None:
    path = make_capture(house.mailbox)
    copy = path.read_bytes()
    first = intake.take_in(path, utc_now())
    path.write_bytes(copy)
    again = intake.take_in(path, utc_now())
    assert first and again and again.result == "tidied"
    assert Message.objects.count() == 1
    view = service.message(house.actor(Role.CLINICIAN), first.capture)
    assert view.row.callback_number == CALLER


def test_it_hears_what_was_said_sample_by_sample(house: House) -> None:
    pcm = tone(2.0, 523.0)
    message = make_message(house.mailbox, pcm=pcm)
    sound = playing.sound(house.actor(Role.CLINICIAN), message.id, 0, 10**7)
    sent, heard = array("h", pcm), array("h", sound.data[44:])
    assert len(heard) == len(sent)
    assert max(abs(a - b) for a, b in zip(sent, heard, strict=True)) < 260  # one step of mu-law at this level


def test_it_takes_an_interrupted_capture_for_review(house: House) -> None:
    path = make_capture(house.mailbox, seconds=4, finish=False)
    assert path.suffix == ".part"
    assert path in spool.waiting(load().spool)
    intake.take_in(path, utc_now())
    message = Message.objects.get()
    assert (message.end_reason, message.urgency) == ("interrupted", "review")
    assert message.duration_ms == 4000


def test_it_shows_a_caller_who_hung_up_early_as_missed(house: House) -> None:
    message = make_message(house.mailbox, pcm=b"")
    assert (message.kind, message.urgency, message.audio_bytes) == ("missed", "review", 0)
    view = service.message(house.actor(Role.FRONT_DESK), message.id)
    assert view.row.callback_number == CALLER
    assert [r.kind for r in view.row.reasons] == ["missed"]


def test_it_puts_an_unknown_number_into_the_tray_that_only_a_manager_sees(house: House) -> None:
    message = make_message(None)
    assert message.mailbox is None
    assert service.message(house.actor(Role.MANAGER), message.id).row.mailbox == ""
    with pytest.raises(service.NotFound):
        service.message(house.actor(Role.CLINICIAN), message.id)


def test_it_keeps_a_capture_that_no_key_opens_and_says_so(house: House) -> None:
    path = make_capture(house.mailbox)
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    taken = intake.take_in(path, utc_now())
    assert taken is not None and taken.result == "unreadable"
    assert (load().home / "phone" / "unreadable" / path.name).read_bytes() == data
    assert Event.objects.filter(action="capture:unreadable").count() == 1
    (load().home / "phone" / "unreadable" / path.name).unlink()


def test_it_waits_while_the_key_file_is_away_and_goes_on_when_it_is_back(house: House) -> None:
    path = make_capture(house.mailbox)
    key = load().keys / "kek.key"
    away = key.with_suffix(".away")
    key.rename(away)
    try:
        with pytest.raises(vault.KeysAway):
            intake.take_in(path, utc_now())
        assert path.exists()
        assert Message.objects.count() == 0
    finally:
        away.rename(key)
    taken = intake.take_in(path, utc_now())
    assert taken is not None and taken.result == "stored"


def test_it_waits_for_the_right_key_file_when_another_lies_there(house: House) -> None:
    path = make_capture(house.mailbox)
    key = load().keys / "kek.key"
    right = key.read_bytes()
    key.write_bytes(bytes(32))
    try:
        with pytest.raises(vault.KeysAway):
            intake.take_in(path, utc_now())
        assert path.exists()
    finally:
        key.write_bytes(right)
    taken = intake.take_in(path, utc_now())
    assert taken is not None and taken.result == "stored"


def test_an_urgent_caller_who_is_cut_off_at_once_is_due_for_an_alert(house: House) -> None:
    message = make_message(house.mailbox, urgent=True, seconds=0.4)
    assert (message.kind, message.urgency, message.needs_alert) == ("missed", "urgent", True)


def test_it_leaves_a_capture_alone_that_a_phone_is_still_writing(house: House) -> None:
    from nightbell.core.ids import new_ulid

    live = spool.SpoolFile.create(load().spool, new_ulid())
    live.append(b"x" * 10)
    assert live.path not in spool.waiting(load().spool)
    assert intake.take_in(live.path, utc_now()) is None
    live.abandon()
    taken = intake.take_in(live.path, utc_now() + timedelta(seconds=1))
    assert taken is not None and taken.result == "empty"
