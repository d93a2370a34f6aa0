"""A call whose sound a provider plays and records: the same machine, asked once per request. Pure.

The machine speaks of moments ("this was played to its end"); a provider wants a script in advance and tells at its end
what became of it. So a script is the way of a caller who does nothing, up to the next thing that only the caller can
decide: `script` walks it, with the lengths of the clips as time. At each question of it (a step) the way can be left:
`pressed`, `spoken` and `passed` go on from there. Time is the machine's own, in milliseconds since the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from nightbell.core.capture import EndReason
from nightbell.core.carriers import Abilities, Pressed, Spoken
from nightbell.flow.clips import milliseconds
from nightbell.flow.graph import Ask, Digits
from nightbell.flow.line import Line
from nightbell.flow.machine import PHONE_NUMBER, step
from nightbell.flow.model import (
    NO_PROMISE,
    Answered,
    AskStatus,
    CallConfig,
    Drain,
    Event,
    HungUp,
    Key,
    Note,
    Played,
    Promise,
    Record,
    Save,
    Saved,
    State,
    Sync,
    Synced,
    Tick,
    Told,
)
from nightbell.flow.turn import Phase

LONGEST = 1_500_000  # ms: whoever listens to the menu for ever is ended like a drained call
A_KEY = 200  # ms that a key takes
FALL_THROUGH = 1  # s: the least that a provider waits for a key
SLACK = 2_000  # ms by which our time and the provider's may differ
_ASKED = (Ask, Digits)

Promised = Callable[[Save], tuple[Promise, str]]
"""What may be said of a message that is saved now, and the mark of it ('' for none)."""


def adapted(line: Line, can: Abilities) -> Line:
    """The line as this provider can have it: nothing is played back, and questions that end by silence need ears."""
    keys = line.plan.keys
    if not can.silence_ends:
        keys = tuple(replace(key, asks="free") if key.asks in ("guided", "refill") else key for key in keys)
    return replace(line, plan=replace(line.plan, review=False, keys=keys))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call is. marks, keys: (ms, name); takes: recordings begun; asking: the number of a question to the
    worker, not yet answered; ended: (ms, why) once the capture is closed."""

    state: State = field(default_factory=State)
    now: int = 0
    marks: tuple[tuple[int, str], ...] = ()
    keys: tuple[tuple[int, str], ...] = ()
    takes: int = 0
    asking: str | None = None
    ended: tuple[int, EndReason] | None = None

    @property
    def over(self) -> bool:
        return self.state.phase == Phase.DONE


# The steps of a script. `at`: its place among those at which the way can be left.


@dataclass(frozen=True, slots=True)
class Say:
    """Words that no key cuts."""

    clips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Words with keys. most: keys that are waited for; seconds: after the words; last: the script ends here."""

    at: int
    clips: tuple[str, ...]
    seconds: int
    most: int
    last: bool


@dataclass(frozen=True, slots=True)
class Recording:
    """take: which one of the call, from 0; silence: seconds that end it, 0 for none."""

    at: int
    take: int
    seconds: int
    silence: int


@dataclass(frozen=True, slots=True)
class Onward:
    """Nothing to decide, but something to find out: ask again."""

    at: int


@dataclass(frozen=True, slots=True)
class Bye:
    """Hang up."""


Step = Say | Question | Recording | Onward | Bye


@dataclass(frozen=True, slots=True)
class Script:
    """steps: what the provider does; places: where the call is at each step that can be left; after: where it is when
    nothing of it can be left, else where it was before."""

    steps: tuple[Step, ...]
    places: tuple[Progress, ...]
    after: Progress


@dataclass(slots=True)
class _Walk:
    """The machine on its way, with what phone and worker would do at once."""

    config: CallConfig
    state: State
    now: int
    marks: list[tuple[int, str]]
    keys: list[tuple[int, str]]
    takes: int
    asking: str | None
    ended: tuple[int, EndReason] | None
    promise: Promised
    steps: list[Step] = field(default_factory=list)
    places: list[Progress] = field(default_factory=list)

    @staticmethod
    def of(config: CallConfig, here: Progress, promise: Promised) -> _Walk:
        return _Walk(
            config, here.state, here.now, list(here.marks), list(here.keys), here.takes, here.asking, here.ended,
            promise,
        )  # fmt: skip

    def place(self) -> Progress:
        return Progress(
            self.state, self.now, tuple(self.marks), tuple(self.keys), self.takes, self.asking, self.ended
        )

    @property
    def node(self) -> object:
        return self.config.graph.nodes.get(self.state.node)

    def send(self, event: Event) -> None:
        self.state, actions = step(self.config, self.state, event, self.now)
        for action in actions:
            if isinstance(action, Note):
                self.marks.append((self.now, action.name))
            elif isinstance(action, Record):
                if not any(name == "recording" for _, name in self.marks):
                    self.marks.append((self.now, "recording"))
            elif isinstance(action, AskStatus):
                self.asking = action.number
            elif isinstance(action, Sync):
                self.send(Synced())
            elif isinstance(action, Save):
                self._save(action)

    def _save(self, action: Save) -> None:
        promise, mark = self.promise(action)
        if mark:
            self.marks.append((self.now, mark))
        self.ended = (self.now, action.reason)
        self.send(Saved(promise))

    def played(self) -> tuple[str, ...]:
        """Let what plays come to its end. Returns its clips."""
        run, token = self.state.playing, self.state.token
        if run is None:
            return ()
        own = 0 if run.clips == ("tone",) else sum(milliseconds(clip) for clip in run.clips)
        self.now += own
        self.send(Played(token))
        return run.clips

    def words(self) -> list[str]:
        """All words of this question that a key may cut, one after the other."""
        node = self.state.node
        clips: list[str] = []
        while self.cuttable() and self.state.node == node:
            clips += self.played()
        return clips

    def cuttable(self) -> bool:
        run = self.state.playing
        spoken = self.state.phase in (Phase.WORDS, Phase.DIGITS) and isinstance(self.node, _ASKED)
        return spoken and run is not None and run.barge

    def wait(self) -> None:
        """Until the machine's own time-out."""
        if self.state.wake is not None:
            self.now = max(self.now, self.state.wake)
            self.send(Tick())


def _no_promise(_save: Save) -> tuple[Promise, str]:
    return NO_PROMISE, ""


def answered(config: CallConfig) -> Progress:
    """A call that is up."""
    walk = _Walk.of(config, Progress(), _no_promise)
    walk.send(Answered())
    return walk.place()


def script(config: CallConfig, here: Progress, promise: Promised) -> Script:
    """What follows when the caller does nothing."""
    walk = _Walk.of(config, here, promise)
    while True:
        before, steps, places = walk.place(), len(walk.steps), len(walk.places)
        over = _one(walk, before)
        if places and walk.ended is not None and before.ended is None:
            # The capture is closed once: not on a way that a key may still leave.
            del walk.steps[steps:], walk.places[places:]
            walk.places.append(before)
            walk.steps.append(Onward(places))
            over = True
        if over:
            return Script(tuple(walk.steps), tuple(walk.places), here if walk.places else walk.place())


def _one(walk: _Walk, before: Progress) -> bool:
    """One step. True when the script ends with it."""
    phase = walk.state.phase
    if phase == Phase.DONE:
        walk.steps.append(Bye())
        return True
    if phase == Phase.TONE:
        walk.played()  # the provider has its own
        return False
    if phase == Phase.RECORDING:
        _record(walk)
        return True
    if walk.state.playing is not None and not walk.cuttable():
        walk.steps.append(Say(walk.played()))
        return False
    if phase == Phase.QUERY:
        walk.places.append(before)
        walk.steps.append(Onward(len(walk.places) - 1))
        return True
    return _question(walk, before)


def _question(walk: _Walk, before: Progress) -> bool:
    node = walk.state.node
    most = _most(walk)
    clips = walk.words()
    waits = walk.state.playing is None and walk.state.node == node and walk.state.wake is not None
    seconds = -(-((walk.state.wake or 0) - walk.now) // 1000) if waits else FALL_THROUGH
    walk.places.append(before)
    walk.steps.append(Question(len(walk.places) - 1, tuple(clips), max(seconds, FALL_THROUGH), most, waits))
    return waits


def _most(walk: _Walk) -> int:
    """Keys that the question takes: one, or what is missing of a telephone number."""
    if not isinstance(walk.node, Digits):
        return 1
    entered = walk.state.entered
    return max(1, PHONE_NUMBER + entered.startswith("1") + walk.state.asked_more - len(entered))


def _record(walk: _Walk) -> None:
    timing, slow = walk.config.timing, walk.state.slow
    guided = getattr(walk.node, "guided", False)
    # A provider has one patience for the beginning and the end: the longer one, nobody must be cut who looks for words.
    silence = timing.guided_silence[slow] if guided else timing.end_silence[slow]
    left = max(1000, timing.limit[slow] - walk.state.used)
    walk.places.append(walk.place())
    at = len(walk.places) - 1
    walk.steps.append(Recording(at, walk.takes, left // 1000, silence // 1000))


# What became of it.


def pressed(config: CallConfig, here: Progress, answer: Pressed, promise: Promised) -> Progress:
    """The caller pressed keys at a step, or none: then its time is over."""
    walk = _Walk.of(config, here, promise)
    most = _most(walk)
    for key in answer.digits[:most]:
        walk.now += A_KEY
        walk.keys.append((walk.now, key))
        walk.send(Key(key))
    unfinished = isinstance(walk.node, Digits) and walk.state.node == here.state.node
    if answer.digits and not (unfinished and len(answer.digits) < most):
        return _ended_when_long(walk)
    if answer.pound and answer.digits:
        walk.send(Key("#"))
    else:
        walk.words()
        if walk.state.playing is None:
            walk.wait()
    return _ended_when_long(walk)


def told(config: CallConfig, here: Progress, answer: Told, promise: Promised) -> Progress:
    """The worker's answer to `asking`."""
    walk = _Walk.of(config, here, promise)
    while walk.state.phase == Phase.WORDS and walk.state.playing is not None:
        walk.played()
    walk.asking = None
    walk.send(answer)
    return _ended_when_long(walk)


def spoken(config: CallConfig, here: Progress, answer: Spoken, promise: Promised) -> Progress:
    """A recording came to its end. here: the place of a `Recording`."""
    walk = _Walk.of(config, here, promise)
    walk.takes += 1
    if walk.state.phase != Phase.RECORDING:
        return walk.place()
    began, silence = walk.state.part_at, _record_silence(config, here)
    limit = began + config.timing.limit[here.state.slow] - here.state.used
    ends = min(began + answer.seconds * 1000, limit)
    if answer.by == "pound":
        walk.now = ends
        walk.send(Tick(ends if answer.seconds else None))
        walk.send(Key("#"))
    elif answer.by == "hang_up":
        walk.now = ends
        walk.send(HungUp())
    elif answer.seconds and limit - ends <= 1000:
        walk.now = limit
        walk.send(Tick(limit))
    else:
        _silent(walk, max(began, ends - silence) if answer.seconds else None)
    return _ended_when_long(walk)


def _record_silence(config: CallConfig, here: Progress) -> int:
    guided = getattr(config.graph.nodes.get(here.state.node), "guided", False)
    return (config.timing.guided_silence if guided else config.timing.end_silence)[here.state.slow]


def _silent(walk: _Walk, voice_at: int | None) -> None:
    """Nobody has spoken since `voice_at`, until the machine has had enough of it."""
    node = walk.state.node
    if voice_at is not None:
        walk.now = max(walk.now, voice_at)
        walk.send(Tick(voice_at))
    while walk.state.phase == Phase.RECORDING and walk.state.node == node and walk.state.wake is not None:
        walk.now = max(walk.now, walk.state.wake)
        walk.send(Tick(voice_at))


def hung_up(config: CallConfig, here: Progress, lasted: int | None, promise: Promised) -> Progress:
    """The caller is gone, at an unknown place of the script that begins at `here`. lasted: ms of the call, if told.

    A recording that the script leads to may have begun, and then there is something to fetch: it is counted as begun
    unless the call was too short for it.
    """
    if here.over:
        return here
    places = script(config, here, _no_promise)
    last = places.steps[-1] if places.steps else None
    start = here
    if isinstance(last, Recording) and (lasted is None or lasted + SLACK >= places.places[last.at].now):
        start = places.places[last.at]
        start = replace(start, takes=start.takes + 1)
    walk = _Walk.of(config, start, promise)
    walk.now = max(walk.now, min(lasted or 0, LONGEST))
    walk.send(HungUp())
    return walk.place()


def _ended_when_long(walk: _Walk) -> Progress:
    if walk.now > LONGEST and walk.ended is None:
        walk.send(Drain())
    return walk.place()
