"""rtpengine as a carrier's border: it takes sound in clear from the one side and gives it on encrypted, in user space."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

_PART = re.compile(r"\[(\S+)(?: port \d+)?\]: \[crypto\] Creating (active|passive) DTLS")
_AGREED = re.compile(r"\[(\S+) port \d+\]: \[crypto\] DTLS-SRTP successfully negotiated")
PORTS = (32_000, 32_399)  # of sound: nobody else's


@dataclass
class Engine:
    """port: of its control protocol."""

    port: int
    log: Path

    async def ready(self) -> None:
        """Wait until it answers."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.settimeout(0.1)
            for number in range(100):
                wire.sendto(f"{number} d7:command4:pinge".encode(), ("127.0.0.1", self.port))
                with contextlib.suppress(OSError):
                    if b"pong" in await asyncio.to_thread(wire.recv, 1000):
                        return
                await asyncio.sleep(0.05)
        raise AssertionError(self.log.read_text()[-3000:])

    def parts(self) -> list[str]:
        """Its part in each handshake that ended well, 'active' or 'passive', in order."""
        taken, agreed = dict[str, str](), set[str]()
        for line in self.log.read_text().splitlines():
            if found := _PART.search(line):
                taken[found[1]] = found[2]
            elif found := _AGREED.search(line):
                agreed.add(found[1])
        return sorted(taken[call] for call in agreed)


@contextlib.asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[Engine]:
    """One that is running."""
    it = Engine(free_port(), folder / "rtpengine.log")
    with it.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "rtpengine", "--config-file=none", "--foreground", "--table=-1", "--interface=127.0.0.1",
            f"--listen-ng=127.0.0.1:{it.port}", f"--pidfile={folder}/rtpengine.pid", f"--port-min={PORTS[0]}",
            f"--port-max={PORTS[1]}", "--num-threads=2", "--log-stderr", "--log-level=6", "--log-level-crypto=7",
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        await it.ready()
        yield it
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()
