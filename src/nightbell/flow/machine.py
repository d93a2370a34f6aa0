"""What a caller goes through, as a pure state machine: event and time in, new state and actions out.

Nothing here touches a socket, a clock or a file. The edge (phone.call, or the simulator of the pages) feeds events,
carries out actions, and calls again with `Tick` at `State.wake`. Where the caller goes is the graph's matter
(`flow.graph`); this module holds keys, words and waiting, `flow.recording` what happens around the tone and the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nightbell.core.capture import EndReason
from nightbell.flow import recording
from nightbell.flow.graph import Ask, Digits, End, Hear, Query, Say, Take
from nightbell.flow.model import (
    KEPT_KEYS,
    KEYS,
    Action,
    Answered,
    AskStatus,
    CallConfig,
    Drain,
    Event,
    Failed,
    HungUp,
    Key,
    Note,
    Played,
    Replay,
    Saved,
    State,
    Synced,
    Taken,
    Tick,
    Told,
)
from nightbell.flow.turn import OVER, Phase, Turn

VISITS = 6  # of one question; then the flow goes on as if nobody had pressed a key
PHONE_NUMBER = 10


def step(config: CallConfig, state: State, event: Event, now: int) -> tuple[State, list[Action]]:
    """The next state and what to do. Any event is fine in any state; what has no meaning there is ignored."""
    turn = Turn(config, replace(state), now, enter)
    if state.phase != Phase.DONE:
        _HANDLERS[type(event)](turn, event)
    return turn.state, turn.actions


def enter(turn: Turn, name: str) -> None:
    """Go to a node and begin it."""
    node = turn.config.graph.nodes[name]
    turn.do(Note(f"stage:{name}"))
    turn.set(node=name, phase=Phase.WORDS, wake=None, asked_more=False)
    turn.count(name)
    if isinstance(node, Ask) and turn.counted(name) > VISITS:
        enter(turn, node.rounds[-1] if turn.state.recorded else turn.config.graph.record)
    elif isinstance(node, Take):
        recording.begin(turn, node)
    elif isinstance(node, End):
        recording.end(turn, turn.state.reason or EndReason.POUND)
    elif isinstance(node, Hear):
        turn.silence()
        turn.set(token=turn.state.token + 1, playing=turn.PLAYBACK)
        turn.do(Replay(turn.state.token))
    else:
        if isinstance(node, Digits):
            _begin_number(turn, node)
            return
        if isinstance(node, Say):
            _settle(turn, node.sets)
        turn.say(node.words)
        _act_on_keys_if_free(turn)


def _begin_number(turn: Turn, node: Digits) -> None:
    """Two tries, then the call goes on without."""
    tries = f"tries:{node.skip}"
    turn.count(tries)
    if turn.counted(tries) > 2:
        enter(turn, node.skip)
        return
    # A number keyed in early counts, and 0; another key alone is a nervous second press of the key before.
    kept = turn.state.kept
    turn.set(entered="", kept=kept if len(kept) > 1 or kept == "0" else "")
    turn.say(node.words)
    _act_on_keys_if_free(turn)


def _settle(turn: Turn, sets: tuple[tuple[str, str], ...]) -> None:
    """What a choice decides, in the state and as marks in the capture."""
    for what, value in sets:
        if what == "urgency" and value == "urgent":
            turn.set(urgent=True)
            turn.do(Note("urgent"))
            if turn.state.recorded:
                turn.count("marked")
        elif what == "urgency":
            turn.do(Note(f"urgency:{value}"))
        elif what == "language":
            turn.change_language()
        elif what == "callback":
            turn.do(Note(f"callback:{turn.state.entered if value == 'entered' else value}"))
        elif what == "joins":
            if turn.state.told is not None and turn.state.told.ref:
                turn.do(Note(f"joins:{turn.state.told.ref}"))
        else:
            turn.do(Note(f"{what}:{value}" if value else what))


def _answered(turn: Turn, event: Answered) -> None:
    if turn.state.phase != Phase.START:
        return
    turn.set(language=turn.config.languages[0], slow=turn.config.slow)
    if event.recordable:
        enter(turn, turn.config.graph.start)
    else:
        recording.trouble(turn)


# Keys.


def _key(turn: Turn, event: Key) -> None:
    state = turn.state
    if event.key not in KEYS or state.phase in OVER or state.phase == Phase.START:
        return
    node = turn.node
    if isinstance(node, Take):
        if event.key == "#" and state.phase != Phase.SYNCING:
            recording.part_over(turn, node, pound=True)
        return
    if len(state.kept) < KEPT_KEYS:
        turn.set(kept=state.kept + event.key)
    _act_on_keys_if_free(turn)


def _act_on_keys_if_free(turn: Turn) -> None:
    playing = turn.state.playing
    if turn.state.kept and (playing is None or playing.barge):
        _act_on_keys(turn)


def _act_on_keys(turn: Turn) -> bool:
    """Use the kept keys, oldest first. True when they led on to another node."""
    node = turn.node
    if isinstance(node, Say):
        return _pass_by(turn, node)
    if isinstance(node, Hear):
        turn.silence()
        enter(turn, node.then)
        return True
    while turn.state.kept and isinstance(node, Ask | Digits):
        key, rest = turn.state.kept[0], turn.state.kept[1:]
        turn.set(kept=rest)
        if _choose(turn, node, key) if isinstance(node, Ask) else _dial(turn, node, key):
            return True
    return False


def _pass_by(turn: Turn, node: Say) -> bool:
    """Words that ask nothing: 0 leads to the tone, unless a number is being keyed in early; the rest is kept."""
    kept = turn.state.kept
    if not kept.endswith("0") or any(key.isdigit() for key in kept[:-1]):
        return False
    turn.silence()
    turn.set(kept="")
    enter(turn, node.past or turn.config.graph.record)
    return True


def _choose(turn: Turn, node: Ask, key: str) -> bool:
    choice = node.keys.get(key)
    if choice is not None:
        turn.silence()
        _settle(turn, choice.sets)
        enter(turn, choice.to)
        return True
    if turn.state.recorded or key == "#":
        return False  # "#" early must not end what has not begun
    if key == "0":
        turn.silence()
        enter(turn, turn.config.graph.record)
        return True
    if not node.wrong:
        return False
    turn.silence()
    enter(turn, node.wrong[0])
    return True


def _dial(turn: Turn, node: Digits, key: str) -> bool:
    """One key of a telephone number. # ends it, * begins anew; 0 in its first place, where no number has one, leads to
    the tone as everywhere else."""
    turn.silence()
    if key == "0" and not (turn.state.entered or turn.state.recorded or turn.state.asked_more):
        enter(turn, turn.config.graph.record)
        return True
    turn.set(phase=Phase.DIGITS)
    if key == "*":
        turn.set(entered="")
    elif key.isdigit():
        turn.set(entered=turn.state.entered + key)
    entered = turn.state.entered
    # Whoever was asked to press any key may have done so before the number: one key more is waited for.
    if key == "#" or len(entered) == PHONE_NUMBER + entered.startswith("1") + turn.state.asked_more:
        _number_given(turn, node)
        return True
    turn.wait(turn.config.timing.digits)
    return False


def _number_given(turn: Turn, node: Digits) -> None:
    entered = turn.state.entered
    if turn.state.asked_more and len(entered) > PHONE_NUMBER and not is_number(entered.removeprefix("1")):
        entered = entered[1:]
    if len(entered) == PHONE_NUMBER + 1 and entered.startswith("1"):
        entered = entered[1:]
    turn.set(entered=entered)
    if is_number(entered) and node.note:
        turn.do(Note(f"{node.note}:{entered}"))
    enter(turn, node.then if is_number(entered) else node.short)


def is_number(digits: str) -> bool:
    """Whether ten digits can be a North American telephone number (NANP: area code and exchange begin with 2 to 9)."""
    return len(digits) == PHONE_NUMBER and digits.isdigit() and digits[0] > "1" and digits[3] > "1"


def callable_number(caller: str) -> str:
    """Ten digits that can be called back, or ''."""
    digits = "".join(key for key in caller if key in "0123456789")
    if len(digits) == 11 and digits.startswith("1"):
        digits = digits[1:]
    return digits if is_number(digits) else ""


# Words end, time passes.


def _played(turn: Turn, event: Played) -> None:
    state = turn.state
    if state.playing is None or event.token != state.token:
        return
    turn.set(playing=None)
    if state.phase == Phase.WORDS and turn.state.kept and _act_on_keys(turn):
        return
    if turn.play_next():
        return
    if state.phase == Phase.WORDS:
        _words_over(turn)
    else:
        recording.words_over(turn)


def _words_over(turn: Turn) -> None:
    node = turn.node
    if isinstance(node, Say | Hear):
        enter(turn, node.then)
    elif isinstance(node, Query):
        turn.set(phase=Phase.QUERY, wake=turn.now + turn.config.timing.answer)
        if turn.state.told is None:
            turn.do(AskStatus(turn.state.entered))
    elif isinstance(node, Ask) and node.then:
        enter(turn, node.then)
    elif isinstance(node, Ask):
        turn.set(phase=Phase.WAIT)
        turn.wait(turn.config.timing.quick if node.quick else turn.config.timing.key)
    elif isinstance(node, Digits):
        turn.set(phase=Phase.DIGITS)
        turn.wait(turn.config.timing.digits if turn.state.entered else turn.config.timing.first_digit)


def _tick(turn: Turn, event: Tick) -> None:
    state = turn.state
    if state.phase == Phase.RECORDING:
        recording.watch(turn, event.voice_at)
    elif state.wake is not None and turn.now >= state.wake:
        _time_out(turn)


def _time_out(turn: Turn) -> None:
    node = turn.node
    turn.set(wake=None)
    if isinstance(node, Ask):
        if not turn.state.recorded and not node.quick:
            turn.slow_down()
        at = min(turn.counted(turn.state.node) - 1, len(node.rounds) - 1)
        enter(turn, node.rounds[at] if node.rounds else turn.config.graph.record)
    elif isinstance(node, Digits):
        _no_more_digits(turn, node)
    elif isinstance(node, Query):
        enter(turn, node.none)


def _no_more_digits(turn: Turn, node: Digits) -> None:
    """Who types slowly is asked first; then what is there counts."""
    if not turn.state.asked_more:
        turn.slow_down()
        turn.set(asked_more=True)
        turn.say(("more-time",), keep_phase=True)
        turn.set(wake=turn.now + turn.config.timing.more_time)
    elif turn.state.entered:
        _number_given(turn, node)
    else:
        enter(turn, node.skip)


def _told(turn: Turn, event: Told) -> None:
    node = turn.node
    if not isinstance(node, Query) or turn.state.told is not None or turn.state.phase in OVER:
        return
    state = "heard_owned" if event.state == "owned" and event.at is not None else event.state
    if state == "waiting_open" and turn.config.open:
        state = "left"  # "when our office opens" is said only while it is closed
    turn.set(told=event)
    turn.do(Note(f"status:{event.state}"))
    enter(turn, node.answers.get(state, node.none))


def _taken(turn: Turn, event: Taken) -> None:
    turn.set(rings=event.rings)


_HANDLERS: dict[type, Callable[[Turn, Any], None]] = {
    Answered: _answered,
    Key: _key,
    Played: _played,
    Tick: _tick,
    HungUp: recording.hung_up,
    Synced: recording.synced,
    Saved: recording.saved,
    Taken: _taken,
    Failed: recording.failed,
    Told: _told,
    Drain: recording.drained,
}
