"""The worker's end of the control channel: phones connect, say how they are, and get the routing snapshot.

A caller's question how far a message is comes up here too ("status", the one event with PHI: it is never logged)
and is answered by a thread of its own (server.answers), for the reader must not wait for the database.

Calls to and from staff (phone.desk): `order_call` sends an order to the phone that has the call, `on_call_event` is told what
phones say of such calls. Keys may be a PIN's: nothing of these events is logged.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightbell.core import clock
from nightbell.core.ids import is_ulid
from nightbell.core.log import Log
from nightbell.line import trunk_states
from nightbell.server.call_events import EVENTS, ORDERS, call_event, legs_of

MAX_LINE = 65536
SEND_S = 2
MOST = 2**53  # beyond it a number of JSON is not exact any more
_COUNTS = frozenset(
    [
        "version",
        "pid",
        "active_calls",
        "staff_legs",
        "answered",
        "refused",
        "short_forms",
        "snapshot_version",
        "snapshots_refused",
        "spool_free_bytes",
        "clips_missing",
        "open_captures",
        "late_ticks",
        "engines_lost",
    ]
)
_SECONDS = frozenset(["uptime", "snapshot_age", "worst_lag_ms"])
_TABLES = frozenset(["rtp", "sip", "captures", "never_confirmed", "lines"])
PHONE_LIVES_S = 30.0  # since it last said anything
MOST_QUESTIONS = 200  # that wait for an answer
_DIGITS = re.compile(r"[0-9]{0,20}\Z")


def checked(said: Mapping[str, object]) -> tuple[dict[str, Any], list[str]]:
    """What a phone says of itself: the known fields that are as they should be, and the names of those that are not.

    Other code takes these for numbers. A name that we do not know, as of a newer phone, is left out: it may be anything.
    """
    good: dict[str, Any] = {}
    wrong: list[str] = []
    for name, value in said.items():
        if name == "trunks" and (states := trunk_states.checked(value)) is not None:
            good[name] = states  # without fields that we do not know
            continue
        right = _right(name, value)
        if right:
            good[name] = value
        elif right is not None:
            wrong.append(name)
    return good, sorted(wrong)


def _right(name: str, value: object) -> bool | None:
    """Whether a field has its shape; None for one that we do not know."""
    if name in _COUNTS:
        return _is_count(value)
    if name in _SECONDS:
        return _is_count(value) or (isinstance(value, float) and math.isfinite(value) and 0 <= value <= MOST)
    if name in _TABLES:
        return isinstance(value, dict) and all(_is_count(count) for count in value.values())
    if name == "trunks":
        return False
    if name == "draining":
        return isinstance(value, bool)
    if name == "epoch":
        return isinstance(value, str) and is_ulid(value)
    return None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


@dataclass
class Phone:
    """One connected phone process and the last that it said of itself (no PHI). wrong: fields that cannot be true; name: of
    this connection; calls: to and from staff, that it has; greeted: it has said hello, and which calls it has."""

    connection: socket.socket
    name: str = ""
    calls: set[str] = field(default_factory=set)
    greeted: bool = False
    health: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seen: float = 0.0
    sending: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Question:
    """How far is the message of this number? number, caller: digits, PHI; asked: monotonic seconds."""

    phone: Phone
    capture: str
    practice: str
    number: str = field(repr=False)
    caller: str = field(repr=False)
    asked: float


def question(phone: Phone, event: Mapping[str, object], now: float) -> Question | None:
    """Read a "status" event; None for what is none."""
    ids = [str(event.get(name, "")) for name in ("capture", "practice")]
    numbers = [event.get(name) for name in ("number", "caller")]
    if not all(is_ulid(one) for one in ids):
        return None
    if not all(isinstance(one, str) and _DIGITS.match(one) for one in numbers):
        return None
    return Question(phone, ids[0], ids[1], str(numbers[0]), str(numbers[1]), now)


class ControlServer:
    """Listens on the Unix socket. `wake` is set whenever a call ended, so that intake need not wait.

    `questions` holds what callers asked and nobody has answered; `asked` is set when there is one more.
    """

    def __init__(
        self,
        path: Path,
        wake: threading.Event,
        ringing: threading.Event,
        log: Log,
        asked: threading.Event | None = None,
    ) -> None:
        """wake: a call ended; ringing: a call began; asked: a caller asked something."""
        self.questions: queue.Queue[Question] = queue.Queue(MOST_QUESTIONS)
        self._asked = asked or threading.Event()
        self._path, self._wake, self._ringing, self._log = path, wake, ringing, log
        self._phones: list[Phone] = []
        self._lock = threading.Lock()
        self._snapshot = b""
        self._connections = 0
        # (phone, event) in the reader's thread of that phone, which must not wait. Beside the events of call_events:
        # {"event": "hello", "legs": [call]} when one connects, {"event": "gone", "legs": [call]} when its connection is lost.
        self.on_call_event: Callable[[str, dict[str, Any]], None] = lambda phone, event: None

    def start(self) -> None:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path))
        os.chmod(self._path, 0o600)
        listener.listen(16)
        threading.Thread(target=self._accept, args=(listener,), daemon=True, name="control").start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError as error:  # out of handles, say: the next phone may have more luck
                self._log.failure("control_accept_failed", error)
                time.sleep(1.0)
                continue
            # Who does not read must not hold up the worker: a send gives up, and the phone connects anew.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
            self._connections += 1
            phone = Phone(connection, f"phone-{self._connections}", seen=clock.monotonic())
            with self._lock:
                self._phones.append(phone)
            threading.Thread(target=self._listen, args=(phone,), daemon=True, name="control-phone").start()
            self._offer(phone)

    def _listen(self, phone: Phone) -> None:
        try:
            with phone.connection.makefile("rb") as lines:
                while line := lines.readline(MAX_LINE):
                    self._heard(phone, line)
        except OSError:
            pass
        finally:
            with self._lock:
                self._phones.remove(phone)
                legs = sorted(phone.calls)
            phone.connection.close()
            self._wake.set()  # a phone that died left captures behind
            self._tell_of_call(phone, {"event": "gone", "legs": legs})

    def _heard(self, phone: Phone, line: bytes) -> None:
        try:
            event = json.loads(line)
            name = event.get("event")
        except (ValueError, AttributeError, RecursionError):
            self._log("control_line_malformed")
            return
        phone.seen = clock.monotonic()
        if isinstance(name, str) and name in EVENTS:
            self._call_event(phone, event)
            return
        if name in ("hello", "health"):
            self._take_health(phone, {k: v for k, v in event.items() if k != "event"})
        if name == "hello":
            legs = legs_of(event)
            with self._lock:
                phone.calls, phone.greeted = set(legs), True
            self._tell_of_call(phone, {"event": "hello", "legs": legs})
        if name == "call_started":
            self._ringing.set()
        if name in ("capture_ready", "call_ended"):
            self._wake.set()
        if name == "status":
            self._take_question(phone, event)

    def _call_event(self, phone: Phone, said: Mapping[str, Any]) -> None:
        event = call_event(said)
        if event is None:
            self._log("control_call_event_malformed")
            return
        if event["event"] == "leg":
            with self._lock:
                (phone.calls.discard if event["state"] == "ended" else phone.calls.add)(event["call"])
        self._tell_of_call(phone, event)

    def _tell_of_call(self, phone: Phone, event: dict[str, Any]) -> None:
        try:
            self.on_call_event(phone.name, event)
        except Exception as error:  # whoever listens must not silence this phone
            self._log.failure("control_call_event_failed", error)

    def order_call(self, command: str, data: Mapping[str, Any], beside: str = "") -> bool:
        """Have the phone that has this call do it; a new call goes to the phone that has the call `beside`, else to one that
        takes calls. False: there is no such phone now. Raises ValueError for what is no order of calls."""
        if command not in ORDERS:
            raise ValueError(f"{command!r} is no order of calls")
        call = str(data.get("call") or data.get("a") or "")
        with self._lock:
            phone = self._phone_of(call) or (self._phone_for(beside) if command == "place_call" else None)
            if phone is None:
                return False
            if command == "place_call":
                phone.calls.add(call)
        return self.order(phone, command, dict(data))

    def _phone_of(self, call: str) -> Phone | None:
        return next((phone for phone in self._phones if call in phone.calls), None)

    def _phone_for(self, beside: str) -> Phone | None:
        return self._phone_of(beside) or min(self._able(), key=lambda phone: len(phone.calls), default=None)

    def _able(self) -> list[Phone]:
        """Under the lock. What is ordered before a phone's hello would be forgotten with it: it names the calls of before."""
        return [one for one in self._phones if one.greeted and not one.health.get("draining")]

    def takes_calls(self) -> bool:
        """Whether a phone is there that would place a call."""
        with self._lock:
            return bool(self._able())

    def lives(self) -> bool:
        """Whether a phone is there that has said anything in the last half minute; they speak each five seconds."""
        now = clock.monotonic()
        with self._lock:
            return any(one.greeted and now - one.seen < PHONE_LIVES_S for one in self._phones)

    def _take_question(self, phone: Phone, event: Mapping[str, object]) -> None:
        asked = question(phone, event, clock.monotonic())
        if asked is not None:
            with contextlib.suppress(queue.Full):
                self.questions.put_nowait(asked)
                self._asked.set()
                return
        self._log("control_question_refused", kind="malformed" if asked is None else "full")
        if is_ulid(str(event.get("capture", ""))):
            self.answer(phone, str(event["capture"]), "none")

    def answer(self, phone: Phone, capture: str, state: str, at: str | None = None, ref: str = "") -> None:
        """What the caller of a capture is told. at: RFC 3339 UTC; ref: the message."""
        self.order(phone, "status", {"capture": capture, "state": state, "at": at, "ref": ref})

    def _take_health(self, phone: Phone, said: Mapping[str, object]) -> None:
        phone.health, wrong = checked(said)
        # Told once, not every five seconds; health stays red for as long as it lasts.
        if set(wrong) - set(phone.wrong):
            self._log("control_health_wrong", count=len(wrong), reason=wrong[0])
        phone.wrong = wrong

    def publish(self, signed: bytes) -> None:
        """Offer a snapshot to every phone: a new one at once, the same one as a sign of life."""
        self._snapshot = signed
        with self._lock:
            phones = list(self._phones)
        for phone in phones:
            self._offer(phone)

    def _offer(self, phone: Phone) -> None:
        if self._snapshot:
            self.order(phone, "snapshot", json.loads(self._snapshot))

    def order(self, phone: Phone, command: str, data: object = None) -> bool:
        """Send one command, whether it left; a phone that is gone is forgotten by its reader."""
        line = json.dumps({"command": command, "data": data}, separators=(",", ":")).encode() + b"\n"
        try:
            with phone.sending:
                phone.connection.sendall(line)
            return True
        except OSError:
            self._log("control_send_failed", kind=command)
            with contextlib.suppress(OSError):
                phone.connection.shutdown(socket.SHUT_RDWR)  # half a line may be out: nothing may follow it
            return False

    def taken(self, capture: str, rings: bool) -> None:
        """Tell all phones that a capture became a message: the one whose caller still waits says so."""
        with self._lock:
            phones = list(self._phones)
        for phone in phones:
            self.order(phone, "taken", {"capture": capture, "rings": rings})

    def ask_trunk(self, trunk: str) -> None:
        """Have all phones ask this trunk's carrier now, out of turn."""
        with self._lock:
            phones = list(self._phones)
        for phone in phones:
            self.order(phone, "ask_trunk", {"id": trunk})

    def health(self) -> list[dict[str, Any]]:
        """What each connected phone last said, with its age in seconds and the names of what was wrong in it."""
        now = clock.monotonic()
        with self._lock:
            return [{**p.health, "wrong": p.wrong, "age_s": round(now - p.seen, 1)} for p in self._phones]
