"""The values of the machine: what it knows of a call, events, actions and state. Times are milliseconds since the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nightbell.core.capture import EndReason
from nightbell.flow.graph import Graph

KEPT_KEYS = 16  # keys pressed early are kept, a flood of them is not
KEYS = frozenset("0123456789*#ABCD")


@dataclass(frozen=True, slots=True)
class Run:
    """Resolved clips and pauses ('en/ID', '~300', 'tone') that are played as one. barge: a key cuts it short."""

    clips: tuple[str, ...]
    barge: bool = True


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the line waits; a pair is (default, slow): relay operators and whoever needed a second time."""

    key: tuple[int, int] = (10_000, 30_000)
    quick: tuple[int, int] = (5_000, 15_000)
    digits: tuple[int, int] = (6_000, 15_000)
    first_digit: tuple[int, int] = (10_000, 30_000)
    more_time: int = 20_000
    take_time: tuple[int, int] = (12_000, 30_000)
    end_silence: tuple[int, int] = (30_000, 90_000)
    guided_pause: tuple[int, int] = (5_000, 15_000)
    guided_silence: tuple[int, int] = (12_000, 40_000)
    limit: tuple[int, int] = (180_000, 600_000)
    warn: tuple[int, ...] = (30_000, 10_000)
    brief: int = 3_000
    answer: int = 4_000


@dataclass(frozen=True, slots=True)
class CallConfig:
    """One call's rules. languages: in the order in which they are offered; answered: the local time of the answer,
    with the practice's zone; caller, number, second: digits or ''; reopen: per language, the clips that say when
    the practice opens again; own: its own recordings by 'en/ID'; slow: begin with the slow column; team: somebody
    can be woken; open: no opening lies ahead that could be spoken of."""

    graph: Graph
    languages: tuple[str, ...]
    answered: datetime
    caller: str = ""
    number: str = ""
    second: str = ""
    reopen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    team: bool = False
    open: bool = False
    timing: Timing = Timing()


@dataclass(frozen=True, slots=True)
class Promise:
    """What can truthfully be said at this moment: clips of a time ('within-30-min', 'promise-open-day'), or ''.

    team: somebody can be woken."""

    urgent: str = ""
    routine: str = ""
    team: bool = True


NO_PROMISE = Promise()

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
    """What was played under this token has come to its end."""

    token: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. voice_at: when the caller was last heard, None for never."""

    voice_at: int | None = None


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller, or the way to the caller, is gone."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What was said so far is on disk."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The capture is whole on disk, under its final name. promise: what may be said now."""

    promise: Promise = NO_PROMISE


@dataclass(frozen=True, slots=True)
class Taken:
    """The worker has the message. rings: its alert is stored."""

    rings: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The capture cannot be written any more."""


@dataclass(frozen=True, slots=True)
class Told:
    """The worker's answer to a question: how far the message is. at: the instant of it, UTC; ref: the message."""

    state: str
    at: datetime | None = None
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Drain:
    """The process stops: end now, keep what there is."""


Event = Answered | Key | Played | Tick | HungUp | Synced | Saved | Taken | Failed | Told | Drain

# Actions


@dataclass(frozen=True, slots=True)
class Play:
    """Play this in place of whatever plays; answer with Played(token)."""

    run: Run
    token: int


@dataclass(frozen=True, slots=True)
class Replay:
    """Play what the caller said in this take; answer with Played(token)."""

    token: int


@dataclass(frozen=True, slots=True)
class StopPlay:
    """Fall silent."""


@dataclass(frozen=True, slots=True)
class Record:
    """From now on the caller's audio goes into the capture. anew: what was kept for Replay is forgotten."""

    anew: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Take no audio until the next Record."""


@dataclass(frozen=True, slots=True)
class Note:
    """Put a mark into the capture."""

    name: str


@dataclass(frozen=True, slots=True)
class Sync:
    """Make what was said so far durable; answer with Synced or Failed."""


@dataclass(frozen=True, slots=True)
class Save:
    """End the capture and make it durable; answer with Saved or Failed. urgent: which promise it will be."""

    reason: EndReason
    urgent: bool = False
    promised: bool = False


@dataclass(frozen=True, slots=True)
class AskStatus:
    """Ask the worker how far the message of this number is; answer with Told."""

    number: str


@dataclass(frozen=True, slots=True)
class Remember:
    """For this caller's next call: the language, and whether it takes its time."""

    language: str
    slow: bool


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call (if it is still up) and release its media."""


Action = Play | Replay | StopPlay | Record | Hold | Note | Sync | Save | AskStatus | Remember | HangUp


@dataclass(frozen=True, slots=True)
class State:
    """One call's place in the flow.

    node: id of the node, '' before the answer; phase: where in it (flow.machine.Phase); rest: runs still to play;
    playing: the run that plays now, None when silent; token: counts what was played, so that a late Played is told
    from the right one; kept: keys not yet acted on; wake: when to call with Tick, None for never; counts: how often
    a node was tried; entered: digits keyed so far; part_at: when this part's recording began; used: milliseconds of
    recording before this part; said: something was heard in some part; reason: why the capture ended.
    """

    node: str = ""
    phase: str = "start"
    language: str = "en"
    rest: tuple[Run, ...] = ()
    playing: Run | None = None
    token: int = 0
    kept: str = ""
    entered: str = ""
    counts: tuple[tuple[str, int], ...] = ()
    urgent: bool = False
    slow: bool = False
    gone: bool = False
    recorded: bool = False
    part_at: int = 0
    used: int = 0
    heard: bool = False
    said: bool = False
    took_time: bool = False
    warned: int = 0
    asked_more: bool = False
    told: Told | None = None
    rings: bool | None = None
    closing: str = ""
    promise: Promise = NO_PROMISE
    reason: EndReason | None = None
    wake: int | None = None
