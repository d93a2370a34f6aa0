"""What is different between two plans, in sentences for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import lru_cache
from itertools import groupby

from nightbell.flow import walk
from nightbell.flow.clips import manifest
from nightbell.flow.hours import WEEKDAYS, Calendar, Day, Kind
from nightbell.flow.plan import BadPlan, MenuKey, Plan, from_dict, greeting_of

LANGUAGES = {"en": "English", "es": "Spanish"}
_LINES = {"emergency-988": "the 988 crisis line", "emergency-poison": "the poison help line"}
_ASKS = {
    "free": "takes the message in one piece",
    "guided": "asks for name, birth date and reason one by one",
    "refill": "asks for name, birth date, medicine and pharmacy one by one",
    "short": "asks for a short message",
}
_URGENCIES = {
    "routine": "waits until you open",
    "review": "is looked at soon",
    "urgent": "alerts the team on call",
}
_KINDS = {
    Kind.OPEN: "open",
    Kind.LUNCH: "lunch",
    Kind.CLOSED: "closed",
    Kind.HOLIDAY: "holiday",
    Kind.CLOSURE: "closure",
}


def changes(old: Plan, new: Plan, mailboxes: Mapping[str, str] | None = None) -> list[str]:
    """One sentence a change; [] when callers hear the same. mailboxes: id to name."""
    return [
        *_languages(old, new),
        *_week(old, new),
        *_holidays(old, new),
        *_menu(old, new, mailboxes or {}),
        *_manners(old, new),
        *_clips(old, new),
    ]


def check_mailboxes(plan: Plan, mailboxes: Mapping[str, str]) -> None:
    """Raises BadPlan when a key leads to another practice's mailbox, or to none."""
    for k in plan.keys:
        if k.mailbox and k.mailbox not in mailboxes:
            raise BadPlan(f"key {k.key} leads to a mailbox that is not yours", "choose a mailbox")


def problems(plan: Plan, zone: str, own: Mapping[str, float], mailboxes: Mapping[str, str]) -> walk.Report:
    """What stands in the way of a plan. own: seconds by content hash; mailboxes: id to name.

    Closures are no part of it: one that overlaps another must not keep anybody from correcting the menu.
    """
    report = _walked(json.dumps(plan.to_dict(), sort_keys=True), zone, tuple(sorted(own.items())))
    lost = tuple(
        walk.Problem(f"key {k.key}", f"key {k.key} leads to a mailbox that is not yours", "choose a mailbox")
        for k in plan.keys
        if k.mailbox and k.mailbox not in mailboxes
    )
    known = {f"builtin:{clip}" for words in manifest().words.values() for clip in words}
    strange = tuple(
        walk.Problem(clip, "there is no such recording in the package", "record it, or use ours")
        for clip, content in plan.clips.items()
        if content.startswith("builtin:") and content not in known
    )
    return replace(report, problems=(*report.problems, *lost, *strange))


@lru_cache(64)
def _walked(text: str, zone: str, own: tuple[tuple[str, float], ...]) -> walk.Report:
    """The walk through a plan as it is stored: a third of a second, and asked for by each look at the same draft."""
    plan = from_dict(json.loads(text))
    return walk.check(plan, Calendar(zone, plan.week, {}, date.max), dict(own))


def clip_name(clip: str) -> str:
    """A recording as a person calls it: 'the greeting when closed', 'the words of key 3'."""
    for kind in Kind:
        if clip in (greeting_of(kind), f"greeting-{kind.value}"):
            return (
                f"the greeting when {_KINDS[kind]}" if kind is Kind.OPEN else f"the {_KINDS[kind]} greeting"
            )
    if clip.startswith("own-key-"):
        return f"the words of key {clip[8:]}"
    if clip == "practice-name":
        return "the practice's name"
    words = manifest().words["en"].get(clip, "")
    return f"“{words}”" if words else clip


def _languages(old: Plan, new: Plan) -> Iterator[str]:
    if old.languages != new.languages:
        first, *rest = (LANGUAGES.get(one, one) for one in new.languages)
        yield (
            f"Callers now hear {first} first, then {' and '.join(rest)}"
            if rest
            else f"Callers now hear {first} only"
        )


# Hours.


def _week(old: Plan, new: Plan) -> Iterator[str]:
    """Neighbouring days with the same change are told as one."""
    told = [tuple(_day(a, b)) for a, b in zip(old.week, new.week, strict=True)]
    for same, days in groupby(range(len(told)), key=lambda weekday: told[weekday]):
        weekdays = [WEEKDAYS[weekday] for weekday in days]
        named = weekdays[0] if len(weekdays) == 1 else f"{weekdays[0]} to {weekdays[-1]}"
        for one, many in same:
            yield f"{named} {one if len(weekdays) == 1 else many}"


def _day(old: Day, new: Day) -> Iterator[tuple[str, str]]:
    """What changed on a weekday, said of one day and of several."""
    if old == new:
        return
    if new.opens is None or new.closes is None:
        yield "is now closed all day", "are now closed all day"
        return
    opens, closes = shown(new.opens), shown(new.closes)
    if old.opens is None or old.closes is None:
        yield f"is now open {opens} to {closes}", f"are now open {opens} to {closes}"
    else:
        if old.opens != new.opens:
            yield f"now opens {opens}", f"now open {opens}"
        if old.closes != new.closes:
            yield f"now closes {closes}", f"now close {closes}"
    if old.lunch != new.lunch:
        lunch = (
            f"a lunch break {shown(new.lunch[0])} to {shown(new.lunch[1])}" if new.lunch else "no lunch break"
        )
        yield f"now has {lunch}", f"now have {lunch}"


def shown(minutes: int) -> str:
    """Minutes after midnight as a time: '8:30'."""
    return f"{minutes // 60}:{minutes % 60:02}"


def _holidays(old: Plan, new: Plan) -> Iterator[str]:
    if (old.country, old.state) != (new.country, new.state):
        yield f"Public holidays are now those of {' '.join((new.country, new.state)).strip()}"
    if old.observed != new.observed:
        yield from _observed(old.observed, new.observed)
    before, after = ({one.day: one.name for one in plan.own_days} for plan in (old, new))
    for day in sorted(before.keys() | after.keys()):
        if day not in after:
            yield f"{_date(day)} is no day off any more ({before[day]})"
        elif before.get(day) != after[day]:
            yield f"{_date(day)} is now a day off ({after[day]})"


def _observed(old: tuple[str, ...] | None, new: tuple[str, ...] | None) -> Iterator[str]:
    if new is None:
        yield "You now close on all public holidays"
    elif old is None:
        yield f"You now close on these public holidays only: {', '.join(new) or 'none'}"
    else:
        yield from (f"You now close on {name}" for name in new if name not in old)
        yield from (f"You no longer close on {name}" for name in old if name not in new)
        if set(old) == set(new):
            yield "The list of public holidays is in another order"


def _date(day: date) -> str:
    return f"{day:%B} {day.day}, {day.year}"


# The menu.


def _menu(old: Plan, new: Plan, mailboxes: Mapping[str, str]) -> Iterator[str]:
    before, after = ({k.key: k for k in plan.keys} for plan in (old, new))
    for key in sorted(before.keys() | after.keys()):
        if key not in after:
            yield f"Key {key} is gone"
        elif key not in before:
            yield f"Key {key} is new: it says {_words(after[key])} and {_does(after[key], mailboxes)}"
        else:
            yield from (f"Key {key} now {said}" for said in _key(before[key], after[key], mailboxes))
    stayed = [k.key for k in old.keys if k.key in after]
    if stayed != [k.key for k in new.keys if k.key in before]:
        yield f"The menu now goes {', '.join(k.key for k in new.keys)}"


def _key(old: MenuKey, new: MenuKey, mailboxes: Mapping[str, str]) -> Iterator[str]:
    if old.stem != new.stem:
        yield f"says {_words(new)}"
    if old.does != new.does:
        yield _does(new, mailboxes)
        return
    if old.mailbox != new.mailbox:
        yield _leads(new, mailboxes)
    if old.urgency != new.urgency:
        yield _URGENCIES[new.urgency]
    if old.asks != new.asks:
        yield _ASKS[new.asks]


def _does(key: MenuKey, mailboxes: Mapping[str, str]) -> str:
    if key.does == "status":
        return "tells how far a message is"
    return f"{_leads(key, mailboxes)}, {_URGENCIES[key.urgency]}, {_ASKS[key.asks]}"


def _leads(key: MenuKey, mailboxes: Mapping[str, str]) -> str:
    if not key.mailbox:
        return "leads to the mailbox of the number that was called"
    return f"leads to {mailboxes.get(key.mailbox, 'a mailbox that is not yours')}"


def _words(key: MenuKey) -> str:
    return "words of your own" if key.stem.startswith("own-") else clip_name(key.stem)


# The rest.


def _manners(old: Plan, new: Plan) -> Iterator[str]:
    for line in sorted(set(old.lines) ^ set(new.lines)):
        yield f"The greeting {'now names' if line in new.lines else 'no longer names'} {_LINES.get(line, line)}"
    if old.lines != new.lines and set(old.lines) == set(new.lines):
        yield "The lines after the greeting are in another order"
    switches = (
        (old.callback, new.callback, "asked for the number to call back"),
        (old.review, new.review, "offered to hear their message before it is sent"),
        (old.for_other, new.for_other, "asked for their own name when they call for somebody else"),
    )
    for before, after, what in switches:
        if before != after:
            yield f"Callers are {'now' if after else 'no longer'} {what}"
    if old.max_seconds != new.max_seconds:
        yield f"A message may now last {shown(new.max_seconds)} minutes"
    if old.promise != new.promise:
        minutes = new.promise
        within = f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
        yield f"Urgent callers are now promised a call within {within}"
    if old.second != new.second:
        yield (
            f"The number said in trouble is now {new.second}"
            if new.second
            else "No number is said in trouble any more"
        )


def _clips(old: Plan, new: Plan) -> Iterator[str]:
    for clip in sorted(old.clips.keys() | new.clips.keys()):
        before, after = old.clips.get(clip, ""), new.clips.get(clip, "")
        if before == after:
            continue
        language, _, name = clip.partition("/")
        named = f"for {clip_name(name)} in {LANGUAGES.get(language, language)}"
        if not after:
            yield f"Your own recording is no longer used {named}"
        else:
            yield f"{'Another' if before else 'Your own'} recording is now used {named}"
