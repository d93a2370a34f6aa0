"""The plan behind the calendar: rotations, weekly shifts, holidays, last resort, further schedules, the calendar's address."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from nightbell.core.config import load
from nightbell.core.errors import NightbellError
from nightbell.oncall import schedule as oncall
from nightbell.oncall import schedule_admin as admin
from nightbell.oncall import undo
from nightbell.oncall.errors import BadShift, Uncovered
from nightbell.oncall.models import Holiday, Rotation, Schedule, Shift
from nightbell.oncall.policy_admin import takers
from nightbell.oncall.roster import last_resort_of
from nightbell.people import covers
from nightbell.people.access import Actor, NotFound
from nightbell.people.models import User
from nightbell.people.roles import Act
from nightbell.web import oncall_forms as forms
from nightbell.web.doors import actor_of, allows, ulid_if_any, ulid_or_nothing
from nightbell.web.format import clock_time, count_of, day_name, local
from nightbell.web.oncall_page import DAYS
from nightbell.web.views.oncall import back, confirming, page, schedule_here, toast

UNITS = (("day", "days"), ("week", "weeks"), ("hours", "hours"))
RANKS = (("0", "first on call"), ("1", "backup"), ("2", "second backup"))
_SHIFT = {"start": "17:00", "end": "08:00", "weekday": "0", "rank": "0"}
DID = {
    "kept": "Kept. The calendar follows at once.",
    "removed": "Removed.",
    "undone": "Undone. It is as it was before.",
    "last": "This person is the last resort now.",
    "named": "It has its new name.",
    "made": "Made. Put people into it.",
    "ended": "The calendar's address leads nowhere any more.",
    "cover_asked": "Asked. They find it under Covering when they sign in; until they accept, nothing changes.",
    "cover_ended": "Ended. They see nothing of this practice any more.",
}


@require_GET
@allows(Act.SCHEDULE)
def plan(request: HttpRequest) -> HttpResponse:
    """`/oncall/plan?schedule=ID`"""
    return plan_page(request)


def plan_page(
    request: HttpRequest, trouble: NightbellError | None = None, form: str = "", secret: str = ""
) -> HttpResponse:
    """With `trouble`, what was typed into `form` stands there again. secret: of a calendar's address, shown once."""
    actor, chosen = actor_of(request), schedule_here(request)
    today = local(actor.now, actor.user.practice.zone).date()
    typed = request.POST.dict()
    context = {
        "here": "oncall", "chosen": chosen, "schedules": oncall.schedules(actor), "zone": actor.user.practice.zone,
        "may_edit": actor.may(Act.EDIT_SCHEDULE), "people": takers(actor), "trouble": trouble,
        "confirm": confirming(request, trouble), "rotations": _rotations(chosen), "shifts": _shifts(chosen),
        "holidays": _holidays(chosen, today), "s": typed if form == "shift" else _SHIFT,
        "h": typed if form == "holiday" else {}, "weekdays": [(str(n), name) for n, name in enumerate(DAYS)],
        "last_of_main": _last_of_main(chosen), "ranks": RANKS, "feed": _feed_address(secret) if secret else "", "today": today,
        "covers": _covers(actor), "who": request.POST.get("who", "")[:254] if form == "cover" else "",
        "toast": toast(request, DID),
    }  # fmt: skip
    return render(request, "pages/oncall_plan.html", context, status=422 if trouble else 200)


def _covers(actor: Actor) -> list[dict[str, Any]]:
    """Those of other practices who cover here, or are asked. Of their telephones only whether there is any."""
    zone = actor.user.practice.zone
    return [
        {
            "id": one.id,
            "name": one.user.name,
            "practice": one.user.practice.name,
            "running": one.accepted_at is not None,
            "since": clock_time(one.accepted_at or one.asked_at, zone, actor.now),
            "told": told,
        }
        for one, told in covers.of_practice(actor)
    ]


def _last_of_main(chosen: Schedule | None) -> str:
    """Who is told in place of a last resort that this schedule has none of."""
    person, address = last_resort_of(chosen)
    return person.name if person else address


def _feed_address(secret: str) -> str:
    return load().url + reverse("oncall_feed", args=[secret])


def _rotations(chosen: Schedule | None) -> list[dict[str, Any]]:
    found = Rotation.objects.filter(schedule=chosen).order_by("rank", "-position", "id") if chosen else []
    names = (
        dict(User.objects.filter(practice_id=chosen.practice_id).values_list("id", "name")) if chosen else {}
    )
    return [
        {
            "id": one.id,
            "name": one.name or dict(RANKS).get(str(one.rank), ""),
            "members": [names.get(member, "somebody who left") for member in one.members],
            "words": rotation_words(one),
        }
        for one in found
    ]


def rotation_words(one: Rotation) -> str:
    """'Backup. Every 2 weeks at 08:00, from Mon 23 Nov; only in its hours'."""
    unit = {"day": "day", "week": "week", "hours": "hour"}.get(one.unit, one.unit)
    every = f"every {unit}" if one.every == 1 else f"every {count_of(one.every, unit)}"
    words = f"{dict(RANKS).get(str(one.rank), '').capitalize()}. Turns change {every} at {forms.hhmm(one.handover)}"
    words += f", from {day_name(one.starts_on)} {one.starts_on.year}"
    words += f" until {day_name(one.ends_on)} {one.ends_on.year}" if one.ends_on else ""
    words += ". On holidays alone" if one.holidays_only else ""
    return words + (". Only in its hours" if one.hours else "") + "."


def _shifts(chosen: Schedule | None) -> list[dict[str, Any]]:
    rows = Shift.objects.filter(schedule=chosen).select_related("user") if chosen else Shift.objects.none()
    return [
        {
            "id": one.id,
            "day": DAYS[one.weekday],
            "name": one.user.name,
            "from": forms.hhmm(one.start),
            "to": forms.hhmm((one.start + one.minutes) % 1440)
            if one.minutes != 1440 or one.start
            else "24:00",
            "rank": dict(RANKS).get(str(one.rank), "") if one.rank else "",
        }
        for one in rows.order_by("rank", "weekday", "start", "id")
    ]


def _holidays(chosen: Schedule | None, today: date) -> list[Holiday]:
    return (
        list(Holiday.objects.filter(schedule=chosen, day__gte=today).order_by("day")[:40]) if chosen else []
    )


def _id(request: HttpRequest) -> str:
    """The schedule that a form is for; '' for the main one."""
    return ulid_if_any(request.POST.get("schedule", ""), "schedule")


def _done(request: HttpRequest, did: str) -> HttpResponse:
    """To the plan, with the way to take it back."""
    return back(request, "oncall_plan", did=did, undo=undo.made(actor_of(request)))


@require_POST
@allows(Act.EDIT_SCHEDULE)
def undo_change(request: HttpRequest, change_id: str) -> HttpResponse:
    """One's own last change is taken back: from the toast, or, where it leaves times uncovered, under a name."""
    actor = actor_of(request)
    row = undo.mine(actor, ulid_or_nothing(change_id))
    on_calendar = row.kind == "override"
    try:
        undo.undo(actor, row.id, request.POST.get("confirm", ""))
    except BadShift as error:
        return page(request, error) if on_calendar else plan_page(request, error)
    place = reverse("oncall" if on_calendar else "oncall_plan")
    more = "" if row.schedule.main else f"&schedule={row.schedule_id}"
    return HttpResponseRedirect(f"{place}?did=undone{more}")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def add_shift(request: HttpRequest) -> HttpResponse:
    """From one time of day to another; an end at or before the start is on the next day."""
    try:
        user = ulid_or_nothing(forms.field(request, "user"))
        weekday, rank = forms.choice(request, "weekday", "0123456"), forms.choice(request, "rank", "012")
        start, end = forms.clock(request, "start"), forms.clock(request, "end")
        oncall.add_shift(
            actor_of(request), user, weekday, start, (end - start) % 1440 or 1440, rank, _id(request)
        )
    except BadShift as error:
        return plan_page(request, error, "shift")
    return _done(request, "kept")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_shift(request: HttpRequest, shift_id: str) -> HttpResponse:
    try:
        oncall.remove_shift(actor_of(request), ulid_or_nothing(shift_id), request.POST.get("confirm", ""))
    except Uncovered as error:
        return plan_page(request, error)
    return _done(request, "removed")


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_SCHEDULE)
def add_rotation(request: HttpRequest) -> HttpResponse:
    """`/oncall/rotation/new?schedule=ID`"""
    return _rotation(request, None)


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_SCHEDULE)
def rotation(request: HttpRequest, rotation_id: str) -> HttpResponse:
    """`/oncall/rotation/ID`"""
    actor = actor_of(request)
    rows = Rotation.objects.filter(pk=ulid_or_nothing(rotation_id), schedule__practice_id=actor.practice)
    row = rows.select_related("schedule").first()
    if row is None:
        raise NotFound("There is no such rotation", "it was removed", "go to the plan")
    return _rotation(request, row)


def _rotation(request: HttpRequest, row: Rotation | None) -> HttpResponse:
    actor, trouble, confirm = actor_of(request), None, request.POST.get("confirm", "")
    if request.method == "POST":
        try:
            turns = forms.turns(request)
            if row is None:
                oncall.add_rotation(actor, turns, _id(request), confirm)
            else:
                oncall.change_rotation(actor, row.id, turns, confirm)
            return _done(request, "kept")
        except BadShift as error:
            trouble = error
    chosen = row.schedule if row else schedule_here(request)
    context = {
        "here": "oncall", "chosen": chosen, "one": row, "trouble": trouble, "confirm": confirming(request, trouble),
        "people": _may_turn(actor, row), "units": UNITS, "ranks": RANKS, "zone": actor.user.practice.zone,
        "weekdays": [(str(n), name) for n, name in enumerate(DAYS)],
        **(_as_typed(request) if request.method == "POST" else _as_stored(row, actor)),
    }  # fmt: skip
    return render(request, "pages/oncall_rotation.html", context, status=422 if trouble else 200)


def _may_turn(actor: Actor, row: Rotation | None) -> list[User]:
    """Who may be in it; whoever stands in it already stays to be chosen, whatever became of them."""
    able = takers(actor)
    kept = set(row.members) - {one.id for one in able} if row else set()
    return [*able, *User.objects.filter(pk__in=kept, practice_id=actor.practice).order_by("name")]


_PLAIN = ("name", "unit", "every", "starts_on", "handover", "ends_on", "holidays_only", "rank", "position")


def _as_typed(request: HttpRequest) -> dict[str, Any]:
    hours = [
        {
            "key": key,
            "days": request.POST.getlist(f"days-{key}"),
            "start": request.POST.get(f"start-{key}", "")[:10],
            "end": request.POST.get(f"end-{key}", "")[:10],
        }
        for key in forms.rows(request)
    ]
    values = {name: request.POST.get(name, "")[:60] for name in _PLAIN}
    return {"v": values, "members": request.POST.getlist("member")[:60], "hours": hours}


def _as_stored(row: Rotation | None, actor: Actor) -> dict[str, Any]:
    if row is None:
        today = local(actor.now, actor.user.practice.zone).date()
        monday = today + timedelta(days=(7 - today.weekday()) % 7)
        first = {
            "unit": "week",
            "every": 1,
            "handover": "08:00",
            "starts_on": monday.isoformat(),
            "rank": "0",
        }
        return {"v": first, "members": ["", ""], "hours": []}
    values = {
        "name": row.name, "unit": row.unit, "every": row.every, "starts_on": row.starts_on.isoformat(),
        "handover": forms.hhmm(row.handover), "ends_on": row.ends_on.isoformat() if row.ends_on else "",
        "holidays_only": "1" if row.holidays_only else "", "rank": str(row.rank), "position": row.position,
    }  # fmt: skip
    return {"v": values, "members": row.members, "hours": forms.hour_rows(row.hours)}


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_rotation(request: HttpRequest, rotation_id: str) -> HttpResponse:
    try:
        oncall.remove_rotation(
            actor_of(request), ulid_or_nothing(rotation_id), request.POST.get("confirm", "")
        )
    except Uncovered as error:
        return plan_page(request, error)
    return _done(request, "removed")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def holiday(request: HttpRequest) -> HttpResponse:
    """A holiday is made, or with `remove` made a day like others."""
    actor, confirm = actor_of(request), request.POST.get("confirm", "")
    try:
        day = forms.day(request, "day")
        if "remove" in request.POST:
            oncall.remove_holiday(actor, day, _id(request), confirm)
        else:
            oncall.add_holiday(actor, day, request.POST.get("name", "").strip(), _id(request), confirm)
    except BadShift as error:
        return plan_page(request, error, "holiday")
    return _done(request, "kept")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def last_resort(request: HttpRequest) -> HttpResponse:
    try:
        admin.set_last_resort(actor_of(request), ulid_or_nothing(forms.field(request, "user")), _id(request))
    except BadShift as error:
        return plan_page(request, error)
    return back(request, "oncall_plan", did="last")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def add_schedule(request: HttpRequest) -> HttpResponse:
    try:
        made = admin.add_schedule(actor_of(request), request.POST.get("name", ""))
    except BadShift as error:
        return plan_page(request, error)
    return HttpResponseRedirect(f"{reverse('oncall_plan')}?schedule={made}&did=made")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def rename(request: HttpRequest, schedule_id: str) -> HttpResponse:
    try:
        admin.rename(actor_of(request), _known(schedule_id), request.POST.get("name", ""))
    except BadShift as error:
        return plan_page(request, error)
    return back(request, "oncall_plan", did="named")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_schedule(request: HttpRequest, schedule_id: str) -> HttpResponse:
    try:
        admin.remove_schedule(actor_of(request), _known(schedule_id))
    except BadShift as error:
        return plan_page(request, error)
    return HttpResponseRedirect(f"{reverse('oncall_plan')}?did=removed")


def _known(schedule_id: str) -> str:
    """'' would mean the main one."""
    found = ulid_or_nothing(schedule_id)
    if not found:
        raise NotFound("There is no such schedule", "", "go to the plan")
    return found


@require_POST
@allows(Act.EDIT_SCHEDULE)
def make_feed(request: HttpRequest) -> HttpResponse:
    """A new address of the calendar, shown on this page once; or, with `end`, none any more."""
    actor = actor_of(request)
    if "end" in request.POST:
        admin.end_feed(actor, _id(request))
        return back(request, "oncall_plan", did="ended")
    return plan_page(request, secret=admin.new_feed(actor, _id(request)))
