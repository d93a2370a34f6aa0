"""A call's two halves: its SIP in the front process, its sound and flow in an engine. What they say to each other.

In one process a call holds its SIP leg itself. Over several, an engine holds a `RemoteLeg`, which looks the same, and the front
a `Counterpart` that does to the real leg what the engine says. Messages are values (phone.frames).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.phone.memory import Remembered
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.transport import Peer
from nightbell.sip.grammar import printable
from nightbell.sip.sdp import AudioOffer
from nightbell.sip.srtp import Fingerprint, Security

RING_AFTER = 1.0  # seconds without an answer of the engine
EVENTS = frozenset(["call_started", "call_ended", "capture_ready", "status"])


class Leg(Protocol):
    """What a call needs of its SIP side; as sip_calls.IncomingCall has it."""

    dialled: str
    caller: str
    remote: AudioOffer
    security: Security
    peer: Peer
    on_end: Callable[[str], None] | None
    on_media: Callable[[AudioOffer], None] | None
    on_confirmed: Callable[[], None] | None
    heard: Callable[[], bool] | None
    received: Callable[[], int] | None
    marks: tuple[str, ...]

    def answer(
        self, local: tuple[str, int], codec: Codec, fingerprint: Fingerprint | None = None
    ) -> None: ...

    def reject(self, code: int, reason: str = "") -> None: ...

    def hangup(self, cause: int = 0, text: str = "") -> None: ...

    def sounded(self) -> None: ...


def let_go(leg: Leg) -> None:
    """Nobody listens to it any more. A call and its leg that know each other would stay until a full collection."""
    leg.on_media = leg.on_confirmed = leg.on_end = leg.heard = leg.received = None


# From the front to an engine.


@dataclass(frozen=True, slots=True)
class Invite:
    """Take this call. call: the front's number of it; local: our address as the caller sees it; transport, host, port: where its
    signalling comes from; busy: the short form; language and slow: what is remembered of the caller; bind: the
    address by which it came, for its sound; marks: what the call brought along, for its capture."""

    call: int
    dialled: str
    caller: str
    remote: AudioOffer
    security: Security
    local: str
    transport: str
    host: str
    port: int
    busy: bool
    language: str
    slow: bool
    bind: str
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """The other side has a new description."""

    call: int
    offer: AudioOffer
    security: Security


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The ACK is there."""

    call: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The call is over on its SIP side."""

    call: int
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """The worker's answer to a caller's question. at: ISO 8601 or ''."""

    capture: str
    state: str
    at: str
    ref: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The worker has this capture as a message."""

    capture: str
    rings: bool


@dataclass(frozen=True, slots=True)
class EndAll:
    """End all calls now, saved."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Read the routing snapshot in the phone's folder: it has this version. age: seconds since the worker was heard."""

    version: int
    age: float


DOWN: Mapping[str, type] = {
    kind.__name__: kind for kind in (Invite, Changed, Confirmed, Ended, Told, Taken, EndAll, Routing)
}


# From an engine to the front.


@dataclass(frozen=True, slots=True)
class Began:
    """The call is taken, under this capture's id."""

    call: int
    capture: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Send the 200. host, port: of our sound; fingerprint: of the engine's certificate."""

    call: int
    host: str
    port: int
    codec: Codec
    fingerprint: Fingerprint | None


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the call."""

    call: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """End it by BYE. cause, text: why, as sip_call.Call.hangup has them."""

    call: int
    cause: int
    text: str


@dataclass(frozen=True, slots=True)
class Sounded:
    """The first sound or key of the caller came."""

    call: int


@dataclass(frozen=True, slots=True)
class Voices:
    """Of each call: its number, datagrams of its sound so far, and whether that is enough to say that somebody is heard."""

    calls: tuple[tuple[int, int, bool], ...]


@dataclass(frozen=True, slots=True)
class Over:
    """The engine is done with it."""

    call: int


@dataclass(frozen=True, slots=True)
class Event:
    """For the worker. practice, number, caller: of a question alone."""

    event: str
    capture: str
    practice: str = ""
    number: str = ""
    caller: str = ""


@dataclass(frozen=True, slots=True)
class Remember:
    """Of this caller, for the next call."""

    practice: str
    caller: str
    language: str
    slow: bool


@dataclass(frozen=True, slots=True)
class InForce:
    """This snapshot is what new calls get."""

    version: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of one engine, or of all."""

    rtp: Mapping[str, int] = field(default_factory=dict)
    captures: Mapping[str, int] = field(default_factory=dict)
    never_confirmed: Mapping[str, int] = field(default_factory=dict)
    open_captures: int = 0
    late_ticks: int = 0
    worst_lag: float = 0.0

    def plus(self, other: Stats) -> Stats:
        return Stats(
            _sum(self.rtp, other.rtp),
            _sum(self.captures, other.captures),
            _sum(self.never_confirmed, other.never_confirmed),
            self.open_captures + other.open_captures,
            self.late_ticks + other.late_ticks,
            max(self.worst_lag, other.worst_lag),
        )

    def past(self) -> Stats:
        """What stays true of a process that has ended: it holds nothing open."""
        return replace(self, open_captures=0)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


UP: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (Began, Answer, Reject, HangUp, Sounded, Voices, Over, Event, Remember, InForce, Stats)
}

Send = Callable[[object], None]


def quotable(text: str) -> str:
    """Words that may stand between quotes in a header line."""
    return "".join(char for char in printable(text) if char.isascii() and char not in '"\\')


class RemoteLeg:
    """The engine's half of one call."""

    def __init__(self, invite: Invite, send: Send) -> None:
        self.dialled, self.caller, self.remote = invite.dialled, invite.caller, invite.remote
        self.security = invite.security
        self.peer = Peer(invite.transport, invite.host, invite.port, 0, invite.bind)
        self.local_address = invite.local
        self.before = Remembered(invite.language, invite.slow)
        self.on_end: Callable[[str], None] | None = None
        self.on_media: Callable[[AudioOffer], None] | None = None
        self.on_confirmed: Callable[[], None] | None = None
        self.heard: Callable[[], bool] | None = None
        self.received: Callable[[], int] | None = None
        self.marks = invite.marks
        self.call = invite.call
        self._send = send

    def answer(self, local: tuple[str, int], codec: Codec, fingerprint: Fingerprint | None = None) -> None:
        self._send(Answer(self.call, local[0], local[1], codec, fingerprint))

    def reject(self, code: int, reason: str = "") -> None:
        self._send(Reject(self.call, code, reason))

    def hangup(self, cause: int = 0, text: str = "") -> None:
        self._send(HangUp(self.call, cause, text))

    def sounded(self) -> None:
        self._send(Sounded(self.call))

    def voice(self) -> tuple[int, int, bool]:
        """As Voices has it: the front is asked when an ACK or a refresh stays away, and must know by then."""
        packets = 0 if self.received is None else self.received()
        return self.call, packets, self.heard is not None and self.heard()

    def take(self, message: Changed | Confirmed | Ended) -> None:
        """What the front says of this call."""
        if isinstance(message, Changed):
            self.remote, self.security = message.offer, message.security
            if self.on_media is not None:
                self.on_media(message.offer)
        elif isinstance(message, Confirmed):
            if self.on_confirmed is not None:
                self.on_confirmed()
        elif self.on_end is not None:
            self.on_end(message.reason)


class Counterpart:
    """The front's half of one call: a real leg, and the engine that has its sound."""

    def __init__(self, number: int, leg: IncomingCall, busy: bool) -> None:
        self.number, self.leg, self.busy = number, leg, busy
        self.began, self.rang = clock.monotonic(), False
        self.local, self.ports = "", (0, 0)  # where its sound may be: our address and ports of its engine
        self.capture = ""
        self.answered = False
        self.again = False  # given to a second engine, since the first one died before it answered
        self.port = 0  # of our sound, once it is known
        self._packets, self._heard = 0, False

    def tie(self, send: Send) -> None:
        """From now on the engine behind `send` has the call."""
        leg, number = self.leg, self.number
        leg.on_end = lambda reason: send(Ended(number, reason))
        leg.on_media = lambda offer: send(Changed(number, offer, leg.security))
        leg.on_confirmed = lambda: send(Confirmed(number))
        leg.heard = lambda: self._heard
        leg.received = lambda: self._packets

    def ring(self, now: float) -> None:
        """The caller of a busy or hanging engine hears that his call is on its way. now: monotonic seconds."""
        if not (self.rang or self.answered or self.leg.ended) and now - self.began >= RING_AFTER:
            self.rang = True
            self.leg.ring()

    def heard(self, packets: int, enough: bool) -> None:
        """What Voices says of this call."""
        self._packets, self._heard = packets, enough

    def take(self, message: Answer | Reject | HangUp | Sounded) -> None:
        """What the engine says of this call. Raises ValueError, NotAcceptable for what cannot be.

        An engine reads what strangers send. Should one of them rule it, it must not write SIP of its own.
        """
        leg = self.leg
        if isinstance(message, Answer):
            self._check(message)
            self.answered, self.port = True, message.port
            leg.answer((message.host, message.port), message.codec, message.fingerprint)
        elif isinstance(message, Reject):
            leg.reject(message.code, message.reason)
        elif isinstance(message, HangUp):
            leg.hangup(message.cause if 0 <= message.cause <= 699 else 0, quotable(message.text))
        else:
            leg.sounded()

    def _check(self, answer: Answer) -> None:
        low, high = self.ports
        mark = answer.fingerprint
        if answer.host != self.local or not low <= answer.port <= high:
            raise ValueError("an engine's sound is at our address and at ports of its own")
        if mark is not None and (mark.algorithm, len(mark.value)) != ("sha-256", 32):
            raise ValueError("an engine's certificate is known by its SHA-256")

    def over(self, cause: int = 0, text: str = "") -> None:
        """The engine is done with it, or gone: nobody records any more, so the caller must not go on speaking.

        cause, text: as sip_call.Call.hangup has them.
        """
        leg = self.leg
        leg.hangup(cause, text)
        let_go(leg)
