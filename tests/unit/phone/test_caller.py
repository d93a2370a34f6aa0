"""Our caller: what it hears as the tone, and what it says of wrong usage."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.phone.house import speech, write_wav
from tests.ports import free_port

from nightbell.core.capture import Codec
from nightbell.flow.clips import manifest
from nightbell.phone import caller, voice


def heard(frames: list[bytes], codec: Codec = Codec.PCMU) -> caller.ToneEar:
    ear = caller.ToneEar()
    for frame in frames:
        ear.feed(frame, codec)
    return ear


@pytest.mark.parametrize("codec", Codec)
def test_it_hears_the_tone_and_its_end(codec: Codec) -> None:
    tone = list(voice.packaged("tone", codec))
    assert heard(tone[:15], codec).heard
    assert not heard(tone[:15], codec).over
    assert heard(tone + list(voice.pause(100, codec)), codec).over


def test_it_takes_no_word_of_ours_for_the_tone() -> None:
    for name in manifest().hashes:
        if name != "tone.ulaw":
            assert not heard(list(voice.packaged(name.removesuffix(".ulaw"), Codec.PCMU))).heard, name


@pytest.mark.parametrize(
    "arguments",
    [
        ["sip:1@h"],
        ["http://x", "--wav", "x"],
        ["sip:1@h", "--wav", "x", "--digits", "abc"],
        ["sip:1@h", "--wav", "x", "--user", "u"],
        ["sip:1@h", "--wav", "x", "--user", "u", "--password-file", "/nowhere"],
        [],
    ],
)
def test_it_leaves_with_2_on_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        caller.main(arguments)
    assert left.value.code == 2


def test_it_leaves_with_2_and_the_mend_for_a_file_that_it_cannot_play(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.wav").write_bytes(b"ID3")
    assert caller.main(["sip:1@127.0.0.1", "--wav", str(tmp_path / "x.wav")]) == 2
    assert "ffmpeg" in capsys.readouterr().err
    assert caller.main(["sip:1@127.0.0.1", "--wav", str(tmp_path / "none.wav")]) == 2


def test_it_leaves_with_1_when_nobody_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wav = write_wav(tmp_path / "x.wav", speech(1))
    assert caller.main([f"sip:1@127.0.0.1:{free_port()}", "--wav", str(wav), "--timeout", "2"]) == 1
    assert "not answered" in capsys.readouterr().out
