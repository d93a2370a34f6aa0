"""The first page of a real installation: one practice, one number, one manager. Then the link is used up."""

from __future__ import annotations

from zoneinfo import available_timezones

from django import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from nightbell.core import clock
from nightbell.core.config import load
from nightbell.line.state import first_version
from nightbell.oncall.founding import found, set_fallback
from nightbell.people import contacts, first_run
from nightbell.people.access import NotFound
from nightbell.people.practices import BadPerson, add_user
from nightbell.people.roles import Role
from nightbell.web.doors import Door, allows

COMMON_ZONES = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles",
    "America/Anchorage", "Pacific/Honolulu", "America/Puerto_Rico",
)  # fmt: skip


class FirstPractice(forms.Form):
    """What the first practice needs before it can take a call."""

    practice = forms.CharField(max_length=120)
    zone = forms.CharField(max_length=60)
    number = forms.RegexField(
        r"^\+?[0-9]{3,15}$", max_length=16, error_messages={"invalid": "Digits alone, 3 to 15 of them."}
    )
    name = forms.CharField(max_length=120)
    login = forms.CharField(max_length=60)
    email = forms.EmailField()
    password = forms.CharField(max_length=128, strip=False)

    def clean_zone(self) -> str:
        zone = str(self.cleaned_data["zone"])
        if zone not in available_timezones():
            raise forms.ValidationError("Choose a time zone from the list.")
        return zone


@require_http_methods(["GET", "POST"])
@allows(Door.OPEN)
def setup(request: HttpRequest, token: str) -> HttpResponse:
    """Make the first practice. A wrong, old or used link looks like any page that does not exist."""
    home = load().home
    if not first_run.good(home, token, clock.utc_now()):
        raise _used()
    form = FirstPractice(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            with first_run.used_once(home) as ours:
                if not ours:
                    raise _used()
                _make(form.cleaned_data)
        except BadPerson as error:
            form.add_error(None, str(error))
        else:
            return HttpResponseRedirect("/account/login/?how=password")
    return render(
        request,
        "pages/setup.html",
        {"form": form, "zones": COMMON_ZONES, "mails": bool(load().smtp)},
        status=422 if form.errors else 200,
    )


def _used() -> NotFound:
    why = "the link was used or is older than a day"
    return NotFound("There is no such page", why, "start Nightbell again for a new one")


def _make(given: dict[str, str]) -> None:
    now, actor = clock.utc_now(), "system:setup"
    with transaction.atomic():
        practice = found(given["practice"], given["zone"], given["number"], actor, now)
        manager = add_user(
            practice,
            given["login"],
            given["name"],
            Role.MANAGER,
            given["email"],
            given["password"],
            actor,
            now,
        )
        set_fallback(practice, manager, actor, now)
        first_version(practice, now, actor)
    if load().smtp:
        contacts.first_code(manager, now)
