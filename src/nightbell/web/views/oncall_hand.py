"""Giving a message to a colleague who is told alone."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from nightbell.core.ids import is_ulid
from nightbell.oncall import owners
from nightbell.people.access import NotFound
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, allows, ulid_or_nothing


@require_POST
@allows(Act.TAKE)
def hand_over(request: HttpRequest, message_id: str) -> HttpResponse:
    """The owner gives it away; what cannot be done is told as elsewhere on the page (409)."""
    if not is_ulid(message_id):
        raise NotFound("There is no such message", "", "go to the inbox")
    owners.hand_over(actor_of(request), message_id, ulid_or_nothing(request.POST.get("to", "")))
    return HttpResponseRedirect(reverse("message", args=[message_id]) + "?did=handed")
