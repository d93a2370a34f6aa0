"""The API, v1: what the pages can do, for programs with a bearer token (DESIGN §5)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, URLResolver, include, path
from ninja import NinjaAPI, Query
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.parser import Parser
from ninja.responses import Status
from ninja.security import HttpBearer

from nightbell.core import clock
from nightbell.core.clock import iso
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Mailbox
from nightbell.mailbox.values import CURSOR, MessageView, Row
from nightbell.oncall import outcomes, schedule
from nightbell.people import audit_log
from nightbell.people.access import Actor, NotFound, demand
from nightbell.people.models import User
from nightbell.people.roles import Act
from nightbell.people.tokens import authenticate
from nightbell.web import api_schemas as shapes
from nightbell.web import throttle
from nightbell.web.doors import Access, Door, source_of
from nightbell.web.errors import Answer, answer_for, problem, respond
from nightbell.web.sound import sound_response

_KNOCK = "token"
_JSON = "application/json"
_ULID = r"^([0-7][0-9A-HJKMNP-TV-Z]{25})?$"  # or nothing
_ERRORS = {code: shapes.Problem for code in (400, 401, 403, 404, 409, 415, 422, 429, 502, 503)}


_UNREADABLE = Answer(400, "The body cannot be read", "It is not JSON", "Send one JSON object in UTF-8.")
_OTHER_KIND = Answer(
    415, "The body is of a wrong kind", "This API reads JSON alone", "Send Content-Type: application/json."
)


class Body(Parser):  # type: ignore[misc]
    """JSON that says so: a body under another name was meant for something else. What is raised here ends in `_http`."""

    def parse_body(self, request: HttpRequest) -> Any:
        if request.content_type != _JSON:
            raise ValueError("another kind")
        return super().parse_body(request)


class TooManyKnocks(Exception):
    """This source offered too many wrong tokens."""


class Bearer(HttpBearer):  # type: ignore[misc]
    """Authorization: Bearer nbt_…"""

    def authenticate(self, request: HttpRequest, token: str) -> Actor | None:
        """A right token always opens: a stranger behind the same address must not lock out a working program."""
        now, source = clock.utc_now(), source_of(request)
        actor = authenticate(token, now, source)
        if actor is None:
            if throttle.too_many(_KNOCK, source, now):
                raise TooManyKnocks
            throttle.failed(_KNOCK, source, now)
        return actor


api = NinjaAPI(
    title="Nightbell",
    version="1",
    description="Messages of a medical practice's phone line. Every read is written to the audit log first.",
    auth=Bearer(),
    parser=Body(),
    docs_url=None,
    openapi_url=None,
    urls_namespace="api-v1",
)


@api.exception_handler(Exception)
def _any(request: HttpRequest, error: Exception) -> HttpResponse:
    return respond(request, error)


@api.exception_handler(Http404)
def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(answer_for(error))


@api.exception_handler(AuthenticationError)
def _unknown(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return unauthorized()


@api.exception_handler(TooManyKnocks)
def _knocks(request: HttpRequest, error: TooManyKnocks) -> HttpResponse:
    return _wait()


@api.exception_handler(HttpError)
def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
    """The one HttpError of ninja that is left is about the body."""
    return problem(_UNREADABLE if request.content_type == _JSON else _OTHER_KIND)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Names the fields and what is expected, never what was sent."""
    fields = [
        {"field": ".".join(str(part) for part in e.get("loc", ())[1:]), "expected": str(e.get("type", ""))}
        for e in error.errors
    ]
    return problem(Answer(422, "The parameters are not as expected"), errors=fields)


def _wait() -> HttpResponse:
    return problem(
        Answer(429, "Too many wrong tokens", "This address has to wait.", "Try again in five minutes.")
    )


def unauthorized() -> HttpResponse:
    answer = Answer(
        401,
        "A valid token is needed",
        "It is missing, wrong, expired or revoked",
        "Send Authorization: Bearer …",
    )
    response = problem(answer)
    response["WWW-Authenticate"] = 'Bearer realm="nightbell"'
    return response


def _actor(request: HttpRequest) -> Actor:
    actor: Actor = request.auth  # type: ignore[attr-defined]
    return actor


def _bad(field: str, expected: str) -> HttpResponse:
    return problem(
        Answer(422, "The parameters are not as expected"), errors=[{"field": field, "expected": expected}]
    )


def _message(row: Row, view: MessageView | None = None) -> dict[str, Any]:
    seen = row.callback_number is not None
    return {
        "id": row.id,
        "kind": row.kind,
        "mailbox": row.mailbox_id or None,
        "mailbox_name": row.mailbox or None,
        "received_at": row.received_at,
        "duration_s": round(row.duration_s, 3),
        "state": row.state,
        "urgency": row.urgency,
        "language": row.language,
        "has_audio": row.has_audio,
        "callback_number": row.callback_number,
        "callback_number_uncertain": row.callback_uncertain if seen else None,
        "transcript": _transcript(row, view),
        "owner": row.owner.name if row.owner else None,
        "owned_at": row.owned_at,
        "closed_at": row.closed_at,
        "outcome": row.outcome or None,
        "notes": _notes(view),
        "tags": list(row.tags),
        "promised_by": row.promised_by,
        "joins": row.joins or None,
        "parts": _parts(view),
        "additions": [one.row.id for one in view.additions] if view else None,
    }


def _transcript(row: Row, view: MessageView | None) -> dict[str, Any] | None:
    words = view.words if view else None
    if row.first_words is None and words is None and row.words_status in ("ready", "empty"):
        return None  # there are words, and this role does not see them
    out: dict[str, Any] = {"status": row.words_status, "first_words": row.first_words}
    if words is not None:
        out["text"] = " ".join(word.text.strip() for word in words)
        out["words"] = [
            {"text": w.text.strip(), "start": w.start, "end": w.end, "confidence": w.confidence}
            for w in words
        ]
    return out


def _notes(view: MessageView | None) -> list[dict[str, Any]] | None:
    if view is None or view.notes is None:
        return None
    return [{"author": n.author.name, "at": n.at, "text": n.text} for n in view.notes]


def _parts(view: MessageView | None) -> list[dict[str, Any]] | None:
    if view is None or view.parts is None:
        return None
    return [{"name": p.name, "start_s": p.start, "end_s": p.end, "earlier": p.earlier} for p in view.parts]


State = Literal["open", "new", "acknowledged", "closed"]


@api.get("/messages", response={200: shapes.MessageList, **_ERRORS}, operation_id="list_messages")
def messages(
    request: HttpRequest,
    mailbox_id: str = Query("", alias="mailbox", pattern=_ULID),
    state: State = "open",
    cursor: str = Query("", pattern=f"^({CURSOR})?$"),
    limit: int = Query(100, ge=1, le=200),
) -> Any:
    """Messages in the order in which they should be worked on; open ones unless `state` says else."""
    actor = _actor(request)
    demand(actor, Act.LIST)  # before any id is looked up: a role without messages learns nothing of ids
    if mailbox_id and not Mailbox.objects.filter(pk=mailbox_id, practice_id=actor.practice).exists():
        raise NotFound("There is no such mailbox")
    page = mailbox.inbox(actor, view=state, mailbox=mailbox_id, cursor=cursor, limit=limit)
    return {"items": [_message(row) for row in page.rows], "next": page.next}


@api.get("/messages/{message_id}", response={200: shapes.MessageOut, **_ERRORS}, operation_id="read_message")
def message(request: HttpRequest, message_id: str) -> Any:
    """One message, with words and notes as far as the token's person may see them."""
    view = mailbox.message(_actor(request), message_id)
    return _message(view.row, view)


@api.get(
    "/messages/{message_id}/audio",
    response={200: None, 206: None, 416: None, **_ERRORS},
    operation_id="message_audio",
    openapi_extra={"responses": {200: {"description": "WAV", "content": {"audio/wav": {}}}}},
)
def audio(request: HttpRequest, message_id: str) -> Any:
    """The sound as WAV (mono, 16 bit, 8 kHz); Range is answered with at most 512 kB at a time."""
    return sound_response(_actor(request), message_id, request.headers.get("Range", ""))


@api.post(
    "/messages/{message_id}/acknowledge",
    response={200: shapes.TakenOut, **_ERRORS},
    operation_id="acknowledge",
)
def acknowledge(request: HttpRequest, message_id: str) -> Any:
    """Take it. 409 when a colleague was first."""
    taken = mailbox.acknowledge(_actor(request), message_id)
    if not taken.mine:
        answer = Answer(409, "A colleague has this message", "It was taken earlier.", "Read who owns it.")
        return problem(answer, owner=taken.owner.name, at=iso(taken.at))
    return {"id": message_id, "state": "acknowledged", "owner": taken.owner.name, "at": taken.at}


@api.post("/messages/{message_id}/notes", response={201: shapes.Done, **_ERRORS}, operation_id="add_note")
def add_note(request: HttpRequest, message_id: str, body: shapes.NoteIn) -> Any:
    """Add a note, sealed with the message."""
    mailbox.note(_actor(request), message_id, body.text)
    return Status(201, {"id": message_id})


@api.post(
    "/messages/{message_id}/close", response={200: shapes.CloseOut, **_ERRORS}, operation_id="close_message"
)
def close(request: HttpRequest, message_id: str, body: shapes.CloseIn) -> Any:
    """Note what happened with the patient; it is closed if that settles it. 409 when it got worse and that was neither
    heard nor `seen`."""
    noted = outcomes.record(_actor(request), message_id, body.outcome, body.seen)
    closed = noted.state == "closed"
    return {
        "id": message_id, "done": closed, "state": noted.state, "tries": noted.tries, "back_at": noted.back_at,
    }  # fmt: skip


@api.get("/oncall", response={200: shapes.OnCallOut, **_ERRORS}, operation_id="on_call")
def on_call(
    request: HttpRequest,
    schedule_id: str = Query("", alias="schedule", pattern=_ULID),
    at: str = Query("", max_length=40),
) -> Any:
    """Who is on call and who comes next, now or at an RFC 3339 time, by the main schedule unless another is named."""
    actor = _actor(request)
    try:
        moment = clock.parse_iso(at.replace(" ", "+")) if at else None
    except (ValueError, OverflowError):
        return _bad("at", "an RFC 3339 time")
    found = schedule.there(actor, moment, schedule_id)
    change = found.change
    return {
        "schedule": found.schedule.id if found.schedule else None,
        "name": found.schedule.name if found.schedule else None,
        "at": found.at,
        "now": [{"id": u.id, "name": u.name, "rank": "backup" if r else "first"} for u, r in found.order],
        "until": change.until,
        "next": {"id": change.next.id, "name": change.next.name, "at": change.next_from}
        if change.next
        else None,
        "last_resort": change.fallback or None,
    }


@api.get("/audit", response={200: shapes.AuditList, **_ERRORS}, operation_id="query_audit")
def audit(
    request: HttpRequest,
    user: str = Query("", max_length=80, pattern=r"^[^\x00]*$"),
    message_id: str = Query("", alias="message", pattern=_ULID),
    since: str = Query("", alias="from", max_length=40),
    until: str = Query("", alias="to", max_length=40),
    cursor: str = Query("", pattern=r"^[0-9]{0,18}$"),
    limit: int = Query(100, ge=1, le=500),
) -> Any:
    """The log of the practice, newest first. from ≤ time < to; a bare date means the whole day in the practice's zone."""
    actor = _actor(request)
    try:
        first = _moment(since, actor, 0)
        last = _moment(until, actor, 1)
    except (ValueError, OverflowError):
        return _bad("from or to", "a date or an RFC 3339 time")
    page = audit_log.query(
        actor, user=user, message=message_id, since=first, until=last, cursor=cursor, limit=limit
    )
    items = [
        {
            "time": item.time,
            "actor": item.actor,
            "action": item.action,
            "message": item.message or None,
            "outcome": item.outcome,
            "source": item.source,
        }
        for item in page.items
    ]
    return {"items": items, "next": page.next}


def _moment(text: str, actor: Actor, days: int) -> datetime | None:
    """A time with an offset, or a date: its start, or with days=1 the start of the next."""
    if not text:
        return None
    if len(text) == 10:
        zone = ZoneInfo(actor.user.practice.zone)
        return datetime.combine(date.fromisoformat(text) + timedelta(days=days), time(), zone).astimezone(UTC)
    return clock.parse_iso(text.replace(" ", "+"))


def openapi(request: HttpRequest) -> HttpResponse:
    """The description of all this, for anybody with a log-in or a token."""
    member = isinstance(getattr(request, "user", None), User)
    try:
        known = member or api.auth[0](request) is not None
    except TooManyKnocks:
        return _wait()
    if not known:
        return unauthorized()
    return JsonResponse(described())


def described() -> dict[str, Any]:
    """The OpenAPI document, with refusals under their real media type."""
    schema: dict[str, Any] = api.get_openapi_schema()
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                if int(status) >= 400 and "application/json" in content:
                    content["application/problem+json"] = content.pop("application/json")
    return schema


openapi.access = Access(Door.TOKEN)  # type: ignore[attr-defined]


def api_urls() -> list[URLPattern | URLResolver]:
    """Addresses of the API; each one declares that the operation asks for a token itself."""
    patterns, app_name, namespace = api.urls
    for pattern in patterns:
        if pattern.name != "api-root":
            pattern.callback.access = Access(Door.TOKEN)
    return [
        path("api/v1/openapi.json", openapi, name="openapi"),
        path("api/v1/", include((patterns, app_name), namespace=namespace)),
    ]
