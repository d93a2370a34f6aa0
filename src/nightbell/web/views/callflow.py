"""The line's editor: what a caller hears from the top, changed in a draft and published as a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.flow.plan import BadPlan, Plan
from nightbell.line import holidays
from nightbell.line import service as lines
from nightbell.line.models import TryNumber
from nightbell.people.access import Actor
from nightbell.people.roles import Act
from nightbell.web import callflow_forms as forms
from nightbell.web.callflow_data import Desk
from nightbell.web.callflow_page import Place, Trouble, context, place_of
from nightbell.web.callflow_panels import coming_holidays
from nightbell.web.doors import actor_of, allows, ulid_or_nothing
from nightbell.web.format import local, read_clock
from nightbell.web.middleware import PERMISSIONS

HEARS = PERMISSIONS.replace("microphone=()", "microphone=(self)")
FAR = timedelta(days=731)
TOASTS = {
    "saved": "Kept in the draft. Callers hear it once you publish.",
    "published": "Published. Callers hear it within seconds.",
    "discarded": "The draft is gone. Callers hear what they heard before.",
    "closed": "You are closed. Callers hear it within seconds.",
    "opened": "You are open again, as your hours say.",
    "closure": "Kept. Callers hear it when the time comes; nothing needs publishing.",
    "kept": "Recorded. Listen, then use it.",
    "number": "",
}


@require_GET
@allows(Act.VIEW_LINE)
def editor(request: HttpRequest) -> HttpResponse:
    """`/line/?at=closed&node=greeting&lang=es`."""
    desk = Desk(actor_of(request))
    try:
        return page(request, desk, place_of(request, desk))
    except lines.Damaged as error:
        return _damaged(request, desk, error)


def _damaged(request: HttpRequest, desk: Desk, error: lines.Damaged) -> HttpResponse:
    """In place of the editor: what cannot be read, what callers hear, and the mend."""
    found = {
        "here": "line",
        "page": "flow",
        "damage": error,
        "why": f"{error.why[:1].upper()}{error.why[1:]}.",
        "revision": lines.revision(desk.actor),
        "problems": None if error.draft else lines.draft_problems(desk.actor),
        "may_edit": desk.actor.may(Act.EDIT_LINE),
    }
    return render(request, "pages/line_damaged.html", found, status=409)


def page(request: HttpRequest, desk: Desk, place: Place, trouble: Trouble | None = None) -> HttpResponse:
    """The editor; with `trouble`, what was typed stands there again."""
    found = context(request, desk, place, trouble)
    toast = TOASTS.get(request.GET.get("did", ""), "")
    number = _try_number(request, desk)
    found |= {
        "toast": {"text": toast} if toast else None,
        "try_number": number,
        "try_address": lines.sip_address(number) if number else "",
    }
    response = render(request, "pages/line_editor.html", found, status=trouble.status if trouble else 200)
    response["Permissions-Policy"] = HEARS
    return response


def _try_number(request: HttpRequest, desk: Desk) -> str:
    """The number that leads to the draft, for the person who asked for it, while it does. '' for any other."""
    asked = request.GET.get("try", "")
    mine = TryNumber.objects.filter(practice_id=desk.actor.practice, made_by=desk.actor.user, clip="")
    return asked if asked and mine.filter(dialled=asked, expires_at__gt=desk.now).exists() else ""


def back(place: Place, did: str, fragment: str = "panel", **other: str) -> HttpResponse:
    """To the editor at the same place, saying what was done."""
    return HttpResponseRedirect(reverse("line") + place.address(did=did, **other) + f"#{fragment}")


def revision_of(typed: QueryDict) -> int:
    """The revision that a form was made from; -1, which is stale, for what is none."""
    text = typed.get("revision", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def change(actor: Actor, typed: forms.Typed, plan: Plan) -> Plan:
    """The plan with the change of one panel. Raises FormTrouble, BadPlan."""
    part = typed.get("part")
    if part == "holidays":
        today = local(actor.now, actor.user.practice.zone).date()

        def names_of(state: str) -> list[str]:
            return [name for _, name in coming_holidays(replace(plan, state=state), today)]

        return forms.holidays(typed, plan, names_of(plan.state), holidays.states(plan.country), names_of)
    if part == "key":
        return forms.key(typed, plan, list(Desk(actor).boxes))
    read = forms.PARTS.get(part)
    if read is None:
        raise BadPlan("the form is none of this page's", "reload the page")
    return read(typed, plan)


@require_POST
@allows(Act.EDIT_LINE)
def edit(request: HttpRequest) -> HttpResponse:
    """`/line/edit`: one panel's change, kept in the draft."""
    desk = Desk(actor_of(request))
    place = place_of(request, desk)
    typed = request.POST
    part = typed.get("part", "")
    plan: Plan | None = None
    try:
        plan = change(desk.actor, forms.Typed(dict(typed.lists())), desk.draft.plan)
        lines.save(desk.actor, revision_of(typed), plan)
    except forms.FormTrouble as error:
        return page(request, desk, place, Trouble(part, typed, error.errors))
    except BadPlan as error:
        return page(request, desk, place, Trouble(part, typed, {"": f"{error.why}. {error.mend}."}))
    except lines.Stale as error:
        return page(request, Desk(desk.actor), place, Trouble(part, typed, {}, error, plan))
    return back(_after(part, typed, place), "saved")


def _after(part: str, typed: QueryDict, place: Place) -> Place:
    """Where to go on: a choice that moved or went away has another panel."""
    node = place.node
    if part == "key":
        node = f"key-{typed.get('key', '')}"
    elif part == "key-gone":
        node = "menu"
    return Place(place.at, node, place.language)


def _with_revision(
    request: HttpRequest, act: Callable[[Desk, int], Any], did: str, fragment: str = "draft"
) -> HttpResponse:
    """Do something to the draft as it was seen; who saw an older one is told so."""
    desk = Desk(actor_of(request))
    place = place_of(request, desk)
    try:
        act(desk, revision_of(request.POST))
    except lines.Stale as error:
        return page(request, Desk(desk.actor), place, Trouble("draft", request.POST, {}, error))
    except lines.NotReady:
        return HttpResponseRedirect(reverse("line") + place.address() + "#report")
    return back(place, did, fragment)


@require_POST
@allows(Act.EDIT_LINE)
def publish(request: HttpRequest) -> HttpResponse:
    """`/line/publish`."""
    return _with_revision(request, lambda desk, revision: lines.publish(desk.actor, revision), "published")


@require_POST
@allows(Act.EDIT_LINE)
def discard(request: HttpRequest) -> HttpResponse:
    """`/line/discard`."""
    return _with_revision(request, lambda desk, revision: lines.discard(desk.actor, revision), "discarded")


@require_POST
@allows(Act.EDIT_LINE)
def try_number(request: HttpRequest) -> HttpResponse:
    """`/line/number`: a number under which the draft can be called."""
    desk = Desk(actor_of(request))
    made = lines.try_number(desk.actor)
    return back(place_of(request, desk), "number", "try", **{"try": made.dialled})


# Closings: at once and without publishing.


@require_POST
@allows(Act.EDIT_LINE)
def close_now(request: HttpRequest) -> HttpResponse:
    """`/line/close`."""
    desk = Desk(actor_of(request))
    lines.close_now(desk.actor, request.POST.get("visits") == "yes")
    return back(place_of(request, desk), "closed")


@require_POST
@allows(Act.EDIT_LINE)
def reopen_now(request: HttpRequest) -> HttpResponse:
    """`/line/open`."""
    desk = Desk(actor_of(request))
    lines.reopen_now(desk.actor)
    return back(place_of(request, desk), "opened")


@require_POST
@allows(Act.EDIT_LINE)
def add_closure(request: HttpRequest) -> HttpResponse:
    """`/line/closure`: from a day and time to another."""
    desk = Desk(actor_of(request))
    place, typed = place_of(request, desk), request.POST
    errors: dict[str, str] = {}
    starts, ends = (_moment(typed, which, desk, errors) for which in ("from", "to"))
    if starts is not None and ends is not None:
        if ends <= desk.now:
            errors["to_day"] = "This is over already: choose an end that is still to come."
        elif ends <= starts:
            errors["to_day"] = "It must end after it starts."
    if errors or starts is None or ends is None:
        return page(request, desk, place, Trouble("closure", typed, errors))
    try:
        lines.add_closure(desk.actor, starts, ends, typed.get("visits") == "yes")
    except lines.BadClosure as error:
        return page(
            request, desk, place, Trouble("closure", typed, {"to_day": f"{error.why}: {error.mend}."})
        )
    return back(place, "closure")


def _moment(typed: QueryDict, which: str, desk: Desk, errors: dict[str, str]) -> datetime | None:
    """A day and a time on the practice's clock."""
    zone = desk.practice.zone
    minutes = read_clock(typed.get(f"{which}_time", ""))
    if minutes is None:
        errors[f"{which}_time"] = "Write the time as 17:30 or 5:30 pm."
    try:
        day = datetime.fromisoformat(typed.get(f"{which}_day", "").strip()[:10])
    except ValueError:
        errors[f"{which}_day"] = "Choose the day from the calendar, or write it as 2026-12-24."
        return None
    if abs(day.date() - local(desk.now, zone).date()) > FAR:
        errors[f"{which}_day"] = "This is over two years away: check the year."
        return None
    return None if minutes is None else (day + timedelta(minutes=minutes)).replace(tzinfo=ZoneInfo(zone))


@require_POST
@allows(Act.EDIT_LINE)
def remove_closure(request: HttpRequest, closure_id: str) -> HttpResponse:
    """`/line/closure/<id>/remove`."""
    desk = Desk(actor_of(request))
    lines.remove_closure(desk.actor, ulid_or_nothing(closure_id))
    return back(place_of(request, desk), "closure")
