"""Beside the editor: trying a call out, the versions, and where callers gave up."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from nightbell.flow.hours import Kind
from nightbell.line import service as lines
from nightbell.line.errors import heard_instead
from nightbell.people.roles import Act
from nightbell.web import callflow, gave_up, simulator
from nightbell.web.callflow_data import Desk
from nightbell.web.callflow_sound import known_language
from nightbell.web.callflow_words import LANGUAGE_NAMES
from nightbell.web.doors import actor_of, allows
from nightbell.web.errors import Answer, problem
from nightbell.web.format import clock_time, count_of, local

DAYS_BACK = 30
MOST_BODY = 64 * 1024
FAR = timedelta(days=731)


@require_GET
@allows(Act.VIEW_LINE)
def trying(request: HttpRequest) -> HttpResponse:
    """`/line/try`: the simulator. `?which=live` begins with what callers hear now."""
    desk = Desk(actor_of(request))
    draft = desk.draft
    which = request.GET.get("which", "draft" if draft.there else "live")
    found = {
        "here": "line",
        "page": "try",
        "which": which if draft.there else "live",
        "draft": draft,
        "live": desk.live,
        "languages": [(one, LANGUAGE_NAMES[one]) for one in draft.plan.languages],
        "at": f"{local(desk.now, desk.practice.zone):%Y-%m-%dT%H:%M}",
        "zone": desk.practice.zone,
        "situation": callflow.KIND_NAMES[desk.situation().kind],
        "states": [(one, _STATES[one]) for one in simulator.STATES],
        "keypad": _KEYPAD,
    }
    return render(request, "pages/line_try.html", found)


_STATES = {
    "none": "There is none", "waiting": "Urgent, and nobody has heard it", "waiting_open": "Nobody has heard it",
    "left": "Left, nothing more is known", "heard": "Heard", "owned": "Somebody has it", "tried": "They tried to call",
    "done": "They have called back",
}  # fmt: skip
_KEYPAD = (
    ("1", ""), ("2", "abc"), ("3", "def"), ("4", "ghi"), ("5", "jkl"), ("6", "mno"), ("7", "pqrs"), ("8", "tuv"),
    ("9", "wxyz"), ("*", ""), ("0", ""), ("#", ""),
)  # fmt: skip


@require_POST
@allows(Act.VIEW_LINE)
def try_step(request: HttpRequest) -> HttpResponse:
    """`/line/try/step`: {which, at, caller, language, slow, status, events} in, the last step in words out."""
    desk = Desk(actor_of(request))
    try:
        data = _body(request)
        setting = _setting(desk, data)
        call = simulator.replay(setting, simulator.read_events(data.get("events")))
    except simulator.BadCall as error:
        return problem(Answer(422, error.what, error.why, error.mend))
    answer = simulator.told(call, desk.boxes, desk.first_box)
    return HttpResponse(json.dumps(answer, ensure_ascii=False), content_type="application/json")


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        data = json.loads(request.body[:MOST_BODY])
    except (ValueError, RecursionError):
        raise simulator.BadCall("what the page sent cannot be read") from None
    if not isinstance(data, dict):
        raise simulator.BadCall("what the page sent cannot be read")
    return data


def _setting(desk: Desk, data: dict[str, Any]) -> simulator.Setting:
    """Raises BadCall for a time that is none, and for what is no text."""
    draft = data.get("which") == "draft"
    plan = desk.draft.plan if draft else desk.live_plan
    caller = "".join(one for one in _text(data, "caller") if one.isdigit())[-15:]
    language, status = _text(data, "language"), _text(data, "status")
    return simulator.Setting(
        line=desk.line(plan, 0 if draft else desk.live.number),
        book=desk.book(plan),
        at=_moment(desk, _text(data, "at")),
        caller=caller,
        language=language if language in plan.languages else "",
        slow=data.get("slow") is True,
        status=status if status in simulator.STATES else "none",
    )


def _text(data: dict[str, Any], name: str) -> str:
    """A field that is text; '' where it is missing. Raises BadCall."""
    text = data.get(name, "")
    if not isinstance(text, str):
        raise simulator.BadCall(f"its {name} is no text")
    return text


def _moment(desk: Desk, text: str) -> datetime:
    """A wall time of the practice, '' for now."""
    if not text:
        return desk.now
    try:
        at = datetime.fromisoformat(text[:16]).replace(tzinfo=ZoneInfo(desk.practice.zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise simulator.BadCall("its date and time cannot be read", "choose them again") from None
    if abs(at - desk.now) > FAR:
        raise simulator.BadCall("its date is over two years away", "choose a nearer one")
    return at


# Versions.


@require_GET
@allows(Act.VIEW_LINE)
def versions(request: HttpRequest) -> HttpResponse:
    """`/line/versions`: what callers heard when. `?back=41` asks before it brings one back."""
    return _versions(request, Desk(actor_of(request)))


def _versions(request: HttpRequest, desk: Desk, not_ready: lines.NotReady | None = None) -> HttpResponse:
    rows = lines.versions(desk.actor)
    zone, asked = desk.practice.zone, request.GET.get("back", "")
    found = {
        "here": "line",
        "page": "versions",
        "rows": [{"v": row, "at": clock_time(row.made_at, zone, desk.now), "ask": str(row.number) == asked} for row in rows],
        "next_number": rows[0].number + 1 if rows else 1,
        "phone": desk.on_phone.version,
        "may_edit": desk.actor.may(Act.EDIT_LINE),
        "problems": not_ready.problems if not_ready else (),
        "damaged": _instead(rows),
    }  # fmt: skip
    return render(request, "pages/line_versions.html", found, status=409 if not_ready else 200)


def _instead(rows: list[lines.VersionView]) -> dict[str, Any] | None:
    """When the version in force is damaged: its number, what callers hear, and which to bring back (0: none)."""
    if not rows or not rows[0].damaged:
        return None
    whole = next((row.number for row in rows if not row.damaged), 0)
    return {"number": rows[0].number, "heard": heard_instead(whole), "back": whole}


@require_POST
@allows(Act.EDIT_LINE)
def bring_back(request: HttpRequest, number: int) -> HttpResponse:
    """`/line/versions/41/back`: an old plan in force again, as a new version."""
    desk = Desk(actor_of(request))
    try:
        lines.bring_back(desk.actor, number)
    except lines.NotReady as error:
        return _versions(request, desk, error)
    return HttpResponseRedirect(reverse("line_versions"))


@require_GET
@allows(Act.VIEW_LINE)
def version(request: HttpRequest, number: int) -> HttpResponse:
    """`/line/versions/41`: what it said, in each situation."""
    desk = Desk(actor_of(request))
    row, plan = lines.version(desk.actor, number)
    language = known_language(request.GET.get("lang", ""), plan.languages)
    asked = request.GET.get("at", "")
    kind = Kind(asked) if asked in set(Kind) else Kind.CLOSED
    found = {
        "here": "line",
        "page": "versions",
        "row": row,
        "by": row.made_by.name if row.made_by else "Nightbell",
        "at": clock_time(row.made_at, desk.practice.zone, desk.now),
        "live": row.number == desk.live.number,
        "steps": callflow.picture(desk.view(plan, kind, language)),
        "kinds": [(one.value, callflow.KIND_NAMES[one]) for one in Kind],
        "kind": kind.value,
        "languages": [(one, LANGUAGE_NAMES[one]) for one in plan.languages],
        "language": language,
    }
    return render(request, "pages/line_version.html", found)


# Where callers gave up.


@require_GET
@allows(Act.VIEW_LINE)
def heard(request: HttpRequest) -> HttpResponse:
    """`/line/heard`: the calls of the last 30 days, and where those ended that left nothing."""
    desk = Desk(actor_of(request))
    found = gave_up.picture(gave_up.counted(desk.practice.id, desk.now - timedelta(days=DAYS_BACK)))
    return render(
        request,
        "pages/line_heard.html",
        {
            "here": "line",
            "page": "heard",
            "found": found,
            "days": DAYS_BACK,
            "calls": count_of(found.calls, "call"),
        },
    )
