"""An engine process: the calls that the front gives it, until the front closes their socket or dies.

    python -m nightbell.phone.engine_main SOCKET PROCESSES RESTING

SOCKET: the number of the inherited socket; PROCESSES: how many engines there are; RESTING: ports to be used last. Started by
phone.spread alone. It opens no TCP, reads the phone's folder and writes to its spool alone.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import Any

from nightbell.core import clock, sandbox
from nightbell.core import config as settings
from nightbell.core.config import Config
from nightbell.core.errors import NightbellError, RefusedStart
from nightbell.core.log import Log
from nightbell.flow import model
from nightbell.phone import encode, heap, legs, main, voice
from nightbell.phone.engine import Engine
from nightbell.phone.frames import Link
from nightbell.phone.legs import Leg, RemoteLeg
from nightbell.phone.media import Media
from nightbell.phone.memory import Memory, Remembered
from nightbell.phone.snapshot import Holder
from nightbell.phone.spread import BEAT
from nightbell.phone.take import ALL, Budget

SAVE_SECONDS = 10.0  # after the front is gone: for the last words, and until captures are on the disk
NO_LONGER = 30  # seconds, then the kernel ends it: whatever hangs, no orphan keeps ports


class Passed(Memory):
    """What is remembered of callers is remembered in the front: it comes with each call and goes back there."""

    def __init__(self, send: legs.Send) -> None:
        super().__init__()
        self._send = send
        self.next = Remembered()

    def recall(self, practice: str, caller: str, now: float) -> Remembered:
        return self.next

    def keep(self, practice: str, caller: str, language: str, slow: bool, now: float) -> None:
        self._send(legs.Remember(practice, caller, language, slow))


class Child:
    """The engine's end of the socket."""

    def __init__(self, holder: Holder, log: Log) -> None:
        self.link = Link(legs.DOWN, self._take, self._orphaned)
        self.memory = Passed(self.link.send)
        self.gone = asyncio.Event()
        self.empty = asyncio.Event()
        self._holder, self._log = holder, log
        self._legs: dict[int, RemoteLeg] = {}
        self._numbers: dict[str, int] = {}

    def serve(self, engine: Engine) -> None:
        """This engine is the one."""
        self._engine = engine
        engine.told = lambda event, **fields: self.link.send(legs.Event(event, **fields))
        engine.begun, engine.gone = self._begun, self._over

    async def beat(self) -> None:
        while True:
            self.link.send(self._engine.stats())
            self.link.send(legs.Voices(tuple(leg.voice() for leg in self._legs.values())))
            await asyncio.sleep(BEAT)

    def _take(self, message: Any) -> None:
        try:
            self._obey(message)
        except Exception as error:  # one order that failed must not end the others' calls
            self._log.failure("engine_order_failed", error)

    def _obey(self, message: Any) -> None:
        if isinstance(message, legs.Invite):
            self._invite(message)
        elif isinstance(message, legs.Routing):
            self._routing(message)
        elif isinstance(message, legs.EndAll):
            self._engine.end_all()
        elif isinstance(message, legs.Taken):
            self._engine.answered(message.capture, model.Taken(message.rings))
        elif isinstance(message, legs.Told):
            at = clock.parse_iso(message.at) if message.at else None
            self._engine.answered(message.capture, model.Told(message.state, at, message.ref))
        elif (leg := self._legs.get(message.call)) is not None:
            leg.take(message)

    def _invite(self, message: legs.Invite) -> None:
        leg = RemoteLeg(message, self.link.send)
        self._legs[message.call] = leg
        self.memory.next = leg.before
        self.empty.clear()
        try:
            self._engine.take(leg, message.busy)
        except Exception as error:
            self._log.failure("call_error", error)
            leg.reject(500)
            self._forget(message.call)

    def _routing(self, message: legs.Routing) -> None:
        try:
            self._holder.reload(message.version, message.age)
        except (NightbellError, OSError) as error:
            self._log.failure("snapshot_refused", error)
        self._engine.routing_changed(lambda: None)
        self.link.send(legs.InForce(self._holder.current.version))

    def _begun(self, leg: Leg, capture: str) -> None:
        if isinstance(leg, RemoteLeg):
            self._numbers[capture] = leg.call
            self.link.send(legs.Began(leg.call, capture))

    def _over(self, capture: str) -> None:
        self._forget(self._numbers.pop(capture, 0))

    def _forget(self, call: int) -> None:
        if self._legs.pop(call, None) is not None:
            self.link.send(legs.Over(call))
        if not self._legs:
            self.empty.set()

    def _orphaned(self) -> None:
        """The front has closed the socket, or is dead: then nobody can hang up, but what is said can be saved."""
        signal.alarm(NO_LONGER)
        self.gone.set()


def lock_in(config: Config) -> None:
    """Files: the system's and the phone's to read, the spool to write; no TCP. Where there is no Landlock the front has
    found, before it started us, that a user of its own does the same. Call it before threads."""
    folder = main.phone_folder(config)
    if sandbox.landlock_abi():
        sandbox.restrict_files([*sandbox.system_paths(), folder], [config.spool], forbid_tcp=True)


async def run(config: Config, handle: int, processes: int, resting: frozenset[int], log: Log) -> None:
    """Serve the front until it is gone, then save what there is."""
    loop, folder = asyncio.get_running_loop(), main.phone_folder(config)
    holder = Holder(folder)
    voice.warm()
    media = Media(config.bind, config.rtp_ports, loop.call_soon_threadsafe)
    media.rest(resting)
    child = Child(holder, log)
    engine = Engine(folder, holder, media, log, child.memory, Budget(ALL // processes))
    child.serve(engine)
    lock_in(config)
    encode.load()
    engine.start()
    heap.settle()
    await loop.create_unix_connection(lambda: child.link, sock=socket.socket(fileno=handle))
    beat = asyncio.gather(child.beat(), heap.keep_small())
    await child.gone.wait()
    beat.cancel()
    if engine.calls:
        log("draining", count=engine.calls, seconds=SAVE_SECONDS)
        engine.end_all()
        child.empty.clear()
        try:
            await asyncio.wait_for(child.empty.wait(), SAVE_SECONDS)
        except TimeoutError:
            log("calls_cut_off", count=engine.calls)
    engine.close()


def entry(arguments: list[str]) -> int:
    """Exit codes: 0 stopped as told, 1 refused or failed."""
    log = Log("phone")
    # Whoever stops the phone as a group asks the front to drain: it tells us when.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    try:
        handle, processes = int(arguments[0]), int(arguments[1])
        resting = frozenset(int(port) for port in arguments[2].split(",") if port)
        config = settings.load()
        main.prepare(config)
        asyncio.run(run(config, handle, processes, resting, log))
    except RefusedStart as error:
        print(f"nightbell phone: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(entry(sys.argv[1:]))
