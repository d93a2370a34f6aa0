"""On call: now, next, last resort; two weeks as lanes; empty stretches; who is put in for a stretch, and taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST

from nightbell.core.errors import NightbellError
from nightbell.oncall import schedule as oncall
from nightbell.oncall import standing, undo
from nightbell.oncall.errors import BadShift, Uncovered
from nightbell.oncall.models import Override, Schedule
from nightbell.oncall.policy_admin import takers
from nightbell.oncall.roster import last_resort_of, now_on_call
from nightbell.oncall.rotation import Span
from nightbell.people import contacts
from nightbell.people.access import Actor
from nightbell.people.models import User
from nightbell.people.roles import Act
from nightbell.web import oncall_forms as forms
from nightbell.web.doors import actor_of, allows, ulid_if_any, ulid_or_nothing
from nightbell.web.format import clock_time, day_name, local, span
from nightbell.web.oncall_page import Frame, by_day, folded, gap_words, toned, weeks
from nightbell.web.oncall_words import swap_rows, ways_words

WEEKS, GAPS_SHOWN = 2, 3
DID = {
    "put": "Put on call. The calendar follows at once.",
    "removed": "Taken back. What was planned holds again.",
    "asked": "Asked. Until a colleague accepts, nothing changes.",
    "withdrawn": "Withdrawn. Nothing has changed.",
    "accepted": "It is yours.",
    "declined": "Declined. The next colleague is asked.",
    "late": "A colleague was first. It is not yours.",
    "over": "That swap had ended. Nothing has changed.",
    "imported": "Taken over. It stands on the calendar.",
    "undone": "Undone. It is as it was before.",
}


@require_GET
@allows(Act.SCHEDULE)
def schedule(request: HttpRequest) -> HttpResponse:
    """`/oncall/?week=2026-11-23&schedule=ID`."""
    return page(request)


def page(request: HttpRequest, trouble: NightbellError | None = None, form: bool = False) -> HttpResponse:
    """The calendar. With `trouble` from its own `form`, what was typed stands there again."""
    actor = actor_of(request)
    chosen = schedule_here(request)
    empty = standing.empty(actor, chosen)
    gaps = empty.alone
    zone = actor.user.practice.zone
    said = [gap_words(one, zone, actor.now) for one in gaps[:GAPS_SHOWN]]
    typed: Any = request.POST.dict() if form else said[0] if said else {}
    context = {
        "here": "oncall", "now": actor.now, "zone": zone, "chosen": chosen, "schedules": oncall.schedules(actor),
        "view": _now(actor, chosen, empty.open), "gaps": said, "gap_count": len(gaps),
        "gaps_more": max(0, len(gaps) - GAPS_SHOWN), "o": typed,
        "may_edit": actor.may(Act.EDIT_SCHEDULE), "may_swap": actor.may(Act.TAKE),
        "people": takers(actor) if actor.may(Act.EDIT_SCHEDULE) else [],
        "untold": standing.untold(actor, chosen), "changes": _changes(actor, chosen), "trouble": trouble, "confirm": confirming(request, trouble),
        "toast": toast(request, DID),
    }  # fmt: skip
    return render(
        request, "pages/oncall.html", context | _calendar(request, actor, chosen) | _aside(actor, chosen),
        status=422 if trouble else 200,
    )  # fmt: skip


def schedule_here(request: HttpRequest) -> Schedule | None:
    """The schedule that the page or the form is about; None when the practice has none at all."""
    asked = request.POST.get("schedule", "") or request.GET.get("schedule", "")
    return standing.named(actor_of(request), ulid_if_any(asked, "schedule"))


def _calendar(request: HttpRequest, actor: Actor, chosen: Schedule | None) -> dict[str, Any]:
    practice = actor.user.practice
    today = local(actor.now, practice.zone).date()
    monday = monday_of(request.GET.get("week", ""), today)
    lanes = oncall.lanes(actor, monday, 7 * WEEKS, chosen.id if chosen else "")
    gaps = [(gap.starts_at, gap.ends_at) for gap in lanes.gaps]
    mine = frozenset([actor.user.id]) if actor.may(Act.TAKE) else frozenset()
    swappable = None if actor.may(Act.EDIT_SCHEDULE) else mine
    frame = Frame(
        practice.zone,
        actor.now,
        standing.parted(practice, gaps).open,
        lanes.holidays,
        swappable,
        tones_of(actor),
    )
    days = folded(by_day(lanes, monday, 7 * WEEKS, frame))
    return {
        "monday": monday,
        "past": monday < today,
        "past_listed": days[0].day < today,
        "earlier": monday - timedelta(days=7),
        "later": monday + timedelta(days=7),
        "weeks": weeks(lanes, monday, WEEKS, frame),
        "days": days,
        "has_open": bool(frame.open),
    }


def _aside(actor: Actor, chosen: Schedule | None) -> dict[str, Any]:
    month = local(actor.now, actor.user.practice.zone).date()
    nights = standing.nights(actor, month, chosen)
    names = dict(User.objects.filter(practice_id=actor.practice).values_list("id", "name"))
    return {
        "month": f"{month:%B}",
        "month_runs": month.day > 1,
        "nights": nights,
        "most_nights": max((one.nights for one in nights), default=0) or 1,
        "swaps": swap_rows(standing.swaps_of(actor, chosen), names, actor),
        "asked": swap_rows(standing.asked_now(actor), names, actor),
    }


def _now(actor: Actor, chosen: Schedule | None, here: Sequence[Span]) -> dict[str, Any]:
    """here: stretches without anybody on call in which the practice is open."""
    zone, tones = actor.user.practice.zone, tones_of(actor)
    view = now_on_call(actor.practice, actor.now, chosen)
    backup = oncall.there(actor, schedule_id=chosen.id if chosen else "").order[1:2]
    last, _address = last_resort_of(chosen)
    return {
        "now": toned(view.now, tones),
        "open": view.now is None and any(a <= actor.now < b for a, b in here),
        "until": clock_time(view.until, zone, actor.now) if view.until else "",
        "left": span(view.until - actor.now) if view.until else "",
        "ways": _ways(view.now.id) if view.now else "",
        "next": toned(view.next, tones),
        "next_from": clock_time(view.next_from, zone, actor.now) if view.next_from else "",
        "backup": backup[0][0].name if backup else "",
        "fallback": view.fallback,
        "fallback_ways": _ways(last.id) if last else "",
    }


def tones_of(actor: Actor) -> dict[str, int]:
    """The calendar's colours, by user id."""
    return {pk: n % 4 + 1 for n, pk in enumerate(sorted(one.id for one in takers(actor)))}


def _ways(user_id: str) -> str:
    """How somebody is told; of a covering clinician only that they can be."""
    user = User.objects.get(pk=user_id)
    kinds = [one.kind for one in contacts.usable().filter(user_id=user.person_id).order_by("position")]
    if user.home_id is not None:
        return "in ways that they have proved" if kinds else ""
    return ways_words(kinds)


def _changes(actor: Actor, chosen: Schedule | None) -> list[dict[str, Any]]:
    """Overrides that are not over, the next one first."""
    zone = actor.user.practice.zone
    found = Override.objects.filter(schedule=chosen, ends_at__gt=actor.now).select_related("user")
    return [
        {
            "id": one.id,
            "name": one.user.name,
            "from": clock_day(one.starts_at, zone),
            "to": clock_day(one.ends_at, zone),
            "swap": one.swap_id is not None,
        }
        for one in (found.order_by("starts_at", "id")[:20] if chosen else [])
    ]


def clock_day(at: Any, zone: str) -> str:
    """'Tue 24 Nov, 17:00'."""
    here = local(at, zone)
    return f"{day_name(here.date())}, {here:%H:%M}"


def toast(request: HttpRequest, words: Mapping[str, str]) -> dict[str, str] | None:
    """What was done, and the way to take it back while that can be."""
    text = words.get(request.GET.get("did", ""), "")
    if not text:
        return None
    change = ulid_or_nothing(request.GET.get("undo", ""))
    swap = ulid_or_nothing(request.GET.get("swap", ""))
    here = ulid_or_nothing(request.GET.get("schedule", ""))
    way = reverse("undo_change", args=[change]) + (f"?schedule={here}" if here else "") if change else ""
    return {"text": text, "undo": reverse("swap_withdraw", args=[swap]) if swap else way}


def confirming(
    request: HttpRequest, error: NightbellError | None, keep: str = "oncall_plan"
) -> dict[str, Any] | None:
    """What would be left uncovered, and the form that does it all the same under a name. keep: the page that leaves it."""
    if not isinstance(error, Uncovered):
        return None
    actor = actor_of(request)
    zone = actor.user.practice.zone
    hidden = [
        (name, value)
        for name, values in request.POST.lists()
        if name not in ("csrfmiddlewaretoken", "confirm")
        for value in values
    ]
    return {
        "action": request.get_full_path(),
        "keep": reverse(keep),
        "gaps": [gap_words(gap, zone, actor.now) for gap in error.gaps[:5]],
        "more": len(error.gaps) - len(error.gaps[:5]),
        "name": actor.user.name,
        "hidden": hidden,
        "wrong": bool(request.POST.get("confirm")),
    }


def monday_of(text: str, today: date) -> date:
    """The Monday of the day that was asked for, or of today."""
    try:
        day = date.fromisoformat(text) if text else today
        if not 2000 <= day.year < 2100:
            raise ValueError("week")
        return day - timedelta(days=day.weekday())
    except (ValueError, OverflowError):
        return today - timedelta(days=today.weekday())


def back(request: HttpRequest, name: str = "oncall", **more: str) -> HttpResponse:
    """To the page, in the same week and schedule. more: `did` and what the toast needs."""
    asked = {"week": request.POST.get("week", "")[:10], "schedule": request.POST.get("schedule", "")}
    kept: Mapping[str, str] = {k: v for k, v in {**asked, **more}.items() if v}
    return HttpResponseRedirect(reverse(name) + (f"?{urlencode(kept)}" if kept else ""))


@require_POST
@allows(Act.EDIT_SCHEDULE)
def add_override(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    try:
        user = ulid_or_nothing(forms.field(request, "user"))
        start, end = forms.moment(request, "from"), forms.moment(request, "to")
        chosen = ulid_if_any(request.POST.get("schedule", ""), "schedule")
        oncall.add_override(actor, user, start, end, chosen)
    except BadShift as error:
        return page(request, error, form=True)
    return back(request, did="put", undo=undo.made(actor))


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_override(request: HttpRequest, override_id: str) -> HttpResponse:
    actor = actor_of(request)
    try:
        oncall.remove_override(actor, ulid_or_nothing(override_id), request.POST.get("confirm", ""))
    except Uncovered as error:
        return page(request, error)
    return back(request, did="removed", undo=undo.made(actor))
