"""Whole calls over real SIP and RTP against the real phone process; the captures opened with the epoch's key."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.phone.house import DIALLED, HandCaller, House, running, sound_of, speech, spoken_of, write_wav

from nightbell.core.capture import Capture, Codec, EndReason
from nightbell.sealing.capture import open_capture
from nightbell.sip import g711

CALLS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "udp": (speech(4, 1), ("--digits", "0,#")),
    "tcp": (speech(4, 2), ("--digits", "0", "--transport", "tcp")),
    "pcma": (g711.transcode(speech(3, 3), Codec.PCMA, Codec.PCMU), ("--digits", "0", "--codec", "pcma")),
    "urgent": (speech(3, 4), ("--digits", "10,#")),
    "short": (speech(2, 5), ("--digits", "0")),
    "nothing": (b"", ("--digits", "0")),
    "no-tone": (speech(1, 6), ("--speak-after", "1")),
    "silent": (b"\xff" * 8000 * 75, ("--digits", "0")),
    "long": (speech(20, 7), ("--digits", "0")),
}


SPEAK_UP = 3_500  # milliseconds of "We cannot hear you. Please speak after the tone."


@dataclass
class Made:
    """One finished call."""

    report: dict[str, Any]
    capture: Capture
    sent: bytes


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("calls"), max_seconds=40) as house:
        yield house


@pytest.fixture(scope="module")
def made(house: House, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """All calls of the table at once, told apart by their caller's number."""
    folder = tmp_path_factory.mktemp("wav")
    running_now: dict[str, subprocess.Popen[str]] = {}
    for number, (name, (sound, options)) in enumerate(CALLS.items()):
        wav = write_wav(folder / f"{name}.wav", sound)
        running_now[name] = house.call("--from", f"555201710{number}", *options, wav=wav, background=True)
    reports = {name: json.loads(process.communicate(timeout=90)[0]) for name, process in running_now.items()}
    captures = {int(one.meta.caller[-1]): one for one in house.wait_for_captures(len(CALLS))}
    return {
        name: Made(reports[name], captures[number], sound)
        for number, (name, (sound, _)) in enumerate(CALLS.items())
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["udp", "tcp", "urgent", "short", "long"])
def test_it_keeps_every_byte_that_the_caller_spoke(made: dict[str, Made], name: str) -> None:
    assert made[name].sent in sound_of(made[name].capture)
    assert made[name].capture.complete


@pytest.mark.slow
def test_it_takes_a_law_from_whoever_offers_nothing_else(made: dict[str, Made]) -> None:
    call = made["pcma"]
    assert call.capture.meta.codec is Codec.PCMA
    assert g711.transcode(call.sent, Codec.PCMU, Codec.PCMA) in sound_of(call.capture)


@pytest.mark.slow
def test_it_writes_who_called_whom_and_when_into_the_capture(made: dict[str, Made]) -> None:
    meta = made["udp"].capture.meta
    assert (meta.dialled, meta.caller, meta.language, meta.snapshot) == (DIALLED, "5552017100", "en", 1)
    assert meta.practice.endswith("PRACT")
    assert meta.mailbox.endswith("MAB0X")


@pytest.mark.slow
def test_it_marks_only_the_call_with_key_1_as_urgent(made: dict[str, Made]) -> None:
    urgent = {
        name for name, call in made.items() if any(mark.name == "urgent" for mark in call.capture.marks)
    }
    assert urgent == {"urgent"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("udp", EndReason.POUND),
        ("tcp", EndReason.HANG_UP),
        ("silent", EndReason.SILENCE),
        ("nothing", EndReason.HANG_UP),
        ("no-tone", EndReason.HANG_UP),
    ],
)
def test_it_says_why_the_recording_ended(made: dict[str, Made], name: str, reason: EndReason) -> None:
    assert made[name].capture.end.reason is reason


@pytest.mark.slow
def test_it_speaks_to_the_end_of_its_closing_words_and_hangs_up(made: dict[str, Made]) -> None:
    report = made["udp"].report
    assert report["ended_by"] == "them"
    assert report["lasted"] - report["spoke_from"] > 4 + 15  # the promise takes its time


@pytest.mark.slow
def test_it_leaves_no_audio_of_a_caller_who_hung_up_before_the_tone(made: dict[str, Made]) -> None:
    assert made["no-tone"].capture.packets == ()
    assert made["no-tone"].capture.complete


@pytest.mark.slow
def test_it_gives_up_on_a_silent_caller_half_a_minute_after_the_tone(made: dict[str, Made]) -> None:
    call = made["silent"]
    recording = next(mark.at for mark in call.capture.marks if mark.name == "recording")
    parts = [mark.at for mark in call.capture.marks if mark.name == "part:message"]
    assert 29_500 < parts[1] - recording - SPEAK_UP < 32_500  # asked to speak up once, with a tone of its own
    assert 29_500 < call.capture.end.at - parts[1] < 32_000
    assert "unheard" in [mark.name for mark in call.capture.marks]
    assert call.report["ended_by"] == "them"


@pytest.mark.slow
def test_it_leaves_nothing_readable_in_its_folder(made: dict[str, Made], house: House) -> None:
    raw = b"".join(path.read_bytes() for path in house.home.rglob("*") if path.is_file())
    assert b"55520171" not in raw
    for call in made.values():
        for start in range(0, len(call.sent) - 400, 4000):
            if set(call.sent[start : start + 400]) != {0xFF}:
                assert call.sent[start : start + 400] not in raw


async def _message(house: House, caller: str, plan: list[int], frames: list[bytes]) -> None:
    async with HandCaller(house, caller) as hand:
        await hand.tone()
        for number in plan:
            hand.audio(number, frames[number])
            await asyncio.sleep(0.004)
        await asyncio.sleep(0.3)


def _cut(sound: bytes) -> list[bytes]:
    return [sound[at : at + 160] for at in range(0, len(sound), 160)]


@pytest.mark.slow
def test_it_keeps_the_message_when_a_twentieth_is_lost_and_the_rest_comes_in_disorder(house: House) -> None:
    frames, chance = _cut(speech(6, 8)), random.Random(9)
    plan = [0, *sorted((n for n in range(1, 300) if n % 20), key=lambda n: n + chance.uniform(0, 8))]
    plan += plan[50:60]
    asyncio.run(_message(house, "5552017201", plan, frames))
    capture = _of(house, "5552017201")
    expected = [frame if number == 0 or number % 20 else b"\xff" * 160 for number, frame in enumerate(frames)]
    assert spoken_of(capture) == b"".join(expected)
    assert len(capture.packets) == len(set(plan))


def _of(house: House, caller: str) -> Capture:
    for _ in range(100):
        for path in house.files("cap"):
            capture = open_capture(path.read_bytes(), house.private)
            if capture.meta.caller == caller:
                return capture
        asyncio.run(asyncio.sleep(0.05))
    raise AssertionError("no such capture")


@pytest.mark.slow
def test_it_takes_a_call_for_a_number_that_it_does_not_know(house: House, tmp_path: Path) -> None:
    sound = speech(2, 10)
    wav = write_wav(tmp_path / "a.wav", sound)
    caller = house.call("--digits", "0", "--from", "5552017202", wav=wav, number="5559999999")
    assert caller.returncode == 0
    capture = _of(house, "5552017202")
    assert (capture.meta.practice, capture.meta.mailbox) == ("", "")
    assert sound in sound_of(capture)


@pytest.mark.slow
def test_it_bears_a_thousand_digits_and_keeps_a_bounded_number(house: House) -> None:
    async def flood() -> None:
        async with HandCaller(house, "5552017203") as hand:
            for number in range(1000):
                hand.press("34567"[number % 5])
                if not number % 20:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)

    asyncio.run(flood())
    capture = _of(house, "5552017203")
    assert 300 < len(capture.digits) <= 512
    assert capture.complete
