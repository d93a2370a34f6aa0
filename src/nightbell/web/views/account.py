"""Doors of one's own log-in that allauth does not have: choosing a second factor, a lost phone, 'more'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_safe

from nightbell.people.access import NotFound
from nightbell.people.models import User
from nightbell.people.roles import Role
from nightbell.web.accounts import note_event
from nightbell.web.doors import Access, Door, allows
from nightbell.web.middleware import has_second_factor


@require_GET
@allows(Door.SELF)
def enrol(request: HttpRequest) -> HttpResponse:
    """A password alone opens nothing: choose a second factor first."""
    if has_second_factor(request):
        return HttpResponseRedirect("/")
    return render(request, "account/enrol.html")


@require_GET
@allows(Door.OPEN)
def lost_phone(request: HttpRequest) -> HttpResponse:
    """Whom to ring. Static words; managers are named only when there is one practice."""
    managers = (
        User.objects.filter(role=Role.MANAGER, is_active=True).select_related("practice").order_by("name")
    )
    practices = {m.practice_id for m in managers}
    return render(request, "account/lost_phone.html", {"managers": managers if len(practices) == 1 else []})


@require_GET
@allows(Door.MEMBER)
def more(request: HttpRequest) -> HttpResponse:
    """On a phone, what the rail holds on a desk."""
    return render(request, "pages/more.html", {"here": "more"})


@require_safe
@allows(Door.OPEN)
def gone(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """A door that allauth knows and this house does not have (sign-up, mail, password by mail)."""
    raise NotFound("There is no such page", "people are invited by their manager", "go to the inbox")


def second_factor(view: Callable[..., Any]) -> Callable[..., Any]:
    """allauth's page for the code, with a row in the log for each wrong one."""

    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = view(request, *args, **kwargs)
        if request.method == "POST" and response.status_code == 200:
            login = getattr(getattr(request, "_login_stage", None), "login", None)
            note_event(request, getattr(login, "user", None), "session:second_factor_failed", "refused")
        return response

    inner.access = Access(Door.OPEN)  # type: ignore[attr-defined]
    return inner
