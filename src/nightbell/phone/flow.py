"""What a caller goes through, as a pure state machine: event and time in, new state and actions out.

Nothing here touches a socket, a clock or a file. The edge (phone.call) feeds events, carries out
actions, and calls again with `Tick` at `State.wake`. Times are milliseconds since the call was
answered. The order of a call and its words come from the prompt set's rules: 911 first, waiting is
a way through, "saved" only after the recording is on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from nightbell.core.capture import EndReason
from nightbell.phone.flow_model import (
    ASKS,
    KEPT_KEYS,
    KEYS,
    OVER,
    RECORDS,
    Action,
    Answered,
    Drain,
    Event,
    Failed,
    FlowConfig,
    HangUp,
    HungUp,
    Key,
    Note,
    Play,
    Played,
    Record,
    Run,
    Save,
    Saved,
    Stage,
    State,
    StopPlay,
    Tick,
)


@dataclass(slots=True)
class _Turn:
    """One step in the making."""

    flow: FlowConfig
    state: State
    now: int
    actions: list[Action] = field(default_factory=list)

    def set(self, **changes: object) -> None:
        # The state is this turn's own copy, not yet seen by anyone: a new one for each change cost 1 ms a call.
        for name, value in changes.items():
            object.__setattr__(self.state, name, value)

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def script(self, name: str) -> tuple[Run, ...]:
        return self.flow.scripts[self.state.language].get(name, ())

    def enter(self, stage: Stage, runs: tuple[Run, ...] = ()) -> None:
        """Go to a stage and start its words. The recorder runs before the tone does."""
        self.do(Note(f"stage:{stage.value}"))
        self.set(stage=stage, rest=runs, wake=None)
        if stage is Stage.TONE:
            self.set(started=self.now, kept="")
            self.do(Record())
        self.play_next()

    def play_next(self) -> None:
        """Play the next run, or go on when there is none."""
        if self.state.rest:
            run, *rest = self.state.rest
            self.set(playing=run, rest=tuple(rest), token=self.state.token + 1)
            self.do(Play(run, self.state.language, self.state.token))
        else:
            self.set(playing=None)
            _AFTER[self.state.stage](self)

    def silence(self) -> None:
        if self.state.playing is not None:
            self.set(playing=None, rest=())
            self.do(StopPlay())


def step(flow: FlowConfig, state: State, event: Event, now: int) -> tuple[State, list[Action]]:
    """The next state and what to do. Any event is fine in any state; what has no meaning there is ignored."""
    turn = _Turn(flow, replace(state), now)
    if state.stage is not Stage.DONE:
        _HANDLERS[type(event)](turn, event)
    return turn.state, turn.actions


def _answered(turn: _Turn, event: Answered) -> None:
    if turn.state.stage is not Stage.START:
        return
    turn.set(language=turn.flow.languages[0])
    if event.recordable:
        turn.enter(Stage.FIRST, turn.script("first-words"))
    else:
        _trouble(turn)


def _key(turn: _Turn, event: Key) -> None:
    state = turn.state
    if event.key not in KEYS or state.stage in OVER or state.stage is Stage.START:
        return
    if state.stage in RECORDS:
        if event.key == "#":
            _end(turn, EndReason.POUND)
        return
    if len(state.kept) < KEPT_KEYS:
        turn.set(kept=state.kept + event.key)
    if state.playing is None or state.playing.barge:
        _act_on_keys(turn)


def _act_on_keys(turn: _Turn) -> bool:
    """Use the kept keys, oldest first. True when one of them led on to another stage."""
    while turn.state.kept:
        key = turn.state.kept[0]
        turn.set(kept=turn.state.kept[1:])
        if _act(turn, key):
            return True
    return False


def _act(turn: _Turn, key: str) -> bool:
    stage = turn.state.stage
    if stage is Stage.NOTICE and key not in "0#":
        return False  # a nervous second "1" must not cost the instructions
    if key == "2" and stage is Stage.FIRST and len(turn.flow.languages) > 1:
        turn.silence()
        turn.set(language=turn.flow.languages[1])
        turn.enter(Stage.GREETING, (*turn.script("language-set"), *turn.script("greeting")))
        return True
    if key == "1":
        _choose(turn, urgent=True)
    elif key == "0" or stage is Stage.NOTICE:
        turn.enter(Stage.TONE, turn.script("tone"))
    elif key == "9" and stage in (Stage.MENU, Stage.CHOOSING):
        turn.enter(Stage.MENU, turn.script("menu"))
    elif key in "*#":
        return False  # neither is a choice; "#" early must not end what has not begun
    else:
        _choose(turn, urgent=False)
    return True


def _choose(turn: _Turn, urgent: bool) -> None:
    turn.set(urgent=urgent)
    if urgent:
        turn.do(Note("urgent"))
    turn.enter(Stage.NOTICE, turn.script("urgent" if urgent else "record"))


def _played(turn: _Turn, event: Played) -> None:
    state = turn.state
    if state.playing is None or event.token != state.token:
        return
    turn.set(playing=None)
    if state.stage in ASKS and _act_on_keys(turn):
        return
    turn.play_next()


def _tick(turn: _Turn, event: Tick) -> None:
    stage = turn.state.stage
    if stage is Stage.CHOOSING and turn.state.wake is not None and turn.now >= turn.state.wake:
        turn.enter(Stage.NOTICE, turn.script("no-key-record"))
    elif stage is Stage.RECORDING:
        _watch(turn, event.voice_at)


def _watch(turn: _Turn, voice_at: int | None) -> None:
    """Limit, warnings and silence while recording; sets the time of the next look."""
    flow, started = turn.flow, turn.state.started
    heard = voice_at is not None and voice_at >= started
    turn.set(heard=turn.state.heard or heard)
    quiet_since = voice_at if heard and voice_at is not None else started
    ends = started + flow.limit
    if turn.now >= ends:
        _end(turn, EndReason.LIMIT)
        return
    if turn.now - quiet_since >= flow.end_silence:
        _end(turn, EndReason.SILENCE)
        return
    if turn.now - quiet_since < flow.take_time:
        turn.set(took_time=False)
    elif not turn.state.took_time:
        turn.set(took_time=True)
        _say(turn, "take-time")
    if turn.state.warned < len(flow.warn) and turn.now >= ends - flow.warn[turn.state.warned]:
        turn.set(warned=turn.state.warned + 1)
        _say(turn, f"time-{flow.warn[turn.state.warned - 1] // 1000}")
    looks = [ends, quiet_since + flow.end_silence]
    if not turn.state.took_time:
        looks.append(quiet_since + flow.take_time)
    looks += [ends - before for before in flow.warn[turn.state.warned :]]
    turn.set(wake=max(min(looks), turn.now + 20))


def _say(turn: _Turn, name: str) -> None:
    """Say something while the recording goes on."""
    runs = turn.script(name)
    if runs:
        turn.set(rest=runs)
        turn.play_next()


def _hung_up(turn: _Turn, _event: HungUp) -> None:
    stage = turn.state.stage
    turn.set(gone=True, playing=None, rest=())
    if stage is Stage.SAVING:
        return  # Saved or Failed will come
    if stage in OVER:
        _done(turn)
    else:
        _end(turn, EndReason.HANG_UP)


def _drain(turn: _Turn, _event: Drain) -> None:
    if turn.state.stage in (Stage.CLOSING, Stage.TROUBLE):
        _done(turn)
    elif turn.state.stage is not Stage.SAVING:
        _end(turn, EndReason.DRAIN)


def _end(turn: _Turn, reason: EndReason) -> None:
    """Close the capture, whatever is in it. The caller hears the rest only when it is on disk."""
    turn.silence()
    turn.set(stage=Stage.SAVING, reason=reason, wake=None, kept="")
    turn.do(Save(reason))


def _saved(turn: _Turn, _event: Saved) -> None:
    state = turn.state
    if state.stage is not Stage.SAVING:
        return
    if state.gone:
        _done(turn)
        return
    turn.set(stage=Stage.CLOSING, rest=turn.script(_closing_words(turn.flow, state)))
    turn.play_next()


def _closing_words(flow: FlowConfig, state: State) -> str:
    if state.reason is EndReason.DRAIN:
        return "saved"
    if state.reason is EndReason.SILENCE and not state.heard:
        return "silence-end"
    promise = "promise-urgent" if state.urgent and flow.on_call else "promise-routine"
    return f"limit-{promise}" if state.reason is EndReason.LIMIT else promise


def _failed(turn: _Turn, _event: Failed) -> None:
    if turn.state.stage in (Stage.CLOSING, Stage.TROUBLE):
        return
    if turn.state.gone:
        _done(turn)
    else:
        _trouble(turn)


def _trouble(turn: _Turn) -> None:
    turn.silence()
    turn.set(stage=Stage.TROUBLE, rest=turn.script("trouble"), wake=None, kept="")
    turn.play_next()


def _done(turn: _Turn) -> None:
    turn.set(stage=Stage.DONE, playing=None, rest=(), wake=None)
    turn.do(HangUp())


def _after_first(turn: _Turn) -> None:
    turn.enter(Stage.GREETING, turn.script("greeting"))


def _after_greeting(turn: _Turn) -> None:
    turn.enter(Stage.MENU, turn.script("menu"))


def _after_menu(turn: _Turn) -> None:
    turn.set(stage=Stage.CHOOSING, wake=turn.now + turn.flow.wait_key)


def _after_notice(turn: _Turn) -> None:
    turn.enter(Stage.TONE, turn.script("tone"))


def _after_tone(turn: _Turn) -> None:
    turn.set(stage=Stage.RECORDING)
    _watch(turn, None)


def _nothing(_turn: _Turn) -> None:
    """Words said while recording lead nowhere."""


_AFTER: dict[Stage, Callable[[_Turn], None]] = {
    Stage.FIRST: _after_first,
    Stage.GREETING: _after_greeting,
    Stage.MENU: _after_menu,
    Stage.NOTICE: _after_notice,
    Stage.TONE: _after_tone,
    Stage.RECORDING: _nothing,
    Stage.CLOSING: _done,
    Stage.TROUBLE: _done,
}

_HANDLERS: dict[type, Callable[[_Turn, Any], None]] = {
    Answered: _answered,
    Key: _key,
    Played: _played,
    Tick: _tick,
    HungUp: _hung_up,
    Saved: _saved,
    Failed: _failed,
    Drain: _drain,
}
