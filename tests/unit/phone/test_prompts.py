"""Words: which clips in which order, in which language, and their sound."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.phone.house import write_wav

from nightbell.core.capture import Codec
from nightbell.phone import voice as prompts, wav
from nightbell.phone.prompts import Line, Voice
from nightbell.sip import g711

LINES = [
    Line(),
    Line(language="es", languages=("es",), practice_number="5552014567"),
    Line(languages=("en", "es"), practice_number="+1 555 201 4567", promise_minutes=720),
    *[Line(greeting=greeting, on_call=False) for greeting in (*prompts.GREETINGS, "unheard-of")],
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("codec", Codec)
def test_it_has_the_sound_of_every_word_that_it_may_say(line: Line, codec: Codec) -> None:
    voice = Voice(Path("/nowhere"), {})
    for script in prompts.scripts(line).values():
        for name, runs in script.items():
            assert runs, name
            for run in runs:
                frames = voice.frames(run.clips, codec)
                assert frames
                assert {len(frame) for frame in frames} == {160}


def test_every_packaged_file_is_what_the_manifest_says() -> None:
    assert prompts.warm() == len(list(prompts.CLIPS.rglob("*.ulaw")))


def test_no_key_cuts_911_or_the_notice_short() -> None:
    for script in prompts.scripts(LINES[2]).values():
        for runs in script.values():
            for run in runs:
                if any(clip.partition("/")[2].startswith(("emergency-911", "notice")) for clip in run.clips):
                    assert not run.barge


def test_it_says_911_in_both_languages_of_a_line() -> None:
    first = [clip for run in prompts.scripts(LINES[2])["es"]["first-words"] for clip in run.clips]
    assert [clip for clip in first if "911" in clip] == ["es/emergency-911", "en/emergency-911"]


@pytest.mark.parametrize(
    ("minutes", "clip"),
    [(0, ""), (1, "within-5-min"), (30, "within-30-min"), (31, "within-35-min"), (51, "within-60-min"),
     (91, "within-2-h"), (61, "within-90-min"), (1440, "within-24-h"), (1441, "")],
)  # fmt: skip
def test_it_rounds_a_promise_up_and_never_down(minutes: int, clip: str) -> None:
    assert prompts.within_clip(minutes) == clip


def test_it_promises_no_time_without_the_number_that_will_call() -> None:
    said = [
        clip
        for run in prompts.scripts(Line(promise_minutes=30))["en"]["promise-urgent"]
        for clip in run.clips
    ]
    assert not [clip for clip in said if "within" in clip or "promise-from" in clip]


def test_it_speaks_ten_digits_as_three_three_four_and_lets_the_last_one_fall() -> None:
    assert prompts.spoken_digits("+1 (555) 201-4567") == [
        "digit-5", "digit-5", "digit-5", "~200", "digit-2", "digit-0", "digit-1", "~200",
        "digit-4", "digit-5", "digit-6", "digit-7-end",
    ]  # fmt: skip
    assert prompts.spoken_digits("7") == ["digit-7-end"]
    assert prompts.spoken_digits("") == []


def test_it_plays_a_practices_own_name_and_falls_back_when_its_file_is_bad(tmp_path: Path) -> None:
    sound = bytes(range(160)) * 3
    file = write_wav(tmp_path / "own", sound)
    name = hashlib.sha256(file.read_bytes()).hexdigest()
    file.rename(tmp_path / name)
    own = Voice(tmp_path, {"practice-name": name})
    assert own.frames(("en/{practice-name}",), Codec.PCMU) == [bytes(range(160))] * 3
    assert own.frames(("en/{practice-name}",), Codec.PCMA)[0] == g711.transcode(
        bytes(range(160)), Codec.PCMU, Codec.PCMA
    )
    fallback = Voice(tmp_path, {}).frames(("en/{practice-name}",), Codec.PCMU)
    for broken in ("0" * 64, hashlib.sha256(b"x").hexdigest()):
        (tmp_path / broken).write_bytes(b"RIFF")
        assert (
            Voice(tmp_path, {"practice-name": broken}).frames(("en/{practice-name}",), Codec.PCMU) == fallback
        )
    demo = Voice(tmp_path, {"practice-name": "builtin:demo-practice-1"}).frames(
        ("en/{practice-name}",), Codec.PCMU
    )
    assert demo == list(prompts.packaged("en/demo-practice-1", Codec.PCMU))


def test_it_reads_the_wav_files_that_it_can_play(tmp_path: Path) -> None:
    sound = bytes(range(256))
    ulaw = write_wav(tmp_path / "u.wav", sound)
    assert wav.read_wav(ulaw) == sound
    pcm = ulaw.read_bytes()[:20] + b"\1\0" + ulaw.read_bytes()[22:34] + b"\x10\0data"
    samples = g711.decode(sound, Codec.PCMU)
    (tmp_path / "p.wav").write_bytes(pcm + len(samples).to_bytes(4, "little") + samples)
    decoded = g711.decode(wav.read_wav(tmp_path / "p.wav"), Codec.PCMU)
    assert decoded == samples


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"OggS" + data[4:], "not a WAV"),
        (lambda data: data[:24] + (44100).to_bytes(4, "little") + data[28:], "44100 Hz"),
        (lambda data: data[:22] + b"\2\0" + data[24:], "2 channels"),
        (lambda data: data[:20] + b"\x55\0" + data[22:], "neither"),
        (lambda data: data[:36], "no format or no sound"),
        (lambda data: b"", "not a WAV"),
    ],
)
def test_it_says_how_to_convert_a_file_that_it_cannot_play(tmp_path: Path, change, why: str) -> None:  # type: ignore[no-untyped-def]
    file = write_wav(tmp_path / "x.wav", bytes(320))
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(wav.BadWav, match="ffmpeg") as refused:
        wav.read_wav(file)
    assert why in str(refused.value)
