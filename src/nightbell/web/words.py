"""A transcript as pieces: plain, doubtful, flagged, number. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightbell.core.notice import Word

UNSURE_BELOW = 0.5  # what the recogniser itself would bet against


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring words of one kind: 'plain', 'doubt', 'flag', 'number'."""

    kind: str
    words: tuple[Word, ...]

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def text(self) -> str:
        return " ".join(word.text.strip() for word in self.words)

    @property
    def until(self) -> float:
        return self.words[-1].end

    @property
    def least(self) -> int:
        """The lowest confidence among the words, in per cent."""
        return round(100 * min(word.confidence for word in self.words))


def pieces(
    words: Sequence[Word], flags: Mapping[int, int], number: tuple[int, int] | None = None
) -> tuple[Piece, ...]:
    """Group words. flags: word index -> reason index; number: first and last index of a spoken number.

    A red flag outranks a number, a number outranks doubt: each word is in one piece.
    """
    kinds = [_kind(index, word, flags, number) for index, word in enumerate(words)]
    groups: list[Piece] = []
    start = 0
    for index in range(1, len(words) + 1):
        if index == len(words) or kinds[index] != kinds[start]:
            groups.append(Piece(kinds[start], tuple(words[start:index])))
            start = index
    return tuple(groups)


def _kind(index: int, word: Word, flags: Mapping[int, int], number: tuple[int, int] | None) -> str:
    if index in flags:
        return "flag"
    if number is not None and number[0] <= index <= number[1]:
        return "number"
    return "doubt" if word.confidence < UNSURE_BELOW else "plain"
