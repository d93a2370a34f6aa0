"""Transactions at work: a machine of sip.transaction, its timer, and the bytes that it sends."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from nightbell.core import clock
from nightbell.phone.policy import LOCAL, Verdict
from nightbell.phone.transport import Peer, Transport
from nightbell.sip.message import Headers, Request, Response, build_response, mark_via
from nightbell.sip.transaction import (
    CLIENT_INVITE,
    CLIENT_OTHER,
    SERVER_INVITE,
    SERVER_OTHER,
    Action,
    AnswerRepeater,
    ServerKey,
    State,
    Timing,
    Transaction,
    code_class,
)

_SECRET = secrets.token_bytes(16)


def new_tag() -> str:
    return secrets.token_hex(8)


def _tag_for(key: ServerKey) -> str:
    """The same tag for every copy of one request, so that a refusal needs no memory (RFC 3261 §8.2.7)."""
    return hashlib.blake2b(
        "\0".join(key).encode("utf-8", "surrogateescape"), key=_SECRET, digest_size=8
    ).hexdigest()


class Owner(Protocol):
    """What the transactions need of their layer."""

    counters: Counter[str]
    timing: Timing
    transport: Transport

    def forget_server(self, server: Server) -> None: ...

    def forget_client(self, client: Client) -> None: ...


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

    def __init__(self, layer: Owner, request: Request, peer: Peer, key: ServerKey) -> None:
        super().__init__()
        table = SERVER_INVITE if request.method == "INVITE" else SERVER_OTHER
        self.machine = Transaction(table, peer.reliable, layer.timing)
        self.request, self.peer, self.key = request, peer, key
        self.headers: Headers = mark_via(request.headers, peer.host, peer.port)
        self.tag = _tag_for(key)
        self.back = way_back(request, peer)
        self.verdict: Verdict = LOCAL  # whose it is; told by the layer
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
        self._send(build_response(code, self.headers, self.tag, extra))
        self._layer.forget_server(self)

    def _send(self, data: bytes) -> None:
        """Answer by the way of the request. If its connection is gone, where the other side listens (§18.2.2)."""
        transport, back = self._layer.transport, self.back
        if back.reliable and not transport.alive(back):
            port = self.request.via.port or (5061 if back.transport == "tls" else 5060)
            back = back._replace(port=port, connection=0)
        transport.send(data, back)

    def repeat(self, kind: str = "2xx") -> None:
        """Send the newest answer, of this class, once more (the core's duty)."""
        self._layer.counters["retransmits"] += 1
        self.take(kind)

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
                self._send(self._newest)
            elif action is Action.TIMEOUT:
                self._layer.counters["no_ack"] += 1
            elif action is Action.END:
                self._layer.forget_server(self)
        self.rearm()


class Client(Timed):
    """A client transaction. `on_response(response)`; None means that nobody answered."""

    def __init__(
        self,
        layer: Owner,
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


def way_back(request: Request, peer: Peer) -> Peer:
    """Where responses go (§18.2.2, RFC 3581): never anywhere but to the host that asked."""
    via = request.via
    if peer.transport == "udp" and via.param("rport") is None:
        return peer._replace(port=via.port or 5060)
    return peer
