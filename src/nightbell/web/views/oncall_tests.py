"""The evening test of the line, and drills: when, how they went, and beginning one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.core.errors import NightbellError
from nightbell.mailbox.errors import NotNow
from nightbell.oncall import line_test
from nightbell.oncall.errors import BadShift
from nightbell.oncall.models import LineTest
from nightbell.people.access import Actor
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, allows
from nightbell.web.format import clock_time, read_clock, wait_words
from nightbell.web.oncall_forms import hhmm

SHOWN = 14
DID = {
    "time": "Kept. The line is tested at that time each evening.",
    "later": "Kept. First begin a test here: without one that came in there is none in the evening.",
    "now": "The line is tested now. It takes some minutes; reload the page.",
    "off": "Kept. The line is not tested in the evening any more.",
    "drill": "The drill begins. An invented patient's message rings within a minute.",
}


@require_GET
@allows(Act.SCHEDULE)
def tests(request: HttpRequest) -> HttpResponse:
    """`/oncall/tests`"""
    return _page(request)


def _page(
    request: HttpRequest, trouble: NightbellError | None = None, typed: str | None = None
) -> HttpResponse:
    actor, did = actor_of(request), request.GET.get("did", "")
    practice, at = actor.user.practice, actor.user.practice.line_test_at
    found = LineTest.objects.filter(practice=practice, kind=line_test.EVENING).order_by("-began_at", "-id")
    context = {
        "here": "oncall", "may_edit": actor.may(Act.EDIT_SCHEDULE), "trouble": trouble, "zone": practice.zone,
        "at": hhmm(at) if at is not None else "", "typed": typed if typed is not None else hhmm(at) if at is not None else "",
        "number": practice.number, "proved": line_test.is_proved(practice),
        "evenings": [_evening(one, actor) for one in found[:SHOWN]],
        "drills": [_drill(one, actor) for one in line_test.drills(practice.id)],
        "toast": {"text": DID[did]} if did in DID else None,
    }  # fmt: skip
    return render(request, "pages/oncall_tests.html", context, status=422 if trouble else 200)


def _evening(one: LineTest, actor: Actor) -> dict[str, Any]:
    checks = [
        {
            "name": words,
            "ok": bool(one.checks[name].get("ok")) if name in one.checks else None,
            "why": str(one.checks.get(name, {}).get("why") or ""),
        }
        for name, words in line_test.CHECKS.items()
    ]
    return {
        "at": clock_time(one.began_at, actor.user.practice.zone, actor.now), "state": one.state, "checks": checks,
    }  # fmt: skip


def _drill(one: LineTest, actor: Actor) -> dict[str, Any]:
    score = line_test.score(one)
    return {
        "at": clock_time(one.began_at, actor.user.practice.zone, actor.now), "state": one.state, "by": score.by,
        "told": _seconds(score.told_s), "taken": _seconds(score.taken_s), "closed": _seconds(score.closed_s),
    }  # fmt: skip


def _seconds(found: float | None) -> str:
    return wait_words(timedelta(seconds=found) if found is not None else None)


@require_POST
@allows(Act.EDIT_SCHEDULE)
def evening(request: HttpRequest) -> HttpResponse:
    """The time of the evening test; an empty field ends it. Or one that begins now."""
    if "now" in request.POST:
        return _begin(request, line_test.ask, "now")
    actor, text = actor_of(request), request.POST.get("at", "").strip()[:10]
    minutes = read_clock(text) if text else None
    if text and minutes is None:
        error = BadShift("The time was not kept", "it cannot be read", "write it as 17:30 or 5:30 pm")
        return _page(request, error, text)
    at = minutes % 1440 if minutes is not None else None
    line_test.set_time(actor.user.practice, at, actor.name, actor.now, actor.source)
    did = "off" if at is None else "time" if line_test.is_proved(actor.user.practice) else "later"
    return HttpResponseRedirect(f"{reverse('oncall_tests')}?did={did}")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def drill(request: HttpRequest) -> HttpResponse:
    return _begin(request, line_test.ask_drill, "drill")


def _begin(request: HttpRequest, ask: Callable[[Actor], LineTest], did: str) -> HttpResponse:
    try:
        ask(actor_of(request))
    except NotNow as error:
        return _page(request, error)
    return HttpResponseRedirect(f"{reverse('oncall_tests')}?did={did}")
