"""One address on which we listen, with its sockets for UDP, TCP and TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from nightbell.phone.policy import parsed

BACKLOG = 128
UDP_BUFFER = 4 << 20
ANY = ("0.0.0.0", "::")  # noqa: S104


class Listener:
    """`open` and `open_tls`, then `send`. bind: an address; '::' is IPv6 alone, so that it stands beside '0.0.0.0'."""

    def __init__(self, bind: str) -> None:
        self.bind, self.port = bind, 0
        self._address = parsed(bind)
        self._servers: list[asyncio.Server] = []
        self._udp: asyncio.DatagramTransport | None = None

    @property
    def named(self) -> bool:
        """Whether packets that leave it have its address: neither any nor one that goes nowhere."""
        return self.bind not in ANY and self._address is not None and not self._address.is_loopback

    def suits(self, host: str) -> bool:
        """Whether packets to `host` can leave from here."""
        return (":" in self.bind) == (":" in host)

    def fitness(self, host: str) -> int:
        """Which of those that suit is best: for this machine loopback, for others one that is not."""
        address = parsed(host)
        if self.bind in ANY:
            return 1
        near = address is not None and address.is_loopback
        return 2 if near == (self._address is not None and self._address.is_loopback) else 0

    async def open(
        self,
        port: int,
        on_datagram: Callable[[bytes, str, int, str], None],
        connection: Callable[[], asyncio.Protocol],
    ) -> int:
        """Bind UDP and TCP to the same port, 0 for any; gives the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connection, sock=_stream(self.bind, port), backlog=BACKLOG)
        self._servers.append(server)
        self.port = int(server.sockets[0].getsockname()[1])
        sock = _bound(self.bind, self.port, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, UDP_BUFFER)
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self.bind, on_datagram), sock=sock
        )
        return self.port

    async def open_tls(self, port: int, connection: Callable[[], asyncio.Protocol]) -> int:
        """Bind TLS; gives the port. Raises OSError."""
        server = await asyncio.get_running_loop().create_server(
            connection, sock=_stream(self.bind, port), backlog=BACKLOG
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def send(self, data: bytes, address: tuple[str, int]) -> None:
        if self._udp is not None and not self._udp.is_closing():
            self._udp.sendto(data, address)

    def close(self) -> None:
        for server in self._servers:
            server.close()
        if self._udp is not None:
            self._udp.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, bind: str, on_datagram: Callable[[bytes, str, int, str], None]) -> None:
        self._bind, self._on_datagram = bind, on_datagram

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._on_datagram(data, addr[0], addr[1], self._bind)

    def error_received(self, exc: Exception) -> None:
        self._on_datagram(b"", "", 0, self._bind)


def source_for(host: str) -> str:
    """The address from which this machine would send to `host`, '' if it has no way there. Sends nothing."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""


def _stream(bind: str, port: int) -> socket.socket:
    return _bound(bind, port, socket.SOCK_STREAM)


def _bound(bind: str, port: int, kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    # Named, or asyncio leaves Nagle's algorithm on: an answer of two parts would wait 40 ms for the other's ACK.
    sock = socket.socket(family, kind, socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else 0)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((bind, port))
    except OSError:
        sock.close()
        raise
    return sock
