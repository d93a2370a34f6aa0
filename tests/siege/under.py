"""Calls that go on while something happens, and what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.phone.house import HandCaller, House, speech, spoken_of

FRAME = 160


class Watch:
    """The worker's end of the control channel: the last health that the phone told."""

    def __init__(self, house: House) -> None:
        self._house, self.health, self.told = house, dict[str, Any](), asyncio.Event()

    async def __aenter__(self) -> Watch:
        path = self._house.home / "run" / "control.sock"
        self._server = await asyncio.start_unix_server(self._hear, path, limit=1 << 20)
        return self

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            async for text in reader:
                said = json.loads(text)
                if said.get("event") == "health":
                    self.health = said
                    self.told.set()
        writer.close()

    async def next(self) -> dict[str, Any]:
        """What it says after this moment, and after all that it was told before."""
        for _ in range(2):
            self.told.clear()
            async with asyncio.timeout(15):
                await self.told.wait()
        return self.health

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


def memory_kb(house: House) -> int:
    pid = house.process.pid if house.process else 0
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def traces(house: House) -> list[str]:
    """Log lines of failures: they name a type and a place."""
    lines = (house.home / "phone.log").read_text().splitlines()
    return [line for line in lines if '"error":' in line or "Traceback" in line or not line.startswith("{")]


class Speakers:
    """Callers who are past the tone and speak; every frame is known."""

    def __init__(self, house: House, callers: list[HandCaller]) -> None:
        self.house, self.callers = house, callers
        self.said: list[list[bytes]] = [[] for _ in callers]
        self.stopping = False

    async def speak(self, seconds: float = 600.0) -> None:
        """All of them, a frame every 20 ms, until told to stop."""
        sounds = [speech(20, seed) for seed in range(len(self.callers))]
        began, number = time.monotonic(), 0
        while not self.stopping and number * 0.02 < seconds:
            at = number % (20 * 50) * FRAME
            for caller, sound, said in zip(self.callers, sounds, self.said, strict=True):
                frame = sound[at : at + FRAME]
                caller.audio(number, frame)
                said.append(frame)
            number += 1
            await asyncio.sleep(max(0.0, began + number * 0.02 - time.monotonic()))

    def kept(self) -> list[bytes]:
        """What was recorded of each, in any order; nothing but what they said may be in it."""
        captures = self.house.wait_for_captures(len(list(self.house.spool.glob("*.cap"))))
        return [sound for capture in captures if len(sound := spoken_of(capture)) > FRAME * 10]

    def assert_kept(self) -> None:
        """Every recording is what its caller said, byte for byte."""
        wanted = sorted(b"".join(said) for said in self.said)
        ends = time.monotonic() + 10
        while sorted(self.kept()) != wanted and time.monotonic() < ends:
            time.sleep(0.2)
        kept = sorted(self.kept())
        assert [len(one) for one in kept] == [len(one) for one in wanted]
        assert differing(kept, wanted) == []


def differing(kept: list[bytes], wanted: list[bytes]) -> list[tuple[int, int, bool]]:
    """(recording, frame, whether it is silent) of the first frames that are not what was said."""
    return [
        (number, at // FRAME, set(one[at : at + FRAME]) == {0xFF})
        for number, (one, said) in enumerate(zip(kept, wanted, strict=True))
        for at in range(0, len(said), FRAME)
        if one[at : at + FRAME] != said[at : at + FRAME]
    ][:40]


@contextlib.asynccontextmanager
async def speaking(house: House, count: int) -> AsyncIterator[Speakers]:
    """So many callers at once, past the tone, speaking until the block ends; then they hang up."""
    async with contextlib.AsyncExitStack() as stack:
        callers = []
        for number in range(count):
            callers.append(await stack.enter_async_context(HandCaller(house, f"55520171{number:02d}")))
        await asyncio.gather(*(caller.tone() for caller in callers))
        speakers = Speakers(house, callers)
        work = asyncio.create_task(speakers.speak())
        await asyncio.sleep(0.5)
        try:
            yield speakers
        finally:
            speakers.stopping = True
            await work
            await asyncio.sleep(0.3)
