"""From an exception to an answer: a page for people, problem details (RFC 9457) for the API.

No text of an unknown exception ever reaches a page or a log: it may carry anything.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFilesSent,
)
from django.db import DataError, InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.template.loader import render_to_string

from nightbell.audit.errors import AuditClosed
from nightbell.core.errors import NightbellError, TemporaryError
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.core.sound import BadSound, SoundUnavailable
from nightbell.flow.plan import BadPlan
from nightbell.line.errors import BadClip, BadClosure, Damaged, NotReady, Stale
from nightbell.mailbox.errors import BadText, NotNow
from nightbell.oncall.errors import BadCalendar, BadShift, BadSwap
from nightbell.oncall.policy_admin import BadPolicy
from nightbell.people.access import Forbidden, NotFound
from nightbell.people.contacts import BadContact
from nightbell.people.covers import BadCover
from nightbell.people.pins import BadPin
from nightbell.people.risk_rules import BadRisk
from nightbell.sealing.blobs import NoSuchBlob
from nightbell.sealing.errors import KeyUnavailable, NoSuchKey, SealError, StaleKeyring
from nightbell.sip.trunk import BadTrunk
from nightbell.store.vault import KeysAway
from nightbell.web.uploads import TooLargeFile

log = Log("web")
API = "/api/"
PROBLEM = "application/problem+json"
_WAITS = {429: "300", 503: "30"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell: HTTP status, a title, what is the matter, the mend. `reference`: only for the unknown."""

    status: int
    title: str
    what: str = ""
    mend: str = ""
    reference: str = ""


_CLOSED = Answer(
    503,
    "Reading is closed",
    "The log of who hears what cannot be written now, so nothing is shown or played.",
    "Calls are still answered and recorded. Tell the person who looks after this system, then try again.",
)
_KEYS = Answer(
    503,
    "Messages cannot be opened",
    "The keys of this system are not available, so nothing can be shown or played.",
    "Calls are still answered and recorded, sealed. Tell the person who looks after this system.",
)
_GONE = Answer(
    404,
    "There is nothing here",
    "The address is wrong, the message has been destroyed on time, or it belongs to another practice.",
    "Go to the inbox.",
)

# 502: this server is well and the request is right, but the store behind it gave what was never sealed. It is not
# temporary (503), and not gone for good (410): a backup may have it.
_DAMAGED = Answer(
    502,
    "This message is damaged",
    "What is stored is not what was sealed: it was changed, cut, or hurt by the disk. No doubtful part is played or shown.",
    "Call the patient back at the number on the message's page. Then tell the person who looks after this system: "
    "a backup may have the whole of it.",
)
_LOST = Answer(
    502,
    "The recording is missing",
    "The message is here, but its sound is not in the store.",
    _DAMAGED.mend,
)
_LARGE = Answer(413, "That is too much at once", "The text is longer than this page takes.", "Shorten it.")
_LARGE_FILE = Answer(
    413,
    "This file is too large",
    "A recording may have 20 MB.",
    "Save it as MP3, or cut it to length, and upload that.",
)
_ROLE = Answer(403, "Your role does not do this", "", "Ask your office manager.")
_BROKEN = Answer(400, "The request cannot be read", "", "Go back, reload the page and try again.")
_UNKEPT = Answer(
    422,
    "Nothing was kept",
    "A field holds something that cannot be stored, such as a NUL character.",
    "Go back and type it again by hand.",
)

# Order matters: TooManyFilesSent, TooLargeFile and RequestDataTooBig are kinds of SuspiciousOperation, most of sealing's of SealError.
_FIXED: tuple[tuple[tuple[type[BaseException], ...], Answer], ...] = (
    ((NotFound, Http404, NoSuchKey), _GONE),
    ((AuditClosed, OperationalError, InterfaceError, InternalError), _CLOSED),
    ((KeysAway, KeyUnavailable, StaleKeyring), _KEYS),
    ((NoSuchBlob,), _LOST),
    ((SealError,), _DAMAGED),
    ((DataError,), _UNKEPT),
    ((TooLargeFile,), _LARGE_FILE),
    ((RequestDataTooBig, TooManyFilesSent), _LARGE),
    ((PermissionDenied,), _ROLE),
    ((SuspiciousOperation, BadRequest, UnreadablePostError), _BROKEN),
)
# Errors whose own words are for people.
_TOLD: tuple[tuple[type[NightbellError], int], ...] = (
    (NotNow, 409),
    (BadText, 422),
    (BadShift, 422),
    (BadSwap, 409),
    (BadCalendar, 422),
    (BadPolicy, 422),
    (BadContact, 422),
    (BadCover, 422),
    (BadPin, 422),
    (Stale, 409),
    (Damaged, 409),
    (NotReady, 409),
    (BadPlan, 422),
    (BadSound, 422),
    (BadClip, 422),
    (BadClosure, 422),
    (BadTrunk, 422),
    (BadRisk, 422),
    (SoundUnavailable, 503),
    (TemporaryError, 503),
)


def answer_for(error: BaseException) -> Answer:
    """Decide what an exception means to the person who sees it."""
    for kinds, answer in _FIXED:
        if isinstance(error, kinds):
            return answer
    if isinstance(error, Forbidden):
        return Answer(
            403, "Your role does not do this", _end(error.what), _end(error.mend or "Ask your office manager")
        )
    for kind, status in _TOLD:
        if isinstance(error, kind):
            return Answer(status, error.what, _end(error.why), _end(error.mend))
    return Answer(
        500,
        "Something went wrong here",
        "It is noted with a number, and nothing of the message.",
        "Try again. If it comes back, tell the person who looks after this system the number.",
        new_ulid(),
    )


def _end(text: str) -> str:
    """A sentence: capital first, full stop last; '' stays ''."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def respond(request: HttpRequest, error: BaseException) -> HttpResponse:
    """The answer to an exception, logged when it is ours to mend."""
    answer = answer_for(error)
    if answer.status >= 500:
        kind = "api" if request.path.startswith(API) else "page"
        log.failure(
            "request_failed",
            error,
            status=answer.status,
            kind=kind,
            reference=answer.reference or None,
            message=_message_of(request),
        )
    return render(request, answer)


def _message_of(request: HttpRequest) -> str | None:
    """Which message the address names. The log drops what is no id."""
    match = request.resolver_match
    return str(match.kwargs.get("message_id", "")) or None if match is not None else None


def render(request: HttpRequest, answer: Answer) -> HttpResponse:
    """An answer as a page, or as problem details below /api/."""
    if request.path.startswith(API):
        return problem(answer)
    page = render_to_string(
        "errors/answer.html", {"answer": answer, "icon": _ICONS.get(answer.status, "alert")}
    )
    response = HttpResponse(page, status=answer.status)
    _later(response)
    return response


def _later(response: HttpResponse) -> None:
    """When to try again, where trying again may help."""
    if response.status_code in _WAITS:
        response["Retry-After"] = _WAITS[response.status_code]


_ICONS = {403: "lock", 404: "search", 503: "shield-alert", 409: "users"}


def problem(answer: Answer, **more: object) -> HttpResponse:
    """RFC 9457: type, title, status, detail."""
    detail = " ".join(part.rstrip(".") + "." for part in (answer.what, answer.mend) if part)
    fields: dict[str, object] = {"type": "about:blank", "title": answer.title, "status": answer.status}
    if detail:
        fields["detail"] = detail
    if answer.reference:
        fields["instance"] = f"urn:nightbell:error:{answer.reference}"
    response = HttpResponse(
        json.dumps(fields | more, ensure_ascii=False),
        status=answer.status,
        content_type=PROBLEM,
    )
    _later(response)
    return response


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form came without its key: mostly a page that stayed open over a sign-out."""
    mend = "Go back, reload the page and send it again."
    return render(
        request, Answer(403, "This form is out of date", "You may have signed out meanwhile.", mend)
    )


def refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400, 403 and 404: what middleware or the address book raised."""
    return respond(request, exception)


def slow_down(request: HttpRequest) -> HttpResponse:
    """allauth's handler429."""
    return render(
        request, Answer(429, "Too many tries", "This address has to wait.", "Try again in five minutes.")
    )


def dressed(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """A bare 405 in our own form; every other answer as it is."""
    if response.status_code != 405 or response.get("Content-Type") == PROBLEM:
        return response
    allowed = response.get("Allow", "")
    ours = render(
        request,
        Answer(
            405,
            "This address does not do that",
            f"It takes {allowed or 'another kind of request'}",
            "Use one of these."
            if request.path.startswith(API)
            else "Go back and use the page's own buttons.",
        ),
    )
    if allowed:
        ours["Allow"] = allowed
    return ours


def failed(request: HttpRequest) -> HttpResponse:
    """Django's handler500: whatever escaped the views, from middleware, session store or template."""
    error = sys.exc_info()[1]
    return respond(request, error if error is not None else RuntimeError())
