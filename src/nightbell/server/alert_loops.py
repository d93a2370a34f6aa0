"""The worker's loops that wake people, the auditor that looks after them, and the sign of life to the outside.

Every kind of channel has a loop of its own, so that none waits for another; what everybody has (email) has several.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from nightbell.core import clock
from nightbell.core.log import Log
from nightbell.oncall import escalation, heartbeat, last_resorts, posting
from nightbell.oncall.auditor import Finding, Watch
from nightbell.oncall.heartbeat import Going
from nightbell.people import contacts
from nightbell.server.loop import Loop

SENDERS = 3
OWN = ("push", "sms", "voice", "other")  # kinds with a loop of their own; all else is sent by the first ones
LOOK = 5.0  # seconds between two looks of the auditor
OTHERS_S = 2.0  # seconds between two looks for what is due by the minute
DEAD_S = 150.0  # a loop of alerts that silent does not come back: the process is started anew
VITAL = ("alerts", "auditor")


def start_anew() -> None:
    """As a kill: nothing is lost by it, and the supervisor starts another."""
    os._exit(70)


class AlertLoops:
    """`loops` are the threads; `watch_over` tells which others the heartbeat stands for."""

    def __init__(
        self,
        sender: escalation.Sender,
        wake: threading.Event,
        log: Log,
        beat: Callable[[], None] | None = None,
        give_up: Callable[[], None] = start_anew,
        phone: Callable[[], bool] = lambda: True,
    ) -> None:
        """phone: whether a phone process lives."""
        self.sender, self.log, self._beat, self._give_up = sender, log, beat, give_up
        self._phone = phone
        self._watch = Watch()
        self._found: Sequence[Finding] | None = None  # at the last look; None: it could not look
        self._looked = 0.0
        self._wakes = [threading.Event() for _ in range(SENDERS)]
        self._own = {kind: threading.Event() for kind in OWN}
        self._next = 0
        self._others = -OTHERS_S  # when it was last looked for what comes back, and ends (monotonic)
        self._auditor = Loop("auditor", self.look, threading.Event(), log, idle=LOOK)
        self.loops = [
            Loop("alerts", self.escalate, wake, log, idle=0.5),
            Loop("notices", self.post, threading.Event(), log, idle=1.0),
            Loop("codes", self.prove, threading.Event(), log, idle=1.0),
            self._auditor,
            *(
                Loop(f"send-{i}", self.send, one, log, idle=5.0 if i else 1.0)
                for i, one in enumerate(self._wakes)
            ),
            *(Loop(f"send-{kind}", self._by(kind), one, log, idle=1.0) for kind, one in self._own.items()),
        ]
        if beat is not None:
            self.loops.append(Loop("heartbeat", self.beat, threading.Event(), log, idle=heartbeat.EVERY_S))
        self._watched: Sequence[Loop] = self.loops

    def watch_over(self, loops: Sequence[Loop]) -> None:
        self._watched = loops

    def escalate(self) -> bool:
        """A few new alerts a round: their notifications leave before the next ones are begun. What is due by the minute is
        looked for every other second."""
        now = clock.utc_now()
        problems: list[Exception] = []
        done = escalation.start_due(now, escalation.TOGETHER, problems)
        advanced = escalation.step_due(now, problems, escalation.TOGETHER)
        if clock.monotonic() - self._others > OTHERS_S:
            done += escalation.pull_back(now)
            returned = escalation.come_back(now, problems)
            done += escalation.settle_owned(now, problems)
            advanced += returned
            self._others = clock.monotonic()
        if advanced:
            self._wake(advanced)
        if problems:
            raise problems[0]  # all had their turn; now the loop may tell of it
        return bool(done + advanced)

    def _wake(self, advanced: int) -> None:
        for _ in range(min(advanced, SENDERS)):
            self._next = (self._next + 1) % SENDERS
            self._wakes[self._next].set()
        for one in self._own.values():
            one.set()

    def send(self) -> bool:
        """A few letters at once, over one connection. Other ways are slower, or cost money: of those one at a time."""
        limit = escalation.SEND_TOGETHER
        return escalation.send_due(self.sender, clock.utc_now(), self.log, limit=limit, without=OWN) > 0

    def _by(self, kind: str) -> Callable[[], bool]:
        def step() -> bool:
            return escalation.send_due(self.sender, clock.utc_now(), self.log, limit=1, only=kind) > 0

        return step

    def post(self) -> bool:
        """Notices: by telephone one holds this thread until it was heard."""
        return posting.send_notices(self.sender, clock.utc_now(), self.log, limit=1) > 0

    def prove(self) -> bool:
        """Codes and tests, so that somebody's test call holds up no notice, and keys that are away neither."""
        return posting.send_codes(self.sender, clock.utc_now(), self.log, limit=1) > 0

    def look(self) -> bool:
        """The auditor, in a thread of its own: what stands still, and loops that do not come back."""
        try:
            self._found = self._watch.look(clock.utc_now())
        except BaseException:
            self._found = None
            raise
        finally:
            self._looked = clock.monotonic()
            self._dead()
        return False

    def _dead(self) -> None:
        now = clock.monotonic()
        for loop in self.loops:
            started = loop.ident is not None and not loop.stopping.is_set()
            if started and loop.name in VITAL and (now - loop.beat > DEAD_S or not loop.is_alive()):
                self.log("loop.dead", kind=loop.name)
                self._give_up()

    def beat(self) -> bool:
        """Tell the outside that all goes on; when it does not, say nothing, and they will ask."""
        now = clock.monotonic()
        going = [
            Going(loop.name, now - loop.beat, loop.idle, loop.trouble)
            for loop in self._watched
            if loop.at_once  # others sleep until something is announced
        ]
        # What was tried and reached nobody does not stand still, and yet nobody is woken by it.
        found = None if self._found is None else len(self._found) + escalation.standing_still(clock.utc_now())
        if self._beat is not None and heartbeat.may_beat(found, now - self._looked, going, self._phone()):
            self._beat()
        return False

    def report(self) -> dict[str, Any]:
        """What health.write keeps of it."""
        found = self._found
        told: dict[str, Any] = {"unreachable": contacts.unreachable(), "last_resort": last_resorts.report()}
        if self._looked:
            told["auditor"] = {
                "age_s": round(clock.monotonic() - self._looked, 1),
                "found": None if found is None else len(found),
                "why": sorted({one.why for one in found or ()}),
            }
        return told
