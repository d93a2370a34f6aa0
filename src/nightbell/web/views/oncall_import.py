"""Taking over a calendar file of who is on call: brought, shown, said who is who, then taken over."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from nightbell.core.errors import NightbellError
from nightbell.oncall import ical_import
from nightbell.oncall import schedule as oncall
from nightbell.oncall.errors import BadCalendar, BadShift
from nightbell.oncall.ical_import import Preview
from nightbell.oncall.ical_read import MOST_BYTES
from nightbell.oncall.policy_admin import takers
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, allows, ulid_or_nothing
from nightbell.web.views.oncall import clock_day, schedule_here

SHOWN = 60
MOST_ASKED = 200  # titles of which a person may say who they are
MOST_CARRIED = 180_000  # characters of the packed file that a form brings back
_DAMAGED = BadCalendar("Nothing was taken over", "the file was lost on the way", "choose the file again")


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_SCHEDULE)
def take_over(request: HttpRequest) -> HttpResponse:
    """`/oncall/import`: the file goes to and fro, packed in the form: nothing of it is kept before it is confirmed."""
    trouble: NightbellError | None = None
    data = b""
    found: Preview | None = None
    names = _names(request)
    if request.method == "POST":
        try:
            data = _file(request)
            chosen = schedule_here(request)
            found = ical_import.preview(actor_of(request), data, names, chosen.id if chosen else "")
            if "confirm_import" in request.POST:
                count = ical_import.take_over(
                    actor_of(request), data, chosen.id if chosen else "", names, "leave_out" in request.POST
                )
                more = f"&schedule={chosen.id}" if chosen and not chosen.main else ""
                return HttpResponseRedirect(f"{reverse('oncall')}?did=imported&count={count}{more}")
        except (BadCalendar, BadShift) as error:
            trouble = error
    return _page(request, trouble, data, found)


def _names(request: HttpRequest) -> dict[str, str]:
    """Who the unknown names are, as a person said."""
    summaries, people = (request.POST.getlist(name)[:MOST_ASKED] for name in ("summary", "person"))
    said = zip(summaries, people, strict=False)
    return {summary: user for summary, text in said if (user := ulid_or_nothing(text))}


def _file(request: HttpRequest) -> bytes:
    """What was brought, or what the form carries since. Raises BadCalendar."""
    brought = request.FILES.get("file")
    if brought is not None:
        if (brought.size or 0) > MOST_BYTES:
            raise BadCalendar("The file was not read", "it is over 512 kB", "export a shorter time")
        return bytes(brought.read())
    if not request.POST.get("packed"):
        raise BadCalendar("Nothing was read", "no file was chosen", "choose an .ics file")
    try:
        packed = base64.b64decode(request.POST["packed"], validate=True)
        plain = zlib.decompressobj().decompress(packed, MOST_BYTES + 1)
    except (binascii.Error, zlib.error, ValueError):
        raise _DAMAGED from None
    return plain


def _page(
    request: HttpRequest, trouble: NightbellError | None, data: bytes, found: Preview | None
) -> HttpResponse:
    actor = actor_of(request)
    zone = actor.user.practice.zone
    packed = base64.b64encode(zlib.compress(data, 9)).decode() if data else ""
    if len(packed) > MOST_CARRIED:
        trouble = BadCalendar("The file was not read", "it is too long for one go", "export a shorter time")
        found, packed = None, ""
    said = _names(request)
    known = [(summary, user) for summary, user in said.items() if found and summary not in found.unknown]
    unknown = found.unknown[: MOST_ASKED - len(known)] if found else ()
    context: dict[str, Any] = {
        "here": "oncall",
        "chosen": schedule_here(request),
        "schedules": oncall.schedules(actor),
        "trouble": trouble,
        "packed": packed if found else "",
        "found": found,
        "stretches": [
            {
                "name": one.user.name if one.user else "",
                "summary": one.summary,
                "from": clock_day(one.starts_at, zone),
                "to": clock_day(one.ends_at, zone),
            }
            for one in (found.stretches[:SHOWN] if found else ())
        ],
        "more": max(0, len(found.stretches) - SHOWN) if found else 0,
        "known": known,
        "unknown": unknown,
        "unknown_more": len(found.unknown) - len(unknown) if found else 0,
        "people": takers(actor),
        "zone": zone,
    }
    return render(request, "pages/oncall_import.html", context, status=422 if trouble else 200)
