"""SIP over UDP and TCP on one port (RFC 3261 §18): bytes to and from peers, with bounds on strangers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nightbell.core.errors import RefusedStart
from nightbell.sip.framing import BrokenStream, Framer


class Peer(NamedTuple):
    """Where a message came from or goes to. connection: of a TCP peer, 0 for any or none yet."""

    transport: str
    host: str
    port: int
    connection: int = 0

    @property
    def reliable(self) -> bool:
        return self.transport == "tcp"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what strangers can make us hold.

    transactions: server transactions at once; calls: calls at once; unconfirmed: of them from one address and not
    yet acknowledged, unconfirmed_proven: the same for an address that has acknowledged one before (phone.admission);
    connections: TCP, of them per_host from one address; idle: seconds a used connection may be silent; hello: seconds until the first whole message.
    """

    transactions: int = 4_000
    calls: int = 1_000
    unconfirmed: int = 80  # a fifth of the calls that a snapshot allows by default
    unconfirmed_proven: int = 200
    connections: int = 256
    per_host: int = 64
    idle: float = 900.0
    hello: float = 15.0
    backlog: int = 262_144  # bytes that a slow reader may leave unread before it is cut off


class Connection(asyncio.Protocol):
    """One TCP stream."""

    def __init__(self, owner: Transport) -> None:
        self._owner = owner
        self._framer = Framer()
        self._timer: asyncio.TimerHandle | None = None
        self.stream: asyncio.Transport | None = None
        self.peer = Peer("tcp", "", 0)
        self.proven = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream is expected")
        self.stream = transport
        # What the kernel buffers for a peer that does not read is memory too.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 131_072)
        name = transport.get_extra_info("peername") or ("", 0)
        self.peer = self._owner.admit(self, str(name[0]), int(name[1]))
        self._wait()

    def data_received(self, data: bytes) -> None:
        pings = self._framer.pings
        try:
            messages = self._framer.feed(data)
        except BrokenStream as broken:
            self._owner.broken(self, broken)
            return
        if self._framer.pings > pings:
            self.write(b"\r\n")
        for message in messages:
            self.proven = True
            self._owner.arrived(message, self.peer)
        if messages or not self._framer.waiting:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._owner.lost(self)

    def write(self, data: bytes) -> bool:
        """Queue bytes; False once the connection is gone. A peer that does not read is cut off."""
        if self.stream is None or self.stream.is_closing():
            return False
        self.stream.write(data)
        if self.stream.get_write_buffer_size() > self._owner.limits.backlog:
            self._owner.counters["slow_reader"] += 1
            self.stream.abort()
            return False
        return True

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()

    def _wait(self) -> None:
        """(Re)start the clock. Half a message does not: who drips bytes is closed too."""
        if self._timer is not None:
            self._timer.cancel()
        limits = self._owner.limits
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(limits.idle if self.proven else limits.hello, self._expired)

    def _expired(self) -> None:
        self._owner.counters["idle_closed"] += 1
        self.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, owner: Transport) -> None:
        self._owner = owner

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._owner.arrived(data, Peer("udp", addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        # An ICMP error of some earlier packet; timers notice what it means.
        self._owner.counters["icmp"] += 1


class Transport:
    """Both sockets. `on_message(data, peer)` gets each message, `on_broken(head, peer)` what a broken stream began
    with, `on_unreachable(host, port)` is told of a TCP connection that could not be opened.
    """

    def __init__(
        self,
        bind: str,
        port: int,
        limits: Limits,
        counters: Counter[str],
        on_message: Callable[[bytes, Peer], None],
        on_broken: Callable[[bytes, Peer], None],
        on_unreachable: Callable[[str, int], None],
    ) -> None:
        self.bind, self.port, self.limits, self.counters = bind, port, limits, counters
        self._on_message, self._on_broken, self._on_unreachable = on_message, on_broken, on_unreachable
        self._udp: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[int, Connection] = {}
        self._opening: dict[tuple[str, int], list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._serial = 0
        self._locals: dict[str, str] = {}

    async def start(self) -> None:
        """Bind UDP and TCP to the same port; port 0 finds one free for both. Raises RefusedStart."""
        loop = asyncio.get_running_loop()
        for _ in range(20):
            try:
                self._server = await loop.create_server(
                    lambda: Connection(self), self.bind, self.port, backlog=128
                )
                port = int(self._server.sockets[0].getsockname()[1])
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(self.bind, port)
                )
            except OSError as error:
                if self._server is not None:
                    self._server.close()
                if self.port:
                    why = f"port {self.port} cannot be bound on {self.bind} ({error.strerror})"
                    raise RefusedStart(
                        "NIGHTBELL_SIP_PORT", why, "free the port or choose another"
                    ) from error
                continue
            sock = self._udp.get_extra_info("socket")
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
            self.port = port
            return
        raise RefusedStart("NIGHTBELL_SIP_PORT", "no port is free for UDP and TCP", "free some")

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections.values()):
            connection.close()
        if self._udp is not None:
            self._udp.close()
        await asyncio.sleep(0)  # lets the transports run their last callbacks

    def send(self, data: bytes, peer: Peer) -> None:
        """Send one message; TCP opens a connection where none is left. Failure shows as silence."""
        if peer.transport == "udp":
            if self._udp is not None and not self._udp.is_closing():
                self._udp.sendto(data, (peer.host, peer.port))
            return
        connection = self._connections.get(peer.connection) or self._to(peer)
        if connection is not None and connection.write(data):
            return
        waiting = self._opening.get((peer.host, peer.port))
        if waiting is not None:
            if len(waiting) < 32:
                waiting.append(data)
            return
        if len(self._connections) + len(self._opening) >= self.limits.connections:
            self.counters["connections_refused"] += 1
            return
        self._opening[peer.host, peer.port] = [data]
        task = asyncio.get_running_loop().create_task(self._open(peer.host, peer.port))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def local_address(self, peer: Peer) -> str:
        """Our own address as `peer` sees it: what to write into Via, Contact and SDP."""
        if self.bind not in ("0.0.0.0", "::"):  # noqa: S104
            return self.bind
        known = self._locals.get(peer.host)
        if known is None:
            family = socket.AF_INET6 if ":" in peer.host else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect((peer.host, peer.port or 9))
                    known = str(probe.getsockname()[0])
                except OSError:
                    return self.bind
            if len(self._locals) > 1000:
                self._locals.clear()
            self._locals[peer.host] = known
        return known

    def _to(self, peer: Peer) -> Connection | None:
        return next(
            (c for c in self._connections.values() if c.peer.host == peer.host and c.peer.port == peer.port),
            None,
        )

    async def _open(self, host: str, port: int) -> None:
        connection = None
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(10):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self), host, port
                )
        waiting = self._opening.pop((host, port), [])
        if connection is None:
            self.counters["connect_failed"] += 1
            self._on_unreachable(host, port)
            return
        connection.proven = True
        for data in waiting:
            connection.write(data)

    # What connections report.

    def admit(self, connection: Connection, host: str, port: int) -> Peer:
        """Register a new connection, or refuse it at once when there are too many."""
        same = sum(c.peer.host == host for c in self._connections.values())
        self._serial += 1
        peer = Peer("tcp", host, port, self._serial)
        if len(self._connections) >= self.limits.connections or same >= self.limits.per_host:
            self.counters["connections_refused"] += 1
            if connection.stream is not None:
                connection.stream.abort()
            return peer
        self._connections[self._serial] = connection
        return peer

    def arrived(self, data: bytes, peer: Peer) -> None:
        if peer.transport == "tcp" and peer.connection not in self._connections:
            return
        self._on_message(data, peer)

    def broken(self, connection: Connection, broken: BrokenStream) -> None:
        self.counters["broken_streams"] += 1
        if broken.head:
            self._on_broken(broken.head, connection.peer)
        connection.close()

    def lost(self, connection: Connection) -> None:
        self._connections.pop(connection.peer.connection, None)
