"""Drives the machine as the phone does: words take their time, time-outs come, the disk and the worker answer."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from nightbell.core.capture import EndReason, Mark
from nightbell.flow.clips import milliseconds
from nightbell.flow.graph import Ask, Digits, Query, Take
from nightbell.flow.hours import Kind, Situation
from nightbell.flow.line import Line, always_closed
from nightbell.flow.machine import step
from nightbell.flow.model import (
    KEPT_KEYS,
    Action,
    Answered,
    AskStatus,
    CallConfig,
    Event,
    HangUp,
    Hold,
    HungUp,
    Key,
    Note,
    Play,
    Played,
    Promise,
    Record,
    Replay,
    Save,
    Saved,
    State,
    StopPlay,
    Sync,
    Synced,
    Tick,
    Told,
)
from nightbell.flow.plan import MenuKey, Plan
from nightbell.flow.turn import Phase
from nightbell.mailbox import marks, parts, rules

NIGHT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)  # Monday, ten in the evening in New York
ZONE, CALLER, PRACTICE = "America/New_York", "5035550134", "5552014567"
KNOWN = Promise(urgent="within-30-min", routine="promise-open-day")
MESSAGE = "01K000000000000000000MSG01"
PLAYBACK_MS, DISK_MS, WORKER_MS = 3_000, 30, 800
SAVED_CLIPS = frozenset(["saved", "busy-saved", "worse-noted", "marked-urgent", "promise-from"])

ALL_WAYS = Plan(
    keys=(
        MenuKey("1", "menu-urgent", urgency="urgent"),
        MenuKey("2", "menu-refill", asks="refill", mailbox="01K000000000000000000MAB0X"),
        MenuKey("3", "menu-status", does="status"),
        MenuKey("4", "menu-results", asks="guided", urgency="review"),
        MenuKey("5", "menu-billing", asks="short"),
        MenuKey("6", "menu-professional", asks="guided", urgency="urgent"),
    ),
    for_other=True,
    lines=("emergency-988",),
)


def situation_of(kind: Kind = Kind.CLOSED, at: datetime = NIGHT) -> Situation:
    reopens = None if kind is Kind.OPEN else at + timedelta(hours=10)
    return Situation(kind, reopens, reopens, "", kind is Kind.CLOSURE, True)


def config_of(
    plan: Plan | None = None,
    caller: str = CALLER,
    kind: Kind = Kind.CLOSED,
    language: str = "",
    slow: bool = False,
    busy: bool = False,
    team: bool = True,
) -> CallConfig:
    line = Line("p", ZONE, PRACTICE, 1, plan or Plan(), always_closed(ZONE), team)
    return line.config(caller, NIGHT, language, slow, busy, situation_of(kind))


class Caller:
    """One call, in milliseconds since the answer. The disk answers by itself while `disk` is set, and the worker
    while it has an `answer`; speaking: the caller's voice is heard."""

    def __init__(self, config: CallConfig | None = None) -> None:
        self.config = config or config_of()
        self.state, self.now = State(), 0
        self.actions: list[Action] = []
        self.heard: list[str] = []
        self.marks: list[Mark] = []
        self.disk, self.promise = True, KNOWN
        self.answer: Told | None = None
        self.speaking = False
        self.voice: list[tuple[int, int]] = []  # spoken while it was recorded
        self.tone_at: int | None = None
        self.saved = False
        self.stopped_at = 0
        self._voice_at: int | None = None
        self._recording = self._ended = self._hung_up = False
        self._playing: tuple[int, int] | None = None  # when it ends, token
        self._answers: list[tuple[int, Event]] = []

    # One event.

    def send(self, event: Event) -> list[Action]:
        before, kept = self.state, replace(self.state)
        self.saved = self.saved or (isinstance(event, Saved) and self.state.phase == Phase.SAVING)
        self.state, actions = step(self.config, before, event, self.now)
        assert before == kept, "step must not touch the state that it was given"
        for action in actions:
            self.actions.append(action)
            self._carry_out(action)
        self._hold_true()
        return actions

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Save):
            assert not self._ended, "a capture ends once"
            self._ended = True
        elif isinstance(action, HangUp):
            assert not self._hung_up, "a call ends once"
            self._hung_up = True
        if isinstance(action, Play):
            self._play(action.run.clips, action.token)
        elif isinstance(action, Replay):
            self._playing = (self.now + PLAYBACK_MS, action.token)
        elif isinstance(action, StopPlay | HangUp):
            self._playing = None
        elif isinstance(action, Note):
            self.marks.append(Mark(self.now, action.name))
        elif isinstance(action, Record):
            assert not self._ended, "recorded after the end"
            if self.tone_at is None:
                self.tone_at = self.now
                self.marks.append(Mark(self.now, "recording"))
            self._recording = True
        elif isinstance(action, Hold | Save):
            if self._recording:
                self.stopped_at = self.now
            self._recording = False
        self._ask(action)

    def _play(self, clips: tuple[str, ...], token: int) -> None:
        named = [clip for clip in clips if not clip.startswith("~")]
        self.heard += named
        lasts = sum(milliseconds(clip) for clip in clips)
        assert all(milliseconds(clip) for clip in named), f"a clip that is not there: {named}"
        if not self.saved:
            assert not SAVED_CLIPS & {clip.partition("/")[2] for clip in named}, "said before it was true"
        self._playing = (self.now + max(20, lasts), token)

    def _ask(self, action: Action) -> None:
        if isinstance(action, Save) and self.disk:
            self._answers.append((self.now + DISK_MS, Saved(self.promise)))
        elif isinstance(action, Sync) and self.disk:
            self._answers.append((self.now + DISK_MS, Synced()))
        elif isinstance(action, AskStatus) and self.answer is not None:
            self._answers.append((self.now + WORKER_MS, self.answer))

    def _hold_true(self) -> None:
        """What is so after each event, whatever it was."""
        state = self.state
        assert len(state.kept) <= KEPT_KEYS
        assert state.wake is None or state.wake >= self.now - 20, "a time-out in the past"
        assert self._hung_up == (state.phase == Phase.DONE)

    # Time.

    def wait(self, ms: int) -> Caller:
        """Let time pass, with all that comes in it."""
        ends = self.now + ms
        while self._next(ends):
            pass
        self._pass(ends)
        return self

    def _pass(self, to: int) -> None:
        if self.speaking and self._recording and to > self.now:
            self.voice.append((self.now, to))
        self.now = max(self.now, to)
        if self.speaking:
            self._voice_at = self.now

    def _next(self, latest: int) -> bool:
        """Go on to what comes next, if it comes by then."""
        due: list[tuple[int, int, Event]] = [(at, 0, event) for at, event in self._answers[:1]]
        if self._playing is not None:
            due.append((self._playing[0], 1, Played(self._playing[1])))
        if self.state.wake is not None:
            due.append((max(self.now, self.state.wake), 2, Tick()))
        if not due or self.state.phase == Phase.DONE:
            return False
        at, what, event = min(due, key=lambda one: one[:2])
        if at > latest:
            return False
        self._pass(at)
        if what == 0:
            self._answers.pop(0)
        elif what == 1:
            self._playing = None
        self.send(Tick(self._voice_at) if what == 2 else event)
        return True

    def to(self, node: str, phase: Phase | None = None) -> Caller:
        """Let words end and time pass until the caller is at a node (and there in a phase)."""
        while self.state.node != node or (phase is not None and self.state.phase != phase):
            assert self.now < 3_600_000, f"never came to {node}, is at {self.state.node}"
            assert self._next(self.now + 3_600_000), f"never came to {node}, ends at {self.state.node}"
        return self

    def over(self) -> Caller:
        """Do nothing more until the call is over."""
        while self.state.phase != Phase.DONE:
            assert self._next(self.now + 3_600_000), f"stuck at {self.state.node} in {self.state.phase}"
        return self

    # What a caller does.

    def answered(self) -> Caller:
        self.send(Answered())
        return self

    def press(self, keys: str, gap: int = 250) -> Caller:
        for key in keys:
            self.send(Key(key))
            self.wait(gap)
        return self

    def speak(self, ms: int) -> Caller:
        self.speaking = True
        self.wait(ms)
        self.speaking = False
        return self

    def hang_up(self) -> Caller:
        self.send(HungUp())
        return self

    # What came of it.

    @property
    def at(self) -> tuple[str, str]:
        return self.state.node, self.state.phase

    def said(self, clip: str) -> bool:
        """Whether a clip was heard, in whatever language."""
        return any(one.partition("/")[2] == clip for one in self.heard)

    def saves(self) -> list[EndReason]:
        return [action.reason for action in self.actions if isinstance(action, Save)]

    def notes(self, head: str = "") -> list[str]:
        """The marks, without 'recording', which the phone sets by itself."""
        names = [mark.name for mark in self.marks if mark.name != "recording"]
        return [name for name in names if name.startswith(head)]

    def kind(self) -> str:
        """What the mailbox makes of the capture: 'message', 'missed' or 'status'."""
        assert len(self.saves()) == 1
        length = 0 if self.tone_at is None else self.stopped_at - self.tone_at
        cut = parts.cut(self.marks, length * 8)
        voiced = sum(end - start for start, end in self.voice)
        own = cut.own if cut is not None else None
        return rules.kind_of(marks.read(self.marks), own, own or 0, voiced)

    def copy(self) -> Caller:
        """Another caller who has come just as far."""
        other = copy.copy(self)
        for name in ("actions", "heard", "marks", "voice", "_answers"):
            setattr(other, name, list(getattr(self, name)))
        return other


def at_tone(config: CallConfig | None = None) -> Caller:
    """A caller who has pressed 0 and may speak."""
    return Caller(config).answered().press("0").to("take", Phase.RECORDING)


def everywhere(config: CallConfig) -> dict[str, list[Caller]]:
    """Callers at every node that can be reached: as they come there, and after each thing that happens there."""
    found: dict[str, list[Caller]] = {}
    queue = deque([Caller(config).answered()])
    while queue:
        here = queue.popleft()
        if here.state.node in found or here.state.phase == Phase.DONE:
            continue
        name = here.state.node
        found[name] = []
        while here.state.node == name and here.state.phase != Phase.DONE and len(found[name]) < 6:
            found[name].append(here.copy())
            queue += _ways_on(here)
            here._next(here.now + 3_600_000)
        queue.append(here)
    return found


def _ways_on(here: Caller) -> list[Caller]:
    """All that may be done at a node, each by a caller of its own."""
    node = here.config.graph.nodes[here.state.node]
    if isinstance(node, Ask):
        return [_on(here, here.copy().press(key)) for key in (*node.keys, "0", "*")]
    if isinstance(node, Digits):
        return [_on(here, here.copy().press(keys, gap=0)) for keys in (CALLER, "12#")]
    if isinstance(node, Query):
        return [_told(here, state) for state in (*node.answers, "none")]
    if isinstance(node, Take) and here.state.phase == Phase.RECORDING:
        talker = here.copy()
        talker.speaking = True
        _on(here, talker)
        talker.speaking = False
        return [here.copy().press("#"), here.copy().speak(5_000).press("#"), talker]
    return []


def _told(here: Caller, state: str) -> Caller:
    caller = here.copy()
    caller.send(Told(state, None if state == "owned" else NIGHT, MESSAGE))
    return caller


def _on(here: Caller, caller: Caller) -> Caller:
    """Until the caller is at another node: a key that may not cut acts when the words are over."""
    while caller.state.node == here.state.node and caller._next(caller.now + 3_600_000):
        pass
    return caller
