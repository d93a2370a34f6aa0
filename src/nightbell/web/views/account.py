"""Doors of one's own log-in that allauth does not have: choosing a second factor, a lost phone, 'more'."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from allauth.core.internal import ratelimit
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_safe
from fido2.utils import websafe_decode

from nightbell.people.access import NotFound
from nightbell.people.models import User
from nightbell.people.roles import Role
from nightbell.web.accounts import note_event, note_limited
from nightbell.web.doors import Access, Door, allows, ulid_or_nothing
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
    """allauth's page for the code, with a row in the log for each wrong one, and one a minute once the limit holds."""

    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = view(request, *args, **kwargs)
        if request.method == "POST" and response.status_code == 200:
            login = getattr(getattr(request, "_login_stage", None), "login", None)
            user = getattr(login, "user", None)
            if _limited(response):
                note_limited(request, user, "codes", "codes")
            else:
                note_event(request, user, "session:second_factor_failed", "refused")
        return response

    inner.access = Access(Door.OPEN)  # type: ignore[attr-defined]
    return inner


def _limited(response: Any) -> bool:
    """Whether a form of this page was refused by allauth's limit."""
    context = response.context_data or {}
    forms = [context.get(name) for name in ("form", "webauthn_form")]
    errors = [
        e for form in forms if form is not None for found in form.errors.as_data().values() for e in found
    ]
    return any(error.code == "too_many_login_attempts" for error in errors)


def passkey(view: Callable[..., Any]) -> Callable[..., Any]:
    """allauth's log-in by passkey, with a row for each that opens nothing: it answers 302 either way."""

    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = view(request, *args, **kwargs)
        if request.method == "POST" and not request.user.is_authenticated:
            if response.status_code == 429:
                note_limited(request, None, "passkeys", ratelimit.get_ip(request))
            else:
                user = _claimed(request)
                note_event(request, user, "session:login_failed", "refused", {"with": "passkey"})
        return response

    inner.access = Access(Door.OPEN)  # type: ignore[attr-defined]
    return inner


def _claimed(request: HttpRequest) -> User | None:
    """Whom the passkey says that it belongs to, as a typed log-in does: nothing is proved."""
    try:
        handle = json.loads(request.POST.get("credential", ""))["response"]["userHandle"]
        pk = websafe_decode(handle).decode("utf-8")
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None
    return User.objects.filter(pk=ulid_or_nothing(pk)).first()
