"""A caller on the pure machine whose deeds and whose hearing are written down, and a real call that does the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.calls.street import Patient
from tests.calls.worker import ANSWER_S, told
from tests.unit.flow.driver import KNOWN, Caller

from nightbell.core.capture import Codec
from nightbell.flow.clips import milliseconds
from nightbell.flow.model import Action, AskStatus, CallConfig, HungUp, Played, Replay, Save, StopPlay, Taken
from nightbell.flow.turn import Phase
from nightbell.phone.voice import Voice

MS = 8  # samples
SPOKEN_MS = 3_000  # of every message: longer than what counts as brief
VOICE = Voice(Path(), {})  # no recordings of anybody's own
DISTINCT = 30  # different bytes in a frame that is no silence
TURN_MS = 20  # between two runs: the tick in which the end of the first is told


@dataclass
class Sounded:
    """A run as it was played. clips: () is the caller's own take; ended: when it fell silent; full: to its end."""

    node: str
    clips: tuple[str, ...]
    began: int
    ended: int = 0
    full: bool = False


@dataclass(frozen=True)
class Deed:
    """What the caller does. keys, or milliseconds of speech."""

    at: int
    keys: str = ""
    speech: int = 0


class Walker(Caller):
    """A caller on the machine whose deeds and whose hearing are written down."""

    def __init__(self, config: CallConfig, now: datetime) -> None:
        super().__init__(config)
        self.promise = KNOWN
        self.deeds: list[Deed] = []
        self.sounded: list[Sounded] = []
        self.came: dict[str, int] = {}  # when to each node, for the first time
        self._of_day = now

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, StopPlay):
            self._fell_silent()
        super()._carry_out(action)
        if isinstance(action, Replay):
            self._sound(())
            self._playing = (self.now + SPOKEN_MS + TURN_MS, action.token)
        self.came.setdefault(self.state.node, self.now)

    def _play(self, clips: tuple[str, ...], token: int) -> None:
        super()._play(clips, token)
        self._sound(clips)
        self._playing = (self.now + sum(milliseconds(clip) for clip in clips) + TURN_MS, token)

    def _sound(self, clips: tuple[str, ...]) -> None:
        self._fell_silent()
        self.sounded.append(Sounded(self.state.node, clips, self.now))

    def _fell_silent(self) -> None:
        if self.sounded and not self.sounded[-1].ended:
            self.sounded[-1].ended = self.now

    def _ask(self, action: Action) -> None:
        if isinstance(action, AskStatus):
            self.answer = told(action.number, self._of_day)
        super()._ask(action)
        if isinstance(action, AskStatus) and self.answer is not None:
            self._answers[-1] = (self.now + int(ANSWER_S * 1000), self.answer)
        if isinstance(action, Save):
            self._answers.append((self.now + 100, Taken(True)))

    def send(self, event: Any) -> list[Action]:
        if isinstance(event, Played) and self.sounded and event.token == self.state.token:
            self.sounded[-1].ended, self.sounded[-1].full = self.now, True
        if isinstance(event, HungUp):
            self._fell_silent()
        return super().send(event)

    def press(self, keys: str, gap: int = 250) -> Walker:
        for at, key in enumerate(keys):
            self.deeds.append(Deed(self.now + at * gap, key))
        super().press(keys, gap)
        return self

    def speak(self, ms: int) -> Walker:
        self.deeds.append(Deed(self.now, speech=ms))
        super().speak(ms)
        return self

    # Steps of ways.

    def later(self, node: str, phase: Phase = Phase.WAIT) -> Walker:
        """To a node's question, and a moment on: real words end a little later than these."""
        self.to(node, phase)
        self.wait(1_000)
        return self

    def tone_and_speech(self, node: str, end: str = "#") -> Walker:
        """Say a message and press pound."""
        self.later(node, Phase.RECORDING)
        self.speak(SPOKEN_MS)
        self.wait(400)
        return self.press(end) if end else self

    def number(self, last: int, end: str = "") -> Walker:
        """Key in a telephone number."""
        return self.press(f"503555010{last}{end}")


def cues(runs: list[Sounded]) -> list[tuple[float, bytes]]:
    """A frame of each run that tells it from others, soon after it begins, and when it is heard (seconds)."""
    found = []
    for run in runs:
        if not run.clips or run.clips == ("tone",):
            continue
        frames = VOICE.frames(run.clips, Codec.PCMU)
        first = next(at for at, frame in enumerate(frames) if len(set(frame)) > DISTINCT)
        at = (first + 2) * 20
        if at < run.ended - run.began - 300:
            found.append(((run.began + at) / 1000, frames[first + 2]))
    return found


async def live(patient: Patient, walker: Walker, ends: float) -> None:
    """Do the same in a real call, and hang up at `ends` (seconds since the answer)."""
    patient.expect(cues(walker.sounded))
    for deed in walker.deeds:
        if deed.at / 1000 >= ends:
            break
        await patient.until(deed.at / 1000)
        if deed.keys:
            await patient.press(deed.keys, gap=0.0)
        else:
            await patient.speak(deed.speech / 1000)
    await patient.until(ends)
