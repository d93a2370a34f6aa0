"""Runs the other stacks as children: they are fussy, and one of them ends only by force."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.ports import free_port

HERE = Path(__file__).parent


class Child:
    """One process of PJSIP or baresip and what it told."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self.port = process, port
        self.told: list[dict[str, Any]] = []

    async def ready(self) -> None:
        async with asyncio.timeout(15):
            while not any("ready" in line for line in self.told):
                await self._line()

    async def _line(self) -> None:
        stdout = self._process.stdout
        line = await stdout.readline() if stdout else b""
        if not line:
            raise AssertionError(f"the other stack ended early: {self.told}")
        if line.startswith(b"{"):
            self.told.append(json.loads(line))

    async def done(self, seconds: float = 28.0) -> dict[str, Any]:
        """Its last word."""
        try:
            async with asyncio.timeout(seconds):
                while not any("done" in line or "error" in line for line in self.told):
                    await self._line()
        finally:
            self.stop()
            await self._process.wait()
        return self.told[-1]

    def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


async def start(stack: str, transport: str, uri: str, script: str, *extra: str) -> Child:
    """stack: 'pjsip' or 'baresip'. Returns when it listens."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / f"{stack}_child.py"),
        str(port),
        transport,
        uri,
        script,
        *extra,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    child = Child(process, port)
    await child.ready()
    return child
