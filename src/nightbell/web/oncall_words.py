"""On call in words: swaps, ways to a person, and what a policy does minute by minute. Pure but for what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightbell.core.clock import parse_iso
from nightbell.oncall import policies
from nightbell.oncall.models import Swap, SwapState
from nightbell.oncall.policies import Step, Who
from nightbell.people.access import Actor
from nightbell.people.roles import Act
from nightbell.web.format import clock_time, count_of, day_name, local
from nightbell.web.present import short_name

WAYS = {"push": "push", "sms": "text", "email": "email", "voice": "phone call", "other": "other service"}
WAY_ICONS = {
    "push": "bell-ring",
    "sms": "smartphone",
    "email": "inbox",
    "voice": "phone-call",
    "other": "branch",
}
WHO = {
    Who.ON_CALL: "Who is on call",
    Who.NEXT: "The second on call",
    Who.ALL: "Everybody who takes messages",
    Who.LAST_RESORT: "The last resort",
}


def listed(words: Sequence[str], last: str = "and") -> str:
    """'push, text and phone call'."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def ways_words(kinds: Sequence[str]) -> str:
    """'by push, text and phone call', '' for nothing."""
    found = list(dict.fromkeys(WAYS.get(kind, kind) for kind in kinds))
    return f"by {listed(found)}" if found else ""


@dataclass(frozen=True, slots=True)
class SwapRow:
    """A swap as a line: what is asked or came of it, the little beneath, and what this reader may do."""

    id: str
    head: str
    rest: str
    note: str
    state: str  # of SwapState
    may_withdraw: bool
    may_answer: bool


def swap_rows(found: Sequence[Swap], names: Mapping[str, str], actor: Actor) -> list[SwapRow]:
    """names: by user id."""
    return [_swap_row(one, names, actor) for one in found]


def _swap_row(swap: Swap, names: Mapping[str, str], actor: Actor) -> SwapRow:
    zone = actor.user.practice.zone
    giver = short_name(swap.user.name)
    asked = swap.asked[-1] if swap.asked else None
    start, end = local(swap.starts_at, zone), local(swap.ends_at, zone)
    until = f"{end:%H:%M}" if end.date() == start.date() else f"{day_name(end.date())}, {end:%H:%M}"
    when = f"{day_name(start.date())}, {start:%H:%M} to {until}"
    running = swap.state == SwapState.ASKED
    head, rest = f"{giver} gave up", f"for {when}: nobody took it"
    if running:
        whom = short_name(names.get(asked["user"], "")) if asked and not asked["answer"] else "a colleague"
        head, rest = f"{giver} asks {whom}", f"for {when}"
    elif swap.state == SwapState.ACCEPTED and swap.taken_by is not None:
        head, rest = f"{short_name(swap.taken_by.name)} took {when}", f"from {giver}"
    elif swap.state == SwapState.WITHDRAWN:
        head, rest = f"{giver} keeps {when}", "the asking was withdrawn"
    mine = swap.user_id == actor.user.id or actor.may(Act.EDIT_SCHEDULE)
    was_asked = any(one.get("user") == actor.user.id for one in swap.asked)
    return SwapRow(
        swap.id,
        head,
        rest,
        _swap_note(swap, names, actor),
        swap.state,
        running and mine,
        running and was_asked,
    )


def _swap_note(swap: Swap, names: Mapping[str, str], actor: Actor) -> str:
    """Who was asked and what they said, and who comes next."""
    zone, told = actor.user.practice.zone, []
    answers = {"": "asked", "yes": "accepted", "no": "declined", "silent": "no answer from"}
    for one in swap.asked[-3:]:
        name, at = short_name(names.get(one.get("user", ""), "?")), parse_iso(one["at"])
        said = answers.get(one.get("answer", ""), "asked")
        when = clock_time(at, zone, actor.now)
        told.append(f"{name} {said} {when}" if said in ("accepted", "declined") else f"{said} {name} {when}")
    if swap.state == SwapState.ASKED:
        following = [short_name(names.get(one, "?")) for one in swap.candidates[:2]]
        until = clock_time(swap.next_at, zone, actor.now)
        told.append(f"{following[0]} is asked at {until}" if following else f"nobody else after {until}")
    text = ". ".join(told)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


@dataclass(frozen=True, slots=True)
class Minute:
    """One line of what a policy does. at: '0:00' since the message came; how: 'by every way they have proved'."""

    at: str
    who: str
    how: str
    repeats: str


def who_words(step: Step, names: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Whom a step tells. names: of users and groups by id; now: who that is at this moment, by Who."""
    if step.who in policies.NAMED:
        return names.get(step.id, "somebody who left")
    there = now.get(step.who.value, "")
    return f"{WHO[step.who]} (now {there})" if there else WHO[step.who]


def minutes(steps: Sequence[Step], names: Mapping[str, str], now: Mapping[str, str]) -> list[Minute]:
    """What happens from the moment an urgent message is in, minute by minute, as it would be frozen now."""
    found, at = [], 0
    whole = policies.freeze(steps).steps
    for number, step in enumerate(whole):
        how = f"by {listed([WAYS[way] for way in step.how])}" if step.how else "by every way they have proved"
        last = number == len(whole) - 1
        repeats = f"again every {length(step.wait_s)}, until somebody takes it" if last else ""
        found.append(Minute(f"{at // 60}:{at % 60:02d}", who_words(step, names, now), how, repeats))
        at += step.wait_s
    return found


def sentence(steps: Sequence[Step], names: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The same as one sentence, for a list of policies."""
    parts = []
    for number, one in enumerate(minutes(steps, names, now)):
        when = "At once" if number == 0 else f"after {length_of(one.at)}"
        parts.append(
            f"{when} {one.who[:1].lower()}{one.who[1:]} {one.how}".replace(
                " by every way they have proved", ""
            )
        )
    last = policies.freeze(steps).steps[-1]
    return f"{'; '.join(parts)}; then again every {length(last.wait_s)} until somebody takes it."


def length_of(clock: str) -> str:
    whole, _, rest = clock.partition(":")
    return length(int(whole) * 60 + int(rest))


def length(seconds: int) -> str:
    """'2 minutes', '90 seconds'."""
    if seconds % 60:
        return count_of(seconds, "second") if seconds < 120 else f"{seconds // 60} min {seconds % 60} s"
    return count_of(seconds // 60, "minute")


def rule_words(mailbox: str, number: str, urgency: str, hours: str) -> str:
    """What a route serves: 'Urgent messages to Nurse line, while closed'."""
    what = {"urgent": "Urgent messages", "review": "Messages that need a look", "routine": "Routine messages"}
    words = what.get(urgency, "All messages")
    words += f" to {mailbox}" if mailbox else ""
    words += f" for {number}" if number else ""
    return words + {"open": ", while open", "closed": ", while closed"}.get(hours, "")
