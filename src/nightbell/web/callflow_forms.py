"""From what was typed into a panel to a plan. Each reader changes its own part and nothing else.

Errors are told at their fields, in words; the page shows what was typed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from nightbell.flow.clips import LANGUAGES
from nightbell.flow.hours import Day, Kind
from nightbell.flow.plan import (
    ASKS,
    HOLIDAYS,
    LINES,
    MAX_SECONDS,
    MENU_KEYS,
    MOST_CHOICES,
    PROMISES,
    STEMS,
    URGENCIES,
    MenuKey,
    OwnDay,
    Plan,
    greeting_of,
)
from nightbell.web.callflow_hours import DAYS
from nightbell.web.format import read_clock

MOST_OWN_DAYS = 40


@dataclass(frozen=True, slots=True)
class Typed:
    """What came with a form. What is missing is ''."""

    fields: Mapping[str, Sequence[str]]

    def get(self, name: str) -> str:
        return next(reversed(self.fields.get(name) or [""]))

    def getlist(self, name: str) -> Sequence[str]:
        return self.fields.get(name, ())


class FormTrouble(Exception):
    """What cannot be used. errors: field name to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("a form with trouble")
        self.errors = dict(errors)


def _one(condition: bool, field: str, sentence: str) -> None:
    if not condition:
        raise FormTrouble({field: sentence})


# Hours and days off.


def hours(typed: Typed, plan: Plan) -> Plan:
    """Seven days; 'copy' gives Tuesday to Friday what Monday has."""
    errors: dict[str, str] = {}
    week = [_day(typed, at, errors) for at in range(7)]
    if typed.get("copy"):
        errors = {name: words for name, words in errors.items() if name.endswith(("-0", "-5", "-6"))}
        week[1:5] = [week[0]] * 4
    if errors:
        raise FormTrouble(errors)
    return replace(plan, week=tuple(week))


def _day(typed: Typed, at: int, errors: dict[str, str]) -> Day:
    opens, closes = _clock(typed, f"opens-{at}", errors), _clock(typed, f"closes-{at}", errors)
    lunch = _clock(typed, f"lunch-{at}", errors), _clock(typed, f"lunch-end-{at}", errors)
    name = DAYS[at]
    if (opens is None) != (closes is None):
        missing = "opens" if opens is None else "closes"
        errors.setdefault(
            f"{missing}-{at}", f"{name}: give both times, or neither for a day on which you are closed."
        )
    elif opens is not None and closes is not None and opens >= closes:
        errors[f"closes-{at}"] = f"{name}: it must close after it opens. For past midnight, close at 24:00."
    if (lunch[0] is None) != (lunch[1] is None):
        errors.setdefault(
            f"lunch-end-{at}" if lunch[1] is None else f"lunch-{at}", f"{name}: lunch needs both its times."
        )
    if lunch[0] is None or lunch[1] is None:
        return Day(opens, closes)
    if lunch[0] >= lunch[1]:
        errors[f"lunch-end-{at}"] = f"{name}: lunch must end after it starts."
    elif opens is None or closes is None or lunch[0] < opens or lunch[1] > closes:
        errors[f"lunch-{at}"] = f"{name}: lunch lies outside of the opening hours."
    return Day(opens, closes, (lunch[0], lunch[1]))


def _clock(typed: Typed, name: str, errors: dict[str, str]) -> int | None:
    text = typed.get(name).strip()
    if not text:
        return None
    minutes = read_clock(text)
    if minutes is None:
        errors[name] = f"{DAYS[int(name[-1])]}: “{text[:10]}” is no time. Write 08:30 or 8:30 am."
    return minutes


def holidays(
    typed: Typed,
    plan: Plan,
    choices: Sequence[str],
    states: Sequence[str],
    names_of: Callable[[str], Sequence[str]],
) -> Plan:
    """choices: names that were on the page; all of them ticked means all, also those of years to come. What is kept
    and was not on the page stays kept.

    names_of: the names of another state, which begins with the usual ones that it has.
    """
    state = typed.get("state")
    _one(not state or state in states, "state", "Choose the state from the list.")
    if state != plan.state:
        there = names_of(state)  # other names: what was ticked may mean nothing there
        return replace(plan, state=state, observed=tuple(name for name in HOLIDAYS if name in there))
    ticked = [name for name in typed.getlist("observed") if name in choices]
    unseen = [name for name in plan.observed or () if name not in choices]
    observed = None if len(ticked) == len(choices) else (*ticked, *unseen)
    return replace(plan, observed=observed)


def own_day(typed: Typed, plan: Plan) -> Plan:
    """Add a day off, or take one out with 'remove'."""
    gone = typed.get("remove")
    if gone:
        return replace(plan, own_days=tuple(one for one in plan.own_days if one.day.isoformat() != gone))
    name = typed.get("name").strip()
    try:
        day = date.fromisoformat(typed.get("day").strip())
    except ValueError:
        raise FormTrouble({"day": "Choose the day from the calendar, or write it as 2026-12-24."}) from None
    _one(0 < len(name) <= 60 and name.isprintable(), "name", "Give the day a short name, such as Staff day.")
    _one(
        len(plan.own_days) < MOST_OWN_DAYS, "day", f"There are {MOST_OWN_DAYS} days already. Remove old ones."
    )
    days = {one.day: one for one in plan.own_days} | {day: OwnDay(day, name)}
    return replace(plan, own_days=tuple(days[one] for one in sorted(days)))


# What is said.


def language(typed: Typed, plan: Plan) -> Plan:
    chosen = [one for one in LANGUAGES if one in typed.getlist("languages")]
    _one(bool(chosen), "languages", "A line speaks at least one language.")
    first = typed.get("first")
    if first in chosen:
        chosen = [first, *(one for one in chosen if one != first)]
    return replace(plan, languages=tuple(chosen))


def greeting(typed: Typed, plan: Plan) -> Plan:
    """Back to our words: the own ones of this situation are taken out, in every language."""
    own = greeting_of_text(typed.get("at"))
    clips = {name: content for name, content in plan.clips.items() if name.partition("/")[2] != own}
    return replace(plan, clips=clips)


def greeting_of_text(kind: str) -> str:
    """The own greeting's clip of a situation named in an address."""
    return greeting_of(Kind(kind)) if kind in set(Kind) else greeting_of(Kind.CLOSED)


def lines(typed: Typed, plan: Plan) -> Plan:
    return replace(plan, lines=tuple(one for one in LINES if one in typed.getlist("lines")))


def callback(typed: Typed, plan: Plan) -> Plan:
    return replace(plan, callback=typed.get("callback") == "yes")


def review(typed: Typed, plan: Plan) -> Plan:
    return replace(plan, review=typed.get("review") == "yes")


def _short(text: str) -> bool:
    """Whether it is a number that `int` reads at once."""
    return text.isascii() and text.isdigit() and len(text) <= 6


def message(typed: Typed, plan: Plan) -> Plan:
    low, high = MAX_SECONDS
    text = typed.get("max_seconds")
    _one(
        _short(text) and low <= int(text) <= high,
        "max_seconds",
        "Choose a length from the list.",
    )
    return replace(plan, max_seconds=int(text), for_other=typed.get("for_other") == "yes")


def promise(typed: Typed, plan: Plan) -> Plan:
    text = typed.get("promise")
    _one(
        _short(text) and int(text) in PROMISES,
        "promise",
        "Choose a time from the list.",
    )
    return replace(plan, promise=int(text))


def answer(typed: Typed, plan: Plan) -> Plan:
    digits = "".join(one for one in typed.get("second") if one not in " ()-.+/")
    if len(digits) == 11 and digits.startswith("1"):
        digits = digits[1:]
    _one(
        not digits or (digits.isascii() and digits.isdigit() and 7 <= len(digits) <= 15),
        "second",
        "Write a telephone number with its area code, or nothing.",
    )
    return replace(plan, second=digits)


# The menu.


def key(typed: Typed, plan: Plan, boxes: Sequence[str]) -> Plan:
    """Change one choice, 'old' being its key so far; with 'old' empty, add one."""
    old, new = typed.get("old"), typed.get("key")
    taken = {k.key for k in plan.keys} - {old}
    _one(len(new) == 1 and new in MENU_KEYS, "key", "Choose a key from 1 to 8.")
    _one(new not in taken, "key", f"Key {new} has a choice already. Take another, or move that one first.")
    made = _menu_key(typed, new, boxes)
    if not old:
        _one(len(plan.keys) < MOST_CHOICES, "key", f"More than {MOST_CHOICES} choices are not remembered.")
        return replace(plan, keys=(*plan.keys, made))
    _one(any(k.key == old for k in plan.keys), "key", "This choice is gone. Add it anew.")
    keys = tuple(made if k.key == old else k for k in plan.keys)
    return replace(plan, keys=keys, clips=_moved_clips(plan, old, new))


def _menu_key(typed: Typed, new: str, boxes: Sequence[str]) -> MenuKey:
    stem, does = typed.get("stem"), typed.get("does")
    if stem == "own":
        stem = f"own-key-{new}"
    _one(stem in STEMS or stem == f"own-key-{new}", "stem", "Choose what the menu says for this key.")
    _one(does in ("message", "status"), "does", "Choose what the key does.")
    if does == "status":
        return MenuKey(new, stem, does="status")
    box, urgency, asks = typed.get("mailbox"), typed.get("urgency"), typed.get("asks")
    _one(not box or box in boxes, "mailbox", "Choose a mailbox from the list.")
    _one(urgency in URGENCIES, "urgency", "Choose how urgent it is.")
    _one(asks in ASKS, "asks", "Choose how the message is taken.")
    return MenuKey(new, stem, mailbox=box, urgency=urgency, asks=asks)


def _moved_clips(plan: Plan, old: str, new: str) -> dict[str, str]:
    """Own words say the key's number neither way: they go along."""
    moved = {}
    for name, content in plan.clips.items():
        lang, _, clip = name.partition("/")
        if clip == f"own-key-{new}" and old != new:
            continue
        moved[f"{lang}/own-key-{new}" if clip == f"own-key-{old}" else name] = content
    return moved


def key_gone(typed: Typed, plan: Plan) -> Plan:
    gone = typed.get("old")
    clips = {n: c for n, c in plan.clips.items() if n.partition("/")[2] != f"own-key-{gone}"}
    return replace(plan, keys=tuple(k for k in plan.keys if k.key != gone), clips=clips)


def key_moved(typed: Typed, plan: Plan) -> Plan:
    """One place up or down in the order in which the menu says its choices."""
    keys = list(plan.keys)
    at = next((i for i, k in enumerate(keys) if k.key == typed.get("old")), -1)
    to = at + (1 if typed.get("way") == "down" else -1)
    if at >= 0 and 0 <= to < len(keys):
        keys[at], keys[to] = keys[to], keys[at]
    return replace(plan, keys=tuple(keys))


PARTS: dict[str, Callable[[Typed, Plan], Plan]] = {
    "hours": hours, "own-day": own_day, "language": language, "greeting": greeting, "lines": lines,
    "callback": callback, "review": review, "message": message, "promise": promise, "answer": answer,
    "key-gone": key_gone, "key-moved": key_moved,
}  # fmt: skip
