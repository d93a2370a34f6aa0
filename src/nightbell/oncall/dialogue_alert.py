"""The call that wakes somebody. Pure.

Before the PIN it says the practice and how urgent, no more. Who presses 1 is a person, and only the right PIN counts as
told: a machine, a wrong number and a locked PIN are no answer, and the next step of the alert comes at once, unless another
way that wakes is out.
"""

from __future__ import annotations

from dataclasses import replace

from nightbell.oncall import dialogue_connect as connect
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

HELLO, MENU, LISTENING = "hello", "menu", "listening"
WRONG = "wrong"  # 9 was pressed once
MACHINE = "alert-machine"


def on(state: State, event: Event, facts: Facts) -> Turn:
    if connect.is_there(state):
        return connect.on(state, event, facts)
    if state.place == HELLO:
        return _hello(state, event, facts)
    if state.place == pin.PIN:
        return pin.on(state, event, lambda s: _menu(s.at(MENU), facts), _locked, _unproved)
    if state.place in (MENU, LISTENING):
        return _in_menu(state, event, facts)
    return Turn(state, (HangUp(),)) if state.place == BYE and isinstance(event, Silence) else Turn(state)


def _hello(state: State, event: Event, facts: Facts) -> Turn:
    if isinstance(event, Answered):
        return say(state, "~800", *_first_words(facts))
    if isinstance(event, Key) and event.key == "1":
        return pin.ask(state)
    if isinstance(event, Key) and event.key == "9":
        if state.then == WRONG:
            return bye(state, "alert-wrong-ok", also=(Do("disown"),))
        # Once is a slip of a finger, and would silence this telephone for good.
        return say(replace(state, then=WRONG), "alert-wrong", "press-9")
    if isinstance(event, Key | Silence):
        if not state.left:
            return _unproved(state)
        state = replace(state, then="")
        return say(replace(state, left=state.left - 1), *_first_words(facts))
    return Turn(state)


def _first_words(facts: Facts) -> tuple[str, ...]:
    return (*facts.opening, "~300", "alert-human", "~300", "alert-wrong", "press-9")


def _unproved(state: State) -> Turn:
    """A machine, or nobody who has a PIN."""
    return bye(state, MACHINE)


def _locked(state: State) -> Turn:
    return bye(state, "pin-locked")


def _menu(state: State, facts: Facts, *before: str) -> Turn:
    pairs = [] if state.owned else [("act-take", "1")]
    pairs += [("act-listen", "2")] if facts.listens else []
    pairs += [("act-pass", "3")] if facts.passes and not state.owned else []
    pairs += [("act-connect", "4")] if facts.connects else []
    if not pairs:
        return bye(state, *before, "goodbye")
    return say(state, *before, *(("~300",) if before else ()), *menu(*pairs))


def _in_menu(state: State, event: Event, facts: Facts) -> Turn:
    if isinstance(event, Key):
        return _chosen(state.at(MENU), event.key, facts)
    if isinstance(event, Silence):
        if state.place == LISTENING:
            return Turn(state, (Do("more"),))
        return _menu(replace(state, left=0), facts) if state.left else bye(state, "goodbye")
    return _told(state, event, facts) if isinstance(event, Told) else Turn(state)


def _chosen(state: State, key: str, facts: Facts) -> Turn:
    if key == "1" and not state.owned:
        return Turn(state, (Do("take"),))
    if key == "2":
        if facts.listens:
            return Turn(state.at(LISTENING), (Do("listen"),))
        return _menu(state, facts, "listen-not-here")
    if key == "3" and facts.passes and not state.owned:
        return Turn(state, (Do("pass"),))
    if key == "4" and facts.connects:
        # Who rings the patient has the message: it must not be anybody's beside them.
        return (
            Turn(state, (Do("connect"),))
            if state.owned
            else Turn(state.at(MENU, then="connect"), (Do("take"),))
        )
    return _menu(state, facts)


def _told(state: State, event: Told, facts: Facts) -> Turn:
    if event.what == "take":
        if event.answer != "mine":
            return bye(state, "taken-other")
        owner = state.at(MENU, owned=True)
        if state.then == "connect":
            return Turn(owner, (Do("connect"),))
        return _menu(owner, facts, "taken")
    if event.what == "pass":
        if event.answer == "nobody":  # they are the last ones: it must not be said that others are called
            return _menu(state.at(MENU), facts, "sorry")
        return bye(state, "pass-last" if event.answer == "last" else "passed")
    if event.what == "connect":
        return connect.call(state) if event.answer == "ok" else _menu(state.at(MENU), facts, "sorry")
    if event.what == "listen" and event.answer != "ok":
        return _menu(state.at(MENU), facts, "sorry")
    if event.what == "more" and event.answer != "ok":  # all was heard
        return _menu(state.at(MENU), facts)
    return Turn(state)


def start() -> State:
    return State(HELLO)
