"""A recorded call back is taken in once, is no message, is heard by way of the log, and goes with its message."""

from __future__ import annotations

import json
import wave
from array import array
from io import BytesIO

import pytest
from tests.db.talks import CLINICIAN, PATIENT, called_back, tape
from tests.factories import House, make_capture

from nightbell.audit.models import Event
from nightbell.compliance import disposal
from nightbell.core import faults
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.mailbox import intake, playing
from nightbell.mailbox.models import Hearing, Message, PlayGrant, Talk
from nightbell.people.access import NotFound
from nightbell.people.roles import Role
from nightbell.sealing import spool
from nightbell.sealing.blobs import NoSuchBlob
from nightbell.store import vault
from nightbell.store.models import Job


def stereo(data: bytes) -> tuple[array[int], array[int]]:
    with wave.open(BytesIO(data)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (2, 2, 8000)
        both = array("h", wav.readframes(wav.getnframes()))
    return both[0::2], both[1::2]


def near(sent: bytes, got: array[int]) -> bool:
    """As good as µ-law is at this level."""
    wanted = array("h", sent)
    return len(got) == len(wanted) and all(abs(a - b) < 260 for a, b in zip(wanted, got, strict=True))


def acts(message: Message) -> list[str]:
    return list(Event.objects.filter(message=message.id).order_by("seq").values_list("action", flat=True))


def test_it_becomes_a_part_of_its_call_back_and_nothing_else(house: House) -> None:
    message, row = called_back(house)
    before = (Message.objects.count(), Job.objects.count(), Message.objects.filter(needs_alert=True).count())
    path = tape(row.id, practice=house.practice.id)
    taken = intake.take_in(path, utc_now())
    assert taken is not None
    assert (taken.capture, taken.result, taken.urgent, taken.rings) == (row.id, "talk", False, False)
    assert not path.exists()
    after = (Message.objects.count(), Job.objects.count(), Message.objects.filter(needs_alert=True).count())
    assert after == before
    talk = Talk.objects.get()
    assert (talk.message, talk.duration_ms, talk.interrupted) == (message, 2500, False)
    assert acts(message)[-1] == "call:recorded"
    actor = house.actor(Role.CLINICIAN)
    total = playing.length(actor, message.id, row.id)
    left, right = stereo(playing.sound(actor, message.id, 0, total, row.id).data)
    assert near(CLINICIAN, left[: len(CLINICIAN) // 2]) and not any(left[len(CLINICIAN) // 2 :])
    assert near(PATIENT, right[4000:]) and not any(right[:4000])


def test_each_play_is_a_row_first_and_makes_no_message_heard(house: House) -> None:
    message, row = called_back(house)
    intake.take_in(tape(row.id), utc_now())
    actor = house.actor(Role.CLINICIAN)
    playing.sound(actor, message.id, 0, 1000, row.id)
    playing.sound(actor, message.id, 1000, 10**7, row.id)
    event = Event.objects.get(action="message:play")
    assert json.loads(bytes(event.leaf))["detail"]["call"] == row.id
    grant = PlayGrant.objects.get()
    assert (grant.talk_id, grant.heard_ms) == (row.id, 2500)
    assert not Hearing.objects.exists()
    playing.sound(actor, message.id, 100, 1000)
    assert PlayGrant.objects.filter(talk=None).count() == 1, "a grant for one is none for the other"
    playing.close_play(actor, message.id, 0.1)
    assert playing.close_expired(grant.expires_at) == 1
    assert acts(message).count("message:play_ended") == 2
    for role in (Role.DISPATCHER, Role.COMPLIANCE):
        with pytest.raises(Exception, match="cannot do this"):
            playing.sound(house.actor(role), message.id, 0, 10, row.id)
    other, _ = called_back(house)
    with pytest.raises(NotFound):
        playing.sound(actor, other.id, 0, 10, row.id)


@pytest.mark.parametrize("point", ["talk.blob", "talk.stored"])
def test_a_worker_that_dies_meanwhile_loses_and_doubles_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    message, row = called_back(house)
    path = tape(row.id)

    def dies(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(faults, "point", dies)
        with pytest.raises(KeyboardInterrupt):
            intake.take_in(path, utc_now())
    assert path.exists()
    taken = intake.take_in(path, utc_now())
    assert taken is not None
    assert taken.result == ("talk" if point == "talk.blob" else "tidied")
    assert not path.exists()
    assert acts(message).count("call:recorded") == 1
    actor = house.actor(Role.CLINICIAN)
    _, right = stereo(playing.sound(actor, message.id, 0, 10**7, row.id).data)
    assert near(PATIENT, right[4000:])


def test_what_a_phone_left_when_it_died_is_taken_in_as_far_as_it_goes(house: House) -> None:
    _, row = called_back(house)
    path = tape(row.id, finish=False)
    assert path in spool.waiting(load().spool)
    intake.take_in(path, utc_now())
    talk = Talk.objects.get()
    assert (talk.interrupted, talk.wav_bytes > 0) == (True, True)
    _, second = called_back(house)
    taken = intake.take_in(tape(second.id, finish=False, head_only=True), utc_now())
    assert taken is not None and taken.result == "talk"
    assert Talk.objects.get(pk=second.id).wav_bytes == 0
    assert Message.objects.count() == 2, "the two that were called back"


@pytest.mark.parametrize("agreed", [False, None])
def test_what_nobody_is_known_to_have_agreed_to_is_kept_sealed_and_out_of_the_way(
    house: House, agreed: bool | None
) -> None:
    _, row = called_back(house, agreed)
    path = tape(row.id)
    data = path.read_bytes()
    taken = intake.take_in(path, utc_now())
    assert taken is not None and taken.result == "unreadable"
    tray = load().home / "phone" / "unreadable" / path.name
    assert tray.read_bytes() == data
    tray.unlink()
    assert Message.objects.count() == 1
    event = Event.objects.get(action="capture:unreadable")
    assert json.loads(bytes(event.leaf))["detail"] == {"why": "NoSuchCall"}


def test_a_message_beside_it_is_stored_all_the_same(house: House) -> None:
    _, row = called_back(house)
    problems: intake.Problems = {}
    paths = [tape(row.id), make_capture(house.mailbox, urgent=True)]
    results = [one.result for one in intake.take_in_all(paths, utc_now(), problems)]
    assert (results, problems) == (["stored", "talk"], {})


def test_it_is_destroyed_with_its_message(house: House) -> None:
    message, row = called_back(house)
    intake.take_in(tape(row.id), utc_now())
    stored = vault.blobs().read_range(house.practice.id, row.id, 0, 5)
    assert stored == b"NBPLY"
    disposal.dispose(message, "user:manager", "request", utc_now())
    with pytest.raises(NoSuchBlob):
        vault.blobs().size(house.practice.id, row.id)
    with pytest.raises(Exception, match="no such|There is no"):
        playing.sound(house.actor(Role.CLINICIAN), message.id, 0, 10, row.id)
    talk = Talk.objects.get()
    assert (talk.agreed, talk.audio_bytes, talk.wav_bytes) == (True, 0, 0), "that they agreed stays known"


def test_one_that_comes_in_after_its_message_went_goes_too(house: House) -> None:
    message, row = called_back(house)
    path = tape(row.id)
    disposal.dispose(message, "user:manager", "request", utc_now())
    taken = intake.take_in(path, utc_now())
    assert taken is not None and taken.result == "gone"
    assert not path.exists()
    with pytest.raises(NoSuchBlob):
        vault.blobs().size(house.practice.id, row.id)
    assert acts(message)[-1] == "call:recording_destroyed"


def test_one_whose_message_is_being_destroyed_leaves_no_blob(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, row = called_back(house)
    path = tape(row.id)

    def meanwhile(name: str) -> None:
        if name == "talk.blob":
            vault.note_disposed(message.id)

    monkeypatch.setattr(faults, "point", meanwhile)
    taken = intake.take_in(path, utc_now())
    assert taken is not None and taken.result == "gone"
    with pytest.raises(NoSuchBlob):
        vault.blobs().size(house.practice.id, row.id)
