"""SIP over UDP, TCP and TLS (RFC 3261 §18): the listeners, and the way of each message by one of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from nightbell.core.errors import RefusedStart
from nightbell.phone.admission import source_of
from nightbell.phone.listeners import Listener, source_for
from nightbell.phone.policy import is_private, parsed
from nightbell.phone.streams import Connection, Limits, Peer
from nightbell.phone.tls import Tls
from nightbell.sip.framing import BrokenStream

__all__ = ["Limits", "Peer", "Transport"]

OPENING = 10.0  # seconds for TCP and TLS together
WAITING = 32  # messages for one connection that is being opened


class Transport:
    """All sockets. `on_message(data, peer)` gets each message, `on_broken(head, peer)` what a broken stream began
    with, `on_unreachable(peer)` is told of a connection that could not be opened.

    binds: addresses, each gets UDP and TCP on `port`, and TLS on `sips_port` if `tls` has a certificate; public: addresses
    to show to whoever is not in a private network, for a NAT with fixed rules. Set later, by the owner:
    lets_in(host, encrypted): whether a connection is accepted, before a byte is exchanged; knows(host): whether its address
    alone tells who it is;
    trusts(peer): whether it still is, once its certificate is known; keeps(peer): whether a connection that we opened is
    kept without use; on_lost(peer): a connection that we opened is gone.
    """

    def __init__(
        self,
        binds: Sequence[str],
        port: int,
        limits: Limits,
        counters: Counter[str],
        on_message: Callable[[bytes, Peer], None],
        on_broken: Callable[[bytes, Peer], None],
        on_unreachable: Callable[[Peer], None],
        tls: Tls | None = None,
        sips_port: int = 0,
        public: Sequence[str] = (),
    ) -> None:
        self.binds, self.port, self.sips_port = tuple(binds), port, sips_port
        self.limits, self.counters, self.tls, self.public = limits, counters, tls or Tls(), tuple(public)
        self._on_message, self._on_broken, self._on_unreachable = on_message, on_broken, on_unreachable
        self.lets_in: Callable[[str, bool], bool] = lambda host, encrypted: True
        self.knows: Callable[[str], bool] = lambda host: True
        self.trusts: Callable[[Peer], bool] = lambda peer: True
        self.keeps: Callable[[Peer], bool] = lambda peer: False
        self.on_lost: Callable[[Peer], None] = lambda peer: None
        self._listeners: list[Listener] = []
        self._connections: dict[int, Connection] = {}
        self._aliases: dict[tuple[str, str, int], int] = {}
        self._opening: dict[tuple[str, str, int, str], list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._serial = 0
        self._sources: dict[str, str] = {}

    async def start(self) -> None:
        """Bind all; port 0 finds one that is free for all of UDP and TCP. Raises RefusedStart.

        A port for TLS that is taken is no reason to take no calls at all: it is counted as `tls_not_listening`.
        """
        for _ in range(20):
            try:
                await self._bind()
            except OSError as error:
                self._shut()
                if self.port:
                    why = f"port {self.port} cannot be bound on {', '.join(self.binds)} ({error.strerror})"
                    raise RefusedStart(
                        "NIGHTBELL_SIP_PORT", why, "free the port or choose another"
                    ) from error
                continue
            self.port = self._listeners[0].port
            if self.tls.listens:
                await self._bind_tls()
            return
        raise RefusedStart("NIGHTBELL_SIP_PORT", "no port is free for UDP and TCP", "free some")

    async def _bind(self) -> None:
        port = self.port
        for bind in self.binds:
            listener = Listener(bind)
            self._listeners.append(listener)
            port = await listener.open(port, self._datagram, lambda at=bind: Connection(self, at, None))  # type: ignore[misc]

    async def _bind_tls(self) -> None:
        try:
            for listener in self._listeners:
                at = listener.bind
                self.sips_port = await listener.open_tls(
                    self.sips_port,
                    lambda at=at: Connection(self, at, self.tls.accept()),  # type: ignore[misc]
                )
        except OSError:
            # Calls that come unencrypted must not wait for that; health tells it.
            self.counters["tls_not_listening"] = 1
            self.sips_port = 0

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections.values()):
            connection.close()
        self._shut()
        await asyncio.sleep(0)  # lets the transports run their last callbacks

    def _shut(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def send(self, data: bytes, peer: Peer) -> None:
        """Send one message; TCP and TLS open a connection where none is left. Failure shows as silence.

        What is meant for TLS never goes another way.
        """
        if peer.transport == "udp":
            listener = self.listener(peer)
            if listener is not None:
                listener.send(data, (peer.host, peer.port))
            return
        connection = self._to(peer)
        if connection is not None and connection.write(data):
            return
        waiting = self._opening.get(peer.flow)
        if waiting is not None:
            if len(waiting) < WAITING:
                waiting.append(data)
            return
        if len(self._connections) + len(self._opening) >= self.limits.connections:
            self.counters["connections_refused"] += 1
            self._later_unreachable(peer)
            return
        self._opening[peer.flow] = [data]
        task = asyncio.get_running_loop().create_task(self._open(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def listener(self, peer: Peer) -> Listener | None:
        """By which a message to `peer` leaves: the one by which it came, else one that can reach it."""
        exact = next((one for one in self._listeners if peer.local and one.bind == peer.local), None)
        return exact or max(
            (one for one in self._listeners if one.suits(peer.host)),
            key=lambda one: one.fitness(peer.host),
            default=None,
        )

    def bind_of(self, peer: Peer) -> str:
        """The address to bind a socket to that speaks with `peer`: a call's sound goes the way of its signalling."""
        listener = self.listener(peer)
        return listener.bind if listener is not None else self.binds[0]

    def local_address(self, peer: Peer) -> str:
        """Our own address as `peer` sees it: what to write into Via, Contact and SDP."""
        if self.public and not is_private(peer.host):
            wide = ":" in peer.host
            shown = next((one for one in self.public if (":" in one) == wide), "")
            if shown:
                return shown
        bind = self.bind_of(peer)
        return self._source(peer.host) or bind if bind in ("0.0.0.0", "::") else bind  # noqa: S104

    def is_own(self, host: str) -> bool:
        """Whether `host` is an address of this machine: only then is it its own way out."""
        return self._source(host) == host

    def peer_certificate_names(self, peer: Peer) -> tuple[str, ...]:
        """Whom the certificate at the other end of a TLS connection names; () without one that proves anything."""
        connection = self._connections.get(peer.connection)
        return connection.tls.names if connection is not None and connection.tls is not None else ()

    def opened(self, peer: Peer) -> bool:
        """Whether we opened the connection by which `peer` speaks."""
        connection = self._connections.get(peer.connection)
        return connection is not None and connection.target is not None

    def alive(self, peer: Peer) -> bool:
        """Whether the connection by which `peer` spoke is still there."""
        return peer.connection in self._connections

    def cut(self, peer: Peer) -> None:
        """End a connection at once."""
        connection = self._connections.get(peer.connection)
        if connection is not None:
            connection.abort()

    def alias(self, peer: Peer, port: int) -> None:
        """Requests to this host and port may go over the connection of `peer` (RFC 5923 §8: for TLS only if the other
        end has proved who it is)."""
        connection = self._connections.get(peer.connection)
        if connection is None or not (peer.transport == "tcp" or self.peer_certificate_names(peer)):
            return
        self._forget_alias(connection)
        connection.alias = (peer.transport, peer.host, port)
        self._aliases[connection.alias] = peer.connection

    def _forget_alias(self, connection: Connection) -> None:
        """One for each connection, the newest: the port in a Via is whatever somebody writes."""
        key = connection.alias
        if key is not None and self._aliases.get(key) == connection.peer.connection:
            del self._aliases[key]

    def _source(self, host: str) -> str:
        known = self._sources.get(host)
        if known is None:
            if len(self._sources) > 1000:
                self._sources.clear()
            known = self._sources[host] = source_for(host)
        return known

    def _to(self, peer: Peer) -> Connection | None:
        """The connection for `peer`: its own, one that we opened for the same, one that may be used for it."""
        own = self._connections.get(peer.connection)
        if own is not None:
            return own if own.peer.transport == peer.transport else None
        for connection in self._connections.values():
            target = connection.target
            if (target is not None and target.flow == peer.flow) or (
                target is None and not peer.name and connection.peer.flow == peer.flow
            ):
                return connection
        return self._connections.get(self._aliases.get((peer.transport, peer.host, peer.port), 0))

    async def _open(self, peer: Peer) -> None:
        connection = None
        try:
            async with asyncio.timeout(OPENING):
                connection = await self._connect(peer)
                await connection.ready
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            if connection is not None:
                connection.abort()
            waiting = self._opening.pop(peer.flow, [])
            self.counters["connect_failed"] += 1
            if isinstance(error, PermissionError):
                self.counters["connect_forbidden"] += 1  # a port that was not known at the start (Landlock)
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            self._on_unreachable(peer)
            return
        waiting = self._opening.pop(peer.flow, [])
        for data in waiting:
            connection.write(data)

    async def _connect(self, peer: Peer) -> Connection:
        listener = self.listener(peer)
        bind = listener.bind if listener is not None else ""
        tls = self.tls.connect(peer.name or peer.host) if peer.transport == "tls" else None
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self, bind, tls, peer), peer.host, peer.port,
            local_addr=(bind, 0) if bind and listener is not None and listener.named else None,
        )  # fmt: skip
        return connection

    def _later_unreachable(self, peer: Peer) -> None:
        asyncio.get_running_loop().call_soon(self._on_unreachable, peer)

    # What connections and listeners report.

    def admit(self, connection: Connection, host: str, port: int) -> Peer:
        """Register a new connection, or refuse it at once: a stranger's, or when there are too many."""
        self._serial += 1
        peer = connection.peer._replace(host=host, port=port, connection=self._serial, local=connection.local)
        if connection.target is None and not self._admitted(connection, host):
            connection.abort()
            return peer
        self._connections[self._serial] = connection
        return peer

    def _admitted(self, connection: Connection, host: str) -> bool:
        if parsed(host) is None or not self.lets_in(host, connection.tls is not None):
            return False
        limits, connection.unknown = self.limits, not self.knows(host)
        # Known ones and others each have their own: whoever may be anybody takes nothing from a carrier.
        held = [one for one in self._connections.values() if one.unknown == connection.unknown]
        if connection.unknown:
            full = sum(source_of(one.peer.host) == source_of(host) for one in held) >= limits.unknown_per_host
            if not full and len(held) >= limits.unknown:
                self.counters["handshakes_given_up"] += 1
                held[0].abort()  # the oldest: who means it is done by now
        else:
            same = sum(one.peer.host == host for one in held)
            full = len(held) >= limits.connections or same >= limits.per_host
            full = full or (connection.shaking and sum(one.shaking for one in held) >= limits.handshakes)
        self.counters["connections_refused"] += full
        return not full

    def secured(self, connection: Connection) -> None:
        """Its TLS handshake is done."""
        self.counters["tls_connections"] += 1
        if connection.target is None and not self.trusts(connection.peer):
            connection.abort()
        else:
            connection.unknown = False

    def kept(self, peer: Peer) -> bool:
        return self.keeps(peer)

    def arrived(self, data: bytes, peer: Peer) -> None:
        if peer.connection in self._connections:
            self._on_message(data, peer)

    def _datagram(self, data: bytes, host: str, port: int, bind: str) -> None:
        if not host:  # an ICMP error of some earlier packet; timers notice what it means
            self.counters["icmp"] += 1
        elif "%" in host:  # no scopes: an address of one link alone is nobody's who calls from afar
            self.counters["strangers"] += 1
        else:
            self._on_message(data, Peer("udp", host, port, 0, bind))

    def broken(self, connection: Connection, broken: BrokenStream) -> None:
        self.counters["broken_streams"] += 1
        if broken.head:
            self._on_broken(broken.head, connection.peer)
        connection.close()

    def lost(self, connection: Connection) -> None:
        if self._connections.pop(connection.peer.connection, None) is None:
            return
        self._forget_alias(connection)
        if connection.target is not None:
            self.on_lost(connection.target)
