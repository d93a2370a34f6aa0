"""Relays on loopback that misbehave on purpose: lose, double, delay, cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

# (direction, datagram) -> how many copies go on, or seconds of delay as a float.
# direction: 'in' towards our endpoint, 'out' towards the caller.
Rule = Callable[[str, bytes], "int | float"]


def lose_first(direction: str, begin: bytes, count: int = 1) -> Rule:
    """Lose the first `count` datagrams of one direction that begin so; all others pass."""
    lost = 0

    def rule(way: str, data: bytes) -> int:
        nonlocal lost
        if way == direction and data.startswith(begin) and lost < count:
            lost += 1
            return 0
        return 1

    return rule


def lose_first_answer(count: int = 1) -> Rule:
    """Lose the first 200s to the INVITE."""
    lost = 0

    def rule(way: str, data: bytes) -> int:
        nonlocal lost
        if way == "out" and data.startswith(b"SIP/2.0 200 ") and b" INVITE\r\n" in data and lost < count:
            lost += 1
            return 0
        return 1

    return rule


class UdpRelay:
    """Between one caller and our endpoint. The caller must ask for responses with rport."""

    def __init__(self, target: int, rule: Rule) -> None:
        self.target, self.rule = target, rule
        self.port = 0
        self.passed = 0
        self._caller: Any = None
        self._outer: Any = None
        self._inner: Any = None

    def arrived(self, way: str, data: bytes, address: Any) -> None:
        if way == "in":
            self._caller = address
        verdict = self.rule(way, data)
        if isinstance(verdict, float):
            asyncio.get_running_loop().call_later(verdict, self._forward, way, data)
            return
        for _ in range(verdict):
            self._forward(way, data)

    def _forward(self, way: str, data: bytes) -> None:
        self.passed += 1
        if way == "in":
            self._inner.sendto(data, ("127.0.0.1", self.target))
        elif self._caller is not None:
            self._outer.sendto(data, self._caller)


class _Side(asyncio.DatagramProtocol):
    def __init__(self, relay: UdpRelay, way: str) -> None:
        self._relay, self._way = relay, way

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._relay.arrived(self._way, data, addr)

    def error_received(self, exc: Exception) -> None:
        pass


@contextlib.asynccontextmanager
async def udp_relay(target: int, rule: Rule) -> AsyncIterator[UdpRelay]:
    relay = UdpRelay(target, rule)
    loop = asyncio.get_running_loop()
    here = ("127.0.0.1", 0)
    relay._outer, _ = await loop.create_datagram_endpoint(lambda: _Side(relay, "in"), local_addr=here)
    relay._inner, _ = await loop.create_datagram_endpoint(lambda: _Side(relay, "out"), local_addr=here)
    relay.port = relay._outer.get_extra_info("sockname")[1]
    try:
        yield relay
    finally:
        relay._outer.close()
        relay._inner.close()


@contextlib.asynccontextmanager
async def tcp_relay(target: int, piece: int) -> AsyncIterator[int]:
    """A TCP relay that passes the stream on in pieces of `piece` bytes; 0: gathers 30 ms into one segment."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not piece:
                await asyncio.sleep(0.03)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        data += await reader.read(65536)
            for at in range(0, len(data), piece or len(data)):
                writer.write(data[at : at + (piece or len(data))])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        for one in (far_writer, writer):
            one.transport.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY
        for pair in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(pump(*pair))
            tasks.add(task)

    server = await asyncio.start_server(taken, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
