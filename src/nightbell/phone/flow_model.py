"""The values of the call flow: rules, events, actions and state. Times are milliseconds since the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from nightbell.core.capture import EndReason

KEPT_KEYS = 16  # keys pressed early are kept, a flood of them is not
KEYS = frozenset("0123456789*#ABCD")


class Stage(StrEnum):
    """Where the caller is."""

    START = "start"
    FIRST = "first"
    GREETING = "greeting"
    MENU = "menu"
    CHOOSING = "choosing"
    NOTICE = "notice"
    TONE = "tone"
    RECORDING = "recording"
    SAVING = "saving"
    CLOSING = "closing"
    TROUBLE = "trouble"
    DONE = "done"


ASKS = frozenset({Stage.FIRST, Stage.GREETING, Stage.MENU, Stage.CHOOSING, Stage.NOTICE})
RECORDS = frozenset({Stage.TONE, Stage.RECORDING})
OVER = frozenset({Stage.SAVING, Stage.CLOSING, Stage.TROUBLE, Stage.DONE})


@dataclass(frozen=True, slots=True)
class Run:
    """Clips and pauses ('~300') that are played as one. barge: a key cuts it short."""

    clips: tuple[str, ...]
    barge: bool = True


Script = Mapping[str, tuple[Run, ...]]


@dataclass(frozen=True, slots=True)
class FlowConfig:
    """The rules of one number. scripts: per language, the runs of each sequence (phone.prompts makes them).

    languages: the first is the default; with two, key 2 in the first words chooses the second.
    """

    scripts: Mapping[str, Script]
    languages: tuple[str, ...] = ("en",)
    on_call: bool = True
    wait_key: int = 10_000
    take_time: int = 12_000
    end_silence: int = 30_000
    limit: int = 180_000
    warn: tuple[int, ...] = (30_000, 10_000)


# Events


@dataclass(frozen=True, slots=True)
class Answered:
    """The call is up. recordable: a capture could be opened for it."""

    recordable: bool = True


@dataclass(frozen=True, slots=True)
class Key:
    """A key was pressed."""

    key: str


@dataclass(frozen=True, slots=True)
class Played:
    """The run with this token has been played to its end."""

    token: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. voice_at: when the caller was last heard, None for never."""

    voice_at: int | None = None


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller, or the way to the caller, is gone."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The capture is whole on disk, under its final name."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The capture cannot be written any more."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The process stops: end now, keep what there is."""


Event = Answered | Key | Played | Tick | HungUp | Saved | Failed | Drain

# Actions


@dataclass(frozen=True, slots=True)
class Play:
    """Play this in place of whatever plays; answer with Played(token)."""

    run: Run
    language: str
    token: int


@dataclass(frozen=True, slots=True)
class StopPlay:
    """Fall silent."""


@dataclass(frozen=True, slots=True)
class Record:
    """From now on the caller's audio goes into the capture."""


@dataclass(frozen=True, slots=True)
class Note:
    """Put a mark into the capture."""

    name: str


@dataclass(frozen=True, slots=True)
class Save:
    """End the capture and make it durable; answer with Saved or Failed."""

    reason: EndReason


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call (if it is still up) and release its media."""


Action = Play | StopPlay | Record | Note | Save | HangUp


@dataclass(frozen=True, slots=True)
class State:
    """One call's place in the flow.

    rest: runs still to play in this stage; playing: the run that plays now, None when silent;
    token: counts what was played, so that a late Played is told from the right one; kept: keys
    not yet acted on; started: when recording began; wake: when to call with Tick, None for never.
    """

    stage: Stage = Stage.START
    language: str = "en"
    rest: tuple[Run, ...] = ()
    playing: Run | None = None
    token: int = 0
    kept: str = ""
    urgent: bool = False
    gone: bool = False
    started: int = 0
    took_time: bool = False
    warned: int = 0
    reason: EndReason | None = None
    wake: int | None = None
    heard: bool = False
