"""The real model on real clips, its child, and how the worker lives with the child's death."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.speech import clips

from nightbell.adapters.sound.unpack import CagedUnpacker
from nightbell.adapters.speech import whisper
from nightbell.adapters.speech.whisper import WhisperRecogniser
from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError, TemporaryError
from nightbell.core.log import Log
from nightbell.core.notice import Hearing
from nightbell.core.sound import WIDE
from nightbell.mailbox.triage import triage
from nightbell.phone import encode

_HEARD: dict[str, Hearing] = {}


def _hear(recogniser: WhisperRecogniser, name: str) -> Hearing:
    if name not in _HEARD:
        _HEARD[name] = recogniser.hear(clips.load(name).pcm, "en")
    return _HEARD[name]


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_hears_at_most_one_word_in_eight_wrong(recogniser: WhisperRecogniser) -> None:
    errors = words = 0
    for name in clips.names():
        said = clips.load(name).plain
        heard = clips.plain(" ".join(word.text for word in _hear(recogniser, name).words))
        errors += clips.word_errors(said, heard)
        words += len(said.split())
    assert words > 150
    assert errors / words < 0.125


@pytest.mark.parametrize("name", clips.names())
def test_it_gives_each_word_a_time_within_the_message(recogniser: WhisperRecogniser, name: str) -> None:
    words = _hear(recogniser, name).words
    starts = [word.start for word in words]
    assert words
    assert starts == sorted(starts)
    assert all(0 <= word.start <= word.end <= clips.load(name).seconds for word in words)
    assert all(0 <= word.confidence <= 1 for word in words)
    assert all(word.text == word.text.strip() != "" for word in words)


@pytest.mark.parametrize("codec", [Codec.G722, Codec.OPUS])
def test_a_wide_codec_costs_no_words(recogniser: WhisperRecogniser, codec: Codec) -> None:
    """From the telephone's encoder by way of the caged decoder, against the same clip in mu-law."""
    wide = narrow = 0
    for name in ("vm05_kokoro", "cards_005"):
        clip = clips.load(name)
        sound = CagedUnpacker().unpack(codec, encode.frames(clip.pcm, codec))
        words = recogniser.hear(sound.pcm, "en", WIDE).words
        wide += clips.word_errors(clip.plain, clips.plain(" ".join(word.text for word in words)))
        heard = _hear(recogniser, name).words
        narrow += clips.word_errors(clip.plain, clips.plain(" ".join(word.text for word in heard)))
        assert words[3].start == pytest.approx(heard[3].start, abs=0.5)
    assert wide <= narrow


def test_it_puts_words_where_they_are_spoken(recogniser: WhisperRecogniser) -> None:
    clip = clips.load("jfk")
    late = recogniser.hear(bytes(16000 * 3) + clip.pcm, "en").words
    first = next(word for word in late if word.text.strip(",.").lower() == "fellow")
    plain = next(word for word in _hear(recogniser, "jfk").words if word.text.strip(",.").lower() == "fellow")
    assert first.start - plain.start == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize("pcm", [b"", b"\0", bytes(100), bytes(16000 * 5)])
def test_it_makes_nothing_of_silence(recogniser: WhisperRecogniser, pcm: bytes) -> None:
    assert recogniser.hear(pcm, "en").words == ()


def test_it_is_not_sure_of_words_in_noise(recogniser: WhisperRecogniser) -> None:
    noise = np.random.default_rng(1).normal(0, 600, 8000 * 6).astype("<i2").tobytes()
    words = recogniser.hear(noise, "en").words
    assert not words or sum(word.confidence for word in words) / len(words) < 0.5


def test_it_finds_the_language_by_itself(recogniser: WhisperRecogniser) -> None:
    assert recogniser.hear(clips.load("jfk").pcm, None).language == "en"


@pytest.mark.parametrize(
    ("name", "urgency"),
    [
        ("vm02_piper", "urgent"),
        ("vm05_kokoro", "urgent"),
        ("vm10_piper", "urgent"),
        ("vm07_kokoro", "review"),
        ("vm16_piper", "routine"),
    ],
)
def test_it_hears_enough_to_judge_by(recogniser: WhisperRecogniser, name: str, urgency: str) -> None:
    assert triage(False, _hear(recogniser, name).words).urgency == urgency


def test_it_hears_spanish_and_knows_it(recogniser: WhisperRecogniser) -> None:
    clip = clips.load("es_signs")
    heard = recogniser.hear(clip.pcm, None)
    assert heard.language == "es"
    assert clips.word_errors(clip.plain, clips.plain(" ".join(word.text for word in heard.words))) <= 3
    assert {"cardiac", "breathing", "stroke"} <= {
        reason.label for reason in triage(False, heard.words).reasons
    }


def test_it_works_again_after_its_child_was_killed(model_folder: Path) -> None:
    log = io.StringIO()
    ear = WhisperRecogniser(model_folder, Log("test", log))
    ear.hear(bytes(1600), "en")
    child = ear.pid
    assert child is not None
    threading.Timer(0.3, os.kill, (child, signal.SIGKILL)).start()
    with pytest.raises(TemporaryError, match="died"):
        ear.hear(clips.load("jfk").pcm, "en")
    assert ear.pid is None
    assert ear.hear(clips.load("cards_005").pcm, "en").words
    ear.close()
    assert not _alive(child)
    assert "speech_died" in log.getvalue()


def test_it_stops_a_child_that_takes_too_long(model_folder: Path) -> None:
    ear = WhisperRecogniser(model_folder, Log("test", io.StringIO()), least=0.2, factor=0)
    ear.hear(bytes(1600), "en")
    child = ear.pid
    assert child is not None
    os.kill(child, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(TemporaryError, match="too long"):
        ear.hear(clips.load("vm05_kokoro").pcm, "en")
    assert time.monotonic() - began < 2
    assert not _alive(child)


def test_it_is_closed_at_once_in_the_middle_of_a_long_message(model_folder: Path) -> None:
    ear = WhisperRecogniser(model_folder, Log("test", io.StringIO()))
    ear.hear(bytes(1600), "en")
    child = ear.pid
    assert child is not None
    met: list[BaseException] = []

    def hear() -> None:
        with pytest.raises(TemporaryError) as caught:
            ear.hear(b"\x10\x20" * 8000 * 120, "en")
        met.append(caught.value)

    hearing = threading.Thread(target=hear)
    hearing.start()
    time.sleep(0.3)
    began = time.monotonic()
    ear.close()
    hearing.join(5)
    assert time.monotonic() - began < 1
    assert met
    assert not _alive(child)
    with pytest.raises(TemporaryError, match="stopped"):  # and no other child is started behind its back
        ear.hear(bytes(1600), "en")
    assert ear.pid is None


def test_it_frees_the_memory_after_its_jobs_and_when_idle(model_folder: Path) -> None:
    ear = WhisperRecogniser(model_folder, Log("test", io.StringIO()), jobs=2, idle=0.3)
    ear.hear(bytes(1600), "en")
    first = ear.pid
    ear.hear(bytes(1600), "en")
    assert ear.pid is None
    ear.hear(bytes(1600), "en")
    second = ear.pid
    assert second not in (None, first)
    assert _wait_for(lambda: ear.pid is None, 5)
    assert second is not None
    assert _wait_for(lambda: not _alive(second), 5)


def test_it_leaves_no_child_behind_when_the_worker_is_killed(model_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from nightbell.adapters.speech.whisper import WhisperRecogniser\n"
        "from nightbell.core.log import Log\n"
        "ear = WhisperRecogniser(Path(sys.argv[1]), Log('test'))\n"
        "ear.hear(bytes(1600), 'en'); print(ear.pid, flush=True)\n"
        "ear.hear(b'\\x10\\x20' * 8000 * 120, 'en')\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(model_folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert worker.stdout is not None
    child = int(worker.stdout.readline())
    time.sleep(0.3)
    assert _alive(child)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    assert _wait_for(lambda: not _alive(child), 5)


def test_it_names_the_missing_model_and_the_mend(tmp_path: Path) -> None:
    with pytest.raises(NightbellError) as caught:
        WhisperRecogniser(tmp_path, Log("test", io.StringIO())).hear(b"", "en")
    assert not isinstance(caught.value, TemporaryError)
    assert "script/models" in caught.value.mend


def test_it_refuses_an_altered_model(tmp_path: Path, model_folder: Path) -> None:
    copy = tmp_path / "whisper-base"
    copy.mkdir()
    for path in (model_folder / "whisper-base").iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "config.json").unlink()
    (copy / "config.json").write_bytes((model_folder / "whisper-base/config.json").read_bytes() + b" ")
    with pytest.raises(NightbellError, match="SHA-256"):
        WhisperRecogniser(tmp_path, Log("test", io.StringIO())).hear(b"", "en")


def test_it_gives_the_child_no_secret() -> None:
    given = whisper.child_environment(
        {"NIGHTBELL_KEYS": "/k", "PATH": "/bin", "HOME": "/h", "AWS_KEY": "x"}, 1
    )
    assert given == {"PATH": "/bin", "OMP_NUM_THREADS": "1"}
