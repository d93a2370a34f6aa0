"""The manager's numbers and the replay of another schedule: names of staff and spans, nothing of a patient's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from nightbell.oncall import numbers, what_if, what_if_rows
from nightbell.oncall.measures import NIGHT_FROM, NIGHT_UNTIL, ShiftNumbers
from nightbell.oncall.numbers import Times
from nightbell.oncall.what_if import LAST_ADDRESS, Change, Person, Replay
from nightbell.people.access import Actor, demand
from nightbell.people.roles import Act
from nightbell.web.charts import bars, rows
from nightbell.web.doors import actor_of, allows, ulid_or_nothing
from nightbell.web.format import day_name, local
from nightbell.web.format import wait_words as words

RANGES = (7, 30, 90)
USUAL = 30
MOST_SHIFTS = 60  # on the page: a year has more than anybody reads
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_URGENCY = {"urgent": "Urgent", "review": "Review", "routine": "Routine"}


@require_GET
@allows(Act.NUMBERS)
def shown(request: HttpRequest) -> HttpResponse:
    """`/numbers/?from=2026-11-01&to=2026-11-30`."""
    actor = actor_of(request)
    first, last, trouble = _days(request, actor)
    found = numbers.gather(actor, first, last)
    people = what_if_rows.names(actor.user.practice)
    page = {
        "here": "numbers",
        "first": first, "last": last, "trouble": trouble,
        "ranges": [(n, _today(actor) - timedelta(days=n - 1), _today(actor)) for n in RANGES],
        "head": _head(found.all),
        "messages": found.all.messages,
        "urgencies": [_times(_URGENCY[name], one) for name, one in found.by_urgency],
        "chart": rows([(_URGENCY[name], one.taken.p50, one.taken.p90) for name, one in found.by_urgency]),
        "hours": bars([one.messages for one in found.by_hour], [one.taken.p50 for one in found.by_hour]),
        "hour_rows": [_times(f"{hour:02d}:00", one) for hour, one in enumerate(found.by_hour) if one.messages],
        "people": [
            {"name": people.get(user, "Somebody who left"), "taken": taken.count, "t50": words(taken.p50),
             "t90": words(taken.p90), "reached": reached.count, "r50": words(reached.p50), "r90": words(reached.p90)}
            for user, taken, reached in found.by_person
        ],
        "nights": [
            {"name": people.get(one.user, "Somebody who left"), "nights": one.nights, "wakings": one.wakings,
             "worst": one.worst} for one in found.nights
        ],
        "mails": [(people.get(user, "Somebody who left"), count) for user, count in found.mails],
        **_shifts(found.shifts, people, actor),
        "night": (NIGHT_FROM, NIGHT_UNTIL),
        "zone": actor.user.practice.zone,
    }  # fmt: skip
    return render(request, "pages/numbers.html", page, status=422 if trouble else 200)


def _today(actor: Actor) -> date:
    return local(actor.now, actor.user.practice.zone).date()


def _days(request: HttpRequest, actor: Actor) -> tuple[date, date, str]:
    """The range that was asked for, or the usual one and what was wrong."""
    last = _today(actor)
    first = last - timedelta(days=USUAL - 1)
    asked = request.GET.get("from", ""), request.GET.get("to", "")
    if not any(asked):
        return first, last, ""
    try:
        start = date.fromisoformat(asked[0]) if asked[0] else first
        end = date.fromisoformat(asked[1]) if asked[1] else last
        if not 2000 <= start.year <= end.year < 2100 or not timedelta() <= end - start < numbers.LONGEST:
            raise ValueError("range")
        return start, end, ""
    except ValueError:
        return first, last, "A range has a first day, a last day that is not before it, and at most a year."


def _head(found: Times) -> list[dict[str, str]]:
    return [
        {"name": name, "p50": words(one.p50), "p90": words(one.p90), "count": str(one.count)}
        for name, one in (("Heard", found.heard), ("Taken", found.taken), ("Patient reached", found.reached))
    ]


def _times(name: str, found: Times) -> dict[str, Any]:
    return {"name": name, "messages": found.messages, "cells": [
        (words(one.p50), words(one.p90), one.count) for one in (found.heard, found.taken, found.reached)
    ]}  # fmt: skip


def _shifts(found: Sequence[ShiftNumbers], people: Mapping[str, str], actor: Actor) -> dict[str, Any]:
    """Shifts in which somebody was told of anything, newest first; how many there were in which nobody was."""
    zone = actor.user.practice.zone
    busy = [one for one in found if one.alerts]
    rows = []
    for one in busy[:MOST_SHIFTS]:
        rows.append({
            "name": people.get(one.user, "Somebody who left"), "when": _span_words(one, zone),
            "backup": one.turn is not None and one.turn.backup, "wakings": one.wakings, "urgent": one.urgent,
            "alerts": one.alerts, "taken": one.taken.count, "p50": words(one.taken.p50), "p90": words(one.taken.p90),
        })  # fmt: skip
    quiet = sum(one.turn is not None and not one.turn.backup and not one.alerts for one in found)
    return {"shifts": rows, "shifts_more": len(busy) - len(rows), "shifts_quiet": quiet}


def _span_words(one: ShiftNumbers, zone: str) -> str:
    """'Tue 24 Nov, 17:00 to Wed 08:00'."""
    if one.turn is None:
        return "By a plan that was changed since" if one.unsure else "Outside of their shifts"
    start, end = local(one.turn.starts_at, zone), local(one.turn.ends_at, zone)
    near = (end.date() - start.date()).days < 6
    until = f"{end:%H:%M}" if end.date() == start.date() else f"{end:%a %H:%M}" if near else ""
    return f"{day_name(start.date())}, {start:%H:%M} to {until or f'{day_name(end.date())}, {end:%H:%M}'}"


@require_GET
@allows(Act.NUMBERS)
def what_if_page(request: HttpRequest) -> HttpResponse:
    """`/numbers/what-if?days=30&a=…&b=…&day=1&wait=120`: nothing is changed by it."""
    actor = actor_of(request)
    demand(actor, Act.NUMBERS)
    practice = actor.user.practice
    people = what_if_rows.choices(practice)
    schedules, policies = what_if_rows.plans(practice)
    chosen = _chosen(request, {pk for pk, _ in people}, {s.id for s in schedules}, {p.id for p in policies})
    change = Change(
        chosen["a"], chosen["b"], frozenset(int(day) for day in chosen["day"]), tuple(chosen["waits"])
    )
    found = what_if_rows.compare(actor, chosen["schedule"], chosen["policy"], chosen["days"], change)
    steps = found.policy.steps
    waits = what_if.with_waits(found.policy, change.waits_s).steps
    page = {
        "here": "numbers", "chosen": chosen, "people": people, "schedules": schedules, "policies": policies,
        "weekdays": [(str(n), name, str(n) in chosen["day"]) for n, name in enumerate(WEEKDAYS)],
        "steps": [
            {"n": n + 1, "who": what_if_rows.step_words(step, found.people, found.groups), "wait": waits[n].wait_s,
             "was": step.wait_s} for n, step in enumerate(steps)
        ],
        "moved": bool(change.instead_of and change.by and change.weekdays) or bool(change.waits_s),
        "rows": _people(found.now, found.then, found.people), "head": _compared(found.now, found.then),
        "messages": found.now.messages, "nobody": (found.now.nobody, found.then.nobody),
        "measured": found.measured, "cut": found.cut, "most": what_if_rows.MOST,
        "since": day_name(_today(actor) - timedelta(days=chosen["days"])), "days": what_if_rows.DAYS,
        "night": (NIGHT_FROM, NIGHT_UNTIL),
    }  # fmt: skip
    return render(request, "pages/what_if.html", page)


def _chosen(
    request: HttpRequest, people: set[str], schedules: set[str], policies: set[str]
) -> dict[str, Any]:
    """What was asked for; what does not fit is as if it had not been."""
    get = request.GET

    def one(name: str, known: set[str]) -> str:
        value = ulid_or_nothing(get.get(name, ""))
        return value if value in known else ""

    days = get.get("days", "")
    waits = [int(text) if re.fullmatch(r"[0-9]{1,4}", text) else 0 for text in get.getlist("wait")[:21]]
    good = all(1 <= wait <= 3600 for wait in waits)
    return {
        "days": int(days) if days in [str(n) for n in what_if_rows.DAYS] else what_if_rows.DAYS[0],
        "a": one("a", people), "b": one("b", people),
        "day": [day for day in get.getlist("day") if day in ("0", "1", "2", "3", "4", "5", "6")],
        "waits": waits if good else [], "trouble": not good,
        "schedule": one("schedule", schedules), "policy": one("policy", policies),
    }  # fmt: skip


def _compared(now: Replay, then: Replay) -> list[dict[str, str]]:
    return [
        {"name": "Half have somebody within", "now": words(now.p50), "then": words(then.p50)},
        {"name": "Nine in ten within", "now": words(now.p90), "then": words(then.p90)},
        {"name": "Come to the last resort", "now": _about(now.last_resort), "then": _about(then.last_resort)},
        {"name": "Told at night, all people", "now": _about(_nights(now)), "then": _about(_nights(then))},
    ]


def _nights(found: Replay) -> float:
    return sum(person.night for person in found.people.values())


def _people(now: Replay, then: Replay, names: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each person in either replay, those with the most at night first."""
    found = []
    for user in now.people.keys() | then.people.keys():
        before, after = now.people.get(user, Person()), then.people.get(user, Person())
        nameless = "The last resort's address" if user == LAST_ADDRESS else "Somebody who left"
        found.append({
            "name": names.get(user, nameless), "order": max(before.night, after.night),
            "pairs": [
                (str(before.first), str(after.first)), (_about(before.told), _about(after.told)),
                (_about(before.night), _about(after.night)),
            ],
        })  # fmt: skip
    return sorted(found, key=lambda one: (-one["order"], one["name"]))


def _about(number: float) -> str:
    """An expected number: '2.4', '0' for none."""
    return f"{number:.1f}".removesuffix(".0")
