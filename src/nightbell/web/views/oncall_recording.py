"""Whether call backs may be recorded: decided on the page that says who is told, with its reason and its end."""

from __future__ import annotations

import contextlib
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from nightbell.core.errors import NightbellError
from nightbell.oncall import recording
from nightbell.people.access import NotFound
from nightbell.people.risk_rules import BadRisk
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, allows
from nightbell.web.views import oncall_policy


def _refused(request: HttpRequest, why: str, mend: str) -> HttpResponse:
    return oncall_policy.listed(request, NightbellError("Nothing was decided", why, mend), "recording")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def allow(request: HttpRequest) -> HttpResponse:
    """`/oncall/recording/allow`: until the end of the day that was given, on the practice's clock."""
    actor = actor_of(request)
    try:
        day = date.fromisoformat(request.POST.get("until", ""))
        until = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(actor.user.practice.zone))
    except (ValueError, OverflowError):
        return _refused(request, "the day cannot be read", "write it as 2026-11-24")
    try:
        recording.allow(actor, request.POST.get("reason", ""), until)
    except BadRisk as error:
        return _refused(request, error.why, error.mend)
    return _then("recording")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def withdraw(request: HttpRequest) -> HttpResponse:
    """`/oncall/recording/withdraw`"""
    with contextlib.suppress(NotFound):  # somebody was quicker: it is as was wanted
        recording.withdraw(actor_of(request))
    return _then("unrecorded")


def _then(did: str) -> HttpResponse:
    return HttpResponseRedirect(f"{reverse('policies')}?did={did}#recording")
