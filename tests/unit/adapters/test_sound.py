"""Files in, samples out; a text in, a voice out; and the cage around both."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import wave
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from nightbell.adapters.sound import cage, child
from nightbell.adapters.sound.decode import SoundFileDecoder, container, ffmpeg_arguments
from nightbell.adapters.sound.speak import EspeakSpeaker
from nightbell.core.clock import SYSTEM
from nightbell.core.sound import MOST_BYTES, BadSound, SoundUnavailable
from nightbell.flow import studio

RATE = 16000
M4A = b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00M4A mp42isom" + bytes(64)


def _stereo(seconds: float = 1.0) -> npt.NDArray[np.float64]:
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([tone, tone / 2], axis=1)


@cache
def _file(kind: str, subtype: str) -> bytes:
    out = BytesIO()
    soundfile.write(out, _stereo(), RATE, format=kind, subtype=subtype)
    return out.getvalue()


@cache
def _hour_of_silence() -> bytes:
    out = BytesIO()
    with soundfile.SoundFile(out, "w", 8000, 1, format="FLAC") as file:
        for _ in range(60):
            file.write(np.zeros(8000 * 60, "<i2"))
    return out.getvalue()


def _decode(data: bytes, search: str = "") -> str:
    """Why it is refused, with the mend."""
    with pytest.raises(BadSound) as refusal:
        SoundFileDecoder(search).decode(data)
    return f"{refusal.value.why}; {refusal.value.mend}"


def _program(folder: Path, name: str, script: str) -> str:
    """A program of that name; returns what to search."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "ULAW"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
    ],
)
def test_it_decodes_what_people_bring_and_mixes_it_to_one_channel(kind: str, subtype: str) -> None:
    sound = SoundFileDecoder("").decode(_file(kind, subtype))
    samples = np.frombuffer(sound.samples, np.float32)
    assert sound.rate == RATE
    assert sound.seconds == pytest.approx(1.0, abs=0.08)
    spectrum = np.abs(np.fft.rfft(samples[: RATE // 2] * np.hanning(RATE // 2)))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=2)
    assert np.sqrt(2 * np.mean(samples[2000:-2000] ** 2)) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"%PDF-1.7 a letter", b"\xff\xd8\xff\xe0" + bytes(500), b"\x89PNG\r\n\x1a\n"]
)
def test_it_refuses_what_is_not_sound_without_starting_anything(data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert "not a sound file" in _decode(data)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime == before


@pytest.mark.parametrize("start", [b"fLaC", b"OggS", b"RIFF\x00\x10\x00\x00WAVEfmt ", b"\xff\xfb\x90\x00"])
def test_it_refuses_garbage_behind_a_good_beginning(start: bytes) -> None:
    garbage = np.random.default_rng(3).bytes(5000)
    assert "not a sound file" in _decode(start + garbage)


@pytest.mark.parametrize(
    ("kind", "subtype", "why"), [("FLAC", "PCM_24", "damaged"), ("MP3", "MPEG_LAYER_III", "missing")]
)
def test_it_refuses_a_file_that_ends_in_the_middle(kind: str, subtype: str, why: str) -> None:
    data = _file(kind, subtype)
    assert why in _decode(data[: len(data) // 2])


def test_of_a_wav_that_was_cut_it_gives_what_there_is() -> None:
    data = _file("WAV", "PCM_16")
    assert SoundFileDecoder("").decode(data[: len(data) // 2]).seconds == pytest.approx(0.5, abs=0.01)


def test_an_hour_in_a_small_file_is_refused_by_its_header() -> None:
    hour = _hour_of_silence()
    assert len(hour) < 200_000
    with pytest.raises(child.Bad, match="long"):
        child.read(_Watched(hour, most=70_000), 120.0)
    assert "longer than 120 seconds" in _decode(hour)


class _Watched(BytesIO):
    """A file that fails when more than `most` bytes are read of it."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._left = most

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        got = super().readinto(buffer)
        self._left -= got
        assert self._left > 0, "it read on"
        return got


def test_an_hour_whose_header_does_not_say_so_is_refused_after_the_limit() -> None:
    hour = bytearray(_hour_of_silence())
    hour[21] &= 0xF0  # FLAC STREAMINFO: 36 bits for the number of samples, 0 is unknown
    hour[22:26] = bytes(4)
    assert "longer than 120 seconds" in _decode(bytes(hour))


def test_too_many_bytes_are_refused() -> None:
    assert "larger than 20 MB" in _decode(b"fLaC" + bytes(MOST_BYTES))


def test_a_strange_rate_is_refused() -> None:
    out = BytesIO()
    soundfile.write(out, np.zeros(100), 1000, format="WAV")
    assert "sample rate" in _decode(out.getvalue())


def _tone(hertz: float, rate: int, seconds: float = 1.0, channels: int = 1) -> bytes:
    out = BytesIO()
    one = 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    soundfile.write(out, np.stack([one] * channels, axis=1), rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


@pytest.mark.parametrize("rate", [96000, 88200])
def test_a_wide_file_is_halved_and_nothing_folds_down(rate: int) -> None:
    sound = SoundFileDecoder("").decode(_tone(3000, rate))
    samples = np.frombuffer(sound.samples, np.float32)
    assert (sound.rate, len(samples)) == (rate // 2, rate // 2)
    assert np.sqrt(2 * np.mean(samples[200:-200] ** 2)) == pytest.approx(0.4, rel=0.01)
    above = SoundFileDecoder("").decode(_tone(rate / 2 - 3000, rate))  # would be heard at 3000 Hz
    assert np.abs(np.frombuffer(above.samples, np.float32)[200:-200]).max() < 0.4 / 1000


def test_what_is_wider_than_any_voice_is_refused() -> None:
    assert "between 6000 and 96000 Hz" in _decode(_tone(440, 192_000, 0.1))


def test_more_than_its_place_takes_is_refused() -> None:
    data = _tone(440, 8000, 3.0)
    assert SoundFileDecoder("").decode(data, 3.0).seconds == 3.0
    with pytest.raises(BadSound, match=r"longer than 2\.5 seconds"):
        SoundFileDecoder("").decode(data, 2.5)


_MEASURED = """
import resource, sys
import numpy as np
from nightbell.adapters.sound.decode import SoundFileDecoder
from nightbell.flow import studio
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sound = SoundFileDecoder("").decode(sys.stdin.buffer.read(), 120.0)
try:
    studio.finish(np.frombuffer(sound.samples, np.float32), sound.rate, 60.0)
except ValueError as refused:
    print(refused.why)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_largest_wide_file_costs_this_process_little() -> None:
    """Two minutes at 96 kHz, and then refused for its length: kB of memory, from file to clip."""
    out = BytesIO()
    with soundfile.SoundFile(out, "w", 96000, 1, format="FLAC") as file:
        for _ in range(119):
            file.write(0.3 * np.sin(2 * np.pi * 200 * np.arange(96000) / 96000))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED], input=out.getvalue(), capture_output=True, timeout=60, check=True
    )
    why, cost = done.stdout.decode().splitlines()
    assert "119" in why
    assert int(cost) < 300_000, cost


@pytest.mark.parametrize(
    ("data", "demuxer"),
    [
        (M4A, "mov"),
        (b"\x1a\x45\xdf\xa3" + bytes(60), "matroska"),
        (b"\xff\xf1\x50\x80" + bytes(60), "aac"),
        (b"#EXTM3U\nfile:///etc/passwd", ""),
        (b"ffconcat version 1.0\nfile /etc/passwd", ""),
    ],
)
def test_we_tell_the_format_and_no_playlist_is_one(data: bytes, demuxer: str) -> None:
    assert container(data) == demuxer
    assert ffmpeg_arguments("mov")[ffmpeg_arguments("mov").index("-f") + 1] == "mov"


def test_without_ffmpeg_it_says_what_works_and_what_would_help() -> None:
    refusal = _decode(M4A, search="")
    assert "M4A" in refusal
    assert "MP3" in refusal
    assert "installing ffmpeg" in refusal


def test_with_ffmpeg_its_samples_are_taken(tmp_path: Path) -> None:
    """The program is a stand-in that gives back its input: what we test is our side."""
    sound = SoundFileDecoder(_program(tmp_path, "ffmpeg", "exec cat /proc/self/fd/0")).decode(M4A)
    assert (sound.rate, sound.samples) == (48000, M4A)


def test_more_than_two_minutes_from_ffmpeg_are_refused(tmp_path: Path) -> None:
    endless = _program(tmp_path, "ffmpeg", "exec cat /dev/zero")
    assert "longer than 120 seconds" in _decode(M4A, search=endless)


def test_a_ffmpeg_that_fails_means_a_damaged_file(tmp_path: Path) -> None:
    assert "damaged" in _decode(M4A, search=_program(tmp_path, "ffmpeg", "exit 1"))


def test_a_child_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """The one that sleeps holds our pipe: were it left alive, we would wait for it."""
    search = _program(tmp_path, "ffmpeg", "sleep 7.0031 & wait")
    began = SYSTEM.monotonic()
    with pytest.raises(BadSound, match="took too long"):
        SoundFileDecoder(search, seconds=0.5).decode(M4A)
    assert SYSTEM.monotonic() - began < 5
    assert not _running("7.0031")


def _running(word: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False


_TRIES = """
import json, os, resource, socket, sys
secret, folder, port = sys.argv[1:]
def tried(what):
    try:
        what()
    except BaseException as error:
        return type(error).__name__
    return "done"
print(json.dumps({
    "connect": tried(lambda: socket.create_connection(("127.0.0.1", int(port)))),
    "unix": tried(lambda: socket.socket(socket.AF_UNIX)),
    "read": tried(lambda: open(secret).read()),
    "write": tried(lambda: open(os.path.join(folder, "out"), "w")),
    "parent": tried(lambda: open(f"/proc/{os.getppid()}/environ").read()),
    "memory": tried(lambda: bytearray(1 << 31)),
    "environment": sorted(os.environ),
    "session": os.getsid(0) == os.getpid(),
    "cpu": resource.getrlimit(resource.RLIMIT_CPU)[0],
    "input": sys.stdin.read(),
}))
"""


def test_nothing_gets_out_of_the_cage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a key")
    monkeypatch.setenv("NIGHTBELL_SECRET", "a key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = ["-I", "-c", _TRIES, str(secret), str(tmp_path), str(server.getsockname()[1])]
        answer = json.loads(cage.run(Path(sys.executable), arguments, b"sound", seconds=20, most=5000))
    assert answer == {
        "connect": "PermissionError",
        "unix": "PermissionError",
        "read": "PermissionError",
        "write": "PermissionError",
        "parent": "PermissionError",
        "memory": "MemoryError",
        "environment": ["LANG", "OPENBLAS_NUM_THREADS"],
        "session": True,
        "cpu": 20,
        "input": "sound",
    }


def test_the_decoding_child_locks_itself_in_before_it_reads() -> None:
    """The library is loaded inside: at the moment of `confine` no foreign code has run."""
    code = (
        "import sys; from nightbell.adapters.sound import cage, child\n"
        "cage.confine = lambda s: print('soundfile' in sys.modules, 'numpy' in sys.modules, s) or sys.exit()\n"
        "child.main()"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, timeout=20, check=True)
    assert done.stdout == b"False False 20\n"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The office is closed. Please leave a message.", "en"),
        ("La oficina está cerrada. Deje un mensaje, señora Núñez.", "es"),
    ],
)
def test_a_text_is_spoken_and_becomes_a_clip(text: str, language: str) -> None:
    speaker = EspeakSpeaker()
    assert speaker.available()
    data = speaker.speak(text, language)
    with wave.open(BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
        rate = file.getframerate()
    assert 2 < len(samples) / rate < 7
    assert studio.finish(samples, rate).lufs == pytest.approx(-16, abs=1)


def test_the_languages_have_voices_of_their_own() -> None:
    speaker = EspeakSpeaker()
    assert speaker.speak("no importa", "en") != speaker.speak("no importa", "es")


def test_text_goes_in_by_standard_input_and_is_no_markup(tmp_path: Path) -> None:
    """The stand-in speaks only when it reads exactly the words, and finds none in its arguments."""
    script = (
        'case "$*" in *office*) exit 1;; esac\n[ "$(cat)" = "The office h@loU is closed -v fr" ] || exit 1'
    )
    speaker = EspeakSpeaker(_program(tmp_path, "espeak-ng", script))
    with pytest.raises(SoundUnavailable, match="ValueError"):  # it read them, and then gave no WAV
        speaker.speak("The office\n[[h@loU]] is\x00closed -v fr", "en")


@pytest.mark.parametrize(
    ("text", "language"), [("", "en"), (" \n", "en"), ("...!", "es"), ("a" * 601, "en"), ("Bonjour", "fr")]
)
def test_a_text_that_cannot_be_spoken_is_refused(text: str, language: str) -> None:
    with pytest.raises(BadSound):
        EspeakSpeaker().speak(text, language)


def test_where_there_is_no_voice_it_says_so() -> None:
    silent = EspeakSpeaker(search="")
    assert not silent.available()
    with pytest.raises(SoundUnavailable, match="install espeak-ng"):
        silent.speak("Good evening", "en")


@pytest.mark.parametrize(
    ("script", "why"), [("sleep 7.0032 & wait", "timeout"), ("exit 3", "failed"), ("true", "V")]
)
def test_a_voice_that_fails_or_hangs_is_reported(tmp_path: Path, script: str, why: str) -> None:
    speaker = EspeakSpeaker(_program(tmp_path, "espeak-ng", script), seconds=0.5)
    with pytest.raises(SoundUnavailable, match=why):
        speaker.speak("Good evening", "en")


def test_errors_hold_no_word_of_what_was_brought() -> None:
    secret = "Mrs Smith's heart"
    with pytest.raises(SoundUnavailable) as unspoken:
        EspeakSpeaker(search="").speak(secret, "en")
    with pytest.raises(BadSound) as unheard:
        SoundFileDecoder("").decode(secret.encode())
    assert "Smith" not in f"{unspoken.value} {unheard.value}"
