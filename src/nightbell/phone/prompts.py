"""What callers hear: sequences of clips and pauses, and the clips as encoded frames.

A clip name is 'ID' in the call's language, 'ID@other' in the line's other language, '~N' for N ms of
silence, 'tone', or '{practice-name}' for the practice's own recording.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError
from nightbell.phone import wav
from nightbell.phone.flow_model import Run
from nightbell.sip import g711

CLIPS = Path(__file__).parent / "clips"
LANGUAGES = ("en", "es")
PRACTICE_NAME = "{practice-name}"
GREETINGS = ("closed", "open", "lunch", "holiday", "closure", "leave")
PROMISE_MINUTES = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 90)
PROMISE_HOURS = (2, 3, 4, 6, 8, 12, 24)
Frames = tuple[bytes, ...]


class ClipMissing(NightbellError):
    """A clip that the flow needs is not there or not what its hash says."""


@dataclass(frozen=True, slots=True)
class Line:
    """What the words depend on: the settings of one number (phone.snapshot)."""

    language: str = "en"
    languages: tuple[str, ...] = ("en",)
    greeting: str = "closed"
    on_call: bool = True
    practice_number: str = ""
    promise_minutes: int = 30


@lru_cache(maxsize=1024)
def scripts(line: Line) -> dict[str, dict[str, tuple[Run, ...]]]:
    """Per language of the line, the runs of every sequence that the flow plays."""
    return {
        language: {name: _runs(clips, line, language) for name, clips in _sequences(line).items()}
        for language in line.languages
    }


def _sequences(line: Line) -> dict[str, list[str]]:
    number = spoken_digits(line.practice_number)
    notice = ["~200", "notice-recorded", "~150", "record-full", "~300"]
    signs = ["~400", *(["urgent-lead", "~200"] if line.on_call else []), "emergency-911-signs"]
    return {
        "first-words": _first_words(line),
        "language-set": ["~400", "language-set", "~200"],
        "greeting": _greeting(line),
        "menu": _MENU,
        "urgent": [*signs, *notice],
        "record": ["~400", *notice[1:]],
        "no-key-record": [
            "no-key-record", "~200", "notice-recorded", "~150", "record-short", "~150", "record-number", "~300",
        ],
        "tone": ["tone"],
        "take-time": ["take-time"],
        "time-30": ["time-30"],
        "time-10": ["time-10"],
        "saved": ["saved"],
        "silence-end": ["silence-end", "~300", "goodbye-care"],
        "promise-urgent": ["saved", *_promise_urgent(line, number)],
        "promise-routine": ["saved", *_promise_routine(number)],
        "limit-promise-urgent": ["time-up", *_promise_urgent(line, number)],
        "limit-promise-routine": ["time-up", *_promise_routine(number)],
        "trouble": ["~300", "trouble", "~300"],
    }  # fmt: skip


_MENU = [
    "~300", "menu-urgent", "press-1", "~350", "menu-routine", "press-2", "~350",
    "menu-repeat", "press-9", "~350", "menu-wait",
]  # fmt: skip


def _first_words(line: Line) -> list[str]:
    other = [
        "~250", "emergency-911@other", "~250", "language-offer@other", "press-2@other", "~500",
    ]  # fmt: skip
    return ["~600", "emergency-911", *(other if len(line.languages) > 1 else ["~250"])]


def _greeting(line: Line) -> list[str]:
    greeting = line.greeting if line.greeting in GREETINGS else "closed"
    words = ["greeting-reached", PRACTICE_NAME, "~200", f"greeting-{greeting}"]
    if line.on_call and greeting not in ("open", "leave"):
        words += ["~150", "greeting-on-call"]
    return words


def _promise_urgent(line: Line, number: list[str]) -> list[str]:
    # A time is promised only together with the number that will call: both or neither.
    within = within_clip(line.promise_minutes)
    words = ["~250", "promise-from", "~150", *number, "~200", within] if number and within else []
    return [*words, "~250", "promise-answer", "~200", "promise-worse", "~300", "goodbye-care"]


def _promise_routine(number: list[str]) -> list[str]:
    words = ["~250", "promise-from", "~150", *number, "~200", "promise-open-day"] if number else []
    return [*words, "~250", "promise-none" if number else "promise-answer", "~300", "goodbye"]


def within_clip(minutes: int) -> str:
    """The clip that promises at least so many minutes; '' when none does. Rounds up, never down."""
    if minutes <= 0:
        return ""
    for choice in PROMISE_MINUTES:
        if minutes <= choice:
            return f"within-{choice}-min"
    for hours in PROMISE_HOURS:
        if minutes <= hours * 60:
            return f"within-{hours}-h"
    return ""


def spoken_digits(number: str) -> list[str]:
    """Digit clips, 3-3-4 with pauses for ten digits, else in threes; the last one falls. '' gives []."""
    digits = [digit for digit in number if digit in "0123456789"]
    if len(digits) == 11 and digits[0] == "1":
        digits = digits[1:]  # the North American country code is not said
    if not digits:
        return []
    groups = [digits[:3], digits[3:6], digits[6:]] if len(digits) == 10 else _threes(digits)
    spoken: list[str] = []
    for group in groups:
        spoken += ["~200"] * bool(spoken) + [f"digit-{digit}" for digit in group]
    return [*spoken[:-1], spoken[-1] + "-end"]


def _threes(digits: list[str]) -> list[list[str]]:
    return [digits[at : at + 3] for at in range(0, len(digits), 3)]


def _runs(clips: list[str], line: Line, language: str) -> tuple[Run, ...]:
    """Group clips into runs: a clip that no key may cut is a run of its own, with the pauses before it."""
    barge = manifest().barge
    runs: list[Run] = []
    pauses: list[str] = []
    for clip in clips:
        if clip.startswith("~"):
            pauses.append(clip)
            continue
        cut = barge.get(clip.partition("@")[0], True)
        named = _resolve(clip, line, language)
        if cut and runs and runs[-1].barge:
            runs[-1] = Run((*runs[-1].clips, *pauses, named))
        else:
            runs.append(Run((*pauses, named), cut))
        pauses = []
    if pauses and runs:
        runs[-1] = Run((*runs[-1].clips, *pauses), runs[-1].barge)
    return tuple(runs)


def _resolve(clip: str, line: Line, language: str) -> str:
    """Name a clip with its language: 'es/goodbye'. Pauses and the tone have none."""
    name, _, other = clip.partition("@")
    if name == "tone":
        return name
    if other:
        language = next(one for one in line.languages if one != language)
    return f"{language}/{name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is packaged. barge: per id, whether a key cuts it; hashes: SHA-256 per file."""

    barge: Mapping[str, bool]
    hashes: Mapping[str, str]


@cache
def manifest() -> Manifest:
    """Read the packaged manifest once."""
    data = json.loads((CLIPS / "manifest.json").read_text("utf-8"))
    return Manifest(
        {prompt["id"]: prompt["barge_in"] for prompt in data["prompts"]},
        {clip["file"]: clip["sha256"] for clip in data["clips"]},
    )


@cache
def packaged(name: str, codec: Codec) -> Frames:
    """Frames of a packaged clip ('en/goodbye', 'tone'), read and checked once. Raises ClipMissing."""
    file = f"{name}.ulaw"
    wanted = manifest().hashes.get(file)
    if wanted is None:
        raise ClipMissing(f"the sound {name!r}", "it is not in the package")
    data = (CLIPS / file).read_bytes()
    if hashlib.sha256(data).hexdigest() != wanted:
        raise ClipMissing(f"the sound {name!r}", "its file was changed", "install Nightbell again")
    return wav.frames(g711.transcode(data, Codec.PCMU, codec), codec)


@cache
def pause(milliseconds: int, codec: Codec) -> Frames:
    """Silence, in whole frames."""
    return (g711.silence(wav.FRAME, codec),) * max(1, milliseconds // 20)


@cache
def own_clip(path: Path, sha256: str, codec: Codec) -> Frames:
    """Frames of a practice's own recording, by content hash. Raises ClipMissing, BadWav."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClipMissing(
            "a practice's own recording", f"its file cannot be read ({error.strerror})"
        ) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ClipMissing("a practice's own recording", "its content is not what its name says")
    return wav.frames(wav.parse_wav(data, sha256, codec), codec)


@dataclass(frozen=True, slots=True)
class Voice:
    """Finds the frames of a line's clips. folder: the phone's clips; own: clip id to SHA-256 or 'builtin:ID'.

    An own recording that is missing or broken falls back to the packaged one: words must be heard.
    """

    folder: Path
    own: Mapping[str, str]

    def frames(self, clips: Sequence[str], codec: Codec) -> list[bytes]:
        """The frames of a run, in order."""
        out: list[bytes] = []
        for clip in clips:
            out += pause(int(clip[1:]), codec) if clip.startswith("~") else self._clip(clip, codec)
        return out

    def _clip(self, clip: str, codec: Codec) -> Frames:
        language, _, name = clip.rpartition("/")
        slot = name.strip("{}")
        own = self.own.get(f"{language}/{slot}") or self.own.get(slot, "")
        if own.startswith("builtin:"):
            return packaged(f"{language}/{own[8:]}", codec)
        if own:
            try:
                return own_clip(self.folder / own, own, codec)
            except NightbellError:
                pass  # heard in our words rather than not at all; health counts missing files
        return packaged(f"{language}/practice-fallback" if name == PRACTICE_NAME else clip, codec)


def warm(codec: Codec = Codec.PCMU) -> int:
    """Read and check every packaged clip now, not while a caller waits. Returns how many there are."""
    names = [file.removesuffix(".ulaw") for file in manifest().hashes]
    for name in names:
        packaged(name, codec)
    return len(names)
