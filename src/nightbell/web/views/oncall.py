"""On call: now, next, last resort; the week; overrides and shifts by those who may."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.oncall import service as oncall
from nightbell.oncall.errors import BadShift
from nightbell.oncall.roster import DutyView
from nightbell.people.access import Actor
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, allows, ulid_or_nothing
from nightbell.web.format import clock_time, day_name, local, read_clock, span

NAMES = {
    "user": "the person",
    "from_day": "the first day",
    "from_time": "the time it starts",
    "to_day": "the last day",
    "to_time": "the time it ends",
    "weekday": "the day",
    "start": "the time it starts",
    "end": "the time it ends",
    "rank": "first or backup",
}
FAR = timedelta(days=731)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@require_GET
@allows(Act.SCHEDULE)
def schedule(request: HttpRequest) -> HttpResponse:
    """`/oncall/?week=2026-11-23`."""
    return _page(request)


_SHIFT = {"start": "17:00", "end": "08:00", "weekday": "0", "rank": "0"}


def _page(request: HttpRequest, trouble: BadShift | None = None, form: str = "") -> HttpResponse:
    """The week. With `trouble`, what was typed into `form` ("override" or "shift") stands there again."""
    actor = actor_of(request)
    zone = actor.user.practice.zone
    today = local(actor.now, zone).date()
    monday = _monday(request.GET.get("week", ""), today)
    week = oncall.week(actor, monday)
    gaps = [_gap(gap, zone, actor.now) for gap in week.gaps if gap.ends_at > actor.now]
    typed = request.POST.dict()
    context = {
        "here": "oncall",
        "now": actor.now,
        "zone": zone,
        "view": _now(actor),
        "days": [_day(monday + timedelta(days=n), week.duties, week.gaps, zone, today) for n in range(7)],
        "lanes": _lanes(week.duties, week.gaps, monday, zone, actor.now),
        "number": monday.isocalendar().week,
        "earlier": monday - timedelta(days=7),
        "later": monday + timedelta(days=7),
        "gaps": gaps,
        "o": typed if form == "override" else gaps[0] if gaps else {},
        "s": typed if form == "shift" else _SHIFT,
        "may_edit": actor.may(Act.EDIT_SCHEDULE),
        "people": oncall.colleagues(actor) if actor.may(Act.EDIT_SCHEDULE) else [],
        "weekdays": [(str(n), name) for n, name in enumerate(DAYS)],
        "trouble": trouble,
    }
    return render(request, "pages/oncall.html", context, status=422 if trouble else 200)


def _monday(text: str, today: date) -> date:
    try:
        day = date.fromisoformat(text) if text else today
        if not 2000 <= day.year < 2100:
            raise ValueError("week")
        return day - timedelta(days=day.weekday())
    except (ValueError, OverflowError):
        return today - timedelta(days=today.weekday())


def _now(actor: Actor) -> dict[str, Any]:
    zone = actor.user.practice.zone
    view = oncall.now_on_call(actor.practice, actor.now)
    return {
        "now": view.now,
        "until": clock_time(view.until, zone, actor.now) if view.until else "",
        "left": span(view.until - actor.now) if view.until else "",
        "next": view.next,
        "next_from": clock_time(view.next_from, zone, actor.now) if view.next_from else "",
        "fallback": view.fallback,
    }


def _gap(gap: DutyView, zone: str, now: datetime) -> dict[str, str]:
    return {
        "from": f"{day_name(local(gap.starts_at, zone).date())}, {local(gap.starts_at, zone):%H:%M}",
        "to": f"{local(gap.ends_at, zone):%a %H:%M}",
        "length": span(gap.ends_at - gap.starts_at),
        "from_day": f"{local(max(gap.starts_at, now), zone):%Y-%m-%d}",
        "from_time": f"{local(max(gap.starts_at, now), zone):%H:%M}",
        "to_day": f"{local(gap.ends_at, zone):%Y-%m-%d}",
        "to_time": f"{local(gap.ends_at, zone):%H:%M}",
    }


def _day(
    day: date, duties: tuple[DutyView, ...], gaps: tuple[DutyView, ...], zone: str, today: date
) -> dict[str, Any]:
    start = datetime.combine(day, datetime.min.time(), ZoneInfo(zone))
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), ZoneInfo(zone))
    here = [d for d in (*duties, *gaps) if d.starts_at < end and d.ends_at > start]
    here.sort(key=lambda d: (d.starts_at, d.rank))
    return {
        "name": day_name(day),
        "today": day == today,
        "duties": [
            {
                "person": d.person,
                "from": f"{max(local(d.starts_at, zone), start):%H:%M}",
                "to": "24:00" if d.ends_at >= end else f"{local(d.ends_at, zone):%H:%M}",
                "backup": d.rank > 0,
                "override": d.override_id,
                "shift": d.shift_id,
                "begins": d.starts_at >= start,
            }
            for d in here
        ],
    }


def joined(duties: tuple[DutyView, ...], rank: int) -> list[DutyView]:
    """Stretches of one rank, those of one person that follow each other at once drawn as one."""
    out: list[DutyView] = []
    for duty in sorted((d for d in duties if (d.rank > 0) == (rank > 0)), key=lambda d: d.starts_at):
        last = out[-1] if out else None
        same = last is not None and last.person == duty.person and last.override_id == duty.override_id
        if last is not None and same and last.ends_at == duty.starts_at:
            out[-1] = replace(last, ends_at=duty.ends_at)
        else:
            out.append(duty)
    return out


def _lanes(
    duties: tuple[DutyView, ...], gaps: tuple[DutyView, ...], monday: date, zone: str, now: datetime
) -> dict[str, Any]:
    """The week as 168 columns: who is first, who is backup, where nobody is."""
    start = datetime.combine(monday, datetime.min.time(), ZoneInfo(zone))

    def placed(duty: DutyView) -> dict[str, Any] | None:
        first = max(0, round((duty.starts_at - start) / timedelta(hours=1)))
        last = min(168, round((duty.ends_at - start) / timedelta(hours=1)))
        if last <= first:
            return None
        words = f"{local(duty.starts_at, zone):%a %H:%M} to {local(duty.ends_at, zone):%a %H:%M}"
        return {
            "person": duty.person,
            "start": first + 1,
            "span": last - first,
            "words": words,
            "changed": bool(duty.override_id),
        }

    at = (now - start) / timedelta(hours=1)
    return {
        "first": [p for d in joined(duties, 0) if (p := placed(d))],
        "backup": [p for d in joined(duties, 1) if (p := placed(d))],
        "gaps": [p for d in gaps if (p := placed(d))],
        "now": int(at) + 1 if 0 <= at < 168 else 0,
        "days": [
            {"name": DAYS[n], "number": (monday + timedelta(days=n)).day, "today": n * 24 <= at < n * 24 + 24}
            for n in range(7)
        ],
    }


def _field(request: HttpRequest, name: str) -> str:
    """What was typed, or BadShift when nothing was."""
    text = request.POST.get(name, "").strip()
    if not text:
        raise BadShift("Nothing was changed", f"{NAMES[name]} is missing", "fill it in")
    return text


def _time(request: HttpRequest, name: str) -> int:
    """Minutes after midnight."""
    minutes = read_clock(_field(request, name))
    if minutes is None:
        raise BadShift("Nothing was changed", f"{NAMES[name]} cannot be read", "write it as 17:30 or 5:30 pm")
    return minutes


def _moment(request: HttpRequest, which: str, actor: Actor) -> datetime:
    """A day and a time on the practice's clock, near enough that it is no slip and every zone can reckon with it."""
    zone = actor.user.practice.zone
    minutes = _time(request, f"{which}_time")
    try:
        day = datetime.fromisoformat(_field(request, f"{which}_day")[:10])
        if abs(day.date() - local(actor.now, zone).date()) > FAR:
            raise BadShift(
                "Nothing was changed", f"{NAMES[which + '_day']} is over two years away", "check the year"
            )
        return (day + timedelta(minutes=minutes)).replace(tzinfo=ZoneInfo(zone))
    except (ValueError, OverflowError):
        raise BadShift(
            "Nothing was changed", f"{NAMES[which + '_day']} cannot be read", "write it as 2026-11-24"
        ) from None


def _choice(request: HttpRequest, name: str, choices: str) -> int:
    text = _field(request, name)
    if len(text) != 1 or text not in choices:
        raise BadShift("Nothing was changed", f"{NAMES[name]} is none of the list", "choose it again")
    return int(text)


@require_POST
@allows(Act.EDIT_SCHEDULE)
def add_override(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    try:
        user = ulid_or_nothing(_field(request, "user"))
        oncall.add_override(actor, user, _moment(request, "from", actor), _moment(request, "to", actor))
    except BadShift as error:
        return _page(request, error, "override")
    return _back(request)


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_override(request: HttpRequest, override_id: str) -> HttpResponse:
    oncall.remove_override(actor_of(request), ulid_or_nothing(override_id))
    return _back(request)


@require_POST
@allows(Act.EDIT_SCHEDULE)
def add_shift(request: HttpRequest) -> HttpResponse:
    """From one time of day to another; an end at or before the start is on the next day."""
    try:
        user = ulid_or_nothing(_field(request, "user"))
        weekday, rank = _choice(request, "weekday", "0123456"), _choice(request, "rank", "01")
        start, end = _time(request, "start"), _time(request, "end")
        oncall.add_shift(actor_of(request), user, weekday, start, (end - start) % 1440 or 1440, rank)
    except BadShift as error:
        return _page(request, error, "shift")
    return _back(request)


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_shift(request: HttpRequest, shift_id: str) -> HttpResponse:
    oncall.remove_shift(actor_of(request), ulid_or_nothing(shift_id))
    return _back(request)


def _back(request: HttpRequest) -> HttpResponse:
    week = request.POST.get("week", "")
    monday = _monday(week, date.min) if week else None
    return HttpResponseRedirect(reverse("oncall") + (f"?week={monday}" if monday else ""))
