"""Whether somebody is still there in an answered call. Pure: no clock runs here.

A call of which nothing arrives is asked for a sign of life by a request within its dialog (RFC 3261 §11). A telephone that
sends nothing in silence answers it; from one that is gone comes 481 or 408 (§12.2.1.2), or nothing at all.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

GONE = frozenset([408, 481])


class Patience(NamedTuple):
    """Seconds. first: from the acknowledged answer, while nothing came at all; again: from the last sign of life; answer: for
    a sign once we have asked."""

    first: float = 15.0
    again: float = 30.0
    answer: float = 16.0  # seven copies over UDP

    @property
    def pace(self) -> float:
        """Between two looks: they tell when the last packet came."""
        return self.again / 6


class Step(StrEnum):
    WAIT = "wait"
    ASK = "ask"
    GONE = "gone"


class Presence:
    """What is known of one call's other side. signs: how many of its datagrams came so far; now: monotonic seconds."""

    __slots__ = ("_allowed", "_asked", "_patience", "_signs", "_since")

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience, self._since, self._allowed = patience, now, patience.first
        self._signs = 0
        self._asked: float | None = None

    @property
    def asking(self) -> bool:
        """Whether we wait for an answer."""
        return self._asked is not None

    def alive(self, now: float) -> None:
        """A sign of life: a request, or an answer."""
        self._since, self._allowed, self._asked = now, self._patience.again, None

    def look(self, signs: int, now: float, waiting: float | None = None) -> Step:
        """What is to be done now. After ASK an answer is waited for.

        waiting: since when another request of ours waits for its answer: that one is the question then.
        """
        if self._came(signs, now):
            return Step.WAIT
        asked = self._asked
        if asked is None:
            if now - self._since < self._allowed:
                return Step.WAIT
            asked = waiting
        if asked is not None:
            return Step.GONE if now - asked >= self._patience.answer else Step.WAIT
        self._asked = now
        return Step.ASK

    def answered(self, code: int, signs: int, now: float) -> Step:
        """A final answer to what we asked. Any but 481 and 408 is a sign of life, and so is sound that came meanwhile."""
        if self._asked is None or self._came(signs, now):
            return Step.WAIT
        if code in GONE:
            return Step.GONE
        self.alive(now)
        return Step.WAIT

    def due(self, now: float, waiting: float | None = None) -> float:
        """Seconds until the next look. waiting: as `look` has it."""
        ends = self._since + self._allowed if self._asked is None else self._asked + self._patience.answer
        if self._asked is None and waiting is not None:
            ends = max(ends, waiting + self._patience.answer)
        return max(0.0, min(ends - now, self._patience.pace))

    def _came(self, signs: int, now: float) -> bool:
        if signs == self._signs:
            return False
        self._signs = signs
        self.alive(now)
        return True
