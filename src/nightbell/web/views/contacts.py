"""How I am told: one's own ways, proved by a code, in an order, with silent hours; the PIN of the telephone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from nightbell.core.errors import NightbellError
from nightbell.oncall import lost_ways
from nightbell.oncall.errors import LastWay
from nightbell.oncall.notifications import PUSHED
from nightbell.people import contacts, pins
from nightbell.people.contacts import BadContact
from nightbell.people.models import Contact, ContactKind
from nightbell.people.pins import BadPin
from nightbell.people.roles import Act
from nightbell.web.doors import Door, actor_of, allows, ulid_or_nothing
from nightbell.web.format import clock_time, phone, read_clock
from nightbell.web.oncall_forms import hhmm
from nightbell.web.oncall_words import WAY_ICONS

# Set by server: what a browser needs to subscribe (P-256 point, base64url); '' where push is not set up.
PUSH_KEY: Callable[[], str] | None = None

KINDS = (
    (
        ContactKind.VOICE.value,
        "Phone call",
        "tel",
        "+1 503 555 0100",
        "Rings you and says that a message waits.",
    ),
    (ContactKind.SMS.value, "Text message", "tel", "+1 503 555 0100", "A text with a link."),
    (ContactKind.EMAIL.value, "Email", "email", "you@clinic.example", "A mail with a link."),
    (ContactKind.OTHER.value, "Another service", "text", "pover://…", "An address as Apprise writes it."),
)
NAMES = {
    ContactKind.VOICE: "Phone call", ContactKind.SMS: "Text message", ContactKind.EMAIL: "Email",
    ContactKind.PUSH: "Push to this browser", ContactKind.OTHER: "Another service",
}  # fmt: skip
WAKES = (ContactKind.VOICE, ContactKind.SMS, ContactKind.PUSH)
DID = {
    "added": "Added. Now prove it: have a code sent.",
    "sent": "A code is on its way. It is good for 15 minutes.",
    "proved": "Proved. You are told by it from now on.",
    "test": "A test is on its way.",
    "removed": "Taken away. It is not used any more.",
    "order": "You are told in this order now.",
    "silent": "Kept. What is urgent comes through at any hour.",
    "push": "A first push is on its way. This browser is told from now on once it was taken.",
    "pin": "Your PIN is set. The old one is gone.",
}


@require_GET
@allows(Door.MEMBER)
def listed(request: HttpRequest) -> HttpResponse:
    """`/account/ways/`"""
    return _page(request)


def _page(request: HttpRequest, trouble: NightbellError | None = None, about: str = "") -> HttpResponse:
    """about: the contact, or 'add', that the trouble is of."""
    actor, did = actor_of(request), request.GET.get("did", "")
    mine = contacts.of(actor.user)
    kind = request.POST.get("kind", "") or request.GET.get("kind", "")
    usable = [one for one in mine if one.verified_at is not None]
    context = {
        "here": "ways", "ways": [_way(one, actor.user.practice.zone, actor.now) for one in mine], "kinds": KINDS,
        "kind": kind if kind in [one[0] for one in KINDS] else KINDS[0][0], "typed": request.POST.dict(),
        "trouble": trouble, "about": about, "last_way": isinstance(trouble, LastWay), "name": actor.user.name,
        "has_pin": pins.has_pin(actor.user), "proved": len(usable),
        "wakes": any(one.kind in WAKES and lost_ways.works(one) for one in usable),
        "takes": actor.may(Act.TAKE),
        "push_key": PUSH_KEY() if PUSH_KEY is not None else "",
        "toast": {"text": DID[did]} if did in DID else None,
    }  # fmt: skip
    return render(request, "pages/contacts.html", context, status=422 if trouble else 200)


def _way(one: Contact, zone: str, now: Any) -> dict[str, Any]:
    kind = ContactKind(one.kind)
    waits = one.verified_at is None and one.code_until is not None and one.code_until > now
    return {
        "id": one.id, "kind": one.kind, "icon": WAY_ICONS.get(one.kind, "branch"),
        "name": one.label or NAMES[kind], "sort": NAMES[kind], "address": _shown(one), "waits": waits,
        "proved": one.verified_at is not None,
        "tested": clock_time(one.tested_at, zone, now) if one.tested_at else "",
        "leaving": one.send_at is not None,
        "from": hhmm(one.quiet_from) if one.quiet_from is not None else "",
        "until": hhmm(one.quiet_until) if one.quiet_until is not None else "",
    }  # fmt: skip


def _shown(one: Contact) -> str:
    """An address as its owner knows it. Those of push and other services hold secrets: only where they lead."""
    if one.kind in (ContactKind.SMS, ContactKind.VOICE):
        return phone(one.address)
    if one.kind == ContactKind.PUSH:
        return one.address.partition("//")[2].partition("/")[0]
    return f"{one.address.partition('://')[0]}://…" if one.kind == ContactKind.OTHER else one.address


def _done(did: str, contact_id: str = "") -> HttpResponse:
    place = f"#w-{contact_id}" if contact_id else ""
    return HttpResponseRedirect(f"{reverse('ways')}?did={did}{place}")


@require_POST
@allows(Door.MEMBER)
def add(request: HttpRequest) -> HttpResponse:
    """A new way, and the code that proves it at once. Push comes from its own button."""
    actor, kind = actor_of(request), request.POST.get("kind", "")
    try:
        if kind == ContactKind.PUSH:
            raise BadContact("The contact was not kept", "push is added by its own button", "use that button")
        made = contacts.add(
            actor, kind, request.POST.get("address", "")[:700], label=request.POST.get("label", "")[:80]
        )
        contacts.send_code(actor, made.id)
    except BadContact as error:
        return _page(request, error, "add")
    return _done("sent", made.id)


@require_POST
@allows(Door.MEMBER)
def add_push(request: HttpRequest) -> HttpResponse:
    """This browser's subscription, as its script gives it: JSON with endpoint and keys."""
    try:
        told = json.loads(request.body)
        endpoint, keys = str(told["endpoint"]), told.get("keys") or {}
        details = {name: str(keys[name])[:200] for name in ("p256dh", "auth") if name in keys}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadContact("The browser was not added", "what it sent cannot be read", "try again") from None
    contacts.add(actor_of(request), ContactKind.PUSH.value, endpoint[:700], details, "This browser")
    return HttpResponse(status=204)


def _with(request: HttpRequest, contact_id: str, did: str, act: Callable[[str], None]) -> HttpResponse:
    found = ulid_or_nothing(contact_id)
    try:
        act(found)
    except BadContact as error:
        return _page(request, error, found)
    return _done(did, found)


@require_POST
@allows(Door.MEMBER)
def send_code(request: HttpRequest, contact_id: str) -> HttpResponse:
    return _with(request, contact_id, "sent", lambda one: contacts.send_code(actor_of(request), one))


@require_POST
@allows(Door.MEMBER)
def prove(request: HttpRequest, contact_id: str) -> HttpResponse:
    code = request.POST.get("code", "").replace(" ", "")[:20]
    return _with(request, contact_id, "proved", lambda one: contacts.prove(actor_of(request), one, code))


@require_POST
@allows(Door.MEMBER)
def test(request: HttpRequest, contact_id: str) -> HttpResponse:
    return _with(request, contact_id, "test", lambda one: contacts.ask_test(actor_of(request), one))


@require_POST
@allows(Door.MEMBER)
def remove(request: HttpRequest, contact_id: str) -> HttpResponse:
    found = ulid_or_nothing(contact_id)
    try:
        lost_ways.take_away(actor_of(request), found, request.POST.get("confirm", "")[:200])
    except LastWay as error:
        return _page(request, error, found)
    return _done("removed")


@require_POST
@allows(Door.MEMBER)
def move(request: HttpRequest, contact_id: str) -> HttpResponse:
    """One place up or down in the order in which one is told."""
    actor, found = actor_of(request), ulid_or_nothing(contact_id)
    order = [one.id for one in contacts.of(actor.user)]
    if found in order:
        at = order.index(found)
        to = max(0, at - 1) if request.POST.get("to") == "up" else min(len(order) - 1, at + 1)
        order.insert(to, order.pop(at))
    return _with(request, contact_id, "order", lambda _: contacts.order(actor, order))


@require_POST
@allows(Door.MEMBER)
def silence(request: HttpRequest, contact_id: str) -> HttpResponse:
    """Silent hours; two empty fields end them."""
    texts = [request.POST.get(name, "").strip()[:10] for name in ("from", "until")]
    times = [read_clock(text) if text else None for text in texts]

    def keep(one: str) -> None:
        if any(text and minutes is None for text, minutes in zip(texts, times, strict=True)):
            raise BadContact("The silent hours were not kept", "a time cannot be read", "write it as 22:00")
        start, end = (minutes % 1440 if minutes is not None else None for minutes in times)
        contacts.silence(actor_of(request), one, start, end)

    return _with(request, contact_id, "silent", keep)


@require_http_methods(["GET", "POST"])
@allows(Door.MEMBER)
def pin(request: HttpRequest) -> HttpResponse:
    """`/account/ways/pin`: asks who you are again: whoever has the PIN can take messages by telephone."""
    raise_if_reauthentication_required(request, app="nightbell")
    trouble: NightbellError | None = None
    if request.method == "POST":
        try:
            if request.POST.get("pin", "") != request.POST.get("again", ""):
                raise BadPin("The PIN was not kept", "the two are not the same", "type it twice")
            pins.set_pin(actor_of(request), request.POST.get("pin", "").strip())
            return _done("pin")
        except BadPin as error:
            trouble = error
    found = {"here": "ways", "trouble": trouble, "has_pin": pins.has_pin(actor_of(request).user)}
    return render(request, "pages/contacts_pin.html", found, status=422 if trouble else 200)


@require_GET
@allows(Door.OPEN)
def worker_script(request: HttpRequest) -> HttpResponse:
    """`/sw.js`: at the root, since a service worker governs what lies beneath it. Its words are constants."""
    words = json.dumps({language: list(pair) for language, pair in PUSHED.items()}, ensure_ascii=True)
    response = render(request, "sw.js", {"words": words}, content_type="text/javascript; charset=utf-8")
    response["Cache-Control"] = "no-cache"
    return response
