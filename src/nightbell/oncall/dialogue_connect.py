"""A clinician and a patient are brought together, and what came of it is asked for. Pure.

The clinician is there first, proved by a key on a page's wish or by the PIN. Whoever picks up at the patient's hears no
name and no practice.

Where the practice has call backs recorded, both are told and asked before they are joined. Only the patient's key 1, after all
of the question was heard, is a yes, and only once it is on record; the clinician's key 2 is a no. Everything else: they are
joined, and nothing is recorded.
"""

from __future__ import annotations

from dataclasses import replace

from nightbell.flow.clips import milliseconds
from nightbell.oncall.turns import (
    BYE,
    ME,
    PATIENT,
    Answered,
    Do,
    Ended,
    Event,
    Facts,
    HangUp,
    Key,
    Parted,
    Say,
    Silence,
    State,
    Told,
    Turn,
    bye,
    menu,
    say,
)

ASKED, CALLING, GREETING, TOGETHER, AGAIN, OUTCOME = (
    "asked",
    "calling",
    "greeting",
    "together",
    "again",
    "outcome",
)
TOLD, CONSENT = "told", "consent"  # the patient hears that it may be recorded; they are asked
PLACES = (CALLING, TOLD, CONSENT, GREETING, TOGETHER, AGAIN, OUTCOME)
THERE = (TOLD, CONSENT, GREETING, TOGETHER)  # places in which the patient has answered
CONSENT_S = 4.0  # how long the patient has for a key, after the last word of the question
RANG = ("busy", "no_answer", "refused")  # what else it ended by rang nowhere: that is no try
MOST = 3  # times that one call rings the patient
KEYS = {"1": "reached", "2": "left_word", "3": "wrong_number", "4": "emergency", "5": "no_answer"}
SETTLED = ("reached", "emergency")
_WORDS = ("outcome-reached", "outcome-left", "outcome-wrong", "outcome-emergency", "outcome-none")
_QUESTION = ("outcome-ask", "~300", *menu(*((words, key) for words, key in zip(_WORDS, KEYS, strict=True))))
_PATIENT = ("~500", "connect-patient")
_MAY_BE_RECORDED = (*_PATIENT, "~300", "consent-told")
RECORDED, UNRECORDED = "notice-call", "consent-off"


def is_there(state: State) -> bool:
    return state.place in PLACES


def asks(state: State) -> bool:
    """Whether a key of the patient's counts: whether they are recorded, and for nothing else."""
    return state.place == CONSENT


def start() -> State:
    """A page asked for it: the clinician's telephone rings first."""
    return State(ASKED)


def call(state: State) -> Turn:
    """Ring the patient, now. The words first: what is said when that fails must be the last."""
    words = Say(("connect-wait",), None)
    return Turn(state.at(CALLING, tries=state.tries + 1, heard=False, agreed=False), (words, Do("ring")))


def on(state: State, event: Event, facts: Facts) -> Turn:
    if isinstance(event, Ended) and event.side == PATIENT and state.place in (CALLING, *THERE):
        # Who was there for a moment and is gone may have been spoken with, or not: the clinician says.
        if state.place != CALLING:
            return _outcome(state)
        return _again(state) if event.why in RANG else bye(state, "sorry", "~200", "outcome-open")
    if state.place == ASKED:
        return _asked(state, event)
    if state.place == CALLING:
        return _calling(state, event, facts)
    if state.place in (TOLD, CONSENT):
        return _consent(state, event)
    if state.place == GREETING:
        return _greeting(state, event)
    if state.place == TOGETHER and isinstance(event, Parted):
        return _outcome(state, HangUp(PATIENT))
    if state.place == AGAIN:
        return _at_again(state, event)
    if state.place == OUTCOME:
        return _at_outcome(state, event)
    return Turn(state, (HangUp(),)) if state.place == BYE and event == Silence(ME) else Turn(state)


def _asked(state: State, event: Event) -> Turn:
    words = ("staff-hello", "~200", *menu(("act-connect", "1")))
    if isinstance(event, Answered):
        return say(state, "~800", *words)
    if isinstance(event, Key) and event.key == "1":
        return call(replace(state, owned=True))
    if isinstance(event, Key | Silence):
        return say(replace(state, left=state.left - 1), *words) if state.left else bye(state, "goodbye")
    return Turn(state)


def _calling(state: State, event: Event, facts: Facts) -> Turn:
    if isinstance(event, Told) and event.what == "ring" and event.answer != "ok":
        return bye(state, "sorry", "~200", "outcome-open")
    if event == Answered(PATIENT) and facts.records:
        told = Say(_MAY_BE_RECORDED, 0.0, PATIENT, cut=False)
        return Turn(state.at(TOLD), (told, Say(("consent-asks",), None, cut=False)))
    if event == Answered(PATIENT):
        ahead = milliseconds("en/connect-patient") - milliseconds("en/connect-now")
        now = (f"~{max(ahead, 0) + 300}", "connect-now")
        return Turn(state.at(GREETING), (Say(_PATIENT, 0.0, PATIENT), Say(now, 0.0)))
    return Turn(state)


def _consent(state: State, event: Event) -> Turn:
    """A key of the patient's counts once they have heard what it is about."""
    if state.then == CONSENT:
        return _asked_both(state, event) if isinstance(event, Told) and event.what == CONSENT else Turn(state)
    if event == Silence(PATIENT) and state.place == TOLD:
        return Turn(state.at(CONSENT), (Say(("consent-key",), CONSENT_S, PATIENT),))
    if isinstance(event, Key) and event.side == PATIENT and state.place == CONSENT:
        return Turn(replace(state, then=CONSENT), (Do(CONSENT, "yes" if event.key == "1" else "no"),))
    if event == Silence(PATIENT) or event == Key("2", ME):
        return Turn(replace(state, then=CONSENT), (Do(CONSENT, "no"),))
    return Turn(state)


def _asked_both(state: State, event: Told) -> Turn:
    """Both hear how it is, and are joined."""
    agreed = event.answer == "yes"
    word = RECORDED if agreed else UNRECORDED
    words = (
        Say((word,), 0.0, PATIENT, instead=True),
        Say((word, "~200", "connect-now"), 0.0, instead=True),
    )
    return Turn(state.at(GREETING, agreed=agreed), words)


def _join(state: State) -> Do:
    return Do("join", "record" if state.agreed else "")


def _greeting(state: State, event: Event) -> Turn:
    """Both have heard what they hear before: the bridge closes."""
    if event == Silence(PATIENT):
        state = replace(state, heard=True)
        return Turn(state.at(TOGETHER, heard=True), (_join(state),)) if state.then else Turn(state)
    if event == Silence(ME) or (isinstance(event, Key) and event.side == ME):
        if state.heard:
            return Turn(state.at(TOGETHER), (_join(state),))
        return Turn(replace(state, then="join"))
    return Turn(state)


def _again(state: State) -> Turn:
    if state.tries < MOST:
        return say(state.at(AGAIN), "connect-no-answer", "~300", *menu(("connect-retry", "1")))
    return bye(state, "connect-no-answer", "~300", "outcome-open", also=(Do("outcome", "no_answer"),))


def _at_again(state: State, event: Event) -> Turn:
    if isinstance(event, Key) and event.key == "1":
        return call(state)
    if isinstance(event, Key) and state.left:
        return say(replace(state, left=state.left - 1), *menu(("connect-retry", "1")))
    if isinstance(event, Silence | Key):
        return bye(state, "outcome-open", also=(Do("outcome", "no_answer"),))
    return Turn(state)


def _outcome(state: State, *also: HangUp) -> Turn:
    return say(state.at(OUTCOME), "~300", *_QUESTION, also=also)


def _at_outcome(state: State, event: Event) -> Turn:
    if isinstance(event, Key) and event.key in KEYS:
        return Turn(state.at(OUTCOME), (Do("outcome", KEYS[event.key]),))
    if isinstance(event, Told) and event.what == "outcome":
        if event.answer == "closed":
            return bye(state, "outcome-saved", "~200", "goodbye")
        return bye(state, *(("outcome-saved", "~200") if event.answer == "open" else ()), "outcome-open")
    if isinstance(event, Silence | Key):
        return (
            say(replace(state, left=state.left - 1), *_QUESTION) if state.left else bye(state, "outcome-open")
        )
    return Turn(state)
