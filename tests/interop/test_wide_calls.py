"""Foreign callers with G.722 and Opus through the whole phone: what they said, decoded from the sealed capture, and
what they heard, decoded by themselves."""

from __future__ import annotations

import subprocess
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.phone.house import CALLER, House
from tests.sound import Samples, correlation
from tests.speech import clips

from nightbell.adapters.sound.unpack import CagedUnpacker
from nightbell.core.capture import Capture, Codec
from nightbell.core.sound import WIDE
from nightbell.mailbox import rules
from nightbell.phone import voice
from nightbell.sip import codecs, g711

HERE = Path(__file__).parent
UNTIL_THE_TONE, SECONDS = 17, 28
# stack, codec, least likeness of what we recorded
CALLS = [("pjsip", Codec.G722, 0.99), ("baresip", Codec.G722, 0.99), ("baresip", Codec.OPUS, 0.95)]


@dataclass
class Calls:
    captures: dict[str, Capture]
    heard: dict[str, Path]


def narrow(samples: Samples, factor: int) -> Samples:
    """To 8000 samples a second."""
    at = np.arange(-16 * factor, 16 * factor + 1)
    return np.convolve(samples, np.sinc(at / factor) * np.kaiser(len(at), 9) / factor, mode="same")[::factor]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """All at once, each to a phone of its own."""
    spoken = clips.load("ms_petewarden_0").pcm
    houses, callers, heard = {}, {}, {}
    try:
        for stack, codec, _ in CALLS:
            name = f"{stack} {codec}"
            root = tmp_path_factory.mktemp(stack)
            houses[name], heard[name] = House(root), root / "heard.wav"
            houses[name].start()
            with wave.open(str(root / "speak.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8000)
                file.writeframes(bytes(16000 * UNTIL_THE_TONE) + spoken)
            command = [sys.executable, HERE / "sound_child.py", stack, houses[name].uri, "none", codec]
            files = [root / "speak.wav", heard[name], "2", str(SECONDS), CALLER]
            callers[name] = subprocess.Popen([*command, *files], stdout=subprocess.DEVNULL)
        for child in callers.values():
            child.wait(60)
        captures = {name: house.wait_for_captures(1)[0] for name, house in houses.items()}
    finally:
        for house in houses.values():
            house.stop()
    return Calls(captures, heard)


@pytest.mark.slow
@pytest.mark.parametrize(("stack", "codec", "least"), CALLS)
def test_a_wide_call_is_recorded_and_answered_in_its_codec(
    calls: Calls, stack: str, codec: Codec, least: float
) -> None:
    capture = calls.captures[f"{stack} {codec}"]
    assert capture.complete and capture.meta.codec is codec
    assert len({packet.offset for packet in capture.packets}) == len(capture.packets) > 300
    unpacked = CagedUnpacker().unpack(codec, [packet.payload for packet in capture.packets])
    assert unpacked.lost == 0
    line = np.frombuffer(rules.lay_pcm(unpacked.pcm, capture.packets, codec, WIDE), "<i2").astype(float)
    sent = np.frombuffer(clips.load("ms_petewarden_0").pcm, "<i2").astype(float)
    # What baresip speaks was widened by repeating each sample, PJSIP has a filter for it.
    found = max(correlation(sent, narrow(line, 2))[0], correlation(np.repeat(sent, 2), line)[0])
    assert found > least
    voices = sum(codecs.loud(codec, packet.payload) for packet in capture.packets) / len(capture.packets)
    assert 0.2 < voices < 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("stack", "codec", "least"), CALLS)
def test_its_caller_hears_our_words(calls: Calls, stack: str, codec: Codec, least: float) -> None:
    with wave.open(str(calls.heard[f"{stack} {codec}"])) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)[::channels]
    words = b"".join(voice.packaged("en/notice-recorded", Codec.PCMU))
    wanted = np.frombuffer(g711.decode(words, Codec.PCMU), "<i2").astype(float)
    assert correlation(wanted, narrow(sound, rate // 8000))[0] > 0.98
