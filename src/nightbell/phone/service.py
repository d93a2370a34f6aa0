"""The phone as a whole: calls in, captures out, health to the worker, and a quiet end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from nightbell.core import clock
from nightbell.core.errors import NightbellError
from nightbell.core.log import Log
from nightbell.flow.model import Taken, Told
from nightbell.phone.call import Call, House
from nightbell.phone.control import Control, Event
from nightbell.phone.endpoint import Endpoint
from nightbell.phone.media import Media
from nightbell.phone.recorder import Recorder
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.snapshot import Holder, Number, Snapshot
from nightbell.phone.voice import Voice

SHORT_FORMS = 4  # a full phone takes this part of its calls more, in the short form
SAVE_SECONDS = 10.0  # after a drain: how long captures may take to reach the disk


class Phone:
    """Calls, their shared house, and the control channel. Made inside the running event loop."""

    def __init__(self, folder: Path, holder: Holder, media: Media, control_path: Path, log: Log) -> None:
        self.holder, self.media, self._log = holder, media, log
        self.recorder = Recorder(folder / "spool", log)
        self.control = Control(control_path, self._command, self.health, self._hello, log)
        self.draining = asyncio.Event()
        self._clips = folder / "clips"
        self._calls: set[Call] = set()
        self._by_capture: dict[str, Call] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._started = clock.monotonic()
        media.send_silence = holder.current.limits.send_silence
        self.answered = self.refused = self.short_forms = 0
        self._sip: Counter[str] = Counter()
        self._house = House(
            media, self.recorder, self._voice, log, self.control.send, self._over, self._in_force,
            lambda leg: media.bind,
        )  # fmt: skip

    def attach(self, endpoint: Endpoint) -> None:
        """Learn of the SIP side: its counters for health, its view of our own address for SDP."""
        self._sip = endpoint.counters
        transport = endpoint.layer.transport
        self._house.local_address = lambda leg: transport.local_address(leg.peer)

    def start(self) -> None:
        """Start the threads: only after the process has been locked in."""
        self.media.start()
        self.recorder.start()

    def on_call(self, leg: IncomingCall) -> None:
        """A new INVITE that SIP has found well-formed, with audio that we can take."""
        most = self.holder.current.limits.max_calls
        if self.draining.is_set() or len(self._calls) >= most + most // SHORT_FORMS + 1:
            self.refused += 1
            leg.reject(503)  # not 486: a carrier tries its fail-over after 503 alone
            return
        busy = len(self._calls) >= most
        call = Call(leg, self._house, self.holder.current, busy)
        self._calls.add(call)
        self._by_capture[call.capture] = call
        self.short_forms += busy
        self._empty.clear()
        self.answered += 1
        call.start()

    def asked_to_stop(self) -> None:
        """The first time: drain. The second time: end the calls now, saved."""
        if self.draining.is_set():
            for call in list(self._calls):
                call.drain()
        self.draining.set()

    async def drain(self, seconds: float) -> None:
        """Take no new calls, let the others end by themselves for so long, then end them and save."""
        self.draining.set()
        self._log("draining", count=len(self._calls), seconds=seconds)
        if not await self._all_gone(seconds):
            for call in list(self._calls):
                call.drain()
            await self._all_gone(SAVE_SECONDS)

    def close(self) -> None:
        """Write out, stop the threads, give back the ports."""
        self.media.close()
        self.recorder.close()

    def health(self) -> Event:
        """Counts and ages; nothing of any call."""
        sound, kept, snapshot = self.media.total(), self.recorder.counters, self.holder.current
        room = os.statvfs(self.recorder.folder)
        return {
            "active_calls": len(self._calls),
            "answered": self.answered,
            "refused": self.refused,
            "short_forms": self.short_forms,
            "lines": self._lines(),
            "draining": self.draining.is_set(),
            "uptime": round(clock.monotonic() - self._started, 1),
            "snapshot_version": snapshot.version,
            "epoch": snapshot.epoch.id,  # the worker keeps its private half for as long as we seal to it
            "snapshot_age": round(self.holder.age(), 1),
            "snapshots_refused": self.holder.refused,
            "spool_free_bytes": room.f_bavail * room.f_frsize,
            "rtp": {name: getattr(sound, name) for name in sound.__slots__},
            "sip": dict(self._sip),
            "clips_missing": self._clips_missing(),
            "captures": {name: getattr(kept, name) for name in kept.__slots__},
            "open_captures": self.recorder.open_captures,
            "never_confirmed": dict(self._house.never_confirmed),
            "late_ticks": self.media.late_ticks,
            "worst_lag_ms": round(self.media.worst_lag * 1000, 1),
        }

    def _clips_missing(self) -> int:
        """Own recordings that the snapshot names and the folder lacks: callers hear our words in their place."""
        numbers = self.holder.current.numbers.values()
        named = {clip for number in numbers for clip in number.line.plan.clips.values()}
        return sum(not clip.startswith("builtin:") and not (self._clips / clip).exists() for clip in named)

    def _hello(self) -> Event:
        return {"version": self.holder.current.version, "pid": os.getpid()}

    def _voice(self, number: Number) -> Voice:
        return Voice(self._clips, number.line.plan.clips)

    def _lines(self) -> dict[str, int]:
        """The version of each practice's flow that callers hear now."""
        lines = [number.line for number in self.holder.current.numbers.values()]
        return {line.practice: line.flow for line in lines if line.practice and not line.test}

    def _in_force(self) -> tuple[Snapshot, float]:
        return self.holder.current, self.holder.age()

    def _over(self, call: Call) -> None:
        self._calls.discard(call)
        self._by_capture.pop(call.capture, None)
        if not self._calls:
            self._empty.set()

    async def _all_gone(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        return self._empty.is_set()

    def _command(self, name: str, data: object) -> None:
        commands: dict[str, Callable[[object], None]] = {
            "snapshot": self._take_snapshot,
            "drain": self._drain_now,
            "status": self._status_told,
            "taken": self._was_taken,
        }
        if name not in commands:
            self._log("control_command_unknown")
            return
        commands[name](data)

    def _status_told(self, data: object) -> None:
        """The answer to a caller's question, if that caller is still there."""
        if not isinstance(data, dict) or (call := self._by_capture.get(str(data.get("capture")))) is None:
            return
        at = data.get("at")
        when = clock.parse_iso(at) if isinstance(at, str) else None
        call.told(Told(str(data.get("state", "none")), when, str(data.get("ref", ""))))

    def _was_taken(self, data: object) -> None:
        if isinstance(data, dict) and (call := self._by_capture.get(str(data.get("capture")))) is not None:
            call.told(Taken(data.get("rings") is True))

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
        self.media.send_silence = taken.limits.send_silence
        if taken.version != before:  # the same one again is only a sign of life
            self._log("snapshot_in_force", version=taken.version)
            self.control.send("snapshot_in_force", version=taken.version)
