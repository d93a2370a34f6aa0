"""The phone note: what insurers ask a chart to hold of a call after hours, frozen as it was when it was signed.

Date and time of the call and of the call back, who called and how they belong to the patient, the reason, the advice,
what follows, and by whom (MLMIC, "After-hours telephone calls from patients"). What is known is filled in; what was
said is typed by the person who spoke. Pure: values in, text out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from nightbell.core.clock import iso, parse_iso
from nightbell.core.dialling import spaced
from nightbell.core.typed import clean, has_control
from nightbell.mailbox.errors import BadText

VERSION = 1
SHORT, LONG = 120, 4000  # characters of a name, of a text
NOT_RECORDED = "Not recorded"
OUTCOME_WORDS = {
    "reached": "Reached: spoke with the patient",
    "emergency": "Sent to emergency",
    "left_word": "Left word, without detail",
    "no_answer": "No answer",
    "wrong_number": "Wrong number",
    "no_call_needed": "No call needed",
    "reopened": "Reopened",
    "unsettled": "Spoken with, what came of it is not noted yet",
    "": "Not called back yet",
}


@dataclass(frozen=True, slots=True)
class Written:
    """What a person typed. PHI."""

    patient: str = ""
    caller: str = ""  # who called, and how they belong to the patient
    reason: str = ""
    advice: str = ""
    follow_up: str = ""


FIELDS = {"patient": SHORT, "caller": SHORT, "reason": LONG, "advice": LONG, "follow_up": LONG}


@dataclass(frozen=True, slots=True)
class Tried:
    """One try to reach the patient. talked_s: None where we placed no call or nobody answered it."""

    at: datetime
    by: str
    outcome: str
    talked_s: int | None = None


@dataclass(frozen=True, slots=True)
class PhoneNote:
    """A note, signed or (signed_at None) not yet. PHI. Times are UTC; zone: the practice's, in which they are read."""

    message: str
    practice: str
    practice_number: str
    zone: str
    urgency: str
    language: str
    received_at: datetime
    number: str  # where the patient is called back, '' where it was withheld
    heard_by: str
    heard_at: datetime | None
    taken_by: str
    taken_at: datetime | None
    tries: tuple[Tried, ...]
    outcome: str
    written: Written = Written()
    signed_by: str = ""
    signed_role: str = ""
    signed_at: datetime | None = None


def check(given: Mapping[str, str]) -> Written:
    """What was typed, as it is kept. Raises BadText: too long, or with control characters."""
    kept = {}
    for name, most in FIELDS.items():
        text = clean(given.get(name, ""))
        if len(text) > most:
            raise BadText(
                "The phone note was not signed", f"{_LABELS[name]} is too long", f"use {most} characters"
            )
        if has_control(text):
            raise BadText(
                "The phone note was not signed", f"{_LABELS[name]} holds a control character", "type it anew"
            )
        kept[name] = text
    return Written(**kept)


_LABELS = {
    "patient": "the patient's name", "caller": "who called", "reason": "the reason", "advice": "the advice",
    "follow_up": "what follows",
}  # fmt: skip


def sign(note: PhoneNote, written: Written, name: str, role: str, now: datetime) -> PhoneNote:
    """The note as this person signs it now."""
    return replace(note, written=written, signed_by=name, signed_role=role, signed_at=now)


def to_text(note: PhoneNote) -> str:
    """As it is sealed: JSON."""
    stored = asdict(note) | {"version": VERSION}
    return json.dumps(stored, default=lambda moment: iso(moment), ensure_ascii=False)


def read(text: str) -> PhoneNote | None:
    """What `to_text` wrote; None when it is damaged."""
    try:
        stored: dict[str, Any] = json.loads(text)
        if stored.pop("version") != VERSION:
            return None
        for name in ("received_at", "heard_at", "taken_at", "signed_at"):
            stored[name] = parse_iso(stored[name]) if stored[name] else None
        tries = tuple(Tried(**(one | {"at": parse_iso(one["at"])})) for one in stored.pop("tries"))
        return PhoneNote(**stored | {"written": Written(**stored["written"]), "tries": tries})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def moment(at: datetime, zone: str) -> str:
    """'Fri 27 Nov 2026 02:09 EST'."""
    here = at.astimezone(ZoneInfo(zone))
    return f"{here:%a} {here.day} {here:%b %Y %H:%M %Z}"


def elements(note: PhoneNote) -> Sequence[tuple[str, str]]:
    """Label and value of each element, in the order of a chart; what nobody gave says so."""
    written = note.written
    called = [_try(one, note.zone) for one in note.tries if one.outcome != "reopened"]
    rows = [
        ("Patient", written.patient or NOT_RECORDED),
        ("Who called", written.caller or NOT_RECORDED),
        ("Call came in", moment(note.received_at, note.zone)),
        ("Number to call", spaced(note.number) or "Withheld by the caller"),
        ("Heard first", _by(note.heard_by, note.heard_at, note.zone)),
        ("Taken by", _by(note.taken_by, note.taken_at, note.zone)),
        ("Called back", "\n".join(called) or NOT_RECORDED),
        ("Reason", written.reason or NOT_RECORDED),
        ("Advice given", written.advice or NOT_RECORDED),
        ("Follow-up", written.follow_up or NOT_RECORDED),
        ("Outcome", _outcome(note)),
    ]
    if note.signed_at:
        rows.append(
            ("Signed by", f"{note.signed_by}, {note.signed_role}, {moment(note.signed_at, note.zone)}")
        )
    return rows


def _outcome(note: PhoneNote) -> str:
    """Without one: whether nobody has called yet, or somebody opened it again."""
    last = note.tries[-1].outcome if note.tries and not note.outcome else note.outcome
    return OUTCOME_WORDS.get(last, last)


def _by(name: str, at: datetime | None, zone: str) -> str:
    return f"{name}, {moment(at, zone)}" if name and at else NOT_RECORDED


def _try(one: Tried, zone: str) -> str:
    talked = (
        f", talked {one.talked_s // 60} min {one.talked_s % 60:02d} s" if one.talked_s is not None else ""
    )
    return f"{moment(one.at, zone)}, {one.by}: {OUTCOME_WORDS.get(one.outcome, one.outcome)}{talked}"


def heading(note: PhoneNote) -> str:
    """'Phone note, Lakeside Family Medicine'."""
    return f"Phone note, {note.practice}"


def as_text(note: PhoneNote) -> str:
    """Plain text for a chart: a line for each element, further lines indented."""
    lines = [heading(note), ""]
    for label, value in elements(note):
        first, *more = value.split("\n")
        lines += [f"{label}: {first}", *(f"    {line}" for line in more)]
    return "\n".join([*lines, "", f"Nightbell message {note.message}", ""])
