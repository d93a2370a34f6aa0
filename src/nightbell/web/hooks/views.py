"""What a provider asks: a call comes in, a key was pressed, something was recorded, the call is over.

Only a genuine signature gets past the door; after it a caller is never turned away, whatever is wrong here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from nightbell.core import clock
from nightbell.core.carriers import Hook, Pressed, Ring, Spoken
from nightbell.core.config import load
from nightbell.core.ids import is_ulid
from nightbell.core.log import Log
from nightbell.line import carrier_calls, carrier_health, carrier_lines
from nightbell.oncall import receipts
from nightbell.web import throttle
from nightbell.web.doors import Door, allows, source_of
from nightbell.web.hooks.writing import Writer

HOOKS: dict[str, Hook] = {}  # by name; set by the server's wiring
log = Log("web")
Asked = Callable[[HttpRequest, Hook], HttpResponse]
_KEYS = frozenset("0123456789*#ABCD")


def _refused(request: HttpRequest, name: str) -> HttpResponse:
    """No word of what was wrong. Counted, but not so often that a flood fills the database."""
    now, source = clock.utc_now(), source_of(request)
    try:
        if not throttle.too_many(f"hook-{name}", source, now):
            throttle.failed(f"hook-{name}", source, now)
            carrier_health.refused(name, now)
            log("hook.refused", kind=name)
    except DatabaseError as error:
        log.failure("hook.not_counted", error, kind=name)
    return HttpResponse(status=403)


def _genuine(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A door of its own: no session, no CSRF token, the provider's signature over our public address."""

    @wraps(view)
    def inner(request: HttpRequest, provider: str, **kwargs: object) -> HttpResponse:
        hook = HOOKS.get(provider)
        if hook is None:
            return HttpResponse(status=404)
        body = request.body  # before the form is read: the signature is over these bytes
        params = {name: [str(one) for one in values] for name, values in request.POST.lists()}
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = load().url + request.get_full_path()
        if not hook.genuine(url, headers, body, params, clock.utc_now()):
            return _refused(request, provider)
        return view(request, hook, **kwargs)

    return allows(Door.HOOK)(csrf_exempt(require_POST(inner)))


def _document(text: str) -> HttpResponse:
    return HttpResponse(text, content_type="text/xml; charset=utf-8")


def _whatever_happens(hook: Hook, answer: Callable[[], str]) -> HttpResponse:
    """A caller is on the line: when anything fails here, a message can still be left."""
    try:
        return _document(answer())
    except Exception as error:
        log.failure("hook.failed", error, kind=hook.name)
        return _document(Writer(hook, load().url, {}).loose(hook.abilities.silence_ends))


def _ring(request: HttpRequest) -> Ring:
    given = request.POST.get
    return Ring(
        given("CallSid", "")[:200], given("From", "")[:60], given("To", given("Called", ""))[:60],
        given("ForwardedFrom", "")[:60], _attest(given("StirVerstat", "")),
    )  # fmt: skip


def _attest(told: str) -> str:
    """'TN-Validation-Passed-A' and the like, as SHAKEN has it, in the words of a capture's mark; '' when nothing is told."""
    found = re.match(r"TN-Validation-(Passed|Failed)(?:-([ABC]))?(?:-|\Z)", told)
    if found is None:
        return "none:-" if told else ""
    return f"{'verified' if found[1] == 'Passed' else 'failed'}:{found[2] or '-'}"


def _writer(hook: Hook, ring: Ring) -> Writer:
    plan = carrier_lines.line_of(carrier_lines.find(ring).entry).plan
    return Writer(hook, load().url, plan.clips)


@_genuine
def voice(request: HttpRequest, hook: Hook) -> HttpResponse:
    """A call comes in."""

    def answer() -> str:
        ring = _ring(request)
        writer = _writer(hook, ring)
        if carrier_lines.find(ring).staff:
            log("hook.staff_line", kind=hook.name)
            return writer.staff()
        return (
            carrier_calls.begin(hook.name, ring, hook.abilities, clock.utc_now(), writer.script)
            or writer.nothing()
        )

    return _whatever_happens(hook, answer)


@_genuine
def step(request: HttpRequest, hook: Hook, turn: int, at: int) -> HttpResponse:
    """A question is over: keys, or none."""
    digits = "".join(key for key in request.POST.get("Digits", "")[:16] if key in _KEYS)
    pressed = Pressed(digits, pound=request.POST.get("FinishedOnKey", "") == "#")
    return _go_on(request, hook, turn, at, pressed)


@_genuine
def taken(request: HttpRequest, hook: Hook, turn: int, at: int) -> HttpResponse:
    """A recording is over."""
    by = {"hangup": "hang_up", "#": "pound"}.get(request.POST.get("Digits", ""), "")
    seconds = request.POST.get("RecordingDuration", "0")
    return _go_on(request, hook, turn, at, Spoken(min(_whole(seconds), 14_400), by))


def _go_on(request: HttpRequest, hook: Hook, turn: int, at: int, outcome: Pressed | Spoken) -> HttpResponse:
    def answer() -> str:
        ring = _ring(request)
        writer = _writer(hook, ring)
        done = carrier_calls.follow(hook.name, ring.call, turn, at, outcome, clock.utc_now(), writer.script)
        return done or writer.nothing()

    return _whatever_happens(hook, answer)


@_genuine
def bye(request: HttpRequest, hook: Hook) -> HttpResponse:
    """A recording without state is over."""
    return _document(Writer(hook, load().url, {}).bye())


@_genuine
def recording(request: HttpRequest, hook: Hook, take: int) -> HttpResponse:
    """A recording has begun, is ready, or came to nothing. A failure here is told as one, so that it is sent again;
    should it not be, the worker asks the provider by itself."""
    given = request.POST.get
    carrier_calls.recording(
        hook.name, given("CallSid", "")[:200], take, given("RecordingSid", ""), given("RecordingStatus", ""),
        clock.utc_now(),
    )  # fmt: skip
    return HttpResponse(status=204)


@_genuine
def status(request: HttpRequest, hook: Hook) -> HttpResponse:
    """The call is over."""
    given = request.POST.get
    if given("CallStatus", "") in ("completed", "busy", "failed", "no-answer", "canceled"):
        seconds = given("CallDuration", "")
        lasted = _whole(seconds) * 1000 if seconds.isdigit() else None
        carrier_calls.over(hook.name, given("CallSid", "")[:200], lasted, clock.utc_now())
    return HttpResponse(status=204)


@_genuine
def receipt(request: HttpRequest, hook: Hook, attempt: str) -> HttpResponse:
    """What became of a text message. The words that a person may have sent back are not looked at, nor kept."""
    told = hook.told(
        request.body, {name: [str(one) for one in values] for name, values in request.POST.lists()}
    )
    if told is not None and is_ulid(attempt):
        receipts.note(told.reference, told.arrived, clock.utc_now(), attempt=attempt, stopped=told.stopped)
    return HttpResponse(status=204)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
