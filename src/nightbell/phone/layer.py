"""The transaction layer (RFC 3261 §17): matches messages to transactions, and finds the way for new ones."""

from __future__ import annotations

import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable

from nightbell.core.log import Log
from nightbell.phone.sip_transactions import Client, Server, new_tag
from nightbell.phone.transport import Limits, Peer, Transport
from nightbell.sip.dialog import Dialog
from nightbell.sip.message import (
    BadMessage,
    Request,
    Response,
    build_response,
    parse,
)
from nightbell.sip.transaction import (
    MAGIC,
    ServerKey,
    Timing,
    client_key,
    code_class,
    merge_key,
    server_key,
)


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
