"""Values that cross rooms: what may be said to the outside without PHI (DESIGN decision 8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

_CODE = re.compile(r"[A-Z]{2}[0-9]{2}\Z")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}\Z")


class NoticeKind(StrEnum):
    """Everything that a notification can be about."""

    URGENT = "urgent"
    REVIEW = "review"
    ROUTINE = "routine"
    AGAIN = "again"
    TEST = "test"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Notification:
    """What is sent: a kind, a generated practice code (two letters, two digits) and an opaque token.

    There is no field that could hold a patient's words. Raises TypeError or ValueError on anything else.
    """

    kind: NoticeKind
    practice_code: str
    token: str
    language: str = "en"

    def __post_init__(self) -> None:
        if (
            type(self.kind) is not NoticeKind
            or type(self.practice_code) is not str
            or type(self.token) is not str
        ):
            raise TypeError("a Notification is made of a NoticeKind and two strings")
        if not _CODE.match(self.practice_code):
            raise ValueError("a practice code is two letters and two digits")
        if not _TOKEN.match(self.token):
            raise ValueError("a token has 22 URL-safe characters")
        if self.language not in ("en", "es"):
            raise ValueError("a notification is in 'en' or 'es'")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The exact words of a notification, made of constants."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a channel did: the exact bytes that left, and the far side's answer in our words."""

    sent: bytes
    answer: str


class ChannelError(Exception):
    """A channel could not deliver. `permanent`: trying the same again is of no use."""

    def __init__(self, answer: str, permanent: bool = False) -> None:
        self.answer, self.permanent = answer, permanent
        super().__init__(answer)


class Channel(Protocol):
    """A way to a person. `send` blocks until the far side took the bytes, or raises ChannelError."""

    name: str

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """`reference` is an idempotency key (a ULID of the attempt)."""
        ...


UNHEARD = "…"  # stands for words that were spoken but could not be made out, with confidence 0


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word: seconds from the start of the message, confidence 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Hearing:
    """What a recogniser made out. An empty `words` is an answer: nothing could be made out."""

    language: str
    words: tuple[Word, ...]
    engine: str


class Recogniser(Protocol):
    """Turns sound into words. PCM is mono, signed 16 bit little endian, `rate` samples a second: 8000 or 16000.

    Raises TemporaryError when the engine died or timed out, NightbellError when it can never work
    (a missing or altered model).
    """

    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing: ...

    def warm(self) -> None:
        """A message is on its way: get ready, if that takes time. Never raises."""
        ...
