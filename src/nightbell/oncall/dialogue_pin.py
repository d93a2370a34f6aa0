"""Somebody keys their PIN. Pure. The worker compares it and counts the tries (people.pins); here is only what was keyed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nightbell.oncall.turns import DIGIT_S, Do, Event, Key, Say, Silence, State, Told, Turn, say

PIN = "pin"
SHORTEST, LONGEST = 6, 8


def ask(state: State) -> Turn:
    return say(state.at(PIN), "pin-enter")


def on(
    state: State,
    event: Event,
    good: Callable[[State], Turn],
    locked: Callable[[State], Turn],
    none: Callable[[State], Turn],
) -> Turn:
    """good, locked, none: what follows on the right PIN, on too many wrong ones, and where there is none or nobody keys it."""
    if isinstance(event, Key):
        return _keyed(state, event.key, none)
    if isinstance(event, Silence):
        if len(state.digits) >= SHORTEST:
            return _check(state)
        return _anew(state, none)
    if isinstance(event, Told) and event.what == "pin":
        if event.answer == "ok":
            return good(state)
        if event.answer == "wrong":
            return say(state.at(PIN), "pin-wrong")
        return locked(state) if event.answer == "locked" else none(state)
    return Turn(state)


def _anew(state: State, none: Callable[[State], Turn]) -> Turn:
    return say(replace(state, left=state.left - 1, digits=""), "pin-enter") if state.left else none(state)


def _keyed(state: State, key: str, none: Callable[[State], Turn]) -> Turn:
    if state.then:
        return Turn(state)  # it is being compared
    if key == "*":
        # Costs what silence does, or a stranger who presses it now and then would hold the line.
        if not state.left:
            return none(state)
        return Turn(replace(state, left=state.left - 1, digits=""), (Say((), DIGIT_S),))
    if key == "#":
        return _check(state) if state.digits else _anew(state, none)
    if not key.isdigit():
        return Turn(state)
    state = replace(state, digits=state.digits + key)
    return _check(state) if len(state.digits) == LONGEST else Turn(state, (Say((), DIGIT_S),))


def _check(state: State) -> Turn:
    return Turn(replace(state, digits="", then="pin"), (Do("pin", state.digits),))
