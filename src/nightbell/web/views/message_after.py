"""What follows on a call back: how it ended, the tries, the numbers that are left, and the phone note."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.core.config import load
from nightbell.core.ids import is_ulid
from nightbell.mailbox.errors import BadText
from nightbell.mailbox.models import SETTLED
from nightbell.mailbox.values import MessageView, Row
from nightbell.oncall import fhir, phone_note, phone_notes
from nightbell.oncall.outcomes import REOPENED, Try, told_at, voicemail_script
from nightbell.people.access import Actor, NotFound
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, allows
from nightbell.web.format import clock_time, dial, phone, stopwatch
from nightbell.web.present import CLOSING, OUTCOME_WORDS, OUTCOMES

SOURCES = {"keyed": "keyed in by the caller", "caller_id": "caller ID", "spoken": "heard in the message"}


def context(actor: Actor, view: MessageView, tries: tuple[Try, ...]) -> dict[str, Any]:
    """For the outcome block and the phone note of a message's page."""
    row, practice = view.row, actor.user.practice
    keys = [(*one, number) for number, one in enumerate(OUTCOMES, 1)]
    signed = phone_notes.newest(view)
    return {
        "closing": keys[:CLOSING],
        "unreached": keys[CLOSING:],
        "tries": [_shown(one, practice.zone, actor.now) for one in tries if one.outcome not in SETTLED],
        "tries_made": len(tries),
        "script": voicemail_script(row.language, phone(practice.number)),
        "others": _others(view),
        "back_at": _back(tries, row, practice.zone, actor.now),
        "last_try": OUTCOME_WORDS.get(row.outcome, "") if row.state == "acknowledged" else "",
        "note_text": phone_note.as_text(signed) if signed else "",
        "note_facts": phone_note.elements(phone_notes.draft(view, practice)),
        "note_typed": signed.written if signed else phone_note.Written(),
        "note_limits": phone_note.FIELDS,
        "note_signed": len(view.signed or ()),
    }


def _others(view: MessageView) -> list[dict[str, str]]:
    """The numbers but the one that stands at the head of the page."""
    head = dial(view.row.callback_number or "")
    return [
        {"text": phone(one.number), "tel": dial(one.number), "source": SOURCES[one.source]}
        for one in view.numbers
        if dial(one.number) and dial(one.number) != head
    ]


def _shown(one: Try, zone: str, now: datetime) -> dict[str, str]:
    words = "Reopened" if one.outcome == REOPENED else OUTCOME_WORDS.get(one.outcome, one.outcome)
    return {"at": clock_time(one.at, zone, now), "words": words, "who": one.who}


def _back(tries: tuple[Try, ...], row: Row, zone: str, now: datetime) -> str:
    """When it comes back: '02:21', 'now', or '' where nothing is due."""
    back_at = tries[-1].back_at if tries and row.state == "acknowledged" else None
    if back_at is None:
        return ""
    back_at = told_at(max(back_at, now), row.urgency, zone)
    return clock_time(back_at, zone, now) if back_at > now else "now"


def events(tries: tuple[Try, ...], view: MessageView) -> list[tuple[datetime, str, str]]:
    """Rows for "Who did what": what did not settle it, calls that we placed, signed notes."""
    found = [(one.at, f"Phone note signed by {one.author.name}", "") for one in view.signed or ()]
    for one in tries:
        talked = f", talked {stopwatch(one.talked.total_seconds())}" if one.talked is not None else ""
        if one.outcome == REOPENED:
            found.append((one.at, f"Reopened by {one.who}", ""))
        elif one.outcome not in SETTLED or talked:
            found.append(
                (
                    one.at,
                    f"Called back by {one.who}",
                    f": {OUTCOME_WORDS.get(one.outcome, '').lower()}{talked}",
                )
            )
    return found


def _known(message_id: str) -> str:
    if not is_ulid(message_id):
        raise NotFound("There is no such message", "", "go to the inbox")
    return message_id


@require_POST
@allows(Act.NOTE)
def sign(request: HttpRequest, message_id: str) -> HttpResponse:
    """`/m/<id>/phone-note`: sign it as it stands, with what was typed."""
    actor, known = actor_of(request), _known(message_id)
    given = {name: request.POST.get(name, "") for name in phone_note.FIELDS}
    try:
        phone_notes.sign(actor, known, given)
    except BadText as error:
        page = {
            "trouble": error,
            "typed": given,
            "message_id": known,
            "limits": phone_note.FIELDS,
            "here": "open",
        }
        return render(request, "pages/phone_note.html", page, status=422)
    return HttpResponseRedirect(f"{reverse('message', args=[known])}?did=signed#phone-note")


def _file(body: bytes | str, kind: str, name: str) -> HttpResponse:
    response = HttpResponse(body, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@require_GET
@allows(Act.DOWNLOAD)
def as_text(request: HttpRequest, message_id: str) -> HttpResponse:
    """`/m/<id>/phone-note.txt`"""
    given = phone_notes.give_out(actor_of(request), _known(message_id), "text")
    return _file(phone_note.as_text(given.note), "text/plain; charset=utf-8", f"phone-note-{given.id}.txt")


@require_GET
@allows(Act.DOWNLOAD)
def as_pdf(request: HttpRequest, message_id: str) -> HttpResponse:
    """`/m/<id>/phone-note.pdf`"""
    given = phone_notes.give_out(actor_of(request), _known(message_id), "pdf")
    from nightbell.oncall import phone_note_pdf  # what makes PDFs takes long to load, and few ask for one

    return _file(phone_note_pdf.as_pdf(given.note), "application/pdf", f"phone-note-{given.id}.pdf")


@require_GET
@allows(Act.DOWNLOAD)
def as_fhir(request: HttpRequest, message_id: str) -> HttpResponse:
    """`/m/<id>/phone-note.json`: a FHIR R4 Bundle."""
    given = phone_notes.give_out(actor_of(request), _known(message_id), "fhir")
    found = fhir.bundle(given.note, given.id, fhir.left_of(given.view), load().url)
    return _file(
        json.dumps(found, ensure_ascii=False, indent=2),
        "application/fhir+json",
        f"phone-note-{given.id}.json",
    )
