"""What the pages and the API are given: messages opened as far as the reader's role may see them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from nightbell.core.notice import Word

CURSOR = r"[0-9]{1,17}\.[0-4]\.[0-9]{1,17}\.[0-7][0-9A-HJKMNP-TV-Z]{25}"
_EPOCH, _MICRO = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Person:
    """A colleague, as shown beside a message. `tone`: 1 to 4, the colour class p1..p4."""

    id: str
    name: str
    initials: str
    tone: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a message is urgent or needs a look. `quote` is the patient's words ('' for a key press)."""

    kind: str  # 'key', 'menu', 'third', 'worse', 'red_flag', 'negated', 'unsure', 'missed', 'interrupted', 'damaged'
    label: str
    quote: str
    start: float  # seconds; 0 for a key press
    end: float


@dataclass(frozen=True, slots=True)
class NoteView:
    author: Person
    at: datetime
    text: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the inbox. PHI fields are None where the role may not see them."""

    id: str
    kind: str
    state: str
    urgency: str
    mailbox_id: str  # '' when unrouted
    mailbox: str
    received_at: datetime
    duration_s: float
    language: str
    end_reason: str
    pressed_urgent: bool
    has_audio: bool
    words_status: str
    callback_number: str | None  # '' when the number was withheld
    callback_uncertain: bool
    first_words: str | None
    reasons: tuple[Reason, ...]
    owner: Person | None
    owned_at: datetime | None
    closed_at: datetime | None
    outcome: str
    unheard: bool  # by this reader
    number_from: str = "caller_id"  # or 'seen' (caller ID that the caller confirmed), 'keyed'
    reached: str = ""  # node of the call flow that the caller came to last
    tags: tuple[str, ...] = ()
    other_number: str = ""  # the caller ID, where another number was keyed in and not confirmed
    worse_at: datetime | None = None  # when the last call came that says that it got worse
    promised_by: datetime | None = None
    joins: str = ""  # id of the message that this one belongs to


@dataclass(frozen=True, slots=True)
class PartView:
    """One answer of the caller within the sound, in seconds. earlier: it was said anew afterwards."""

    name: str
    start: float
    end: float
    earlier: bool


@dataclass(frozen=True, slots=True)
class NumberView:
    """A number at which the patient may be. source: 'keyed', 'caller_id' or 'spoken'."""

    source: str
    number: str


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in reading order, and where the next page starts (None at the end)."""

    rows: tuple[Row, ...]
    next: str | None
    open_count: int
    unheard_count: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A message's place in the inbox as it was at `since`; written down, it is the cursor of the next page.

    It holds the place and not only the id: the message may have been taken, closed or destroyed meanwhile.
    """

    since: datetime
    rank: int
    received_at: datetime
    id: str

    def __str__(self) -> str:
        since, received = (self.since - _EPOCH) // _MICRO, (self.received_at - _EPOCH) // _MICRO
        return f"{since}.{self.rank}.{received}.{self.id}"

    @staticmethod
    def read(text: str) -> Mark:
        """Raises ValueError for what is no cursor."""
        if not re.fullmatch(CURSOR, text):
            raise ValueError("cursor")
        since, rank, received, pk = text.split(".")
        return Mark(_EPOCH + int(since) * _MICRO, int(rank), _EPOCH + int(received) * _MICRO, pk)


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message, whole, as far as the role may see it."""

    row: Row
    words: tuple[Word, ...] | None
    word_reasons: dict[int, int] = field(default_factory=dict)  # word index -> reason index
    number_span: tuple[int, int] | None = None  # word indexes of a spoken callback number
    peaks: tuple[int, ...] | None = None  # loudness 0..100, one a bar, at most 240
    notes: tuple[NoteView, ...] | None = None
    heard_by: tuple[tuple[Person, datetime, float], ...] = ()  # person, first at, seconds heard
    parts: tuple[PartView, ...] | None = None
    additions: tuple[MessageView, ...] = ()  # later calls that say that it got worse, oldest first
    signed: tuple[NoteView, ...] | None = None  # phone notes, oldest first; the text is oncall.phone_note's
    numbers: tuple[NumberView, ...] = ()  # every number that is known, each once


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of the WAV. `total`: bytes of the whole."""

    data: bytes
    start: int
    total: int
