"""Values that cross rooms: what may be said to the outside without PHI (DESIGN decision 8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

_CODE = re.compile(r"[A-Z]{2}[0-9]{2}\Z")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}\Z")
_DIGITS = re.compile(r"[0-9]{6}\Z")


class NoticeKind(StrEnum):
    """Everything that a notification can be about."""

    URGENT = "urgent"
    REVIEW = "review"
    ROUTINE = "routine"
    AGAIN = "again"
    TEST = "test"
    CHECKPOINT = "checkpoint"
    GAP = "gap"  # a shift ahead has nobody in it
    ASKED = "asked"  # a colleague asks this person to take a shift
    SWAP = "swap"  # a swap has come to something, or to nothing
    COVER = "cover"  # another practice asks to cover
    LINE_TEST = "line_test"  # the evening test failed
    UNREACHED = "unreached"  # a patient was not reached yet
    WEEKLY = "weekly"  # the week's numbers are ready
    DRILL = "drill"
    WAYS = "ways"  # a way to be told was added or has ended, or a PIN was locked
    VERIFY = "verify"  # a code that proves a way to a person


# Their link leads to one message, so that each has a token of its own.
OF_A_MESSAGE = frozenset(
    {
        NoticeKind.URGENT,
        NoticeKind.AGAIN,
        NoticeKind.REVIEW,
        NoticeKind.ROUTINE,
        NoticeKind.UNREACHED,
        NoticeKind.DRILL,
    }
)
# What must wake a phone at once, however it saves its battery.
PRESSING = frozenset(
    {NoticeKind.URGENT, NoticeKind.AGAIN, NoticeKind.UNREACHED, NoticeKind.ASKED, NoticeKind.SWAP, NoticeKind.LINE_TEST,
     NoticeKind.TEST, NoticeKind.DRILL, NoticeKind.VERIFY}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Notification:
    """What is sent: a kind, a generated practice code (two letters, two digits) and an opaque token.

    token: '' where there is no message to lead to; code: six random digits, of VERIFY alone.
    There is no field that could hold a patient's words. Raises TypeError or ValueError on anything else.
    """

    kind: NoticeKind
    practice_code: str
    token: str = ""
    language: str = "en"
    code: str = ""

    def __post_init__(self) -> None:
        if (
            type(self.kind) is not NoticeKind
            or type(self.practice_code) is not str
            or type(self.token) is not str
            or type(self.code) is not str
        ):
            raise TypeError("a Notification is made of a NoticeKind and strings")
        if not _CODE.match(self.practice_code):
            raise ValueError("a practice code is two letters and two digits")
        verify = self.kind is NoticeKind.VERIFY
        if not _TOKEN.match(self.token) and (self.token or self.kind in OF_A_MESSAGE):
            raise ValueError("a token has 22 URL-safe characters")
        if bool(self.code) is not verify or (verify and not _DIGITS.match(self.code)):
            raise ValueError("a code has six digits, and belongs to the proof of a contact alone")
        if self.language not in ("en", "es"):
            raise ValueError("a notification is in 'en' or 'es'")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The exact words of a notification, made of constants.

    subject, body: of a mail; short: of a text message, one segment of GSM-7; voice: clips in playing order, as the phone
    takes them ('en/alert-hello', '~200' for a pause in ms); topic: the same for notifications that replace each
    other, and not to be turned back into the link; pressing: whether a phone must wake for it.
    """

    subject: str
    body: str
    short: str = ""
    voice: tuple[str, ...] = ()
    topic: str = ""
    pressing: bool = True


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a channel did: the exact bytes that left (but no credentials), the far side's answer in our words, and the
    far side's own name of it, '' when it gives none. With it a later receipt is told apart (`Delivery`)."""

    sent: bytes
    answer: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a provider tells afterwards of something that it took.

    reference: its own name of it; arrived: True on the person's device, False never will, None not known yet;
    stopped: the person asked not to be written to there any more.
    """

    reference: str
    arrived: bool | None
    stopped: bool = False


class ChannelError(Exception):
    """A channel could not deliver.

    permanent: trying the same again is of no use; gone: this address will never work again (its contact ends);
    unsure: it may have left all the same, so that another try can be a second one; after_s: the far side asks not to
    be tried again before so many seconds; not_yet: nothing was tried, since a part of ours that has just started is
    not ready: that is no try in vain.
    """

    def __init__(
        self,
        answer: str,
        permanent: bool = False,
        *,
        gone: bool = False,
        unsure: bool = False,
        after_s: float = 0.0,
        not_yet: bool = False,
    ) -> None:
        self.answer, self.permanent, self.gone = answer, permanent or gone, gone
        self.unsure, self.after_s, self.not_yet = unsure, after_s, not_yet
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
