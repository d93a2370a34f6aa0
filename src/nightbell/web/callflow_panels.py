"""The panels in which a step is edited: what stands in their fields."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from nightbell.flow.plan import (
    ASKS,
    LINES,
    MENU_KEYS,
    MOST_CHOICES,
    PROMISES,
    STEMS,
    URGENCIES,
    MenuKey,
    Plan,
    greeting_of,
)
from nightbell.line import holidays
from nightbell.line import service as lines
from nightbell.web import callflow
from nightbell.web.callflow_data import Desk
from nightbell.web.callflow_hours import DAYS, day_words, minutes_text
from nightbell.web.callflow_recording import recording, spoken_words
from nightbell.web.callflow_words import LANGUAGE_NAMES, seconds_words
from nightbell.web.format import clock_time, local, phone
from nightbell.web.us_states import named

if TYPE_CHECKING:
    from nightbell.web.callflow_page import Place, Trouble

LENGTHS = (60, 120, 180, 300, 600)
KEY_NEW = "key-new"
_SPEAKS = (
    "answer", "emergency", "language", "greeting", "lines", "menu", "key", "callback", "message", "review", "promise",
)  # fmt: skip


def panel(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    """One panel: title, template, and what its fields hold. `typed` has what could not be kept."""
    node = "key" if place.node.startswith("key-") else place.node
    typed = trouble.typed if trouble and trouble.plan is None else None
    found = {
        "id": place.node,
        "template": f"parts/line_{node}.html",
        "title": callflow.PANELS.get(place.node, ""),
        "errors": trouble.errors if trouble else {},
        "typed": typed,
        "has_languages": node in _SPEAKS,
        "said": spoken_words(desk, view, place, trouble) if node in _SPEAKS else None,
    }  # fmt: skip
    step = next(
        (one for one in _all(callflow.picture(view)) if one.id == place.node and one.keycap != "0"), None
    )
    return found | {"step": step} | _PANELS[node](desk, view, place, trouble)


def _all(steps: tuple[callflow.Step, ...]) -> list[callflow.Step]:
    return [one for step in steps for one in (step, *step.branches)]


def _plain(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    return {"plan": view.plan}


def _answer(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    typed = trouble.typed.get("second") if trouble and trouble.part == "answer" else None
    return {"second": phone(view.plan.second) if typed is None else typed, "number": phone(view.line.number)}


# Hours, holidays, closings.


def _hours(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    typed = trouble.typed if trouble and trouble.plan is None else None
    rows = []
    for at, day in enumerate(view.plan.week):
        lunch = day.lunch or (None, None)
        kept = {"opens": day.opens, "closes": day.closes, "lunch": lunch[0], "lunch-end": lunch[1]}
        fields = [
            {
                "name": f"{name}-{at}",
                "value": typed.get(f"{name}-{at}", "") if typed else minutes_text(minutes),
                "error": trouble.errors.get(f"{name}-{at}", "") if trouble else "",
                "label": f"{DAYS[at]} {label}",
            }
            for (name, minutes), label in zip(
                kept.items(), ("opens", "closes", "lunch from", "lunch to"), strict=True
            )
        ]
        # A day without hours has no lunch to ask for, until there are some.
        rows.append({"name": DAYS[at], "shown": fields if typed or day.opens is not None else fields[:2]})
    return {"rows": rows, "week_zone": desk.practice.zone}


def coming_holidays(plan: Plan, today: date) -> list[tuple[date, str]]:
    """The public holidays of the next twelve months: next day of each name."""
    found: dict[str, date] = {}
    for year in (today.year, today.year + 1):
        for name, day in holidays.choices(plan.country, plan.state, year).items():
            if today <= day < today + timedelta(days=366):
                found.setdefault(name, day)
    return sorted((day, name) for name, day in found.items())


def _holidays(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    plan, today = view.plan, local(desk.now, desk.practice.zone).date()
    kept = plan.observed
    typed = trouble.typed if trouble and trouble.part == "own-day" and trouble.plan is None else {}
    return {
        "state": plan.state,
        "states": named(holidays.states(plan.country)),
        "coming": [
            {"name": name, "day": day_words(day), "kept": kept is None or name in kept}
            for day, name in coming_holidays(plan, today)
        ],
        "own_days": [
            {
                "day": one.day.isoformat(),
                "words": day_words(one.day),
                "name": one.name,
                "past": one.day < today,
            }
            for one in plan.own_days
        ],
        "missing_year": _missing_year(plan, today),
        "known_until": day_words(view.line.calendar.known_until),
        "day": typed.get("day", ""),
        "name": typed.get("name", ""),
        "today": today.isoformat(),
    }


def _missing_year(plan: Plan, today: date) -> int:
    """Next year, when it is near and has none of the practice's own days while this one has; 0 when all is well."""
    following = today.year + 1
    this_year = any(one.day.year == today.year for one in plan.own_days)
    if today.month < 10 or not this_year or any(one.day.year == following for one in plan.own_days):
        return 0
    return following


def _closures(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    zone = desk.practice.zone
    found = lines.closures(desk.practice.id, desk.now)
    rows = [
        {
            "id": one.id, "in_force": one.in_force, "visits": one.visits, "by": one.made_by,
            "from": clock_time(one.starts_at, zone, desk.now),
            "to": clock_time(one.ends_at, zone, desk.now) if one.ends_at else "",
        }
        for one in found
    ]  # fmt: skip
    typed = trouble.typed if trouble and trouble.part == "closure" else {}
    here = local(desk.now, zone)
    return {
        "rows": rows,
        "closed_at_once": any(one.at_once and one.in_force for one in found),
        "in_force": any(one.in_force for one in found),
        "f": {name: typed.get(name, "") for name in ("from_day", "from_time", "to_day", "to_time", "visits")},
        "today": here.date().isoformat(),
    }


# What is said.


def _language(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    return {
        "options": [
            {"id": one, "name": LANGUAGE_NAMES[one], "on": one in view.plan.languages,
             "first": view.plan.languages[0] == one}
            for one in ("en", "es")
        ]
    }  # fmt: skip


def _greeting(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    own = greeting_of(place.at)
    whole = all(view.plan.own(own, language) for language in view.plan.languages)
    some = any(view.plan.own(own, language) for language in view.plan.languages)
    missing = [LANGUAGE_NAMES[one] for one in view.plan.languages if not view.plan.own(own, one)]
    return {
        "kind_name": callflow.KIND_NAMES[place.at].lower(),
        "own": whole,
        "missing": missing if some else [],
        "missing_lang": next((one for one in view.plan.languages if not view.plan.own(own, one)), ""),
        "greeting": recording(desk, view, place, own, trouble),
        "practice_name": recording(desk, view, place, "practice-name", trouble),
    }


def _lines(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    return {
        "options": [
            {"id": one, "name": callflow.LINE_NAMES[one], "on": one in view.plan.lines,
             "words": view.book.text(f"{place.language}/{one}")}
            for one in LINES
        ]
    }  # fmt: skip


def _menu(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    keys = view.plan.keys
    return {
        "choices": [
            {
                "key": k.key, "name": callflow.key_name(k, view.book, place.language),
                "href": place.address(node=f"key-{k.key}"), "first": at == 0, "last": at == len(keys) - 1,
            }
            for at, k in enumerate(keys)
        ],
        "full": len(keys) >= MOST_CHOICES,
        "most": MOST_CHOICES,
        "add": place.address(node=KEY_NEW),
        "first_box": view.first_box,
    }  # fmt: skip


def _key(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    """One choice of the menu, or the form of a new one. What was typed but not kept stands there again."""
    plan = desk.draft.plan
    kept = next((k for k in plan.keys if place.node == f"key-{k.key}"), None)
    taken = {k.key for k in plan.keys if k is not kept}
    free = [one for one in MENU_KEYS if one not in taken]
    old = kept.key if kept else ""
    kept = kept or MenuKey(free[0] if free else "1", "menu-routine")
    own, name = kept.stem.startswith("own-"), callflow.key_name(kept, view.book, place.language)
    fields = {
        "key": kept.key, "stem": "own" if own else kept.stem, "does": kept.does, "mailbox": kept.mailbox,
        "urgency": kept.urgency, "asks": kept.asks,
    }  # fmt: skip
    if trouble and trouble.part == "key":
        fields = {field: trouble.typed.get(field, value) for field, value in fields.items()}
    choices = {
        "free": free,
        "stems": [
            (one, callflow.STEM_NAMES[one], view.book.text(f"{place.language}/{one}")) for one in STEMS
        ],
        "boxes": list(desk.boxes.items()),
        "urgencies": [(one, callflow.URGENCY_NAMES[one]) for one in reversed(URGENCIES)],
        "all_asks": [(one, callflow.ASK_NAMES[one]) for one in ASKS],
    }
    return fields | choices | {
        "old": old,
        "title": f"Key {old}: {name}" if old else "A new choice",
        "first_box": view.first_box,
        "language_key": old == "2" and len(plan.languages) > 1,
        "recording": recording(desk, view, place, f"own-key-{old}", trouble) if old and own else None,
    }  # fmt: skip


def _message(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    lengths = sorted({*LENGTHS, view.plan.max_seconds})
    return {"plan": view.plan, "lengths": [(one, seconds_words(one)) for one in lengths]}


def promise_words(minutes: int) -> str:
    """'30 minutes', '2 hours'."""
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours"


def _promise(desk: Desk, view: callflow.View, place: Place, trouble: Trouble | None) -> dict[str, Any]:
    said = view.line.promise
    words = view.book.text
    return {
        "plan": view.plan,
        "times": [(one, promise_words(one)) for one in PROMISES],
        "urgent_now": words(f"{place.language}/{said.urgent}") if said.urgent else "",
        "routine_now": words(f"{place.language}/{said.routine}") if said.routine else "",
        "number": phone(view.line.number),
        "team": view.line.team,
    }


_PANELS: dict[str, Callable[[Desk, callflow.View, Place, Trouble | None], dict[str, Any]]] = {
    "answer": _answer, "emergency": _plain, "language": _language, "greeting": _greeting, "lines": _lines,
    "menu": _menu, "key": _key, "callback": _plain, "message": _message, "review": _plain, "promise": _promise,
    "hours": _hours, "holidays": _holidays, "closures": _closures,
}  # fmt: skip
