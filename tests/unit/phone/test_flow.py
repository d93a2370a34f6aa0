"""The call flow: what a caller hears and what becomes of the message, event by event."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.core.capture import EndReason
from nightbell.phone import voice as prompts
from nightbell.phone.flow import step
from nightbell.phone.flow_model import (
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
    Save,
    Saved,
    Stage,
    State,
    StopPlay,
    Tick,
)

LINE = prompts.Line(practice_number="5552014567")


def flow_of(line: prompts.Line = LINE) -> FlowConfig:
    return FlowConfig(prompts.scripts(line), line.languages, line.on_call)


class Caller:
    """Drives the machine the way the edge does, with a clock of its own."""

    def __init__(self, flow: FlowConfig | None = None) -> None:
        self.flow = flow or flow_of()
        self.state, self.now = State(), 0
        self.actions: list[Action] = []
        self.heard: list[str] = []
        self.voice_at: int | None = None

    def send(self, event: Event, after: int = 0) -> list[Action]:
        self.now += after
        before, copy = self.state, replace(self.state)
        self.state, actions = step(self.flow, before, event, self.now)
        assert before == copy, "step must not touch the state that it was given"
        self.actions += actions
        for action in actions:
            if isinstance(action, Play):
                self.heard += [clip for clip in action.run.clips if not clip.startswith("~")]
        return actions

    def listen(self, until: Stage) -> Caller:
        """Let words end and time pass until the stage."""
        for _ in range(60):
            if self.state.stage is until:
                return self
            if self.state.playing is not None:
                self.send(Played(self.state.token), 1000)
            elif self.state.wake is not None:
                self.now = max(self.now, self.state.wake)
                self.send(Tick(self.voice_at))
        raise AssertionError(f"never came to {until}, is at {self.state.stage}")

    def saves(self) -> list[EndReason]:
        return [action.reason for action in self.actions if isinstance(action, Save)]

    def notes(self) -> list[str]:
        return [action.name for action in self.actions if isinstance(action, Note)]


def answered(flow: FlowConfig | None = None) -> Caller:
    caller = Caller(flow)
    caller.send(Answered())
    return caller


def recording() -> Caller:
    caller = answered()
    caller.send(Key("1"))
    return caller.listen(Stage.RECORDING)


REACH: dict[Stage, Callable[[], Caller]] = {
    Stage.FIRST: answered,
    Stage.GREETING: lambda: answered().listen(Stage.GREETING),
    Stage.MENU: lambda: answered().listen(Stage.MENU),
    Stage.CHOOSING: lambda: answered().listen(Stage.CHOOSING),
    Stage.NOTICE: lambda: answered().listen(Stage.NOTICE),
    Stage.TONE: lambda: answered().listen(Stage.TONE),
    Stage.RECORDING: recording,
}


def test_it_says_911_before_anything_else() -> None:
    assert answered().heard == ["en/emergency-911"]


def test_it_takes_whoever_presses_nothing_to_the_tone_and_never_scolds() -> None:
    caller = answered().listen(Stage.RECORDING)
    assert caller.heard[-1] == "tone"
    assert "en/no-key-record" in caller.heard
    assert "en/no-key" not in caller.heard
    assert "urgent" not in caller.notes()


@pytest.mark.parametrize("stage", [Stage.GREETING, Stage.MENU, Stage.CHOOSING])
def test_it_marks_the_call_urgent_when_key_1_is_pressed(stage: Stage) -> None:
    caller = REACH[stage]()
    caller.send(Key("1"))
    assert caller.state.stage is Stage.NOTICE
    assert "urgent" in caller.notes()
    caller.listen(Stage.TONE)
    assert "en/emergency-911-signs" in caller.heard


def test_it_keeps_a_key_pressed_during_911_and_acts_on_it_at_the_end_of_the_clip() -> None:
    caller = answered()
    assert caller.send(Key("1")) == []
    assert caller.state.stage is Stage.FIRST
    caller.send(Played(caller.state.token))
    assert caller.state.stage is Stage.NOTICE
    assert caller.state.urgent


def test_it_cuts_other_words_short_at_a_key() -> None:
    caller = answered().listen(Stage.GREETING)
    actions = caller.send(Key("2"))
    assert caller.state.stage is Stage.NOTICE
    assert any(isinstance(action, Play) for action in actions)
    assert not caller.state.urgent


def test_it_says_the_menu_again_at_key_9() -> None:
    caller = answered().listen(Stage.CHOOSING)
    before = caller.heard.count("en/menu-urgent")
    caller.send(Key("9"))
    assert caller.state.stage is Stage.MENU
    assert caller.heard.count("en/menu-urgent") == before + 1


def test_it_goes_straight_to_the_tone_at_key_0() -> None:
    caller = answered().listen(Stage.GREETING)
    caller.send(Key("0"))
    assert caller.state.stage is Stage.TONE


def test_it_records_before_the_tone_has_ended() -> None:
    caller = answered().listen(Stage.GREETING)
    actions = caller.send(Key("0"))
    kinds = [type(action) for action in actions]
    assert kinds.index(Record) < kinds.index(Play)


def test_it_does_not_lose_the_instructions_to_a_second_nervous_key() -> None:
    caller = answered()
    for _ in range(3):
        caller.send(Key("1"))
    caller.listen(Stage.TONE)
    assert "en/record-full" in caller.heard


def test_it_says_saved_only_after_the_capture_is_on_disk() -> None:
    caller = recording()
    assert caller.send(Key("#")) == [Save(EndReason.POUND)]
    assert "en/saved" not in caller.heard
    caller.send(Saved())
    assert caller.heard.count("en/saved") == 1
    assert "en/within-30-min" in caller.heard


def test_it_promises_nothing_when_saving_fails() -> None:
    caller = recording()
    caller.send(Key("#"))
    caller.send(Failed())
    assert "en/saved" not in caller.heard
    assert "en/trouble" in caller.heard
    assert isinstance(caller.send(Played(caller.state.token))[-1], HangUp)


def test_it_tells_of_trouble_at_once_when_nothing_can_be_recorded() -> None:
    caller = Caller()
    caller.send(Answered(recordable=False))
    assert caller.heard == ["en/trouble"]
    assert caller.state.stage is Stage.TROUBLE


def test_it_tells_of_trouble_when_the_disk_fails_in_the_middle_of_a_message() -> None:
    caller = recording()
    caller.send(Failed())
    assert caller.heard[-1] == "en/trouble"


@pytest.mark.parametrize("stage", REACH)
def test_it_keeps_the_capture_when_the_caller_hangs_up(stage: Stage) -> None:
    caller = REACH[stage]()
    assert caller.state.stage is stage
    assert caller.send(HungUp())[-1] == Save(EndReason.HANG_UP)
    heard = len(caller.heard)
    assert caller.send(Saved()) == [HangUp()]
    assert caller.state.stage is Stage.DONE
    assert len(caller.heard) == heard


@pytest.mark.parametrize("stage", REACH)
def test_it_keeps_the_capture_when_the_process_is_drained(stage: Stage) -> None:
    caller = REACH[stage]()
    assert caller.send(Drain())[-1] == Save(EndReason.DRAIN)


@pytest.mark.parametrize("reached", [Stage.SAVING, Stage.CLOSING, Stage.TROUBLE])
def test_it_ends_once_when_the_caller_hangs_up_after_the_message(reached: Stage) -> None:
    caller = recording()
    caller.send(Failed() if reached is Stage.TROUBLE else Key("#"))
    if reached is Stage.CLOSING:
        caller.send(Saved())
    assert caller.state.stage is reached
    caller.send(HungUp())
    if reached is Stage.SAVING:
        caller.send(Saved())
    assert caller.state.stage is Stage.DONE
    assert [action for action in caller.actions if isinstance(action, HangUp)] == [HangUp()]
    assert len(caller.saves()) == (0 if reached is Stage.TROUBLE else 1)


def test_it_gives_a_silent_caller_time_and_then_says_that_it_knows_of_the_call() -> None:
    caller = recording()
    began = caller.state.started
    caller.now = began + 12_000
    caller.send(Tick())
    assert caller.heard[-1] == "en/take-time"
    caller.listen(Stage.SAVING)
    assert caller.now == began + 30_000
    assert caller.saves() == [EndReason.SILENCE]
    caller.send(Saved())
    assert caller.heard[-2:] == ["en/silence-end", "en/goodbye-care"]


def test_it_does_not_call_it_silence_while_the_caller_speaks() -> None:
    caller = recording()
    for _ in range(28):
        caller.now += 5_000
        caller.send(Tick(voice_at=caller.now - 100))
    assert caller.state.stage is Stage.RECORDING
    assert "en/take-time" not in caller.heard


def test_it_promises_a_call_when_somebody_spoke_and_then_fell_silent() -> None:
    caller = recording()
    caller.send(Tick(voice_at=caller.now))
    caller.voice_at = caller.now
    caller.listen(Stage.SAVING)
    caller.send(Saved())
    assert "en/saved" in caller.heard
    assert "en/silence-end" not in caller.heard


def test_it_warns_before_the_limit_and_ends_there() -> None:
    caller = recording()
    began = caller.state.started
    while caller.state.stage is Stage.RECORDING:
        caller.now += 500
        caller.send(Tick(voice_at=caller.now))
    assert caller.now - began == 180_000
    assert [clip for clip in caller.heard if "/time-" in clip] == ["en/time-30", "en/time-10"]
    caller.send(Saved())
    assert "en/time-up" in caller.heard


def test_it_ends_a_recording_at_pound_only() -> None:
    caller = recording()
    for key in "0123456789*ABCD":
        assert caller.send(Key(key)) == []
    assert caller.saves() == []


def test_it_bears_a_thousand_digits_anywhere() -> None:
    for reach in REACH.values():
        caller = reach()
        for number in range(1000):
            caller.send(Key("1234567890*"[number % 11]))
        assert len(caller.state.kept) <= 16
        caller.send(HungUp())
        assert len(caller.saves()) == 1


def test_it_never_promises_the_on_call_team_when_nobody_is_on_call() -> None:
    caller = answered(flow_of(prompts.Line(on_call=False)))
    caller.send(Key("1"))
    caller.listen(Stage.RECORDING)
    assert "urgent" in caller.notes()
    assert "en/emergency-911-signs" in caller.heard
    caller.send(Key("#"))
    caller.send(Saved())
    told = " ".join(caller.heard)
    assert not any(words in told for words in ("urgent-lead", "greeting-on-call", "within-", "promise-worse"))


def test_it_changes_the_language_at_key_2_of_the_first_words() -> None:
    line = prompts.Line(languages=("en", "es"))
    caller = answered(flow_of(line))
    caller.send(Key("2"))
    caller.send(Played(caller.state.token))
    assert caller.state.language == "es"
    caller.listen(Stage.MENU)
    assert "es/greeting-reached" in caller.heard


def test_it_ignores_a_late_end_of_words_that_were_cut() -> None:
    caller = answered().listen(Stage.GREETING)
    stale = caller.state.token
    caller.send(Key("2"))
    before = caller.state
    assert caller.send(Played(stale)) == []
    assert caller.state == before


def test_it_stops_speaking_when_the_message_ends() -> None:
    caller = recording()
    caller.now += 12_000
    caller.send(Tick())
    assert caller.state.playing is not None
    assert StopPlay() in caller.send(Key("#"))


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Key, st.sampled_from("0123456789*#AX")),
    st.builds(Played, st.integers(0, 40)),
    st.builds(Tick, st.none() | st.integers(0, 400_000)),
    st.sampled_from([HungUp(), Drain(), Failed(), Saved(), Answered()]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.integers(0, 20_000)), max_size=60), st.booleans())
def test_it_always_keeps_one_capture_and_hangs_up_once(
    events: Iterable[tuple[Event, int]], play: bool
) -> None:
    caller = answered()
    for event, after in events:
        if isinstance(event, Saved) and caller.state.stage is not Stage.SAVING:
            continue
        caller.send(event, after)
        if play and caller.state.playing is not None:
            caller.send(Played(caller.state.token), 100)
    failed = Stage.TROUBLE is caller.state.stage
    caller.send(HungUp())
    if caller.state.stage is Stage.SAVING:
        caller.send(Saved())
    assert caller.state.stage is Stage.DONE
    assert len([action for action in caller.actions if isinstance(action, HangUp)]) == 1
    assert len(caller.saves()) <= 1
    if not failed and Failed() not in [event for event, _ in events]:
        assert len(caller.saves()) == 1
    order = [type(action) for action in caller.actions]
    if Record in order and Save in order:
        assert order.index(Record) < order.index(Save)
