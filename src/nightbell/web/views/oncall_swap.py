"""Giving a shift away: who could take it, what will happen, asking, withdrawing, and the answer of who was asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from nightbell.core.errors import NightbellError
from nightbell.mailbox.opening import person
from nightbell.oncall import swaps
from nightbell.oncall.errors import BadShift, BadSwap
from nightbell.oncall.models import Schedule, Swap
from nightbell.oncall.policy_admin import takers
from nightbell.oncall.rules import Duty
from nightbell.oncall.swaps import Answered, Candidate
from nightbell.people.access import Actor, Forbidden, NotFound
from nightbell.people.models import User
from nightbell.people.roles import Act
from nightbell.web import oncall_forms as forms
from nightbell.web.doors import actor_of, allows, ulid_or_nothing
from nightbell.web.format import count_of, local
from nightbell.web.present import short_name
from nightbell.web.views.oncall import clock_day, schedule_here

DID = {
    Answered.TAKEN: "accepted",
    Answered.DECLINED: "declined",
    Answered.LATE: "late",
    Answered.OVER: "over",
    Answered.NOT_ASKED: "over",
}
WAIT_MIN = int(swaps.WAIT.total_seconds()) // 60


@require_http_methods(["GET", "POST"])
@allows(Act.TAKE)
def swap(request: HttpRequest) -> HttpResponse:
    """`/oncall/swap?user=ID&from=…&to=…`: one's own next shift unless another is named."""
    if request.method == "POST":
        try:
            return _ask(request)
        except (BadSwap, BadShift) as error:
            return _page(request, error)
    return _page(request)


def _ask(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    whom = [one for text in request.POST.getlist("whom") if (one := ulid_or_nothing(text))]
    first = ulid_or_nothing(request.POST.get("first", ""))
    if not first and not whom:
        raise BadSwap("Nobody was asked", "no colleague is chosen", "choose who is asked first")
    asked = [one for one in dict.fromkeys([first, *whom]) if one]
    start, end = forms.moment(request, "from"), forms.moment(request, "to")
    schedule = schedule_here(request)
    made = swaps.ask_by_page(
        actor, ulid_or_nothing(request.POST.get("user", "")), start.astimezone(UTC), end.astimezone(UTC), asked,
        schedule.id if schedule else "",
    )  # fmt: skip
    more = f"&schedule={schedule.id}" if schedule and not schedule.main else ""
    return HttpResponseRedirect(f"{reverse('oncall')}?did=asked&swap={made.id}{more}#swaps")


def _page(request: HttpRequest, trouble: NightbellError | None = None) -> HttpResponse:
    """The form; alone, for the dialog of the calendar, when a script asks."""
    actor, schedule = actor_of(request), schedule_here(request)
    user = _whose(actor, request.POST.get("user", "") or request.GET.get("user", ""))
    turns = _turns(user, schedule, actor.now)
    start, end = _times(request, turns, actor)
    found: list[Candidate] = []
    if schedule is not None and start is not None and end is not None and start < end:
        found = swaps.candidates(schedule, user, start, end)
    context = {
        "here": "oncall", "chosen": schedule, "who": user, "mine": user.id == actor.user.id, "turns": turns,
        "people": takers(actor) if actor.may(Act.EDIT_SCHEDULE) else [],
        "trouble": trouble, "zone": actor.user.practice.zone, "wait": WAIT_MIN,
        "candidates": [_candidate(one) for one in found[: swaps.MOST_CANDIDATES]],
        "first": ulid_or_nothing(request.POST.get("first", "")),
    }  # fmt: skip
    template = "parts/oncall_swap.html" if request.headers.get("X-Dialog") else "pages/oncall_swap.html"
    return render(
        request, template, context | _typed(request, start, end, actor), status=422 if trouble else 200
    )


def _whose(actor: Actor, text: str) -> User:
    """Whose shift it is: one's own, or for who edits schedules anybody's."""
    user_id = ulid_or_nothing(text)
    if not user_id or user_id == actor.user.id or not actor.may(Act.EDIT_SCHEDULE):
        return actor.user
    found = User.objects.filter(pk=user_id, practice_id=actor.practice).select_related("practice").first()
    if found is None:
        raise NotFound("There is no such person", "", "choose one from the list")
    return found


def _turns(user: User, schedule: Schedule | None, now: datetime) -> list[dict[str, Any]]:
    """The duties of a month ahead that can be given away, to be chosen from."""
    zone = user.practice.zone
    found: list[tuple[Schedule, Duty]] = [
        one for one in swaps.turns_of(user, now) if schedule is None or one[0].id == schedule.id
    ]
    return [
        {
            "from": max(duty.starts_at, now),
            "to": min(duty.ends_at, max(duty.starts_at, now) + swaps.LONGEST),
            "words": f"{clock_day(max(duty.starts_at, now), zone)} to {clock_day(duty.ends_at, zone)}",
            "value": f"from={max(duty.starts_at, now):%Y%m%dT%H%M%S}Z&to={duty.ends_at:%Y%m%dT%H%M%S}Z",
        }
        for _, duty in found[:12]
    ]


def _times(
    request: HttpRequest, turns: Sequence[dict[str, Any]], actor: Actor
) -> tuple[datetime | None, datetime | None]:
    """What is given away: as typed, as the address says, or the next duty."""
    if request.method == "POST":
        try:
            return forms.moment(request, "from").astimezone(UTC), forms.moment(request, "to").astimezone(UTC)
        except BadShift:
            return None, None
    start, end = _stamp(request.GET.get("from", "")), _stamp(request.GET.get("to", ""))
    if start is not None and end is not None and start < end and abs(start - actor.now) < forms.FAR:
        return max(start, actor.now), min(end, max(start, actor.now) + swaps.LONGEST)
    return (turns[0]["from"], turns[0]["to"]) if turns else (None, None)


def _stamp(text: str) -> datetime | None:
    try:
        return datetime.strptime(text[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _typed(
    request: HttpRequest, start: datetime | None, end: datetime | None, actor: Actor
) -> dict[str, Any]:
    """The fields of the times, as they stand in the form."""
    names = ("from_day", "from_time", "to_day", "to_time")
    if request.method == "POST":
        return {name: request.POST.get(name, "")[:20] for name in names}
    if start is None or end is None:
        return dict.fromkeys(names, "")
    first, last = local(start, actor.user.practice.zone), local(end, actor.user.practice.zone)
    return {
        "from_day": f"{first:%Y-%m-%d}", "from_time": f"{first:%H:%M}",
        "to_day": f"{last:%Y-%m-%d}", "to_time": f"{last:%H:%M}",
    }  # fmt: skip


def _candidate(one: Candidate) -> dict[str, Any]:
    said = ["Backup then"] if one.backup else []
    said.append(f"{count_of(one.nights, 'night')} that month")
    if not one.ways:
        said.append("has proved no way to be told")
    return {
        "person": person(one.user), "short": short_name(one.user.name), "says": ". ".join(said), "ways": one.ways,
    }  # fmt: skip


@require_POST
@allows(Act.TAKE)
def withdraw(request: HttpRequest, swap_id: str) -> HttpResponse:
    try:
        swaps.withdraw(actor_of(request), ulid_or_nothing(swap_id))
    except Forbidden as error:  # the role may give shifts away; this one is a colleague's
        raise BadSwap(error.what, error.why, error.mend) from error
    return HttpResponseRedirect(f"{reverse('oncall')}?did=withdrawn#swaps")


@require_POST
@allows(Act.TAKE)
def answer(request: HttpRequest, swap_id: str) -> HttpResponse:
    """Yes or no of who was asked. Nobody else finds it."""
    actor, found = actor_of(request), ulid_or_nothing(swap_id)
    said = request.POST.get("answer", "")
    if not Swap.objects.filter(pk=found, schedule__practice_id=actor.practice).exists():
        raise NotFound("There is no such swap", "", "go to the calendar")
    if said not in ("yes", "no"):
        raise BadSwap("Nothing was answered", "neither yes nor no was said", "use one of the two buttons")
    what = swaps.answer(found, actor.user, said == "yes", actor.now, "page", actor.source)
    if what is Answered.NOT_ASKED:
        raise NotFound("There is no such swap", "you were not asked", "go to the calendar")
    return HttpResponseRedirect(f"{reverse('oncall')}?did={DID[what]}")
