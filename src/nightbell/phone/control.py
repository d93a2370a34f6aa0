"""The control channel: JSON lines over a Unix socket, opened by the phone, never needed for a call.

up:   {"event": "hello", "version", "legs"}, {"event": "call_started" | "call_ended" | "capture_ready", "capture"},
      {"event": "health", ...} every five seconds: ids, counts and versions alone. One event has PHI:
      {"event": "status", "capture", "practice", "number", "caller"}, a caller's question; it is never logged.
down: {"command": "snapshot", "data": {"payload", "signature"}}, {"command": "drain"}, {"command": "ping"},
      {"command": "status", "data": {"capture", "state", "at", "ref"}} (the answer),
      {"command": "taken", "data": {"capture", "rings"}} (a message is stored),
      {"command": "ask_trunk", "data": {"id"}} (somebody wants to know how that carrier is, now).
Calls to and from staff: their commands and events are phone.desk's. Of those "key" is never logged and never kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from nightbell.core.log import Log

HEALTH_EVERY = 5.0
BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)
MAX_LINE = 12_000_000
MAX_WAITING = 1000  # events kept while no worker is there; the spool itself tells the rest

Event = Mapping[str, object]


class Control:
    """The phone's end. `send` never blocks and never fails; `run` for as long as the process lives."""

    def __init__(
        self,
        path: Path,
        command: Callable[[str, object], None],
        health: Callable[[], Event],
        hello: Callable[[], Event],
        log: Log,
    ) -> None:
        """command(name, data): something the worker wants, called in the event loop."""
        self._path, self._command, self._log = path, command, log
        self._health, self._hello = health, hello
        self._waiting: deque[Event] = deque(maxlen=MAX_WAITING)
        self._writer: asyncio.StreamWriter | None = None
        self.connected = False

    def send(self, event: str, **fields: object) -> None:
        """Tell the worker, now or when it is back."""
        line = {"event": event, **fields}
        if self._writer is None:
            # Of no use later: a caller's question, which holds a number, and a key, which may be a PIN's.
            if event not in ("status", "key"):
                self._waiting.append(line)
        else:
            self._write(line)

    async def run(self) -> None:
        """Connect, and connect again."""
        tries = 0
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_unix_connection(str(self._path), limit=MAX_LINE)
                tries = 0
                try:
                    await self._talk(reader, writer)
                finally:
                    self._writer, self.connected = None, False
                    writer.close()
            await asyncio.sleep(BACK_OFF[min(tries, len(BACK_OFF) - 1)])
            tries += 1

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer, self.connected = writer, True
        self._write({"event": "hello", **self._hello()})
        while self._waiting:
            self._write(self._waiting.popleft())
        beat = asyncio.create_task(self._beat())
        try:
            while line := await reader.readline():
                self._obey(line)
        except ValueError:  # a line over MAX_LINE: whoever this is, it is not our worker
            self._log("control_line_too_long")
        finally:
            beat.cancel()

    async def _beat(self) -> None:
        while True:
            try:
                self.send("health", **self._health())
            except Exception as error:  # one look that failed must not silence this phone for good
                self._log.failure("control_health_failed", error)
            await asyncio.sleep(HEALTH_EVERY)

    def _write(self, line: Event) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def _obey(self, line: bytes) -> None:
        try:
            order = json.loads(line)
            name = order["command"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._log("control_line_malformed")
            return
        if name == "ping":
            self.send("pong")
            return
        try:
            self._command(str(name), order.get("data"))
        except Exception as error:  # a bad command must not end the channel
            self._log.failure("control_command_failed", error)
