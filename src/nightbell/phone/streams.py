"""One TCP stream of SIP, plain or TLS: framing, keep-alives (RFC 5626 §3.5.1), and its bounds in time and bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nightbell.phone.tls import DISTRUSTED, TlsBroken, TlsStream
from nightbell.sip.framing import BrokenStream, Framer
from nightbell.sip.presence import Patience

PING = b"\r\n\r\n"
DEAD_MS = 20_000  # a connection of ours whose peer acknowledges nothing for so long is gone


class Peer(NamedTuple):
    """Where a message came from or goes to.

    transport: 'udp', 'tcp' or 'tls'; connection: of a stream, 0 for any or none yet; local: the address of the listener
    by which it came and by which we answer, '' for none yet; name: whom a TLS server must prove to be, '' for its address.
    """

    transport: str
    host: str
    port: int
    connection: int = 0
    local: str = ""
    name: str = ""

    @property
    def reliable(self) -> bool:
        return self.transport in ("tcp", "tls")

    @property
    def flow(self) -> tuple[str, str, int, str]:
        """Equal for whatever may go over one connection that we open: what is meant for one name goes to no other."""
        return self.transport, self.host, self.port, self.name if self.transport == "tls" else ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what strangers can make us hold.

    transactions: server transactions at once; calls: calls at once; unconfirmed: of them from one address and not
    yet acknowledged, unconfirmed_proven: the same for an address that has acknowledged one before (phone.admission);
    connections: streams, of them per_host from one address; idle: seconds a used connection may be silent; hello:
    seconds until the first whole message; handshake: seconds for TLS, handshakes: that are going on at once, of sources that are known by their address;
    unknown, unknown_per_host: the same for those that only a certificate can make known, of all and of one host; rate and
    burst: requests a second from one source that begin something; quiet: calls a minute from one number of a trunk in
    which nobody said anything, quiet_local: the same for a source without a trunk; ping: seconds between keep-alives on
    connections that we opened; pong: how long an answer to one may take; patience: how long a call may be without a sign of
    its other side.
    """

    transactions: int = 4_000
    calls: int = 2_000
    unconfirmed: int = 80  # a fifth of the calls that a snapshot allows by default
    unconfirmed_proven: int = 200
    connections: int = 256
    per_host: int = 64
    idle: float = 900.0
    hello: float = 15.0
    backlog: int = 262_144  # bytes that a slow reader may leave unread before it is cut off
    handshake: float = 5.0
    handshakes: int = 64
    unknown: int = 16
    unknown_per_host: int = 4
    rate: float = 50.0
    burst: int = 100
    quiet: int = 30
    quiet_local: int = 600
    ping: float = 25.0
    pong: float = 10.0
    patience: Patience = Patience()  # noqa: RUF009


class Owner(Protocol):
    """What a connection needs of the transport."""

    limits: Limits
    counters: Counter[str]

    def admit(self, connection: Connection, host: str, port: int) -> Peer: ...

    def secured(self, connection: Connection) -> None: ...

    def kept(self, peer: Peer) -> bool: ...

    def arrived(self, data: bytes, peer: Peer) -> None: ...

    def broken(self, connection: Connection, broken: BrokenStream) -> None: ...

    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One stream. target: set when we opened it; tls: its TLS, None for plain TCP."""

    def __init__(self, owner: Owner, local: str, tls: TlsStream | None, target: Peer | None = None) -> None:
        self._owner, self.tls, self.target = owner, tls, target
        self.local = local
        self._framer = Framer()
        self._timer: asyncio.TimerHandle | None = None
        self._pinger: asyncio.TimerHandle | None = None
        self._ponging = self._pinged = False  # it has answered keep-alives; one is not answered yet
        self.stream: asyncio.Transport | None = None
        self.peer = target or Peer("tls" if tls is not None else "tcp", "", 0, 0, local)
        self.proven = False
        self.unknown = False  # until its certificate tells, nobody knows whose it is
        self.alias: tuple[str, str, int] | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def shaking(self) -> bool:
        """Whether its TLS handshake is not done."""
        return self.tls is not None and not self.tls.done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream is expected")
        self.stream = transport
        sock = transport.get_extra_info("socket")
        # What the kernel buffers for a peer that does not read is memory too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 131_072)
        name = transport.get_extra_info("peername") or ("", 0)
        if self.target is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_MS)
        if not self.local:
            self.local = str(sock.getsockname()[0])
        self.peer = self._owner.admit(self, str(name[0]), int(name[1]))
        if transport.is_closing():
            return
        self._wait()
        if self.tls is None:
            self._open()
        elif self.target is not None:
            self.tls.begin()
            transport.write(self.tls.out())

    def data_received(self, data: bytes) -> None:
        if self.tls is not None:
            data = self._decrypted(self.tls, data)
        if data and self.target is not None:
            data = self._pong(data)
        if data:
            self._read(data)
        if self.tls is not None and self.tls.ended:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._pinger):
            if timer is not None:
                timer.cancel()
        if not self.ready.done():
            self.ready.cancel()
        self._owner.lost(self)

    def write(self, data: bytes) -> bool:
        """Queue bytes; False once the connection is gone. A peer that does not read is cut off."""
        stream = self.stream
        if stream is None or stream.is_closing() or self.shaking:
            return False
        if self.tls is not None:
            try:
                self.tls.write(data)
            except TlsBroken:
                stream.abort()
                return False
            data = self.tls.out()
        stream.write(data)
        if stream.get_write_buffer_size() > self._owner.limits.backlog:
            self._owner.counters["slow_reader"] += 1
            stream.abort()
            return False
        return True

    def close(self) -> None:
        if self.stream is None or self.stream.is_closing():
            return
        if self.tls is not None:
            self.tls.end()
            self.stream.write(self.tls.out())
        self.stream.close()

    def abort(self) -> None:
        """End it without a byte."""
        if self.stream is not None:
            self.stream.abort()

    def _decrypted(self, tls: TlsStream, data: bytes) -> bytes:
        before = tls.done
        try:
            clear = tls.feed(data)
        except TlsBroken as broken:
            self._owner.counters["tls_failed"] += 1
            if self.target is not None and broken.why == DISTRUSTED:
                self._owner.counters["tls_distrusted"] += 1
            if self.stream is not None:
                self.stream.write(tls.out())  # the alert
                self.stream.close()
            return b""
        if self.stream is not None and (answer := tls.out()):
            self.stream.write(answer)
        if tls.done and not before:
            self._wait()
            self._owner.secured(self)
            if self.stream is None or self.stream.is_closing():
                return b""
            self._open()
        return clear

    def _read(self, data: bytes) -> None:
        pings = self._framer.pings
        try:
            messages = self._framer.feed(data)
        except BrokenStream as broken:
            for message in broken.before:
                self._owner.arrived(message, self.peer)
            self._owner.broken(self, broken)
            return
        if self._framer.pings > pings:
            self.write(b"\r\n")
        for message in messages:
            self.proven = True
            self._owner.arrived(message, self.peer)
        if messages or not self._framer.waiting:
            self._wait()

    def _open(self) -> None:
        """It can be written to from now on."""
        if not self.ready.done():
            self.ready.set_result(None)
        if self.target is not None:
            self.proven = True
            self._wait()
            loop = asyncio.get_running_loop()
            self._pinger = loop.call_later(self._owner.limits.ping, self._ping)

    def _ping(self) -> None:
        """Keep the way open, through firewalls too. Who has never answered one does not know them: the kernel tells
        then whether it still lives."""
        if not self.write(PING):
            return
        limits, loop = self._owner.limits, asyncio.get_running_loop()
        self._pinged = True
        wait = limits.pong if self._ponging else limits.ping
        self._pinger = loop.call_later(wait, self._unanswered if self._ponging else self._ping)

    def _unanswered(self) -> None:
        self._owner.counters["flows_dead"] += 1
        self.abort()

    def _pong(self, data: bytes) -> bytes:
        """Anything that arrives is a sign of life; gives what is beyond the answer to a keep-alive."""
        if self._pinged and not self._framer.waiting and data.startswith(b"\r\n"):
            self._pinged, self._ponging = False, True
            data = data[2:]
            if self._owner.kept(self.peer):
                self._wait()
        if self._ponging and self._pinger is not None:
            self._pinger.cancel()
            loop = asyncio.get_running_loop()
            self._pinger = loop.call_later(self._owner.limits.ping, self._ping)
        return data

    def _wait(self) -> None:
        """(Re)start the clock. Half a message does not: who drips bytes is closed too."""
        if self._timer is not None:
            self._timer.cancel()
        limits = self._owner.limits
        seconds = limits.idle if self.proven else limits.hello
        if self.shaking and self.target is None:
            seconds = limits.handshake
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expired)

    def _expired(self) -> None:
        if self.target is not None and self.proven and self._owner.kept(self.peer):
            self._wait()
            return
        self._owner.counters["handshakes_stalled" if self.shaking else "idle_closed"] += 1
        if self.shaking:
            self.abort()
        else:
            self.close()
