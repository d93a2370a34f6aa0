"""Words as sound: packaged clips, pauses, and a practice's own recordings with what is heard in their place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from G722 import G722
from tests.phone.house import write_wav
from tests.sound import correlation

from nightbell.core.capture import Codec
from nightbell.flow.clips import CLIPS, LANGUAGES, manifest, milliseconds
from nightbell.phone import encode, voice, wav
from nightbell.phone.voice import ClipMissing, Voice
from nightbell.sip import codecs, g711

OURS = Voice(Path("/nowhere"), {})


def own_file(folder: Path, sound: bytes) -> str:
    """Put a recording into the phone's folder under its content hash."""
    file = write_wav(folder / "own", sound)
    name = hashlib.sha256(file.read_bytes()).hexdigest()
    file.rename(folder / name)
    return name


def test_every_packaged_file_is_what_the_manifest_says() -> None:
    assert voice.warm() == len(list(CLIPS.rglob("*.ulaw")))
    assert set(manifest().frames) >= {f"{language}/saved" for language in LANGUAGES}


@pytest.mark.parametrize("codec", Codec)
def test_it_has_every_prompt_in_both_languages_in_whole_frames(codec: Codec) -> None:
    for language in LANGUAGES:
        names = sorted(manifest().words[language])
        for name in names[:: 16 if codec is Codec.OPUS else 1]:  # they take ten seconds to encode
            frames = OURS.frames((f"{language}/{name}",), codec)
            assert {codecs.duration(codec, frame) for frame in frames} == {codecs.frame_ticks(codec)}
            assert 20 * len(frames) == milliseconds(f"{language}/{name}")


def test_it_plays_a_run_in_order_with_its_pauses() -> None:
    run = ("~300", "en/saved", "~20", "tone", "~5")
    frames = OURS.frames(run, Codec.PCMU)
    saved, tone = voice.packaged("en/saved", Codec.PCMU), voice.packaged("tone", Codec.PCMU)
    hush = g711.silence(160, Codec.PCMU)
    assert frames == [*[hush] * 15, *saved, hush, *tone, hush]


@pytest.mark.parametrize("codec", [Codec.PCMU, Codec.PCMA])
def test_it_plays_a_practices_own_recording(tmp_path: Path, codec: Codec) -> None:
    sound = bytes(range(160)) * 3
    own = Voice(tmp_path, {"en/practice-name": own_file(tmp_path, sound)})
    expected = g711.transcode(bytes(range(160)), Codec.PCMU, codec)
    assert own.frames(("en/practice-name",), codec) == [expected] * 3
    assert own.frames(("es/goodbye",), codec) == OURS.frames(("es/goodbye",), codec)


def played(frames: Sequence[bytes], codec: Codec) -> np.ndarray:
    """What a telephone with this codec hears, 16,000 samples a second, by a decoder that is not ours."""
    if codec is Codec.G722:
        return np.concatenate([np.frombuffer(G722(16000, 64000).decode(b"".join(frames)), "<i2")]).astype(
            float
        )
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48000, "mono"
    decoder.open()
    sound = [one.to_ndarray() for frame in frames for one in decoder.decode(av.Packet(frame))]
    flat = np.concatenate(sound, axis=1)[0].astype(float)
    return np.convolve(flat, np.ones(3) / 3, mode="same")[::3]


@pytest.mark.parametrize(("codec", "least"), [(Codec.G722, 0.985), (Codec.OPUS, 0.95)])
def test_words_sound_the_same_in_a_wide_codec(tmp_path: Path, codec: Codec, least: float) -> None:
    ulaw = b"".join(voice.packaged("en/busy-short", Codec.PCMU))
    own = Voice(tmp_path, {"en/saved": own_file(tmp_path, ulaw)})
    sent = np.frombuffer(g711.decode(ulaw, Codec.PCMU), "<i2").astype(float)
    for clip in ("en/busy-short", "en/saved"):
        heard = played(own.frames((clip,), codec), codec)
        narrow = np.convolve(heard, np.ones(2) / 2, mode="same")[::2]
        assert abs(len(narrow) - len(sent)) < 160
        assert correlation(sent[:-400], narrow)[0] > least
        assert 0.9 < np.std(narrow) / np.std(sent) < 1.1


@pytest.mark.parametrize("codec", [Codec.G722, Codec.OPUS])
def test_a_clip_is_encoded_once(codec: Codec) -> None:
    assert voice.packaged("en/saved", codec) is voice.packaged("en/saved", codec)


@pytest.mark.parametrize("codec", Codec)
def test_a_pause_is_silence_in_every_codec(codec: Codec) -> None:
    frames = OURS.frames(("~100",), codec)
    assert len(frames) == 5 and not any(codecs.loud(codec, frame) for frame in frames)
    loudest = [max(map(abs, frame)) for one in frames * 2 for frame in encode.Ear(codec).feed(one)]
    assert all(sample <= 8 for sample in loudest)


def test_it_plays_a_packaged_clip_in_place_of_another() -> None:
    demo = Voice(Path("/nowhere"), {"es/practice-name": "builtin:demo-practice-1"})
    expected = list(voice.packaged("es/demo-practice-1", Codec.PCMU))
    assert demo.frames(("es/practice-name",), Codec.PCMU) == expected


@pytest.mark.parametrize(
    ("clip", "heard"),
    [
        ("en/practice-name", "en/practice-fallback"),
        ("es/practice-name", "es/practice-fallback"),
        ("es/own-greeting-closure", "es/greeting-closure"),
        ("en/own-key-4", "en/menu-routine"),
        ("en/saved", "en/saved"),
    ],
)
@pytest.mark.parametrize("broken", ["gone", "changed", "no sound"])
def test_it_is_heard_in_our_words_when_its_file_is_bad(
    tmp_path: Path, clip: str, heard: str, broken: str
) -> None:
    name = hashlib.sha256(b"RIFF").hexdigest()
    if broken != "gone":
        (tmp_path / name).write_bytes(b"RIFF" if broken == "no sound" else b"other")
    own = Voice(tmp_path, {clip: name})
    assert own.frames((clip, "~20"), Codec.PCMU) == OURS.frames((heard, "~20"), Codec.PCMU)


def test_it_says_so_when_there_are_no_words_at_all() -> None:
    with pytest.raises(ClipMissing, match="not in the package"):
        OURS.frames(("en/no-such-clip",), Codec.PCMU)
    with pytest.raises(ClipMissing):
        OURS.frames(("en/own-greeting-midnight",), Codec.PCMU)


def test_it_leaves_the_folder_for_no_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    name = own_file(outside, bytes(160))
    folder = tmp_path / "clips"
    folder.mkdir()
    sly = Voice(folder, {"en/saved": f"../outside/{name}"})
    assert sly.frames(("en/saved",), Codec.PCMU) == OURS.frames(("en/saved",), Codec.PCMU)


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


def test_a_packaged_clip_that_is_gone_leaves_ours_in_its_place() -> None:
    gone = Voice(Path("/nowhere"), {"en/greeting-closed": "builtin:of-an-older-release"})
    assert gone.frames(["en/greeting-closed"], Codec.PCMU) == list(
        voice.packaged("en/greeting-closed", Codec.PCMU)
    )
