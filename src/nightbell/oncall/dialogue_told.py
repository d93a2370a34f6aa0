"""Calls that tell something and need no PIN: a notice or a code, the evening question, the test of the line. Pure."""

from __future__ import annotations

from dataclasses import replace

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
    Turn,
    bye,
    menu,
    say,
)

ASKED, NOTICE, READY, LINE = "asked", "notice", "ready", "line"
VERIFY_HELLO = "verify-hello"
PAUSE_S = 2.0  # before the same is said again
ASK_S = 6.0  # for key 1, before it is asked for once more
LINE_S = (
    150.0  # how long the test of the line speaks at most: greeting, menu, two time-outs, and then the message
)


def notice() -> State:
    return State(ASKED)


def ready() -> State:
    return State(READY)


def line() -> State:
    """left: how often the test's words are said once more: 'test-message' and its pause last five seconds."""
    return State(LINE, left=int(LINE_S // 5))


def on_notice(state: State, event: Event, facts: Facts) -> Turn:
    """Only after key 1: a machine that answers hears no code, and nothing that it takes counts as told. Then said twice; heard
    once to its end counts as told."""
    if state.place == ASKED:
        if isinstance(event, Answered):
            return say(state, "~800", *_who_calls(facts), wait=ASK_S)
        if isinstance(event, Key) and event.key == "1":
            return say(state.at(NOTICE), *facts.opening, wait=PAUSE_S)
        if isinstance(event, Silence | Key):
            if state.left:
                return say(replace(state, left=state.left - 1), *_who_calls(facts), wait=ASK_S)
            return bye(state, "goodbye")
    if state.place == NOTICE and isinstance(event, Silence | Key):
        heard = (Do("heard"),) if isinstance(event, Silence) or not state.left else ()
        if state.left:
            return say(replace(state, left=0), *facts.opening, wait=PAUSE_S, also=heard)
        return bye(state, "goodbye", also=heard)
    return _over(state, event)


def _who_calls(facts: Facts) -> tuple[str, ...]:
    """The first words: of which practice, or that it is about this number; no more."""
    proves = any(clip.split("/")[-1] == VERIFY_HELLO for clip in facts.opening)
    return (*((VERIFY_HELLO,) if proves else ("alert-hello", "practice-name")), "~300", "press-1")


def on_ready(state: State, event: Event, facts: Facts) -> Turn:
    """The evening question to whoever is on call: key 1 shows that they are there."""
    words = ("test-hello", "~300", *menu(("test-ready", "1")))
    if state.place == READY:
        if isinstance(event, Answered):
            return say(state, "~800", *words)
        if isinstance(event, Key) and event.key == "1":
            return bye(state, "test-ok", "~300", "goodbye", also=(Do("ready"),))
        if isinstance(event, Silence | Key):
            return say(replace(state, left=state.left - 1), *words) if state.left else bye(state, "goodbye")
    return _over(state, event)


def on_line(state: State, event: Event, facts: Facts) -> Turn:
    """Our own line is called, and spoken to until it has recorded enough of it."""
    if state.place == LINE:
        if isinstance(event, Answered):
            return say(state, "~1000", "test-message", wait=1.0)
        if isinstance(event, Silence):
            if state.left:
                return say(replace(state, left=state.left - 1), "test-message", wait=1.0)
            return Turn(state.at(BYE), (HangUp(),))
    return _over(state, event)


def _over(state: State, event: Event) -> Turn:
    return Turn(state, (HangUp(),)) if state.place == BYE and isinstance(event, Silence) else Turn(state)
