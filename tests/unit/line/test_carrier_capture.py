"""What providers recorded, laid into a capture: whole, in its part, whatever the provider said of its length."""

from __future__ import annotations

import io
import struct
import wave
from datetime import UTC, datetime

import pytest
from tests.factories import tone

from nightbell.adapters.sound.decode import SoundFileDecoder
from nightbell.core.capture import Capture, Codec, EndReason
from nightbell.core.carriers import BadRecording
from nightbell.line.carrier_capture import Call, compose, lies_whole, read_sound, sealed
from nightbell.mailbox import parts, rules
from nightbell.sealing.capture import open_capture
from nightbell.sealing.epochs import new_epoch
from nightbell.sip import g711

NAME, REASON = tone(2.345, 440.0), tone(0.9871, 900.0)
DECODER = SoundFileDecoder()


def pcmu(pcm: bytes) -> bytes:
    return g711.encode(pcm, Codec.PCMU)


def file(pcm: bytes, channels: int = 1, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as wav:
        wav.setnchannels(channels)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(pcm)
    return out.getvalue()


def law(data: bytes, kind: int) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, 1, 8000, 8000, 1, 8)
    body = b"WAVE" + b"LIST\x03\x00\x00\x00abc\x00" + form + struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def call_of(
    sounds: dict[int, bytes], marks: list[tuple[int, str]], keys: list[tuple[int, str]] | None = None
) -> Call:
    return Call(
        capture="01K0000000000000000000CAP1", practice="", mailbox="", dialled="5035550100", caller="+15035550148",
        answered=datetime(2026, 11, 27, tzinfo=UTC), language="en", snapshot=1, flow=2, marks=tuple(marks),
        keys=tuple(keys or []), ended=(30_000, EndReason.POUND), sounds=sounds,
    )  # fmt: skip


MARKS = [
    (0, "stage:first"), (9_000, "recording"), (9_000, "part:name"), (11_000, "part-end"), (12_000, "part:reason"),
    (22_000, "part-end"), (22_000, "stage:send"), (22_000, "promise:within-30-min:-"),
]  # fmt: skip


def stored(capture: Capture) -> tuple[bytes, list[parts.Part]]:
    """As intake lays it out and cuts it."""
    line = bytearray(b"\xff" * max((p.offset + len(p.payload) for p in capture.packets), default=0))
    for packet in capture.packets:
        line[packet.offset : packet.offset + len(packet.payload)] = packet.payload
    cut = parts.cut(capture.marks, len(line), [])
    assert cut is not None
    return g711.decode(b"".join(line[a:b] for a, b in cut.pieces), Codec.PCMU), list(cut.parts)


def test_each_recording_lies_whole_in_its_part() -> None:
    sounds = {0: pcmu(NAME), 1: pcmu(REASON)}
    capture = compose(call_of(sounds, MARKS, [(10_000, "5"), (21_900, "#")]))
    kept, found = stored(capture)
    assert [part.name for part in found] == ["name", "reason"]
    for part, sound in zip(found, sounds.values(), strict=True):
        at = kept.find(g711.decode(sound, Codec.PCMU))
        assert at == part.start * 2
        assert 0 <= part.end - part.start - len(sound) < 8
        assert lies_whole(b"header" + kept, sound)
    times = [mark.at for mark in capture.marks]
    assert times == sorted(times)
    assert [digit.key for digit in capture.digits] == ["5", "#"]
    assert not lies_whole(kept[:-4000], sounds[1])
    assert not lies_whole(b"", sounds[0])


def test_longer_recordings_than_the_provider_told_do_not_run_into_each_other() -> None:
    tight = [(0, "recording"), (0, "part:name"), (500, "part-end"), (600, "part:reason"), (700, "part-end")]
    capture = compose(call_of({0: pcmu(NAME), 1: pcmu(REASON)}, tight))
    kept, found = stored(capture)
    assert lies_whole(kept, pcmu(NAME)) and lies_whole(kept, pcmu(REASON))
    assert found[1].start >= found[0].end


def test_a_take_that_brought_nothing_leaves_the_others_whole() -> None:
    capture = compose(call_of({1: pcmu(REASON)}, MARKS))
    kept, found = stored(capture)
    assert [part.name for part in found] == ["reason"]
    assert lies_whole(kept, pcmu(REASON))


def test_who_hung_up_while_speaking_is_heard_to_the_end() -> None:
    capture = compose(call_of({0: pcmu(tone(45.0))}, MARKS[:3]))
    assert capture.end.at >= 9_000 + 45_000
    assert lies_whole(stored(capture)[0], pcmu(tone(45.0)))


def test_a_recording_that_no_part_names_comes_after_the_rest() -> None:
    for marks in (MARKS, MARKS[:3], [(0, "short")]):
        capture = compose(call_of({0: pcmu(NAME), 99: pcmu(REASON)}, marks))
        kept, _ = stored(capture)
        assert lies_whole(kept, pcmu(NAME)) and lies_whole(kept, pcmu(REASON))


def test_a_capture_without_sound_says_that_nobody_was_heard() -> None:
    capture = compose(call_of({}, MARKS))
    assert capture.packets == ()
    assert rules.recorded is not None
    assert capture.end.reason is EndReason.POUND


def test_what_is_sealed_is_what_was_composed() -> None:
    epoch, private = new_epoch()
    capture = compose(call_of({0: pcmu(NAME), 1: pcmu(REASON)}, MARKS, [(100, "1")]))
    data = sealed(capture, epoch)
    assert open_capture(data, private) == capture
    assert b"5035550148" not in data


def test_every_common_file_is_read() -> None:
    both = b"".join(NAME[i : i + 2] + REASON[i % len(REASON) :][:2] for i in range(0, len(NAME), 2))
    assert read_sound(file(NAME), DECODER) == pcmu(NAME)
    assert read_sound(file(both, channels=2), DECODER) == pcmu(NAME), "the caller is on the first channel"
    assert read_sound(law(pcmu(NAME), 7), DECODER) == pcmu(NAME)
    assert read_sound(law(g711.encode(NAME, Codec.PCMA), 6), DECODER) == g711.transcode(
        g711.encode(NAME, Codec.PCMA), Codec.PCMA, Codec.PCMU
    )
    wide = read_sound(
        file(b"".join(NAME[i : i + 2] * 2 for i in range(0, len(NAME), 2)), rate=16000), DECODER
    )
    assert len(wide) == len(NAME) // 2
    near = g711.decode(wide, Codec.PCMU)
    assert (
        max(
            abs(a - b)
            for (a,), (b,) in zip(struct.iter_unpack("<h", near), struct.iter_unpack("<h", NAME), strict=True)
        )
        < 1200
    )


@pytest.mark.parametrize(
    "data", [file(NAME)[:-100], file(NAME)[:40], b"RIFF", b"", b"<html>", b"\x00" * 4000]
)
def test_what_is_cut_or_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(BadRecording):
        read_sound(data, DECODER)
