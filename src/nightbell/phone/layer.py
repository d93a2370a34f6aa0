"""The transaction layer (RFC 3261 §17): matches messages to transactions, and finds the way for new ones."""

from __future__ import annotations

import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from nightbell.core import clock
from nightbell.core.log import Log
from nightbell.phone.gate import Gate
from nightbell.phone.policy import Verdict, is_private, server_names
from nightbell.phone.sip_transactions import Client, Server, new_tag
from nightbell.phone.transport import Limits, Peer, Transport
from nightbell.sip.dialog import Dialog
from nightbell.sip.grammar import parse_address
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

Key = TypeVar("Key")


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
        self.gate: Gate
        self._branches: Counter[tuple[str, str]] = Counter()  # of server transactions, by method
        self._servers: dict[tuple[str, ServerKey], Server] = {}
        self._merged: dict[ServerKey, ServerKey] = {}
        self._clients: dict[tuple[str, str], Client] = {}
        self._asked: Counter[str] = Counter()  # branches of client transactions

    def received(self, data: bytes, peer: Peer) -> None:
        """One datagram or framed message from anybody. Never raises."""
        if not data.strip(b"\r\n\x00"):
            return  # keep-alive
        try:
            verdict = self.gate.passes(data, peer, clock.monotonic())
            if verdict is None:
                if self.gate.cuts(data, peer):
                    self.transport.cut(peer)
                return
            message = parse(data)
            if isinstance(message, Request):
                self._request(message, peer, verdict)
            else:
                self._response(message)
        except BadMessage as bad:
            self.counters["malformed"] += 1
            if bad.reply is not None and self.gate.verdict(peer).known:
                self.transport.send(bad.reply, peer)
        except Exception as error:  # a stranger's message must not stop the others' calls
            self.counters["errors"] += 1
            self.log.failure("sip_error", error)

    def refused(self, head: bytes, peer: Peer) -> None:
        """A stream broke inside this message: say 400 before it is closed."""
        if not self.gate.verdict(peer).known:
            return
        try:
            parse(head)
        except BadMessage as bad:
            if bad.reply is not None:
                self.transport.send(bad.reply, peer)
            return
        message = parse(head)
        if isinstance(message, Request) and message.method != "ACK":
            self.transport.send(build_response(400, message.headers, new_tag()), peer)

    def _request(self, request: Request, peer: Peer, verdict: Verdict) -> None:
        if not verdict.known and not self.gate.in_call(request.to.tag):
            self.gate.stranger(peer.host, clock.monotonic())
            return
        if verdict.trunk is not None and peer.transport == "tls":
            # Nobody but who proves this name gets what belongs to this call; without TLS nothing can be proved.
            peer = peer._replace(name=next(iter(server_names(verdict.trunk)), ""))
        if peer.reliable and request.via.param("alias") is not None:
            self.transport.alias(peer, request.via.port or (5061 if peer.transport == "tls" else 5060))
        key = server_key(request)
        if self._there_is(request, key):
            return
        admitted = self._spent(request, peer, verdict, key)
        if admitted is None:
            return
        server = Server(self, request, peer, key)
        server.verdict = admitted
        if admitted.busy:
            server.refuse(503, (("Retry-After", "1"),))
        else:
            self._begin(server)

    def _there_is(self, request: Request, key: ServerKey) -> bool:
        """Whether a request is an ACK, or one of which we have a copy; it is treated then."""
        if request.method == "ACK":
            invite = self._servers.get(("INVITE", key))
            if invite is not None:
                invite.take("ack")
            self._on_ack(request)
            return True
        known = self._servers.get((request.method, key))
        if known is not None:
            self.counters["repeated_requests"] += 1
            known.take("invite" if request.method == "INVITE" else "request")
        return known is not None

    def _spent(self, request: Request, peer: Peer, verdict: Verdict, key: ServerKey) -> Verdict | None:
        """What the gate took to belong to something and does not is a new request as any other: a branch or a tag of ours,
        put where only the glance looks, gives nothing away."""
        belongs = self.gate.in_call(request.to.tag) or (
            request.method == "CANCEL" and ("INVITE", key) in self._servers
        )
        if not verdict.exempt or belongs:
            return verdict
        return self.gate.spend(verdict, peer, clock.monotonic())

    def _begin(self, server: Server) -> None:
        """A new server transaction."""
        request, key = server.request, server.key
        full = len(self._servers) >= self.limits.transactions
        if full and not request.to.tag and request.method != "CANCEL":
            self.counters["overload"] += 1
            server.refuse(503, (("Retry-After", "5"),))
            return
        self._servers[request.method, key] = server
        self._branches[request.method, key[0]] += 1
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
        """Our Via. On a stream the other side may use our connection for its requests too (RFC 5923)."""
        alias = ";alias" if peer.reliable else ""
        return f"SIP/2.0/{peer.transport.upper()} {self._shown(peer)};branch={branch};rport{alias}"

    def contact(self, peer: Peer, secure: bool = False) -> str:
        """Our Contact for whoever speaks over `peer`'s transport (without ;transport= a BYE comes by UDP).

        secure: the dialog began with a sips: URI, so that ours must be one (RFC 3261 §12.1.1).
        """
        if secure and peer.transport == "tls":
            return f"<sips:{self._shown(peer)}>"
        return f"<sip:{self._shown(peer)}{f';transport={peer.transport}' if peer.reliable else ''}>"

    def contact_for(self, server: Server) -> str:
        """Our Contact in answers to this request."""
        try:
            return self.contact(server.peer, _asked_secure(server.request))
        except ValueError:
            return self.contact(server.peer)

    def _shown(self, peer: Peer) -> str:
        host = self.transport.local_address(peer)
        port = self.transport.sips_port if peer.transport == "tls" else 0
        return f"{f'[{host}]' if ':' in host else host}:{port or self.transport.port}"

    def branch(self) -> str:
        return MAGIC + secrets.token_hex(12)

    def send_in_dialog(
        self,
        dialog: Dialog,
        method: str,
        peer: Peer,
        on_response: Callable[[Response | None], None],
        extra: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Start a non-INVITE transaction within a dialog. extra: further header lines."""
        branch = self.branch()
        data = dialog.request(method, self.via(peer, branch), extra=extra)
        self.start(method, data, peer, branch, on_response)

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
        self._asked[branch] += 1
        client.take("begin")
        return client

    def unreachable(self, peer: Peer) -> None:
        """A connection could not be opened: whoever waits for an answer over it need not wait longer."""
        for client in list(self._clients.values()):
            if client.peer.reliable and client.peer.flow == peer.flow:
                client.take("error")

    def way(self, dialog: Dialog, source: Peer, direct: bool = False) -> Peer:
        """Where the next request of a dialog goes. source: where its last message came from; direct: from the other
        side itself, with no proxy between.

        By RFC 3261 §8.1.2 the first route or the target says it; a connection that lives is used again, and
        a name instead of an address falls back to the source (we ask no DNS for strangers). Never to less than TLS from
        where there was TLS; and from datagrams to TCP only at a known address: a source that can be forged must not have
        us open connections to others. A telephone behind a NAT names an address of its own network: datagrams go to where
        its own come from then, as answers do (RFC 3581).
        """
        hop = dialog.next_hop()
        host = hop.host.strip("[]")
        transport = "udp"
        if source.transport == "tls" or hop.scheme == "sips" or hop.param("transport") == "tls":
            transport = "tls"
        elif source.reliable or (hop.param("transport") == "tcp" and self.gate.knows(host)):
            transport = "tcp"
        port = hop.port or (5061 if transport == "tls" else 5060)
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if not source.reliable or self.transport.opened(source):
                return source
            # Once its connection is gone nobody listens on the port from which it came.
            return source._replace(port=port)
        elsewhere = transport == "udp" and not dialog.routes and host != source.host
        if elsewhere and is_private(host) and (direct or not is_private(source.host)):
            return source
        return Peer(transport, host, port, source.connection, source.local, source.name)

    def forget_server(self, server: Server) -> None:
        server.disarm()
        if self._servers.pop((server.request.method, server.key), None) is not None:
            _less(self._branches, (server.request.method, server.key[0]))
        merged = merge_key(server.request)
        if self._merged.get(merged) == server.key:
            del self._merged[merged]

    def forget_client(self, client: Client) -> None:
        client.disarm()
        if self._clients.pop(client.key, None) is not None:
            _less(self._asked, client.key[0])

    def close(self) -> None:
        for timed in (*self._servers.values(), *self._clients.values()):
            timed.disarm()
        self._servers.clear()
        self._clients.clear()
        self._merged.clear()
        self._branches.clear()
        self._asked.clear()

    # What is in progress (gate.Held, with the endpoint's calls).

    def asked(self, branch: str) -> bool:
        return branch in self._asked

    def answering(self, method: str, branch: str) -> bool:
        means = ("INVITE",) if method == "ACK" else ("INVITE", method) if method == "CANCEL" else (method,)
        return branch != "" and any((one, branch) in self._branches for one in means)

    @property
    def size(self) -> int:
        return len(self._servers) + len(self._clients)


def _less(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


def _asked_secure(request: Request) -> bool:
    """Whether RFC 3261 §12.1.1 wants a sips: Contact in answer. Raises ValueError for malformed headers."""
    hops = (*request.listed("record-route")[:1], *request.listed("contact")[:1])
    schemes = [parse_address(value).uri.scheme for value in hops if value != "*"]
    return "sips" in (request.uri.scheme, *schemes)
