"""A phone note and its message as FHIR R4 resources. Pure: values in, JSON objects out.

Communication (hl7.org/fhir/R4/communication.html) is the call back; DocumentReference
(hl7.org/fhir/R4/documentreference.html) is what the caller left: the words as text, the recording by its address here,
which asks for a log-in. Identifiers are addresses of this installation with a ULID, so that the same thing twice is one.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from nightbell.core.clock import iso
from nightbell.mailbox.values import MessageView
from nightbell.oncall.phone_note import PhoneNote, Tried, as_text, elements

Resource = dict[str, Any]

_MODE = "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode"
_LOINC = "http://loinc.org"
_REACHED = ("reached", "emergency")


@dataclass(frozen=True, slots=True)
class Left:
    """What the caller left. words: '' where there are none. PHI."""

    words: str
    has_sound: bool
    duration_s: float


def left_of(view: MessageView) -> Left:
    """As far as the view shows it."""
    words = " ".join(word.text.strip() for word in view.words or ())
    return Left(words, view.row.has_audio, view.row.duration_s)


def identifier(url: str, kind: str, ulid: str) -> Resource:
    """kind: 'message' or 'phone-note'; url: the installation's."""
    return {"system": f"{url}/id/{kind}", "value": ulid}


def search(found: Resource) -> str:
    """The criteria of a conditional create (If-None-Exist): the same identifier is made once."""
    one = found["identifier"][0]
    return f"identifier={one['system']}|{one['value']}"


def _patient(note: PhoneNote) -> Resource:
    """Who the note is about, as far as anybody said: no match with a chart is claimed."""
    patient: Resource = {"resourceType": "Patient", "id": "patient"}
    if note.written.patient:
        patient["name"] = [{"text": note.written.patient}]
    if note.number:
        patient["telecom"] = [{"system": "phone", "value": note.number}]
    if len(patient) == 2:
        patient["name"] = [{"text": "Unknown"}]
    return patient


def _practitioner(note: PhoneNote) -> Resource:
    return {"resourceType": "Practitioner", "id": "signer", "name": [{"text": note.signed_by}]}


def _called_back(note: PhoneNote) -> Tried | None:
    """The try that settled it, else the last one."""
    tries = [one for one in note.tries if one.outcome != "reopened"]
    counted = [one for one in tries if one.outcome in _REACHED] or tries
    return counted[-1] if counted else None


def communication(note: PhoneNote, note_id: str, url: str) -> Resource:
    """The call back. note: a signed one; note_id: its ULID; url: the installation's address."""
    called = _called_back(note)
    made: Resource = {
        "resourceType": "Communication",
        "contained": [_patient(note), _practitioner(note)],
        "identifier": [identifier(url, "phone-note", note_id)],
        "status": _status(note.outcome),
        "category": [{"text": "Call back to a message after hours"}],
        "priority": {"urgent": "urgent", "review": "asap"}.get(note.urgency, "routine"),
        "medium": [{"coding": [{"system": _MODE, "code": "PHONE", "display": "telephone"}]}],
        "subject": {"reference": "#patient"},
        "about": [{"type": "DocumentReference", "identifier": identifier(url, "message", note.message)}],
        "recipient": [{"reference": "#patient"}],
        "sender": {"reference": "#signer"},
        "payload": [{"contentString": f"{label}: {value}"} for label, value in elements(note)],
        "note": [{"time": iso(note.signed_at or note.received_at), "text": as_text(note)}],
    }
    if note.outcome == "no_call_needed":
        made["statusReason"] = {"text": "No call needed"}
    if called is not None:
        made["sent"] = iso(called.at)
    if note.written.reason:
        made["reasonCode"] = [{"text": note.written.reason}]
    return made


def _status(outcome: str) -> str:
    """As event-status: completed only where somebody spoke with the patient."""
    if outcome in _REACHED:
        return "completed"
    return "not-done" if outcome == "no_call_needed" else "in-progress"


def document(note: PhoneNote, left: Left, url: str) -> Resource:
    """What the caller left. The words are a machine's: preliminary."""
    content = []
    if left.words:
        text = base64.b64encode(left.words.encode()).decode()
        content.append({"attachment": {
            "contentType": "text/plain; charset=utf-8", "language": note.language, "data": text,
            "title": "Words of the message, written down by a machine",
        }})  # fmt: skip
    if left.has_sound or not content:
        content.append({"attachment": _sound(note, left, url)})
    return {
        "resourceType": "DocumentReference",
        "contained": [_patient(note)],
        "identifier": [identifier(url, "message", note.message)],
        "status": "current",
        "docStatus": "preliminary",
        "type": {
            "coding": [{"system": _LOINC, "code": "34748-4", "display": "Telephone encounter Note"}],
            "text": "Message left by telephone",
        },
        "subject": {"reference": "#patient"},
        "date": iso(note.received_at),
        "content": content,
        "context": {"period": {"start": iso(note.received_at)}},
    }


def _sound(note: PhoneNote, left: Left, url: str) -> Resource:
    """By its address here, which asks for a log-in: the recording itself stays."""
    at = f"{url}/api/v1/messages/{note.message}/audio"
    if not left.has_sound:
        return {"url": f"{url}/m/{note.message}/", "title": "Call without a recording"}
    return {
        "contentType": "audio/wav",
        "url": at,
        "title": f"Recording, {round(left.duration_s)} s",
        "creation": iso(note.received_at),
    }


def bundle(note: PhoneNote, note_id: str, left: Left, url: str) -> Resource:
    """Both, for a file that a person takes along."""
    entries = [communication(note, note_id, url), document(note, left, url)]
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": iso(note.signed_at or note.received_at),
        "entry": [
            {"fullUrl": f"{url}/id/{one['resourceType']}/{note_id}", "resource": one} for one in entries
        ],
    }
