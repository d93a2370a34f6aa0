"""Covering nights of another practice: a manager asks, the clinician accepts, works there, and either ends it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.core.errors import NightbellError
from nightbell.oncall import covering
from nightbell.oncall.errors import Uncovered
from nightbell.people import contacts, covers
from nightbell.people.access import NotFound, write
from nightbell.people.covers import BadCover
from nightbell.people.models import Cover, User
from nightbell.people.roles import Act
from nightbell.web.doors import Door, actor_of, allows, guest_here, stand_in, ulid_or_nothing
from nightbell.web.format import clock_time
from nightbell.web.views.oncall import back as back_to
from nightbell.web.views.oncall import confirming
from nightbell.web.views.oncall_plan import plan_page

DID = {
    "accepted": "Accepted. They can put you on call now.",
    "left": "Ended. Nothing of that practice is yours to see any more.",
    "home": "You are back in your own practice.",
}


@require_POST
@allows(Act.EDIT_SCHEDULE)
def ask(request: HttpRequest) -> HttpResponse:
    """A manager asks a clinician of another practice."""
    try:
        covering.ask(actor_of(request), request.POST.get("who", "")[:300])
    except BadCover as error:
        return plan_page(request, error, "cover")
    return back_to(request, "oncall_plan", did="cover_asked")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def send_home(request: HttpRequest, cover_id: str) -> HttpResponse:
    """The practice ends it, or takes its request back."""
    try:
        covering.end(actor_of(request), ulid_or_nothing(cover_id), request.POST.get("confirm", ""))
    except Uncovered as error:
        return plan_page(request, error)
    return back_to(request, "oncall_plan", did="cover_ended")


@require_GET
@allows(Door.MEMBER)
def mine(request: HttpRequest) -> HttpResponse:
    """`/account/covering/`: where I am asked, and where I cover."""
    return _page(request)


def _page(request: HttpRequest, trouble: NightbellError | None = None) -> HttpResponse:
    actor, did = actor_of(request), request.GET.get("did", "")
    found = covers.of_person(actor.user)
    there = guest_here(request, actor.user)
    context: dict[str, Any] = {
        "here": "covering", "trouble": trouble,
        "confirm": confirming(request, trouble, "covering"),
        "asked": [_row(one, request) for one in found if one.accepted_at is None],
        "running": [_row(one, request) | {"at": there is not None and one.guest_id == there.id} for one in found
                    if one.accepted_at is not None],
        "told": contacts.usable().filter(user=actor.user).exists(),
        "toast": {"text": DID[did]} if did in DID else None,
    }  # fmt: skip
    return render(request, "pages/covering.html", context, status=422 if trouble else 200)


def _row(one: Cover, request: HttpRequest) -> dict[str, Any]:
    actor = actor_of(request)
    at = one.accepted_at or one.asked_at
    return {
        "id": one.id,
        "practice": one.practice.name,
        "by": one.asked_by.name,
        "when": clock_time(at, actor.user.practice.zone, actor.now),
    }


@require_POST
@allows(Door.MEMBER)
def accept(request: HttpRequest, cover_id: str) -> HttpResponse:
    try:
        covers.accept(actor_of(request), ulid_or_nothing(cover_id))
    except BadCover as error:
        return _page(request, error)
    return HttpResponseRedirect(reverse("covering") + "?did=accepted")


@require_POST
@allows(Door.MEMBER)
def end(request: HttpRequest, cover_id: str) -> HttpResponse:
    """Declined, or ended by the one who covers."""
    try:
        covering.end(actor_of(request), ulid_or_nothing(cover_id), request.POST.get("confirm", ""))
    except Uncovered as error:
        return _page(request, error)
    return HttpResponseRedirect(reverse("covering") + "?did=left")


@require_POST
@allows(Door.MEMBER)
def go(request: HttpRequest, cover_id: str) -> HttpResponse:
    """Look at the practice that one covers: its inbox, as far as one was told of it. A row in its log."""
    actor = actor_of(request)
    found = Cover.objects.filter(pk=ulid_or_nothing(cover_id), user=actor.user, ended_at=None)
    guest = User.objects.select_related("practice").filter(cover__in=found, is_active=True).first()
    if guest is None:
        raise NotFound("You do not cover there", "it has ended", "go to Covering")
    write(replace(actor, user=guest), "cover:enter")
    stand_in(request, guest)
    return HttpResponseRedirect(reverse("oncall") if request.POST.get("to") == "oncall" else "/")


@require_POST
@allows(Door.MEMBER)
def back(request: HttpRequest) -> HttpResponse:
    """To one's own practice."""
    stand_in(request, None)
    return HttpResponseRedirect("/")
