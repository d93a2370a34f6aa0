"""The audit log for those who look after it: filter, read, export."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from nightbell.core.clock import iso
from nightbell.core.ids import is_ulid
from nightbell.mailbox.errors import BadText
from nightbell.people import audit_log
from nightbell.people.access import Actor
from nightbell.people.audit_log import AuditItem
from nightbell.people.models import User
from nightbell.people.roles import Act
from nightbell.web.actions import action_word
from nightbell.web.doors import actor_of, allows

EXPORT_LIMIT = 50_000
_CURSOR = re.compile(r"[0-9]{1,18}\Z")


@require_GET
@allows(Act.AUDIT)
def audit(request: HttpRequest) -> HttpResponse:
    """`/audit/`: newest first. Looking is itself a row."""
    actor = actor_of(request)
    wanted, trouble = _filter(request, actor)
    cursor = request.GET.get("cursor", "")
    page = audit_log.query(actor, cursor=cursor if _CURSOR.match(cursor) else "", limit=100, **wanted)
    names = {f"user:{u.login}": u.name for u in _colleagues(actor)}
    kept = {k: v for k, v in request.GET.items() if k in ("user", "message", "from", "to") and v}
    return render(
        request,
        "pages/audit.html",
        {
            "here": "audit",
            "rows": [_shown(item, names, actor.user.practice.zone) for item in page.items],
            "next": page.next,
            "kept": urlencode(kept),
            "filters": kept,
            "people": _colleagues(actor),
            "trouble": trouble,
            "may_export": actor.may(Act.EXPORT),
        },
    )


def _colleagues(actor: Actor) -> Iterable[User]:
    return User.objects.filter(practice_id=actor.practice).order_by("name")


def _shown(item: AuditItem, names: dict[str, str], zone: str) -> dict[str, str]:
    here = item.time.astimezone(ZoneInfo(zone))
    return {
        "day": f"{here:%a} {here.day} {here:%b}",
        "time": f"{here:%H:%M:%S}",
        "iso": iso(item.time),
        "who": names.get(item.actor, item.actor.replace("system:", "Nightbell, ").replace("user:", "")),
        "what": action_word(item.action),
        "message": item.message,
        "outcome": item.outcome,
        "source": item.source,
        "seq": str(item.seq),
    }


def _filter(request: HttpRequest, actor: Actor) -> tuple[dict[str, Any], str]:
    """The query of a page as arguments of `audit_log.query`; days are days of the practice, both included."""
    zone, trouble = ZoneInfo(actor.user.practice.zone), ""
    wanted: dict[str, Any] = {
        "user": request.GET.get("user", "")[:60].replace("\x00", ""),
        "message": request.GET.get("message", "").strip(),
    }
    if wanted["message"] and not is_ulid(wanted["message"]):
        wanted["message"], trouble = "", "A message is named by its 26 characters, as in its address."
    for field, name, days in (("from", "since", 0), ("to", "until", 1)):
        text = request.GET.get(field, "")
        if not text:
            continue
        try:
            day = date.fromisoformat(text) + timedelta(days=days)
        except (ValueError, OverflowError):
            trouble = "A day is written as 2026-11-24."
            continue
        wanted[name] = datetime.combine(day, time(), zone)
    return wanted, trouble


@require_GET
@allows(Act.EXPORT)
def export(request: HttpRequest) -> HttpResponse:
    """`/audit/export`: the same rows as CSV (RFC 4180), at most 50,000 of them."""
    actor = actor_of(request)
    wanted, trouble = _filter(request, actor)
    if trouble:  # all rows instead of those that were asked for would be a wrong answer
        raise BadText("The log was not exported", "one of the filters is not understood", trouble)
    page = audit_log.query(actor, limit=EXPORT_LIMIT, act=Act.EXPORT, **wanted)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["seq", "time", "actor", "action", "message", "outcome", "source"])
    for item in page.items:
        row = (
            str(item.seq),
            iso(item.time),
            item.actor,
            item.action,
            item.message,
            item.outcome,
            item.source,
        )
        writer.writerow([_harmless(cell) for cell in row])
    response = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="nightbell-audit.csv"'
    return response


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet would take for a formula is made text."""
    return "'" + cell if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
