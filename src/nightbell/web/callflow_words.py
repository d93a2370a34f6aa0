"""The words of a call as people read them, with how long they take: packaged prompts and a practice's own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

from nightbell.flow import words as flow_words
from nightbell.flow.clips import FRAME_MS, manifest
from nightbell.flow.graph import Words
from nightbell.flow.model import CallConfig, State

BUILTIN = "builtin:"
NO_TEXT = {"en": "(your recording)", "es": "(su grabación)"}
OPEN = frozenset({"{caller}", "{entered}", "{when}", "{number}"})
LANGUAGE_NAMES = {"en": "English", "es": "Español"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Words in one language, for the lang attribute."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is said and for how many seconds."""

    pieces: tuple[Piece, ...] = ()
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return " ".join(piece.text for piece in self.pieces)


SILENCE = Spoken()


@dataclass(frozen=True, slots=True)
class Book:
    """What the clips of one plan say. clips: of the plan; seconds, texts: of own recordings, by content hash."""

    clips: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    def milliseconds(self, name: str) -> int:
        """How long a resolved clip ('en/ID', '~N', 'tone') sounds."""
        if name.startswith("~"):
            return int(name[1:])
        content = self.clips.get(name, "")
        if content.startswith(BUILTIN):
            name = f"{name.partition('/')[0]}/{content.removeprefix(BUILTIN)}"
        elif content:
            return round(self.seconds.get(content, 0.0) * 1000)
        return manifest().frames.get(name, 0) * FRAME_MS

    def text(self, name: str) -> str:
        """The words of a resolved clip; '' for pauses and the tone."""
        language, _, clip = name.partition("/")
        if not clip:
            return ""
        content = self.clips.get(name, "")
        if content.startswith(BUILTIN):
            clip = content.removeprefix(BUILTIN)
        elif content:
            return self.texts.get(content, "") or NO_TEXT[language]
        return manifest().words[language].get(clip, "")

    def read(self, names: Iterable[str]) -> Spoken:
        """Resolved clips as one text."""
        names = list(names)
        told = [(name.partition("/")[0], self.text(name)) for name in names]
        pieces = [
            Piece(language, " ".join(text for _, text in same))
            for language, same in groupby((one for one in told if one[1]), key=lambda one: one[0])
        ]
        return Spoken(tuple(pieces), sum(self.milliseconds(name) for name in names) / 1000)

    def say(self, words: Words, config: CallConfig, language: str) -> Spoken:
        """The words of a node, for a caller who listens in `language`. What differs from call to call is '…'."""
        whole = self.read(clips_of(words, config, language))
        if not OPEN & set(words):
            return whole
        pieces: list[Piece] = []
        for is_open, some in groupby(words, key=lambda word: word in OPEN):
            said = (
                (Piece(language, "…"),)
                if is_open
                else self.read(clips_of(tuple(some), config, language)).pieces
            )
            pieces += said
        return Spoken(_joined(pieces), whole.seconds)


def _joined(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Neighbours of one language as one piece."""
    return tuple(
        Piece(language, " ".join(piece.text for piece in same))
        for language, same in groupby(pieces, key=lambda piece: piece.language)
    )


def clips_of(words: Words, config: CallConfig, language: str) -> list[str]:
    """The resolved clips of a node's words, slots filled."""
    runs = flow_words.runs(words, config, State(language=language))
    return [clip for run in runs for clip in run.clips]


def seconds_words(seconds: float) -> str:
    """'4 s', '1 min 5 s'."""
    whole = max(1, round(seconds))
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{whole} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
