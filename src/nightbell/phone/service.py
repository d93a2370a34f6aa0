"""The phone as a whole: calls in, captures out, health to the worker, and a quiet end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from nightbell.core import clock
from nightbell.core.errors import NightbellError
from nightbell.core.log import Log
from nightbell.flow.model import Taken, Told
from nightbell.phone.arrival import look, store
from nightbell.phone.control import Control, Event
from nightbell.phone.desk import Desk
from nightbell.phone.endpoint import Endpoint
from nightbell.phone.engine import Works
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.snapshot import Holder, Snapshot

SHORT_FORMS = 4  # a full phone takes this part of its calls more, in the short form
SAVE_SECONDS = 10.0  # after a drain: how long captures may take to reach the disk


class Phone:
    """Admission, the control channel and health. Made inside the running event loop."""

    def __init__(self, folder: Path, holder: Holder, works: Works, control_path: Path, log: Log) -> None:
        """works: where the calls run."""
        self.holder, self.works, self._log = holder, works, log
        self.control = Control(control_path, self._command, self.health, self._hello, log)
        self.draining = asyncio.Event()
        self._folder = folder
        self._empty = asyncio.Event()
        self._empty.set()
        self._started = clock.monotonic()
        self._in_force = holder.current  # what every new call gets, wherever it runs
        self._vouchers = store(folder)  # certificates that vouch for callers' numbers
        works.told, works.emptied = self.control.send, self._empty.set
        self.answered = self.refused = self.short_forms = 0
        self._sip: Counter[str] = Counter()
        self.routed: Callable[[Snapshot], None] = lambda snapshot: None  # who may talk to us follows it
        self.trunks: Callable[[], Mapping[str, object]] = dict  # how they stand, by id
        self.ask_trunk: Callable[[str], None] = lambda trunk: None  # how it stands, now
        self.desk: Desk | None = None  # calls to and from staff

    def attach(self, endpoint: Endpoint) -> None:
        """Learn of the SIP side: its counters for health, its view of our own address for SDP."""
        self._sip = endpoint.counters
        self.works.local_address = endpoint.layer.transport.local_address

    def start(self) -> None:
        """Start the threads: only after the process has been locked in."""
        self.works.start()
        if self.desk is not None:
            self.desk.start()

    def on_call(self, leg: IncomingCall) -> None:
        """A new INVITE that SIP has found well-formed, with audio that we can take."""
        most = self.holder.current.limits.max_calls
        if self.draining.is_set() or self.works.calls >= most + most // SHORT_FORMS + 1:
            self.refused += 1
            leg.reject(503)  # not 486: a carrier tries its fail-over after 503 alone
            return
        self._place(leg)
        if self.desk is not None and self.holder.current.number(leg.dialled).staff:
            self.desk.take(leg)
            return
        busy = self.works.calls >= most
        self.short_forms += busy
        self.answered += 1
        try:
            self.works.take(leg, busy)
        finally:
            if self.works.calls:
                self._empty.clear()

    def _place(self, leg: IncomingCall) -> None:
        """Whom the patient first dialled, and what else the call tells. Whatever goes wrong here costs no call."""
        try:
            arrival = look(
                leg.server.request, leg.caller, leg.trunk, self._in_force, self._vouchers, clock.utc_now()
            )
        except Exception as error:
            self._log.failure("call_not_placed", error)
            return
        leg.dialled, leg.marks = arrival.dialled or leg.dialled, arrival.marks

    def asked_to_stop(self) -> None:
        """The first time: drain. The second time: end the calls now, saved."""
        if self.draining.is_set():
            self._end_all()
        self.draining.set()

    async def drain(self, seconds: float) -> None:
        """Take no new calls, let the others end by themselves for so long, then end them and save."""
        self.draining.set()
        if self.desk is not None:
            self.desk.drain()
        self._log("draining", count=self.works.calls, seconds=seconds)
        if not await self._all_gone(seconds):
            self._end_all()
            await self._all_gone(SAVE_SECONDS)

    def _end_all(self) -> None:
        self.works.end_all()
        if self.desk is not None:
            self.desk.end_all()

    def close(self) -> None:
        """Write out, stop the threads, give back the ports."""
        self.works.close()
        if self.desk is not None:
            self.desk.close()

    def health(self) -> Event:
        """Counts and ages; nothing of any call."""
        works, snapshot = self.works.stats(), self._in_force
        room = os.statvfs(self._folder / "spool")
        return {
            "active_calls": self.works.calls,
            "staff_legs": len(self.desk.legs) if self.desk is not None else 0,
            "answered": self.answered,
            "refused": self.refused,
            "short_forms": self.short_forms,
            "lines": self._lines(),
            "draining": self.draining.is_set(),
            "pid": os.getpid(),
            "uptime": round(clock.monotonic() - self._started, 1),
            "snapshot_version": snapshot.version,
            "epoch": snapshot.epoch.id,  # the worker keeps its private half for as long as we seal to it
            "snapshot_age": round(self.holder.age(), 1),
            "snapshots_refused": self.holder.refused,
            "spool_free_bytes": room.f_bavail * room.f_frsize,
            "rtp": dict(works.rtp),
            "sip": dict(self._sip),
            "trunks": self.trunks(),
            "clips_missing": self._clips_missing(),
            "captures": self._captures(works.captures),
            "open_captures": works.open_captures + (self.desk.open_captures if self.desk is not None else 0),
            "never_confirmed": dict(works.never_confirmed),
            "late_ticks": works.late_ticks,
            "worst_lag_ms": round(works.worst_lag * 1000, 1),
            "engines_lost": self.works.lost,
        }

    def _clips_missing(self) -> int:
        """Own recordings that the snapshot names and the folder lacks: callers hear our words in their place."""
        numbers, clips = self._in_force.numbers.values(), self._folder / "clips"
        named = {clip for number in numbers for clip in number.line.plan.clips.values()}
        return sum(not clip.startswith("builtin:") and not (clips / clip).exists() for clip in named)

    def _captures(self, callers: Mapping[str, int]) -> dict[str, int]:
        """Counts of callers' captures and of call backs that were recorded."""
        mine = self.desk.captures if self.desk is not None else {}
        return {name: count + mine.get(name, 0) for name, count in callers.items()}

    def _hello(self) -> Event:
        legs = list(self.desk.legs) if self.desk is not None else []
        return {"version": self._in_force.version, "pid": os.getpid(), "legs": legs}

    def _lines(self) -> dict[str, int]:
        """The version of each practice's flow that callers hear now."""
        lines = [number.line for number in self._in_force.numbers.values()]
        return {line.practice: line.flow for line in lines if line.practice and not line.test}

    async def _all_gone(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
                if self.desk is not None:
                    await self.desk.empty.wait()
        return self._empty.is_set() and (self.desk is None or self.desk.empty.is_set())

    def _command(self, name: str, data: object) -> None:
        commands: dict[str, Callable[[object], None]] = {
            "snapshot": self._take_snapshot,
            "drain": self._drain_now,
            "status": self._status_told,
            "taken": self._was_taken,
            "ask_trunk": self._asked_trunk,
        }
        if self.desk is not None and name in self.desk.orders:
            self.desk.order(name, data)
            return
        if name not in commands:
            self._log("control_command_unknown")
            return
        commands[name](data)

    def _status_told(self, data: object) -> None:
        """The answer to a caller's question, if that caller is still there."""
        if not isinstance(data, dict):
            return
        at = data.get("at")
        when = clock.parse_iso(at) if isinstance(at, str) else None
        told = Told(str(data.get("state", "none")), when, str(data.get("ref", "")))
        self.works.answered(str(data.get("capture")), told)

    def _was_taken(self, data: object) -> None:
        if isinstance(data, dict):
            self.works.answered(str(data.get("capture")), Taken(data.get("rings") is True))

    def _asked_trunk(self, data: object) -> None:
        if isinstance(data, dict):
            self.ask_trunk(str(data.get("id", "")))

    def _drain_now(self, _data: object) -> None:
        self.draining.set()

    def _take_snapshot(self, data: object) -> None:
        before = self.holder.current.version
        try:
            taken = self.holder.take(json.dumps(data).encode())
        except (NightbellError, OSError) as error:
            self._log.failure("snapshot_refused", error)
            self.control.send("snapshot_refused", version=self.holder.current.version)
            return
        again = taken.version == before  # only a sign of life
        if not again:  # at once: no engine that lags behind may keep a door open or shut
            self.routed(taken)
        self.works.routing_changed(lambda: None if again else self._now_in_force(taken))

    def _now_in_force(self, taken: Snapshot) -> None:
        self._in_force = taken
        self._vouchers = store(self._folder)
        self._log("snapshot_in_force", version=taken.version)
        self.control.send("snapshot_in_force", version=taken.version)
