"""Whether signed phone notes may go to the practice's own record system: a decision on record, for it is PHI that leaves."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.oncall import records
from nightbell.people.access import NotFound
from nightbell.people.risk_rules import USUAL, BadRisk
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, allows


@require_GET
@allows(Act.RECORDS)
def shown(request: HttpRequest) -> HttpResponse:
    """`/records/`"""
    return _page(request)


def _page(request: HttpRequest, trouble: BadRisk | None = None) -> HttpResponse:
    actor = actor_of(request)
    usual = (actor.now + USUAL).date().isoformat()
    typed = {"reason": request.POST.get("reason", ""), "until": request.POST.get("until", usual)}
    one = records.stands(actor)
    page = {
        "here": "records",
        "one": one,
        "last_day": _last_day(one.risk.until, actor.user.practice.zone) if one.risk else None,
        "values": typed,
        "trouble": trouble,
        "now": actor.now,
    }
    return render(request, "pages/records.html", page, status=422 if trouble else 200)


def _last_day(until: datetime, zone: str) -> date:
    """The day that was given, from the midnight that ends it."""
    return (until.astimezone(ZoneInfo(zone)) - timedelta(seconds=1)).date()


@require_POST
@allows(Act.RECORDS)
def allow(request: HttpRequest) -> HttpResponse:
    """Until the end of the day that was given, on the practice's clock."""
    actor = actor_of(request)
    try:
        day = date.fromisoformat(request.POST.get("until", ""))
        until = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(actor.user.practice.zone))
    except (ValueError, OverflowError):
        return _page(request, BadRisk("until", "the day cannot be read", "write it as 2026-11-24"))
    try:
        records.allow(actor, request.POST.get("reason", ""), until)
    except BadRisk as error:
        return _page(request, error)
    return HttpResponseRedirect(reverse("records"))


@require_POST
@allows(Act.RECORDS)
def withdraw(request: HttpRequest) -> HttpResponse:
    """Nothing leaves from now on."""
    try:
        records.withdraw(actor_of(request))
    except NotFound:
        return HttpResponseRedirect(reverse("records"))  # somebody was quicker: it is as was wanted
    return HttpResponseRedirect(reverse("records"))
