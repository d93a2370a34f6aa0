"""The four transaction machines as tables (RFC 3261 §17, with the Accepted state of RFC 6026).

Sans I/O: an event and the time go in, actions come out, and `due` says when to call `tick`.
Times are seconds on any monotonic scale.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from nightbell.sip.message import Request, Response

MAGIC = "z9hG4bK"


class Timing(NamedTuple):
    """T1: round-trip estimate; T2: longest interval of retransmission; T4: life of a message in the network.

    second: how long one of the seconds lasts in which sessions and registrations are counted (shorter in tests).
    """

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    second: float = 1.0

    @property
    def give_up(self) -> float:
        return 64 * self.t1


class State(StrEnum):
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class Action(StrEnum):
    """What the caller of a machine must do."""

    SEND = "send"  # the request (client) or the newest response (server)
    ACK = "ack"  # acknowledge a refusal (client INVITE)
    TELL = "tell"  # hand the message to the transaction user
    TIMEOUT = "timeout"  # tell the user that nobody answered
    END = "end"  # forget the transaction


_Table = dict[tuple[State, str], tuple[State, tuple[str, ...]]]
_S = State

# (state, event) -> (next state, steps). Events: a class of status code, "invite", "request", "ack", "error", or a
# timer's letter. Steps: an Action, "start X" or "again X" (a retransmission timer at its next interval).
CLIENT_INVITE: _Table = {
    (_S.CALLING, "begin"): (_S.CALLING, ("send", "start A", "start B")),
    (_S.CALLING, "A"): (_S.CALLING, ("send", "again A")),
    (_S.CALLING, "B"): (_S.TERMINATED, ("timeout",)),
    (_S.CALLING, "1xx"): (_S.PROCEEDING, ("tell",)),
    (_S.CALLING, "2xx"): (_S.ACCEPTED, ("tell", "start M")),
    (_S.CALLING, "3xx"): (_S.COMPLETED, ("ack", "tell", "start D")),
    (_S.CALLING, "error"): (_S.TERMINATED, ("timeout",)),
    (_S.PROCEEDING, "1xx"): (_S.PROCEEDING, ("tell",)),
    (_S.PROCEEDING, "2xx"): (_S.ACCEPTED, ("tell", "start M")),
    (_S.PROCEEDING, "3xx"): (_S.COMPLETED, ("ack", "tell", "start D")),
    (_S.COMPLETED, "3xx"): (_S.COMPLETED, ("ack",)),
    (_S.COMPLETED, "D"): (_S.TERMINATED, ()),
    (_S.ACCEPTED, "2xx"): (_S.ACCEPTED, ("tell",)),
    (_S.ACCEPTED, "M"): (_S.TERMINATED, ()),
}
CLIENT_OTHER: _Table = {
    (_S.TRYING, "begin"): (_S.TRYING, ("send", "start E", "start F")),
    (_S.TRYING, "E"): (_S.TRYING, ("send", "again E")),
    (_S.TRYING, "F"): (_S.TERMINATED, ("timeout",)),
    (_S.TRYING, "1xx"): (_S.PROCEEDING, ("tell",)),
    (_S.TRYING, "2xx"): (_S.COMPLETED, ("tell", "start K")),
    (_S.TRYING, "3xx"): (_S.COMPLETED, ("tell", "start K")),
    (_S.TRYING, "error"): (_S.TERMINATED, ("timeout",)),
    (_S.PROCEEDING, "E"): (_S.PROCEEDING, ("send", "longest E")),
    (_S.PROCEEDING, "F"): (_S.TERMINATED, ("timeout",)),
    (_S.PROCEEDING, "1xx"): (_S.PROCEEDING, ("tell",)),
    (_S.PROCEEDING, "2xx"): (_S.COMPLETED, ("tell", "start K")),
    (_S.PROCEEDING, "3xx"): (_S.COMPLETED, ("tell", "start K")),
    (_S.PROCEEDING, "error"): (_S.TERMINATED, ("timeout",)),
    (_S.COMPLETED, "K"): (_S.TERMINATED, ()),
}
SERVER_INVITE: _Table = {
    (_S.PROCEEDING, "invite"): (_S.PROCEEDING, ("send",)),
    (_S.PROCEEDING, "1xx"): (_S.PROCEEDING, ("send",)),
    (_S.PROCEEDING, "2xx"): (_S.ACCEPTED, ("send", "start L")),
    (_S.PROCEEDING, "3xx"): (_S.COMPLETED, ("send", "start G", "start H")),
    (_S.COMPLETED, "invite"): (_S.COMPLETED, ("send",)),
    (_S.COMPLETED, "G"): (_S.COMPLETED, ("send", "again G")),
    (_S.COMPLETED, "H"): (_S.TERMINATED, ("timeout",)),
    (_S.COMPLETED, "ack"): (_S.CONFIRMED, ("start I",)),
    (_S.CONFIRMED, "I"): (_S.TERMINATED, ()),
    # Doubles of the INVITE are swallowed here; the core itself repeats the 2xx (RFC 6026 §7.1).
    (_S.ACCEPTED, "2xx"): (_S.ACCEPTED, ("send",)),
    (_S.ACCEPTED, "ack"): (_S.ACCEPTED, ("tell",)),
    (_S.ACCEPTED, "L"): (_S.TERMINATED, ()),
}
SERVER_OTHER: _Table = {
    (_S.TRYING, "1xx"): (_S.PROCEEDING, ("send",)),
    (_S.TRYING, "2xx"): (_S.COMPLETED, ("send", "start J")),
    (_S.TRYING, "3xx"): (_S.COMPLETED, ("send", "start J")),
    (_S.PROCEEDING, "request"): (_S.PROCEEDING, ("send",)),
    (_S.PROCEEDING, "1xx"): (_S.PROCEEDING, ("send",)),
    (_S.PROCEEDING, "2xx"): (_S.COMPLETED, ("send", "start J")),
    (_S.PROCEEDING, "3xx"): (_S.COMPLETED, ("send", "start J")),
    (_S.COMPLETED, "request"): (_S.COMPLETED, ("send",)),
    (_S.COMPLETED, "J"): (_S.TERMINATED, ()),
}
# Timers that only unreliable transports need are not started, or run out at once, over TCP.
_RETRANSMIT = "AEG"
_LINGER = "DIJK"


class Transaction:
    """One machine. `Transaction(CLIENT_INVITE, reliable)`, then `handle` and `tick`."""

    __slots__ = ("_intervals", "_reliable", "_table", "_timing", "deadlines", "state")

    def __init__(self, table: _Table, reliable: bool, timing: Timing = Timing()) -> None:  # noqa: B008
        self._table, self._reliable, self._timing = table, reliable, timing
        self._intervals: dict[str, float] = {}
        self.deadlines: dict[str, float] = {}
        self.state = next(iter(table))[0]

    def handle(self, event: str, now: float) -> list[Action]:
        """Take one event in. An event that means nothing in this state does nothing."""
        entry = self._table.get((self.state, event))
        if entry is None:
            return []
        state, steps = entry
        if state is not self.state:
            self.state = state
            self.deadlines = {n: at for n, at in self.deadlines.items() if (state, n) in self._table}
        actions = []
        for step in steps:
            word, _, timer = step.partition(" ")
            if timer:
                self._start(word, timer, now)
            else:
                actions.append(Action(word))
        if state is State.TERMINATED:
            actions.append(Action.END)
        return actions

    def due(self) -> float | None:
        """When `tick` must be called next."""
        return min(self.deadlines.values(), default=None)

    def tick(self, now: float) -> list[Action]:
        """Fire every timer that has run out, oldest first."""
        actions: list[Action] = []
        while self.deadlines:
            timer = min(self.deadlines, key=self.deadlines.__getitem__)
            at = self.deadlines[timer]
            if at > now:
                break
            del self.deadlines[timer]
            # By its own time, not by `now`: a late loop must not stretch the schedule.
            actions += self.handle(timer, at)
        return actions

    def _start(self, word: str, timer: str, now: float) -> None:
        if self._reliable and timer in _RETRANSMIT:
            return
        self.deadlines[timer] = now + self._duration(word, timer)

    def _duration(self, word: str, timer: str) -> float:
        t1, t2, t4, _ = self._timing
        if timer in _RETRANSMIT:
            interval = t1 if word == "start" else self._intervals[timer] * 2
            if word == "longest":
                interval = t2
            self._intervals[timer] = interval if timer == "A" else min(interval, t2)
            return self._intervals[timer]
        if self._reliable and timer in _LINGER:
            return 0.0
        if timer in "IK":
            return t4
        return max(32.0, 64 * t1) if timer == "D" and t1 >= 0.5 else 64 * t1


def code_class(code: int) -> str:
    """The event of a status code: '1xx', '2xx', or '3xx' for every refusal."""
    return "1xx" if code < 200 else "2xx" if code < 300 else "3xx"


class AnswerRepeater:
    """Repeats a 2xx to INVITE until its ACK (§13.3.1.4): T1, doubled up to T2, over every transport."""

    __slots__ = ("_end", "_interval", "_t2", "due_at")

    def __init__(self, now: float, timing: Timing = Timing()) -> None:  # noqa: B008
        self._interval, self._t2 = timing.t1, timing.t2
        self._end = now + timing.give_up
        self.due_at: float | None = now + timing.t1

    def acknowledged(self) -> None:
        self.due_at = None

    def tick(self, now: float) -> Action | None:
        """SEND: repeat now. TIMEOUT: 64*T1 have passed, end the call with BYE. None: not yet."""
        if self.due_at is None or now < self.due_at:
            return None
        if self.due_at >= self._end:
            self.due_at = None
            return Action.TIMEOUT
        self._interval = min(2 * self._interval, self._t2)
        self.due_at = min(self.due_at + self._interval, self._end)
        return Action.SEND


ServerKey = tuple[str, ...]


def server_key(request: Request) -> ServerKey:
    """Which server transaction a request belongs to (§17.2.3); ACK and CANCEL carry their INVITE's branch.

    The method is left out; the caller keeps CANCEL apart. Without the magic cookie, or with nothing after it
    (RFC 4475 badbranch), the rules of RFC 2543 apply.
    """
    via = request.via
    if via.branch.startswith(MAGIC) and len(via.branch) > len(MAGIC):
        return (via.branch, via.host, str(via.port or 5060))
    return ("", request.call_id, request.sender.tag, str(request.cseq.number), via.text)


def merge_key(request: Request) -> ServerKey:
    """Equal for copies of one request that came by different ways (§8.2.2.2)."""
    return (request.call_id, request.sender.tag, str(request.cseq.number), request.method)


def client_key(message: Response) -> tuple[str, str]:
    """Which client transaction a response belongs to (§17.1.3)."""
    return (message.via.branch, message.cseq.method)
