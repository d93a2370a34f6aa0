"""What real calls heard, transcribed by the recogniser: the right words.

NIGHTBELL_TEST_HEAR=all transcribes every node's words once in each language; by default a few of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.heard.conftest import LANGUAGES, Call
from tests.heard.match import Heard
from tests.heard.words import errors, plain
from tests.sound import Samples

from nightbell.adapters.speech.whisper import WhisperRecogniser
from nightbell.core.log import Log
from nightbell.flow import phrases
from nightbell.flow.clips import manifest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAUSE = np.zeros(8000 * 7 // 10)
WINDOW_S = 27.0  # the recogniser listens in stretches of half a minute
SAMPLE_S = 52.0  # of each language, unless all is asked for
MOST_WRONG = 0.10
TYPICAL = (
    "urgent.free-urgent",
    "callback.free-urgent",
    "status-waiting",
    "first",
    "notice",
    "worse",
    "no-key",
)


@dataclass(frozen=True)
class Piece:
    """One node's run as it was heard. text: what the clips say."""

    node: str
    text: str
    sound: Samples


def _pieces(calls: list[Call], heard: dict[str, list[Heard]], language: str) -> list[Piece]:
    """Each node's words once; a number or a time that differs makes no other words."""
    found: dict[tuple[str, tuple[str, ...]], Piece] = {}
    texts = {f"{one}/{clip}": text for one, some in manifest().words.items() for clip, text in some.items()}
    for call in calls:
        for one in heard[str(call)]:
            run, text = one.run, phrases.text(one.run.clips, language, texts)
            if run.full and text and _language(run.clips) == language:
                kind = tuple(clip for clip in run.clips if "/digit-" not in clip)
                found.setdefault(
                    (run.node, kind), Piece(run.node, text, call.sound[one.at : one.at + one.length])
                )
    return list(found.values())


def _language(clips: tuple[str, ...]) -> str:
    """The first clip's: the words before the language key are said in both, run by run."""
    return next((clip[:2] for clip in clips if clip[2:3] == "/"), "")


def _some(pieces: list[Piece]) -> list[Piece]:
    """A sample: the longest words of each typical node, in their order."""
    chosen, seconds = [], 0.0
    for node in TYPICAL:
        piece = max((one for one in pieces if one.node == node), key=lambda one: len(one.sound))
        if seconds + len(piece.sound) / 8000 <= SAMPLE_S:
            chosen.append(piece)
            seconds += len(piece.sound) / 8000
    return chosen


def _windows(pieces: list[Piece]) -> list[list[Piece]]:
    """As many pieces as the recogniser hears at once: each stretch costs it the same."""
    windows: list[list[Piece]] = []
    left = 0.0
    for piece in pieces:
        seconds = (len(piece.sound) + len(PAUSE)) / 8000
        if seconds > left:
            windows.append([])
            left = WINDOW_S
        windows[-1].append(piece)
        left -= seconds
    return windows


@pytest.fixture(scope="module")
def recogniser() -> Iterator[WhisperRecogniser]:
    folder = Path(os.environ.get("NIGHTBELL_MODELS", ROOT / "models")).absolute()
    with open(os.devnull, "w") as nowhere:
        ear = WhisperRecogniser(folder, Log("test", nowhere), least=120.0, factor=20.0)  # what, not how fast
        yield ear
        ear.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_callers_hear_the_right_words(
    language: str,
    calls: list[Call],
    heard: dict[str, list[Heard]],
    recogniser: WhisperRecogniser,
    capsys: pytest.CaptureFixture[str],
) -> None:
    everything = os.environ.get("NIGHTBELL_TEST_HEAR") == "all"
    pieces = _pieces(calls, heard, language)
    pieces = pieces if everything else _some(pieces)
    wrong = words = 0
    lines = []
    for window in _windows(pieces):
        sound = np.concatenate([part for piece in window for part in (piece.sound, PAUSE)])
        hearing = recogniser.hear(sound.astype("<i2").tobytes(), language)
        said, got = (
            plain(" ".join(p.text for p in window), language),
            plain(" ".join(word.text for word in hearing.words), language),
        )
        wrong, words = wrong + errors(said, got), words + len(said)
        if said != got:
            lines.append(
                f"  {' '.join(p.node for p in window)}\n  said  {' '.join(said)}\n  heard {' '.join(got)}"
            )
    seconds = sum(len(piece.sound) for piece in pieces) / 8000
    with capsys.disabled():
        print(
            f"\n{language}: {wrong} of {words} words wrong ({wrong / words:.1%}) in {len(pieces)} runs, {seconds:.0f} s"
        )
        if everything:
            print("\n".join(lines))
    assert wrong / words < MOST_WRONG, "\n".join(lines)
    assert words > (500 if everything else 40)
