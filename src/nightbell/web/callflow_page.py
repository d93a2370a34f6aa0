"""What the editor's page shows: situations, steps, the chosen panel, the report and who hears which version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.http import HttpRequest, QueryDict

from nightbell.flow.hours import Kind
from nightbell.flow.plan import Plan
from nightbell.flow.walk import Report
from nightbell.line import service as lines
from nightbell.people.roles import Act
from nightbell.web import callflow, callflow_clips, callflow_panels
from nightbell.web.callflow_data import Desk
from nightbell.web.callflow_hours import lunch_words, week_words
from nightbell.web.callflow_sound import known_language
from nightbell.web.callflow_words import LANGUAGE_NAMES, seconds_words
from nightbell.web.format import clock_time, count_of, local


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the editor: situation, panel, language; take: a recording that was just made; clip: which of the panel's
    words are looked at."""

    at: Kind
    node: str
    language: str
    take: str = ""
    clip: str = ""

    def address(self, **other: str) -> str:
        """A link within the editor, to this place with something else chosen."""
        fields = {"at": self.at.value, "node": self.node, "lang": self.language} | other
        return "?" + urlencode({name: text for name, text in fields.items() if text})


@dataclass(frozen=True, slots=True)
class Trouble:
    """A form that was not kept. part: which; typed: what stood in it; errors: field to sentence; stale: somebody
    else was faster; plan: the panel's own change made to their draft, where it could be read."""

    part: str
    typed: QueryDict
    errors: Mapping[str, str] = field(default_factory=dict)
    stale: lines.Stale | None = None
    plan: Plan | None = None

    @property
    def status(self) -> int:
        return 409 if self.stale else 422


def _no_nul(request: HttpRequest) -> None:
    """Nobody types a NUL, and no database keeps one in a text. Raises BadRequest."""
    for sent in (request.GET, request.POST):
        if any("\0" in text for name, texts in sent.lists() for text in (name, *texts)):
            raise BadRequest("a NUL in a field")


def place_of(request: HttpRequest, desk: Desk) -> Place:
    """The place named in an address or a form; what is unknown there is the usual one. Raises BadRequest for a NUL."""
    _no_nul(request)
    asked = request.POST if request.method == "POST" else request.GET
    kind = asked.get("at", "")
    at = Kind(kind) if kind in set(Kind) else desk.kind()
    node = asked.get("node", "")
    known = node in callflow.PANELS or (node.startswith("key-") and node[4:] in (*"12345678", "new"))
    language = known_language(asked.get("lang", ""), desk.languages)
    take, clip = asked.get("take", "")[:26], asked.get("clip", "")[:40]
    return Place(at, node if known else "greeting", language, take, clip)


def context(request: HttpRequest, desk: Desk, place: Place, trouble: Trouble | None = None) -> dict[str, Any]:
    """Everything that pages/line_editor.html names."""
    plan = trouble.plan if trouble and trouble.plan else desk.draft.plan
    view = desk.view(plan, place.at, place.language)
    steps = callflow_clips.with_changes(view, callflow.picture(view))
    confirm = request.GET.get("confirm", "") if desk.draft.there else ""
    if confirm == "publish" and desk.draft.report.problems:
        confirm = ""  # what stands in the way is at the foot of the picture
    return {
        "here": "line",
        "page": "flow",
        "now": desk.now,
        "zone": desk.practice.zone,
        "place": place,
        "tabs": _tabs(desk, view, place),
        "hint": _hint(desk, plan, view, place),
        "steps": steps,
        "may_edit": desk.actor.may(Act.EDIT_LINE),
        "draft": desk.draft,
        "live": desk.live,
        "next_number": desk.live.number + 1,
        "changes": count_of(len(desk.draft.changes), "change"),
        "report": _report(desk.draft.report, view, place),
        "facts": _facts(desk),
        "closed": _closed_now(desk),
        "panel": callflow_panels.panel(desk, view, place, trouble),
        "trouble": trouble,
        "stale_at": clock_time(trouble.stale.at, desk.practice.zone, desk.now) if trouble and trouble.stale else "",
        "confirm": confirm if confirm in ("discard", "publish") else "",
        "languages": [(one, LANGUAGE_NAMES[one], place.address(lang=one)) for one in plan.languages],
    }  # fmt: skip


def _tabs(desk: Desk, view: callflow.View, place: Place) -> list[dict[str, Any]]:
    now = desk.situation().kind
    return [
        {
            "name": callflow.KIND_NAMES[kind],
            "href": place.address(at=kind.value),
            "here": kind is place.at,
            "now": kind is now,
        }
        for kind in Kind
    ]


def _hint(desk: Desk, plan: Plan, view: callflow.View, place: Place) -> dict[str, str]:
    """When the situation is, and where that is changed."""
    week, lunch = week_words(plan.week), lunch_words(plan.week)
    if place.at is Kind.OPEN:
        words = f"{week}." if week else "You never open: nobody hears this."
    elif place.at is Kind.LUNCH:
        words = f"{lunch}." if lunch else "No lunch break is set: nobody hears this."
    elif place.at is Kind.CLOSED:
        words = f"All the time but {week}." if week else "Always."
    elif place.at is Kind.HOLIDAY:
        day = local(view.at, desk.practice.zone)
        words = (
            f"Next: {view.situation.name}, {day:%a} {day.day} {day:%b}." if view.situation.name else "None."
        )
    else:
        words = "Snow, sickness, no power: whenever you close out of the ordinary."
    node = {Kind.HOLIDAY: "holidays", Kind.CLOSURE: "closures"}.get(place.at, "hours")
    return {"words": words, "node": node, "href": place.address(node=node), "name": callflow.PANELS[node]}


def _report(report: Report, view: callflow.View, place: Place) -> dict[str, Any]:
    problems = []
    for one in report.problems:
        node, language = callflow.panel_of_problem(one.where)
        clip = one.where.rpartition("/")[2] if language else ""
        saying = callflow_clips.step_saying(view, clip) if clip else ""
        href = place.address(
            node=saying or node, lang=language or place.language, clip=clip if saying else ""
        )
        problems.append({"what": one.what, "mend": one.mend, "href": href})
    return {
        "problems": problems,
        "ways": report.ways,
        "longest": seconds_words(report.longest_s),
        "shortest": seconds_words(report.shortest_tone_s),
    }


def _facts(desk: Desk) -> dict[str, Any]:
    """Who hears what since when; what the phone has."""
    zone, phone = desk.practice.zone, desk.on_phone
    return {
        "live": desk.live.number,
        "since": clock_time(desk.live.made_at, zone, desk.now),
        "by": lines_by(desk.live),
        "phone": phone.version,
        "phone_age": seconds_words(phone.age_s),
        "behind": bool(phone.version) and phone.version != desk.live.number,
        "draft_at": clock_time(desk.draft.changed_at, zone, desk.now),
    }


def lines_by(version: Any) -> str:
    """Who made a version."""
    return version.made_by.name if version.made_by_id else "Nightbell"


def _closed_now(desk: Desk) -> dict[str, Any] | None:
    """The closure in force, for the line above everything else."""
    found = next((one for one in lines.closures(desk.practice.id, desk.now) if one.in_force), None)
    if found is None:
        return None
    zone = desk.practice.zone
    until = f"until {clock_time(found.ends_at, zone, desk.now)}" if found.ends_at else "until you open again"
    return {"since": clock_time(found.starts_at, zone, desk.now), "by": found.made_by, "until": until}
