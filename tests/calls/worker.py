"""The worker's end of a phone's control channel, as far as a call can hear it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from nightbell.core.clock import iso
from nightbell.flow.model import Told

ALIVE_S, ANSWER_S = 3.0, 0.3
REF = "01K000000000000000000MSG01"
STATES = ("waiting", "waiting_open", "left", "heard", "owned", "heard_owned", "tried", "done", "none")


def told(number: str, now: datetime) -> Told | None:
    """What this worker answers for a number: by its last digit one of STATES, for 9 never a word."""
    last = int(number[-1])
    if last >= len(STATES):
        return None
    state = STATES[last]
    at = (now - timedelta(minutes=90)).replace(second=0, microsecond=0)
    if state == "heard_owned":
        return Told("owned", at, REF)
    return Told(state, None if state in ("owned", "none") else at, REF)


class Worker:
    """Answers questions, tells that a message is stored, and keeps the snapshot fresh. health: as last told."""

    def __init__(self, path: Path, now: datetime, snapshot: Callable[[], bytes]) -> None:
        self._path, self._now, self._snapshot = path, now, snapshot
        self.health: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Worker:
        self._server = await asyncio.start_unix_server(self._meet, str(self._path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        alive = self._start(self._keep_alive(writer))
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                said = json.loads(line)
                if said["event"] == "health":
                    self.health = said
                elif said["event"] == "status":
                    self._start(self._answer(writer, said["capture"], said["number"]))
                elif said["event"] == "capture_ready":
                    self._order(writer, "taken", {"capture": said["capture"], "rings": True})
        alive.cancel()
        writer.close()

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _keep_alive(self, writer: asyncio.StreamWriter) -> None:
        while True:
            self._order(writer, "snapshot", json.loads(self._snapshot()))
            await asyncio.sleep(ALIVE_S)

    async def _answer(self, writer: asyncio.StreamWriter, capture: str, number: str) -> None:
        answer = told(number, self._now)
        if answer is not None:
            await asyncio.sleep(ANSWER_S)
            at = iso(answer.at) if answer.at else None
            data = {"capture": capture, "state": answer.state, "at": at, "ref": answer.ref}
            self._order(writer, "status", data)

    @staticmethod
    def _order(writer: asyncio.StreamWriter, command: str, data: object) -> None:
        writer.write(json.dumps({"command": command, "data": data}).encode() + b"\n")
