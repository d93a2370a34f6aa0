"""The staff line, by which somebody gives a shift away, and the call that offers it to a colleague. Pure.

There are no recordings of people's names: colleagues are told apart by their number in the order that the schedule gives
(who has backup duty first, then who has the fewest nights), and whoever is chosen is asked first, the others after.
"""

from __future__ import annotations

from dataclasses import replace

from nightbell.oncall import dialogue_pin as pin
from nightbell.oncall.turns import (
    BYE,
    Answered,
    Do,
    Event,
    Facts,
    HangUp,
    Key,
    Silence,
    State,
    Told,
    Turn,
    bye,
    menu,
    say,
)

STAFF, CHOICE, CHOOSING, CALLING = "staff", "choice", "choosing", "asking"
OFFER, OFFERED = "offer", "offered"
MOST = 5  # colleagues to choose from
NEWS = {"no": "swap-no", "silent": "swap-no-answer", "done": "swap-done", "failed": "swap-failed"}


def ring_in() -> State:
    """Somebody rings the staff line."""
    return State(STAFF)


def ring_out() -> State:
    """A colleague is rung."""
    return State(OFFER)


def on_staff(state: State, event: Event, facts: Facts) -> Turn:
    if state.place == STAFF and isinstance(event, Answered):
        return say(state.at(pin.PIN), "~600", "staff-hello", "~200", "pin-enter")
    if state.place == pin.PIN:
        return pin.on(state, event, lambda s: _choice(s.at(CHOICE)), _refused, _refused)
    if state.place == CHOICE:
        return _at_choice(state, event, facts)
    if state.place == CHOOSING:
        return _at_choosing(state, event, facts)
    if state.place == CALLING and isinstance(event, Told) and event.what == "swap":
        words = NEWS.get(event.answer, "")
        if event.answer in ("done", "failed"):
            return bye(state, words, "~200", "goodbye")
        return say(state, words, wait=None) if words else Turn(state)
    return Turn(state, (HangUp(),)) if state.place == BYE and isinstance(event, Silence) else Turn(state)


def _refused(state: State) -> Turn:
    return bye(state, "pin-locked-staff")


def _choice(state: State) -> Turn:
    return say(state, *menu(("staff-swap", "1")))


def _at_choice(state: State, event: Event, facts: Facts) -> Turn:
    if isinstance(event, Key) and event.key == "1":
        if not facts.choices:
            return bye(state, "sorry", "~200", "goodbye")
        return say(state.at(CHOOSING), *_names(facts))
    if isinstance(event, Key | Silence):
        return _choice(replace(state, left=state.left - 1)) if state.left else bye(state, "goodbye")
    return Turn(state)


def _names(facts: Facts) -> tuple[str, ...]:
    clips: list[str] = ["swap-choose"]
    for number in range(1, min(facts.choices, MOST) + 1):
        clips += ["~300", "swap-name", f"digit-{number}", f"press-{number}"]
    return tuple(clips)


def _at_choosing(state: State, event: Event, facts: Facts) -> Turn:
    if isinstance(event, Told) and event.what == "ask":
        if event.answer == "ok":
            return say(state.at(CALLING), "swap-calling", wait=None)
        return bye(state, "sorry", "~200", "goodbye")
    if isinstance(event, Key) and event.key.isdigit() and 1 <= int(event.key) <= min(facts.choices, MOST):
        return Turn(state, (Do("ask", event.key),))
    if isinstance(event, Key | Silence):
        return (
            say(replace(state, left=state.left - 1), *_names(facts)) if state.left else bye(state, "goodbye")
        )
    return Turn(state)


def on_offer(state: State, event: Event, facts: Facts) -> Turn:
    if state.place == OFFER:
        return _at_offer(state, event, facts)
    if state.place == pin.PIN:
        return pin.on(state, event, lambda s: say(s.at(OFFERED), *_offer(facts)), _refused, _refused)
    if state.place == OFFERED:
        return _at_offered(state, event, facts)
    return Turn(state, (HangUp(),)) if state.place == BYE and isinstance(event, Silence) else Turn(state)


def _at_offer(state: State, event: Event, facts: Facts) -> Turn:
    words = (*facts.opening, "~200", "alert-human")
    if isinstance(event, Answered):
        return say(state, "~800", *words)
    if isinstance(event, Key) and event.key == "1":
        return pin.ask(state)
    if isinstance(event, Key | Silence):
        return say(replace(state, left=state.left - 1), *words) if state.left else bye(state, "goodbye")
    return Turn(state)


def _offer(facts: Facts) -> tuple[str, ...]:
    keys = menu(("swap-accept", "1"), ("swap-decline", "2"))
    return ("swap-offer", "~200", *facts.shift, "~300", *keys)


def _at_offered(state: State, event: Event, facts: Facts) -> Turn:
    if isinstance(event, Told) and event.what == "answer":
        if event.answer == "taken":
            return bye(state, "swap-yours-now" if facts.running else "swap-yours")
        return bye(state, "thank-you" if event.answer == "declined" else "taken-other")
    if isinstance(event, Key) and event.key in "12":
        return Turn(state, (Do("answer", "yes" if event.key == "1" else "no"),))
    if isinstance(event, Key | Silence):
        return (
            say(replace(state, left=state.left - 1), *_offer(facts)) if state.left else bye(state, "goodbye")
        )
    return Turn(state)
