"""What the pages and the API are given: messages opened as far as the reader's role may see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from nightbell.core.notice import Word


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

    kind: str  # 'key', 'red_flag', 'negated', 'unsure', 'missed', 'interrupted'
    label: str
    quote: str
    start: float  # seconds; 0 for a key press
    end: float


@dataclass(frozen=True, slots=True)
class NoteView:
    author: Person
    at: datetime
    text: str


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


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in reading order, and where the next page starts (None at the end)."""

    rows: tuple[Row, ...]
    next: str | None
    open_count: int
    unheard_count: int


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


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of the WAV. `total`: bytes of the whole."""

    data: bytes
    start: int
    total: int
