"""The calendar of who is on call, for people's own calendar programs: behind a secret address, without a log-in.

It holds names of staff and the practice's code, and nothing of a patient, so no fetch is a row in the log.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.http import parse_etags
from django.views.decorators.http import require_safe

from nightbell.core import clock
from nightbell.oncall import schedule_admin
from nightbell.people.access import NotFound
from nightbell.web.doors import Door, allows


@require_safe
@allows(Door.OPEN)
def calendar(request: HttpRequest, secret: str) -> HttpResponse:
    """`/oncall/feed/<43 characters>.ics`. An unchanged calendar is answered with 304."""
    found = schedule_admin.feed(secret, clock.utc_now())
    if found is None:
        raise NotFound(
            "There is no such calendar", "its address was ended or changed", "ask your office manager"
        )
    if _known(request.headers.get("If-None-Match", ""), found.etag):
        response: HttpResponse = HttpResponseNotModified()
    else:
        response = HttpResponse(found.body, content_type="text/calendar; charset=utf-8")
        response["Content-Disposition"] = 'inline; filename="on-call.ics"'
    response["ETag"] = found.etag
    response["Cache-Control"] = "private, no-cache"
    return response


def _known(asked: str, etag: str) -> bool:
    """Whether If-None-Match names this calendar: one of a list, weakly compared (RFC 9110 §13.1.2)."""
    return any(one == "*" or one.removeprefix("W/") == etag for one in parse_etags(asked))
