"""Every call to or from a person of ours, as one pure step: (purpose, state, event, facts) → (state, actions).

The purposes are those of VoiceCall: 'alert' wakes somebody, 'callback' brings clinician and patient together at a page's
wish, 'patient' is the other side of that, 'notice' tells something that is no alert, 'staff' is somebody who rings in,
'swap' offers a shift, 'ready' is the evening question, 'line_test' rings our own number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from nightbell.oncall import dialogue_alert, dialogue_connect, dialogue_swap, dialogue_told
from nightbell.oncall.turns import ME, PATIENT, Ended, Event, Facts, Key, State, Turn


class Purpose(StrEnum):
    ALERT = "alert"
    CALLBACK = "callback"
    PATIENT = "patient"
    NOTICE = "notice"
    STAFF = "staff"
    SWAP = "swap"
    READY = "ready"
    LINE_TEST = "line_test"


_START: Mapping[Purpose, Callable[[], State]] = {
    Purpose.ALERT: dialogue_alert.start,
    Purpose.CALLBACK: dialogue_connect.start,
    Purpose.NOTICE: dialogue_told.notice,
    Purpose.STAFF: dialogue_swap.ring_in,
    Purpose.SWAP: dialogue_swap.ring_out,
    Purpose.READY: dialogue_told.ready,
    Purpose.LINE_TEST: dialogue_told.line,
}
_ON: Mapping[Purpose, Callable[[State, Event, Facts], Turn]] = {
    Purpose.ALERT: dialogue_alert.on,
    Purpose.CALLBACK: dialogue_connect.on,
    Purpose.NOTICE: dialogue_told.on_notice,
    Purpose.STAFF: dialogue_swap.on_staff,
    Purpose.SWAP: dialogue_swap.on_offer,
    Purpose.READY: dialogue_told.on_ready,
    Purpose.LINE_TEST: dialogue_told.on_line,
}


def start(purpose: Purpose) -> State:
    """Before anybody has answered."""
    return _START[purpose]()


def on(purpose: Purpose, state: State, event: Event, facts: Facts) -> Turn:
    """What follows. When the person's own telephone is down nothing does: whoever drives it tidies up. Keys of the patient
    are nobody's choice, but whether they are recorded."""
    if isinstance(event, Ended) and event.side == ME:
        return Turn(state)
    if isinstance(event, Key) and event.side == PATIENT and not dialogue_connect.asks(state):
        return Turn(state)
    return _ON[purpose](state, event, facts)
