"""Shapes of the API, v1 (DESIGN §5). Fields that a role may not see are null."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ninja import Schema
from pydantic import Field


class WordOut(Schema):  # type: ignore[misc]
    """One word: seconds from the start of the message, confidence 0 to 1."""

    text: str
    start: float
    end: float
    confidence: float


class TranscriptOut(Schema):  # type: ignore[misc]
    """`text` and `words` are null in lists and until they are ready; `first_words` is how it begins."""

    status: Literal["pending", "ready", "empty", "failed"]
    text: str | None = None
    words: list[WordOut] | None = None
    first_words: str | None = None


class NoteOut(Schema):  # type: ignore[misc]
    author: str
    at: datetime
    text: str


class PartOut(Schema):  # type: ignore[misc]
    """One answer of the caller, in seconds of the sound. earlier: it was said anew in a later take."""

    name: Literal["message", "name", "dob", "number", "reason", "refill", "worse", "more"]
    start_s: float
    end_s: float
    earlier: bool


class MessageOut(Schema):  # type: ignore[misc]
    """`additions` (ids of later calls that say that it got worse, each to be read by itself) and `parts` are null in
    lists. `tags`: 'relay', 'short', 'test', 'third', 'worse', 'undecoded', 'status:<state>'. `promised_by`: until when the caller
    was told to expect a call."""

    id: str
    kind: Literal["message", "missed", "status"]
    mailbox: str | None
    mailbox_name: str | None
    received_at: datetime
    duration_s: float
    state: Literal["new", "acknowledged", "closed"]
    urgency: Literal["routine", "review", "urgent"]
    language: str
    has_audio: bool
    callback_number: str | None
    callback_number_uncertain: bool | None
    transcript: TranscriptOut | None
    owner: str | None
    owned_at: datetime | None
    closed_at: datetime | None
    outcome: str | None
    notes: list[NoteOut] | None = None
    tags: list[str] = []
    promised_by: datetime | None = None
    joins: str | None = None
    parts: list[PartOut] | None = None
    additions: list[str] | None = None


class MessageList(Schema):  # type: ignore[misc]
    items: list[MessageOut]
    next: str | None


class TakenOut(Schema):  # type: ignore[misc]
    id: str
    state: Literal["acknowledged"]
    owner: str
    at: datetime


class NoteIn(Schema):  # type: ignore[misc]
    text: str = Field(min_length=1, max_length=4000)


class CloseIn(Schema):  # type: ignore[misc]
    # The first three close the message; with the others it stays with its owner and comes back.
    outcome: Literal["reached", "emergency", "no_call_needed", "left_word", "no_answer", "wrong_number"]
    # The additions of the message as it was read; without it, what came after it was taken must have been heard.
    seen: list[str] | None = Field(None, max_length=200)


class CloseOut(Schema):  # type: ignore[misc]
    """`done`: it is closed. Else `back_at` is when it comes back to its owner, after so many `tries` in vain."""

    id: str
    done: bool
    state: Literal["acknowledged", "closed"]
    tries: int
    back_at: datetime | None


class Done(Schema):  # type: ignore[misc]
    id: str
    done: bool = True


class OnDutyOut(Schema):  # type: ignore[misc]
    id: str
    name: str
    rank: Literal["first", "backup"]


class NextOut(Schema):  # type: ignore[misc]
    id: str
    name: str
    at: datetime


class OnCallOut(Schema):  # type: ignore[misc]
    """`now`: who is on call at `at`, in the order in which they are told; [] is nobody. `until`: when the first of them
    hands over; `next`: to whom, null when nobody is in sight. `last_resort`: who is told when nobody answers."""

    schedule: str | None
    name: str | None
    at: datetime
    now: list[OnDutyOut]
    until: datetime | None
    next: NextOut | None
    last_resort: str | None


class AuditOut(Schema):  # type: ignore[misc]
    time: datetime
    actor: str
    action: str
    message: str | None
    outcome: str
    source: str


class AuditList(Schema):  # type: ignore[misc]
    items: list[AuditOut]
    next: str | None


class Problem(Schema):  # type: ignore[misc]
    """RFC 9457, as application/problem+json."""

    type: str
    title: str
    status: int
    detail: str | None = None
