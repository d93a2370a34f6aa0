"""One step of the machine in the making: the state as it changes, and the actions so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from nightbell.flow import words
from nightbell.flow.graph import Node, Words
from nightbell.flow.model import Action, CallConfig, Note, Play, Remember, Run, State, StopPlay


class Phase(StrEnum):
    """Where in a node the caller is."""

    START = "start"
    WORDS = "words"
    WAIT = "wait"
    DIGITS = "digits"
    QUERY = "query"
    TONE = "tone"
    RECORDING = "recording"
    SYNCING = "syncing"
    SAVING = "saving"
    CLOSING = "closing"
    LAST = "last"  # the words after "saved"
    TROUBLE = "trouble"
    DONE = "done"


OVER = frozenset({Phase.SAVING, Phase.CLOSING, Phase.LAST, Phase.TROUBLE, Phase.DONE})


@dataclass(slots=True)
class Turn:
    """enter: flow.machine.enter, given so that the parts of the machine need not import each other in a ring."""

    PLAYBACK: ClassVar[Run] = Run(())

    config: CallConfig
    state: State
    now: int
    enter: Callable[[Turn, str], None]
    actions: list[Action] = field(default_factory=list)

    @property
    def node(self) -> Node | None:
        return self.config.graph.nodes.get(self.state.node)

    def set(self, **changes: object) -> None:
        # The state is this turn's own copy, not yet seen by anyone: a new one for each change cost 1 ms a call.
        for name, value in changes.items():
            object.__setattr__(self.state, name, value)

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def go(self, name: str) -> None:
        self.enter(self, name)

    def say(self, said: Words, keep_phase: bool = False) -> None:
        """Start words, in place of what plays. keep_phase: they are said beside what goes on."""
        self.set(rest=words.runs(said, self.config, self.state))
        if not self.play_next() and not keep_phase:
            # Nothing to say: an end all the same, through the edge, or an empty flow would spin in one step.
            self.set(rest=(Run(("~20",)),))
            self.play_next()

    def play_next(self) -> bool:
        """Play the next run. False when there is none."""
        if not self.state.rest:
            return False
        run, *rest = self.state.rest
        self.set(playing=run, rest=tuple(rest), token=self.state.token + 1)
        self.do(Play(run, self.state.token))
        return True

    def silence(self) -> None:
        self.set(rest=())
        if self.state.playing is not None:
            self.set(playing=None)
            self.do(StopPlay())

    def wait(self, pair: tuple[int, int]) -> None:
        self.set(wake=self.now + pair[self.state.slow])

    def count(self, name: str) -> None:
        counts = dict(self.state.counts)
        counts[name] = counts.get(name, 0) + 1
        self.set(counts=tuple(counts.items()))

    def counted(self, name: str) -> int:
        return dict(self.state.counts).get(name, 0)

    def change_language(self) -> None:
        other = next((one for one in self.config.languages if one != self.state.language), None)
        if other is not None:
            self.set(language=other)
            self.do(Note(f"language:{other}"))
            self.do(Remember(other, self.state.slow))

    def slow_down(self) -> None:
        """From the first time-out on there is more time."""
        if not self.state.slow:
            self.set(slow=True)
            self.do(Note("slow"))
            self.do(Remember(self.state.language, True))
