"""Calls in G.722 and Opus: decoded behind bars, in their place in time, and never lost whatever a stranger sent."""

from __future__ import annotations

import random
import struct
import wave
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from tests.factories import House, make_capture, make_message, tone
from tests.sound import correlation

from nightbell.adapters.sound.unpack import CagedUnpacker
from nightbell.audit.models import Event
from nightbell.compliance import disposal
from nightbell.core.capture import Codec
from nightbell.core.clock import utc_now
from nightbell.core.log import Log
from nightbell.core.sound import BadSound, SoundUnavailable, Unpacked
from nightbell.flow.clips import CLIPS
from nightbell.mailbox import intake, playing, service, stored, undecoded
from nightbell.mailbox.models import Message, PlayGrant
from nightbell.people.access import NotFound
from nightbell.people.roles import Role
from nightbell.phone import encode
from nightbell.sealing.errors import SealError
from nightbell.sip import g711
from nightbell.store import jobs, vault
from nightbell.store.models import Job

WIDE = [Codec.G722, Codec.OPUS]
CAGE = CagedUnpacker()
LOG = Log("test")


@cache
def speech() -> bytes:
    return g711.decode((CLIPS / "en" / "busy-short.ulaw").read_bytes(), Codec.PCMU)


def heard(house: House, message: Message) -> np.ndarray:
    """The WAV as a player gets it, checked against the row."""
    message.refresh_from_db()
    data = playing.sound(house.actor(Role.CLINICIAN), message.id, 0, 10**8).data
    with wave.open(BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        assert file.getnframes() * 1000 // 16000 == message.duration_ms
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def narrow(samples: np.ndarray) -> np.ndarray:
    """To 8000 a second."""
    at = np.arange(-32, 33)
    return np.convolve(samples, 0.5 * np.sinc(at / 2) * np.kaiser(65, 9.0), mode="same")[::2]


def timed(frames: Sequence[bytes], codec: Codec) -> list[tuple[int, bytes]]:
    return [(at * codec.clock // 50, frame) for at, frame in enumerate(frames)]


def onset(samples: np.ndarray) -> float:
    """Seconds until it becomes loud."""
    return float(np.argmax(np.abs(samples) > 3000)) / 16000


@pytest.mark.parametrize(("codec", "least"), [(Codec.G722, 0.99), (Codec.OPUS, 0.95)])
def test_it_is_played_as_it_was_spoken(house: House, codec: Codec, least: float) -> None:
    message = make_message(house.mailbox, CAGE, pcm=speech(), codec=codec)
    sent = np.frombuffer(speech(), "<i2").astype(float)
    sound = heard(house, message)
    found, at = correlation(sent[400:-400], narrow(sound))
    assert found > least
    assert abs(at - 400) < 80
    assert (message.kind, message.urgency, message.tags, message.words) == (
        "message",
        "routine",
        [],
        "pending",
    )


def test_a_range_of_wide_sound_tells_how_far_it_was_heard(house: House) -> None:
    message = make_message(house.mailbox, CAGE, pcm=speech(), codec=Codec.G722)
    actor = house.actor(Role.CLINICIAN)
    total = playing.length(actor, message.id)
    assert total == 44 + message.duration_ms * 32
    playing.sound(actor, message.id, 0, 44 + 32000)
    assert PlayGrant.objects.get().heard_ms == 1000
    playing.sound(actor, message.id, 44 + 32000, total)
    assert PlayGrant.objects.get().heard_ms == message.duration_ms


@pytest.mark.parametrize("codec", WIDE)
def test_what_was_lost_or_not_sent_keeps_its_place(house: House, codec: Codec) -> None:
    frames = timed(encode.frames(bytes(2 * 16000) + tone(1.0) + bytes(16000) + tone(0.5), codec), codec)
    kept = [one for at, one in enumerate(frames) if not 20 <= at < 90 and at % 17]
    random.Random(1).shuffle(kept)
    message = make_message(house.mailbox, CAGE, payloads=[*kept, kept[3]], codec=codec)
    sound = heard(house, message)
    assert abs(len(sound) / 16000 - 4.5) < 0.05
    assert not np.any(sound[int(0.45 * 16000) : int(1.75 * 16000)])
    assert abs(onset(sound) - 2.0) < 0.03
    assert abs(onset(sound[int(3.2 * 16000) :]) - 0.8) < 0.05


@pytest.mark.parametrize("codec", WIDE)
def test_its_parts_lie_where_they_were_spoken(house: House, codec: Codec) -> None:
    pcm = bytes(16000) + tone(1.0) + bytes(48000) + tone(1.5, 600)
    marks = [(0, "recording"), (0.8, "part:name"), (2.2, "part-end"), (3.8, "part:reason"), (6.0, "part-end")]
    message = make_message(house.mailbox, CAGE, pcm=pcm, codec=codec, marks=marks)
    sound = heard(house, message)
    spans = {one["name"]: (one["start_s"], one["end_s"]) for one in message.parts}
    assert set(spans) == {"name", "reason"}
    assert abs(onset(sound[int(spans["name"][0] * 16000) :]) - 0.2) < 0.03
    assert abs(onset(sound[int(spans["reason"][0] * 16000) :]) - 1.2) < 0.03
    assert abs(len(sound) / 16000 - spans["reason"][1]) < 0.16


HOSTILE = {
    "noise": lambda r: [r.randbytes(r.randint(1, 200)) for _ in range(300)],
    "one byte": lambda r: [bytes([r.randrange(256)]) for _ in range(300)],
    "long": lambda r: [r.randbytes(r.choice([1275, 1276, 1300, 4000])) for _ in range(100)],
    "no sound at all": lambda r: [b"\x4b"] * 50,
}


@pytest.mark.parametrize("codec", WIDE)
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_payload_of_a_stranger_costs_the_message(house: House, codec: Codec, kind: str) -> None:
    r = random.Random(kind)
    payloads = [(at * codec.clock // 50, one) for at, one in enumerate(HOSTILE[kind](r))]
    spoken = [(at + 20 * codec.clock, one) for at, one in timed(encode.frames(tone(1.5), codec), codec)]
    message = make_message(house.mailbox, CAGE, payloads=[*payloads, *spoken], codec=codec, urgent=True)
    assert (message.kind, message.urgency, message.needs_alert) == ("message", "urgent", True)
    sound = heard(house, message)
    assert np.std(sound[int(20.5 * 16000) : int(21.4 * 16000)]) > 2000


def test_what_could_not_be_decoded_is_said_and_needs_a_look(house: House) -> None:
    frames = timed(encode.frames(tone(3.0), Codec.OPUS), Codec.OPUS)
    frames[50] = (frames[50][0], b"\x4b")
    message = make_message(house.mailbox, CAGE, payloads=frames, codec=Codec.OPUS)
    assert (message.kind, message.urgency) == ("message", "review")
    view = service.message(house.actor(Role.FRONT_DESK), message.id)
    assert [one.label for one in view.row.reasons] == ["a part of the sound is damaged"]
    assert view.row.has_audio


class Broken:
    """A decoder that fails so."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def unpack(self, codec: Codec, payloads: Sequence[bytes]) -> Unpacked:
        raise self.error


ERRORS = [BadSound("x", "y"), SoundUnavailable("x", "y"), RuntimeError("z"), None]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_without_a_decoder_the_payloads_are_kept_and_decoded_later(
    house: House, error: Exception | None
) -> None:
    marks = [(0, "recording"), (0.5, "part:message"), (8.0, "part-end")]
    options = {"pcm": speech(), "codec": Codec.OPUS, "marks": marks}
    message = make_message(house.mailbox, Broken(error) if error else None, **options)
    assert (message.kind, message.urgency, message.words, message.wav_bytes) == (
        "message",
        "review",
        "failed",
        0,
    )
    actor = house.actor(Role.CLINICIAN)
    with pytest.raises(NotFound, match="could not be decoded"):
        playing.length(actor, message.id)
    view = service.message(actor, message.id)
    assert not view.row.has_audio
    assert [one.label for one in view.row.reasons] == ["the sound could not be decoded yet"]
    assert not Job.objects.filter(kind="transcribe").exists()
    assert undecoded.run_one(CAGE, utc_now, LOG)
    later = Message.objects.get()
    assert (later.tags, later.words, later.duration_ms) == ([], "pending", message.duration_ms)
    expected = make_message(house.mailbox, CAGE, **options)
    assert np.array_equal(heard(house, later), heard(house, expected))
    assert later.parts == expected.parts
    assert Job.objects.filter(kind="transcribe", key=message.id).count() == 1
    assert Event.objects.filter(action="message:decoded", message=message.id).count() == 1
    assert not undecoded.run_one(CAGE, utc_now, LOG)


def test_the_alert_of_an_urgent_call_does_not_wait_long_for_its_sound(house: House) -> None:
    class TooSlow(Broken):
        asked = 0

        def unpack(self, codec: Codec, payloads: Sequence[bytes]) -> Unpacked:
            self.asked += 1
            raise self.error

    quick = TooSlow(SoundUnavailable("x", "it took five seconds"))
    for urgent in (False, True):
        path = make_capture(house.mailbox, pcm=speech(), codec=Codec.G722, urgent=urgent)
        intake.take_in(path, utc_now(), CAGE, quick)
    assert quick.asked == 1
    routine, rings = Message.objects.order_by("needs_alert")
    assert (routine.tags, rings.tags, rings.urgency) == ([], ["undecoded"], "urgent")
    assert undecoded.run_one(CAGE, utc_now, LOG)
    assert np.array_equal(heard(house, Message.objects.get(needs_alert=True)), heard(house, routine))


def test_a_decoder_that_is_not_there_is_waited_for(house: House) -> None:
    message = make_message(house.mailbox, pcm=tone(2.0), codec=Codec.G722)
    away = Broken(SoundUnavailable("x", "y"))
    for day in range(3 * jobs.MAX_ATTEMPTS):
        assert undecoded.run_one(away, lambda day=day: utc_now() + timedelta(days=day), LOG)
    assert undecoded.run_one(CAGE, lambda: utc_now() + timedelta(days=30), LOG)
    assert len(heard(house, message)) == 32000


def test_sound_that_no_attempt_could_decode_stays_as_it_came(house: House) -> None:
    message = make_message(house.mailbox, pcm=tone(2.0), codec=Codec.G722)
    key, before = vault.message_key(message.id), vault.blobs().size(message.practice_id, message.id)
    for day in range(jobs.MAX_ATTEMPTS + 1):
        undecoded.run_one(Broken(BadSound("x", "y")), lambda day=day: utc_now() + timedelta(days=day), LOG)
    assert Job.objects.get(kind="decode").outcome == "dead"
    message.refresh_from_db()
    assert (message.tags, before) == (["undecoded"], message.audio_bytes)
    laid = undecoded.unpack(stored.reader(message, key, decoded=False).read())
    assert [one.payload for one in laid.packets] == list(encode.frames(tone(2.0), Codec.G722))


def test_a_worker_killed_between_the_store_and_the_row_leaves_nothing_undone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = make_message(house.mailbox, pcm=tone(2.0), codec=Codec.G722)

    class Killed(BaseException):
        pass

    def kill(name: str) -> None:
        if name == "decode.blob":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("nightbell.core.faults.point", kill)
        with pytest.raises(Killed):
            undecoded.run_one(CAGE, utc_now, LOG)
    message.refresh_from_db()
    assert message.wav_bytes == 0
    assert undecoded.run_one(CAGE, lambda: utc_now() + timedelta(minutes=5), LOG)
    assert len(heard(house, message)) == 32000


def test_sound_that_is_not_decoded_goes_with_its_message(house: House) -> None:
    message = make_message(house.mailbox, pcm=tone(2.0), codec=Codec.G722)
    disposal.dispose(message, "system:test", "test", utc_now())
    assert list(vault.blobs().ids(message.practice_id)) == []
    assert undecoded.run_one(CAGE, utc_now, LOG)
    assert list(vault.blobs().ids(message.practice_id)) == []


def test_a_wav_and_payloads_are_never_taken_for_each_other(house: House) -> None:
    message = make_message(house.mailbox, CAGE, pcm=tone(1.0), codec=Codec.G722)
    key = vault.message_key(message.id)
    assert struct.unpack_from("<I", stored.reader(message, key).read(), 24) == (16000,)
    with pytest.raises(SealError):
        stored.reader(message, key, decoded=False)


def test_sound_decoded_while_its_message_is_disposed_of_leaves_nothing(house: House) -> None:
    message = make_message(house.mailbox, pcm=tone(1.0), codec=Codec.G722)

    class Slow:
        def unpack(self, codec: Codec, payloads: Sequence[bytes]) -> Unpacked:
            disposal.dispose(message, "system:test", "test", utc_now())
            return CAGE.unpack(codec, payloads)

    assert undecoded.run_one(Slow(), utc_now, LOG)
    assert list(vault.blobs().ids(message.practice_id)) == []
    assert Message.objects.get().wav_bytes == 0
