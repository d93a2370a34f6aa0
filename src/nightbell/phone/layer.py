"""The transaction layer (RFC 3261 §17): matches messages to machines and drives these by the loop's clock."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable

from nightbell.core import clock
from nightbell.core.log import Log
from nightbell.phone.transport import Limits, Peer, Transport
from nightbell.sip.dialog import Dialog
from nightbell.sip.message import (
    BadMessage,
    Headers,
    Request,
    Response,
    build_response,
    mark_via,
    parse,
)
from nightbell.sip.transaction import (
    CLIENT_INVITE,
    CLIENT_OTHER,
    MAGIC,
    SERVER_INVITE,
    SERVER_OTHER,
    Action,
    AnswerRepeater,
    ServerKey,
    State,
    Timing,
    Transaction,
    client_key,
    code_class,
    merge_key,
    server_key,
)

_SECRET = secrets.token_bytes(16)


def new_tag() -> str:
    return secrets.token_hex(8)


def _tag_for(key: ServerKey) -> str:
    """The same tag for every copy of one request, so that a refusal needs no memory (RFC 3261 §8.2.7)."""
    return hashlib.blake2b(
        "\0".join(key).encode("utf-8", "surrogateescape"), key=_SECRET, digest_size=8
    ).hexdigest()


class Timed:
    """Calls `fire` whenever its `due` time has come."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def due(self) -> float | None:
        raise NotImplementedError

    def fire(self) -> None:
        raise NotImplementedError

    def rearm(self) -> None:
        self.disarm()
        at = self.due()
        if at is not None:
            # Both clocks are the machine's monotonic one, but we only rely on differences.
            delay = max(0.0, at - clock.monotonic())
            self._handle = asyncio.get_running_loop().call_later(delay, self.fire)

    def disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Server(Timed):
    """A server transaction: the request, whence it came, and how to answer it."""

    def __init__(self, layer: Layer, request: Request, peer: Peer, key: ServerKey) -> None:
        super().__init__()
        table = SERVER_INVITE if request.method == "INVITE" else SERVER_OTHER
        self.machine = Transaction(table, peer.reliable, layer.timing)
        self.request, self.peer, self.key = request, peer, key
        self.headers: Headers = mark_via(request.headers, peer.host, peer.port)
        self.tag = _tag_for(key)
        self.back = _way_back(request, peer)
        self._layer = layer
        self._newest = b""

    @property
    def open(self) -> bool:
        """Whether a final answer is still owed."""
        return self.machine.state in (State.TRYING, State.PROCEEDING)

    def respond(
        self, code: int, extra: tuple[tuple[str, str], ...] = (), body: bytes = b"", reason: str = ""
    ) -> None:
        """Answer; after a final answer nothing happens any more."""
        if not self.open:
            return
        tag = "" if code == 100 else self.tag
        self._newest = build_response(code, self.headers, tag, extra, body, reason)
        self.take(code_class(code))

    def refuse(self, code: int, extra: tuple[tuple[str, str], ...] = ()) -> None:
        """Answer and forget: the same copy gets the same answer again. What makes no call takes no memory."""
        self._layer.transport.send(build_response(code, self.headers, self.tag, extra), self.back)
        self._layer.forget_server(self)

    def repeat(self) -> None:
        """Send the 2xx once more (the core's duty)."""
        self._layer.counters["retransmits"] += 1
        self.take("2xx")

    def take(self, event: str) -> None:
        self._do(self.machine.handle(event, clock.monotonic()))

    def due(self) -> float | None:
        return self.machine.due()

    def fire(self) -> None:
        self._do(self.machine.tick(clock.monotonic()), timer=True)

    def _do(self, actions: list[Action], timer: bool = False) -> None:
        for action in actions:
            if action is Action.SEND and self._newest:
                self._layer.counters["retransmits"] += timer
                self._layer.transport.send(self._newest, self.back)
            elif action is Action.TIMEOUT:
                self._layer.counters["no_ack"] += 1
            elif action is Action.END:
                self._layer.forget_server(self)
        self.rearm()


class Client(Timed):
    """A client transaction. `on_response(response)`; None means that nobody answered."""

    def __init__(
        self,
        layer: Layer,
        method: str,
        data: bytes,
        peer: Peer,
        branch: str,
        on_response: Callable[[Response | None], None],
    ) -> None:
        super().__init__()
        self.key = (branch, method)
        self.machine = Transaction(
            CLIENT_INVITE if method == "INVITE" else CLIENT_OTHER, peer.reliable, layer.timing
        )
        self.peer = peer
        self._layer, self._data, self._on_response = layer, data, on_response
        self._ack: Callable[[Response], bytes] | None = None

    def with_ack(self, build: Callable[[Response], bytes]) -> Client:
        self._ack = build
        return self

    def take(self, event: str, response: Response | None = None) -> None:
        self._do(self.machine.handle(event, clock.monotonic()), response)

    def due(self) -> float | None:
        return self.machine.due()

    def fire(self) -> None:
        self._do(self.machine.tick(clock.monotonic()), None, timer=True)

    def _do(self, actions: list[Action], response: Response | None, timer: bool = False) -> None:
        self.rearm()
        for action in actions:
            if action is Action.SEND:
                self._layer.counters["retransmits"] += timer
                self._layer.transport.send(self._data, self.peer)
            elif action is Action.ACK and self._ack is not None and response is not None:
                self._layer.transport.send(self._ack(response), self.peer)
            elif action is Action.TELL:
                self._on_response(response)
            elif action is Action.TIMEOUT:
                self._on_response(None)
            elif action is Action.END:
                self._layer.forget_client(self)


class Repeater(Timed):
    """Repeats a 2xx to INVITE until `acknowledged`; `on_silence` when no ACK ever came."""

    def __init__(self, server: Server, timing: Timing, on_silence: Callable[[], None]) -> None:
        super().__init__()
        self._server, self._on_silence = server, on_silence
        self._repeater = AnswerRepeater(clock.monotonic(), timing)
        self.rearm()

    @property
    def cseq(self) -> int:
        return self._server.request.cseq.number

    def due(self) -> float | None:
        return self._repeater.due_at

    def fire(self) -> None:
        action = self._repeater.tick(clock.monotonic())
        if action is Action.SEND:
            self._server.repeat()
        self.rearm()
        if action is Action.TIMEOUT:
            self._on_silence()

    def acknowledged(self) -> None:
        self._repeater.acknowledged()
        self.disarm()


def _way_back(request: Request, peer: Peer) -> Peer:
    """Where responses go (§18.2.2, RFC 3581): never anywhere but to the host that asked."""
    via = request.via
    if peer.transport == "udp" and via.param("rport") is None:
        return peer._replace(port=via.port or 5060)
    return peer


class Layer:
    """All transactions. Requests that begin one go to `on_request(server)`, ACKs of a 2xx to `on_ack(request)`."""

    def __init__(
        self,
        limits: Limits,
        counters: Counter[str],
        log: Log,
        on_request: Callable[[Server], None],
        on_ack: Callable[[Request], None],
        timing: Timing,
    ) -> None:
        self.limits, self.counters, self.log, self.timing = limits, counters, log, timing
        self._on_request, self._on_ack = on_request, on_ack
        self.transport: Transport
        self._servers: dict[tuple[str, ServerKey], Server] = {}
        self._merged: dict[ServerKey, ServerKey] = {}
        self._clients: dict[tuple[str, str], Client] = {}

    def received(self, data: bytes, peer: Peer) -> None:
        """One datagram or framed message from anybody. Never raises."""
        if not data.strip(b"\r\n\x00"):
            return  # keep-alive
        try:
            message = parse(data)
            if isinstance(message, Request):
                self._request(message, peer)
            else:
                self._response(message)
        except BadMessage as bad:
            self.counters["malformed"] += 1
            if bad.reply is not None:
                self.transport.send(bad.reply, peer)
        except Exception as error:  # a stranger's message must not stop the others' calls
            self.counters["errors"] += 1
            self.log.failure("sip_error", error)

    def refused(self, head: bytes, peer: Peer) -> None:
        """A TCP stream broke inside this message: say 400 before it is closed."""
        try:
            parse(head)
        except BadMessage as bad:
            if bad.reply is not None:
                self.transport.send(bad.reply, peer)
            return
        message = parse(head)
        if isinstance(message, Request) and message.method != "ACK":
            self.transport.send(build_response(400, message.headers, new_tag()), peer)

    def _request(self, request: Request, peer: Peer) -> None:
        key = server_key(request)
        if request.method == "ACK":
            invite = self._servers.get(("INVITE", key))
            if invite is not None:
                invite.take("ack")
            self._on_ack(request)
            return
        known = self._servers.get((request.method, key))
        if known is not None:
            self.counters["repeated_requests"] += 1
            known.take("invite" if request.method == "INVITE" else "request")
            return
        server = Server(self, request, peer, key)
        if (
            len(self._servers) >= self.limits.transactions
            and not request.to.tag
            and request.method != "CANCEL"
        ):
            self.counters["overload"] += 1
            server.refuse(503, (("Retry-After", "5"),))
            return
        self._servers[request.method, key] = server
        if not request.to.tag and self._merged.setdefault(merge_key(request), key) != key:
            self.counters["merged"] += 1
            server.refuse(482)
            return
        try:
            self._on_request(server)
        except Exception as error:
            self.counters["errors"] += 1
            self.log.failure("sip_error", error, method=request.method)
            server.respond(500)

    def invite_of(self, cancel: Request) -> Server | None:
        """The INVITE that a CANCEL means."""
        return self._servers.get(("INVITE", server_key(cancel)))

    def _response(self, response: Response) -> None:
        client = self._clients.get(client_key(response))
        if client is None:
            self.counters["stray_responses"] += 1
            return
        client.take(code_class(response.code), response)

    def via(self, peer: Peer, branch: str) -> str:
        host = self.transport.local_address(peer)
        shown = f"[{host}]" if ":" in host else host
        return f"SIP/2.0/{peer.transport.upper()} {shown}:{self.transport.port};branch={branch};rport"

    def contact(self, peer: Peer) -> str:
        """Our Contact for whoever speaks over `peer`'s transport (without ;transport=tcp a BYE comes by UDP)."""
        host = self.transport.local_address(peer)
        shown = f"[{host}]" if ":" in host else host
        return f"<sip:{shown}:{self.transport.port}{';transport=tcp' if peer.reliable else ''}>"

    def branch(self) -> str:
        return MAGIC + secrets.token_hex(12)

    def send_in_dialog(
        self, dialog: Dialog, method: str, peer: Peer, on_response: Callable[[Response | None], None]
    ) -> None:
        """Start a non-INVITE transaction within a dialog."""
        branch = self.branch()
        self.start(method, dialog.request(method, self.via(peer, branch)), peer, branch, on_response)

    def start(
        self,
        method: str,
        data: bytes,
        peer: Peer,
        branch: str,
        on_response: Callable[[Response | None], None],
        ack: Callable[[Response], bytes] | None = None,
    ) -> Client:
        client = Client(self, method, data, peer, branch, on_response)
        if ack is not None:
            client.with_ack(ack)
        self._clients[client.key] = client
        client.take("begin")
        return client

    def unreachable(self, host: str, port: int) -> None:
        """A TCP connection could not be opened: whoever waits for an answer over it need not wait longer."""
        for client in list(self._clients.values()):
            if client.peer.reliable and (client.peer.host, client.peer.port) == (host, port):
                client.take("error")

    def way(self, dialog: Dialog, source: Peer) -> Peer:
        """Where the next request of a dialog goes. source: where its last message came from.

        By RFC 3261 §8.1.2 the first route or the target says it; a TCP connection that lives is used again, and
        a name instead of an address falls back to the source (we ask no DNS for strangers).
        """
        hop = dialog.next_hop()
        host = hop.host.strip("[]")
        transport = "tcp" if source.reliable or hop.param("transport") == "tcp" else "udp"
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return source
        return Peer(transport, host, hop.port or 5060, source.connection)

    def forget_server(self, server: Server) -> None:
        server.disarm()
        self._servers.pop((server.request.method, server.key), None)
        merged = merge_key(server.request)
        if self._merged.get(merged) == server.key:
            del self._merged[merged]

    def forget_client(self, client: Client) -> None:
        client.disarm()
        self._clients.pop(client.key, None)

    def close(self) -> None:
        for timed in (*self._servers.values(), *self._clients.values()):
            timed.disarm()
        self._servers.clear()
        self._clients.clear()
        self._merged.clear()

    @property
    def size(self) -> int:
        return len(self._servers) + len(self._clients)
