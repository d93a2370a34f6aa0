"""Calls over several processes: this one keeps SIP, the routing snapshot, the worker's channel and what is remembered of callers;
each engine has the sound, the captures and the flow of its share of the calls.

An engine that dies takes only its own calls with it: their captures are what a dead phone's are (intake takes them as
"interrupted"), their callers are hung up on by BYE, and another engine is started in its place.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from nightbell.core import clock
from nightbell.core.errors import RefusedStart
from nightbell.core.ids import is_ulid
from nightbell.core.log import Log
from nightbell.flow.model import Taken, Told
from nightbell.phone import legs
from nightbell.phone.frames import Link
from nightbell.phone.legs import Counterpart, Stats
from nightbell.phone.memory import Memory
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.snapshot import Holder
from nightbell.phone.transport import Peer

MODULE = "nightbell.phone.engine_main"
BEAT = 1.0  # seconds between two signs of life of an engine, and between two looks at it
HANGS = 20.0  # seconds without one: it is killed, since its callers hear nothing
READY = 30.0
CLOSE = 20.0  # seconds for writing out and ending
BACK_OFF = (0.0, 0.5, 2.0, 5.0)
STEADY = 30.0  # whoever dies sooner than this again is started more slowly

Ports = tuple[int, int]


def shares(ports: Ports, processes: int) -> list[Ports]:
    """The range of ports for each process, apart from one another, each with an even one. Raises RefusedStart."""
    low, high = ports[0] + ports[0] % 2, ports[1]
    each = (high - low + 1) // processes // 2 * 2
    if each < 2:
        raise RefusedStart(
            "NIGHTBELL_RTP_PORTS", f"it has no ports for each of {processes} processes", "widen it"
        )
    return [(low + one * each, low + (one + 1) * each - 1) for one in range(processes)]


class _Engine:
    """One engine process as the front sees it."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.process: subprocess.Popen[bytes] | None = None
        self.link: Link | None = None
        self.calls: dict[int, Counterpart] = {}
        self.resting: set[int] = set()  # ports of calls that died with it: perhaps still spoken to
        self.stats = Stats()
        self.version = 0  # of its snapshot; 0: not ready
        self.seen = self.started = clock.monotonic()
        self.next_start = 0.0
        self.deaths = 0
        self.given = 0  # calls, ever

    def send(self, message: object) -> None:
        if self.link is not None:
            self.link.send(message)


class Spread:
    """As engine.Works has it. Made inside the running event loop; `begin` before anything else."""

    def __init__(
        self, ports: Ports, processes: int, environment: Mapping[str, str], holder: Holder, log: Log
    ) -> None:
        """environment: of an engine, without its ports. Raises RefusedStart."""
        self.told: Callable[..., None] = lambda event, **fields: None
        self.emptied: Callable[[], None] = lambda: None
        self.local_address: Callable[[Peer], str] = lambda peer: ""
        self.lost = 0
        self.engines = [_Engine(share) for share in shares(ports, processes)]
        self._environment, self._holder, self._log = environment, holder, log
        self._memory = Memory()
        self._numbers = itertools.count(1)
        self._past = Stats()  # of engines that died
        self._dying: list[subprocess.Popen[bytes]] = []
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._closing = False
        self._beat: asyncio.Task[None] | None = None

    # engine.Works

    @property
    def calls(self) -> int:
        return sum(len(engine.calls) for engine in self.engines)

    async def begin(self) -> None:
        """Start the engines and wait until they take calls. Raises RefusedStart."""
        for engine in self.engines:
            await self._launch(engine)
        ends = clock.monotonic() + READY
        while not all(engine.version for engine in self.engines):
            if clock.monotonic() > ends or any(engine.process is None for engine in self.engines):
                self.close()
                raise RefusedStart(
                    "NIGHTBELL_PHONE_PROCESSES",
                    "an engine does not start",
                    "see the lines above; 1 needs none",
                )
            await asyncio.sleep(0.02)

    def start(self) -> None:
        self._beat = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> None:
        """Have the engines write out and end; whoever does not is killed."""
        self._closing = True
        if self._beat is not None:
            self._beat.cancel()
        running = [*self._dying, *(one.process for one in self.engines if one.process is not None)]
        for engine in self.engines:
            if engine.link is not None:
                engine.link.close()
        ends = clock.monotonic() + CLOSE
        for process in running:
            try:
                process.wait(max(0.1, ends - clock.monotonic()))
            except subprocess.TimeoutExpired:
                self._log("engine_killed", pid=process.pid)
                process.kill()
                process.wait()

    def take(self, leg: IncomingCall, busy: bool) -> None:
        self._give(Counterpart(next(self._numbers), leg, busy))

    def answered(self, capture: str, event: Told | Taken) -> None:
        for engine in self.engines:
            if any(call.capture == capture for call in engine.calls.values()):
                if isinstance(event, Taken):
                    engine.send(legs.Taken(capture, event.rings))
                else:
                    at = clock.iso(event.at) if event.at is not None else ""
                    engine.send(legs.Told(capture, event.state, at, event.ref))
                return

    def end_all(self) -> None:
        for engine in self.engines:
            engine.send(legs.EndAll())

    def routing_changed(self, then: Callable[[], None]) -> None:
        version = self._holder.current.version
        self._waiting.append((version, then))
        for engine in self.engines:
            engine.send(legs.Routing(version, self._holder.age()))
        self._in_force()

    def stats(self) -> Stats:
        total = self._past
        for engine in self.engines:
            total = total.plus(engine.stats)
        return total

    # Calls.

    def _give(self, call: Counterpart) -> None:
        """To the engine with the fewest calls; 503 when none is there, so that the carrier tries elsewhere."""
        ready = [engine for engine in self.engines if engine.version]
        if not ready:
            self._log("call_without_engine")
            call.leg.reject(503)
            self._empty()
            return
        engine, leg = min(ready, key=lambda one: (len(one.calls), one.given)), call.leg
        engine.given += 1
        engine.calls[call.number] = call
        call.local, call.ports = self.local_address(leg.peer), engine.ports
        call.tie(engine.send)
        practice = self._holder.current.number(leg.dialled).practice
        before = self._memory.recall(practice, leg.caller, clock.monotonic())
        engine.send(
            legs.Invite(
                call.number, leg.dialled, leg.caller, leg.remote, leg.security, call.local,
                leg.peer.transport, leg.peer.host, leg.peer.port, call.busy, before.language, before.slow,
                leg.peer.local, leg.marks,
            )
        )  # fmt: skip

    def _take(self, engine: _Engine, message: Any) -> None:
        """What an engine says. Of calls it may speak of its own alone."""
        engine.seen = clock.monotonic()
        if isinstance(message, Stats):
            engine.stats = message
        elif isinstance(message, legs.InForce):
            self._is_in_force(engine, message.version)
        elif isinstance(message, legs.Event):
            self._event(engine, message)
        elif isinstance(message, legs.Voices):
            for number, packets, enough in message.calls:
                if number in engine.calls:
                    engine.calls[number].heard(packets, enough)
        elif isinstance(message, legs.Remember):
            self._memory.keep(
                message.practice, message.caller, message.language, message.slow, clock.monotonic()
            )
        elif (call := engine.calls.get(message.call)) is not None:
            self._take_of(engine, call, message)

    def _take_of(self, engine: _Engine, call: Counterpart, message: Any) -> None:
        if isinstance(message, legs.Began):
            call.capture = message.capture
        elif isinstance(message, legs.Over):
            del engine.calls[call.number]
            call.over()
            self._empty()
        else:
            try:
                call.take(message)
            except Exception as error:  # as when SIP itself finds an application's mistake
                self._log.failure("call_error", error)
                call.leg.reject(500)
                engine.send(legs.Ended(call.number, "error"))

    def _event(self, engine: _Engine, message: legs.Event) -> None:
        if message.event not in legs.EVENTS or not is_ulid(message.capture):
            return
        if message.event != "status":
            self.told(message.event, capture=message.capture)
        elif any(call.capture == message.capture for call in engine.calls.values()):
            self.told(
                "status", capture=message.capture, practice=message.practice, number=message.number,
                caller=message.caller,
            )  # fmt: skip

    def _empty(self) -> None:
        if not self.calls:
            self.emptied()

    # Snapshots.

    def _is_in_force(self, engine: _Engine, version: int) -> None:
        if version < self._holder.current.version:
            self._log("engine_has_old_snapshot", version=version)
        engine.version = version
        self._in_force()

    def _in_force(self) -> None:
        least = min((engine.version for engine in self.engines if engine.version), default=0)
        told = [then for version, then in self._waiting if version <= least]
        self._waiting = [one for one in self._waiting if one[0] > least]
        for then in told:
            then()

    # Processes.

    async def _launch(self, engine: _Engine) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        engine.started = engine.seen = clock.monotonic()
        resting = ",".join(str(port) for port in sorted(engine.resting))
        low, high = engine.ports
        try:
            engine.process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno()), str(len(self.engines)), resting],
                env={**self._environment, "NIGHTBELL_RTP_PORTS": f"{low}-{high}"},
                pass_fds=(theirs.fileno(),),
            )  # fmt: skip
        except OSError as error:  # no memory or no process left: tried again
            self._log.failure("engine_not_started", error)
            ours.close()
            self._died(engine)
            return
        finally:
            theirs.close()
        link = Link(legs.UP, lambda message: self._take(engine, message), lambda: self._lost(engine))
        engine.link = link
        engine.resting = set()
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        link.send(legs.Routing(self._holder.current.version, self._holder.age()))
        self._log("engine_started", pid=engine.process.pid)

    def _lost(self, engine: _Engine) -> None:
        """An engine is gone, or as good as that. Its callers are hung up on, those who only ring go to another one."""
        process, engine.process, engine.link = engine.process, None, None
        if process is not None:
            process.kill()
            self._dying.append(process)
        if self._closing:
            return
        self.lost += 1
        self._log("engine_lost", count=len(engine.calls))
        self._died(engine)
        calls, engine.calls = list(engine.calls.values()), {}
        for call in calls:
            if call.port:
                engine.resting.add(call.port)
            if call.capture:
                self.told("call_ended", capture=call.capture)
            if call.answered or call.leg.ended:
                call.over(500, "the sound is lost")
            elif call.again:  # it may be what kills them
                call.leg.reject(503)
            else:
                call.again, call.capture = True, ""
                self._give(call)
        self._in_force()
        self._empty()

    def _died(self, engine: _Engine) -> None:
        now = clock.monotonic()
        self._past = self._past.plus(engine.stats.past())
        engine.stats, engine.version = Stats(), 0
        engine.deaths = engine.deaths + 1 if now - engine.started < STEADY else 0
        engine.next_start = now + BACK_OFF[min(engine.deaths, len(BACK_OFF) - 1)]

    async def _watch(self) -> None:
        while True:
            self._dying = [process for process in self._dying if process.poll() is None]
            for engine in self.engines:
                try:
                    await self._look(engine)
                    for call in list(engine.calls.values()):
                        call.ring(clock.monotonic())
                except Exception as error:  # one look that failed must not be the last
                    self._log.failure("engine_not_watched", error)
            await asyncio.sleep(BEAT / 4)

    async def _look(self, engine: _Engine) -> None:
        now = clock.monotonic()
        if engine.process is None:
            if now >= engine.next_start:
                await self._launch(engine)
        elif engine.link is not None and (engine.process.poll() is not None or now - engine.seen > HANGS):
            self._log(
                "engine_hangs" if engine.process.returncode is None else "engine_ended",
                pid=engine.process.pid,
            )
            engine.link.close()
