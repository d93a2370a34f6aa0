"""The inbox, and the pulse that tells an open inbox that something changed."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from nightbell.core.ids import is_ulid
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Mailbox
from nightbell.mailbox.values import CURSOR, Page, Row
from nightbell.oncall import service as oncall
from nightbell.people.access import Actor, NotFound
from nightbell.people.roles import Act
from nightbell.web.doors import Door, actor_of, allows
from nightbell.web.present import flags, row_view, summary, why

VIEWS = {"open": "All mailboxes", "mine": "Mine", "done": "Done", "unrouted": "Unrouted"}
PAGE = 100


@require_GET
@allows(Door.MEMBER)
def inbox(request: HttpRequest) -> HttpResponse:
    """`/`: for those who list messages the inbox, for others their own first page."""
    actor = actor_of(request)
    if not actor.may(Act.LIST):
        return HttpResponseRedirect(reverse("audit" if actor.may(Act.AUDIT) else "status"))
    view = request.GET.get("view", "open")
    tray = request.GET.get("mailbox", "")
    cursor = request.GET.get("cursor", "")
    if view not in VIEWS or (tray and not is_ulid(tray)) or (cursor and not re.fullmatch(CURSOR, cursor)):
        raise NotFound("There is no such view", "", "go to the inbox")
    box = _tray(actor, tray)
    version = pulse_of(actor)
    page = mailbox.inbox(actor, view=view, mailbox=tray, cursor=cursor, limit=PAGE)
    return render(request, "pages/inbox.html", _context(actor, page, view, box) | {"version": version})


def _tray(actor: Actor, tray: str) -> Mailbox | None:
    if not tray:
        return None
    box = Mailbox.objects.filter(pk=tray, practice_id=actor.practice).first()
    if box is None:
        raise NotFound("There is no such mailbox", "", "go to the inbox")
    return box


def _context(actor: Actor, page: Page, view: str, box: Mailbox | None) -> dict[str, Any]:
    zone = actor.user.practice.zone
    alerts = [r for r in page.rows if r.urgency == "urgent" and r.state == "new"]
    urgent = [r for r in page.rows if r.urgency == "urgent" and r.state == "acknowledged"]
    first = set(id(r) for r in (*alerts, *urgent)) if view != "done" else set()
    rest = [r for r in page.rows if id(r) not in first]
    return {
        "now": actor.now,
        "zone": zone,
        "title": box.name if box else VIEWS[view],
        "summary": summary(page.open_count, page.unheard_count, view),
        "here": box.id if box else view,
        "view": view,
        "query": f"mailbox={box.id}" if box else f"view={view}",
        "alerts": [_alert(actor, r, zone, n == 0) for n, r in enumerate(alerts)] if view != "done" else [],
        "urgent": [row_view(r, actor.user.id, zone, actor.now) for r in urgent] if view != "done" else [],
        "rows": [row_view(r, actor.user.id, zone, actor.now) for r in rest],
        "next": page.next,
        "may_take": actor.may(Act.TAKE),
        "may_play": actor.may(Act.PLAY),
    }


def _alert(actor: Actor, row: Row, zone: str, first: bool) -> dict[str, Any]:
    """The first alert stands whole, with its ladder where the role sees who is told; further ones are shorter."""
    return {
        "row": row_view(row, actor.user.id, zone, actor.now),
        "why": why(row.reasons),
        "parts": _parts(row),
        "ladder": oncall.ladder(row.id) if first and actor.may(Act.DELIVERY) else None,
    }


def _parts(row: Row) -> list[tuple[str, bool]]:
    """The first words, cut so that the red flag in them can be marked."""
    text = row.first_words or ""
    for reason in flags(row.reasons):
        place = text.lower().find(reason.quote.lower())
        if place >= 0:
            end = place + len(reason.quote)
            return [(text[:place], False), (text[place:end], True), (text[end:], False)]
    return [(text, False)] if text else []


def pulse_of(actor: Actor) -> str:
    """A mark of the inbox's state: it changes when a message comes, moves or gets its words. Holds nothing of a patient."""
    text = "|".join(f"{name}={value}" for name, value in sorted(mailbox.pulse(actor).items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@require_GET
@allows(Act.LIST)
def pulse(request: HttpRequest) -> HttpResponse:
    """Asked every 5 s by an open inbox: 204 while nothing changed, else the bar that offers the news."""
    actor = actor_of(request)
    if request.GET.get("v") == pulse_of(actor):
        return HttpResponse(status=204)
    seen = request.GET.get("open", "")
    counts = mailbox.counts(actor)
    fresh = max(0, counts["open"] - int(seen)) if seen.isdigit() and len(seen) < 7 else 0
    return render(request, "parts/news.html", {"counts": counts, "fresh": fresh, "lamp": counts["lamp"]})
