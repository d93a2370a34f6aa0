"""The SIP endpoint: takes calls, places calls, and answers everything else by the book (RFC 3261 §8.2, §11)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable

from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone.admission import Admission
from nightbell.phone.layer import Layer
from nightbell.phone.sip_calls import Call, IncomingCall
from nightbell.phone.sip_dial import CallFailed, OutgoingCall
from nightbell.phone.sip_transactions import Server
from nightbell.phone.transport import Limits, Peer, Transport
from nightbell.sip.grammar import Uri, parse_uri
from nightbell.sip.message import ALLOW, Request, session_part
from nightbell.sip.sdp import NotAcceptable
from nightbell.sip.transaction import Timing

__all__ = ["Call", "CallFailed", "Endpoint", "IncomingCall", "Limits", "OutgoingCall"]

_METHODS = frozenset(ALLOW.split(", "))
# Known to us by name and not for us: 405. Everything else is 501 (§21.5.2).
_FOREIGN = frozenset(["REGISTER", "INFO", "NOTIFY", "SUBSCRIBE", "PUBLISH", "REFER", "MESSAGE", "PRACK"])
_ABOUT = (("Allow", ALLOW), ("Accept", "application/sdp"), ("Accept-Encoding", "identity"), ("Supported", ""))


class Endpoint:
    """UDP and TCP on one port. `on_call` is called for each new INVITE that we could take.

    `counters` counts what happened by name: malformed, rejected_488, retransmits, merged, overload, calls, ...
    """

    def __init__(
        self,
        bind: str,
        port: int,
        on_call: Callable[[IncomingCall], None],
        log: Log,
        limits: Limits = Limits(),  # noqa: B008
        timing: Timing = Timing(),  # noqa: B008
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._on_call, self._log, self._limits = on_call, log, limits
        self.layer = Layer(limits, self.counters, log, self._request, self._ack, timing)
        self.layer.transport = self._transport = Transport(
            bind,
            port,
            limits,
            self.counters,
            self.layer.received,
            self.layer.refused,
            self.layer.unreachable,
        )
        self._calls: dict[tuple[str, str], Call] = {}
        self._ringing: dict[Server, IncomingCall] = {}
        self._unsettled: set[IncomingCall] = set()
        self._admission = Admission(limits.unconfirmed, limits.unconfirmed_proven)

    @property
    def port(self) -> int:
        """The port really bound."""
        return self._transport.port

    @property
    def calls(self) -> int:
        """How many calls are known now, ringing ones included."""
        return len(self._calls)

    async def start(self) -> None:
        """Bind. Raises RefusedStart."""
        await self._transport.start()

    async def close(self) -> None:
        """End what is left, in one attempt each, and stop listening."""
        for call in list(self._calls.values()):
            call.hangup()
        await asyncio.sleep(0)
        for call in list(self._calls.values()):
            call.forget()
        self.layer.close()
        await self._transport.close()

    async def dial(
        self,
        uri: str,
        local: tuple[str, int],
        codecs: tuple[Codec, ...],
        from_user: str = "",
        transport: str = "udp",
    ) -> OutgoingCall:
        """Place a call; returns when it is answered. Raises CallFailed. Cancel the task to give up.

        local: address and port of our sound; transport: 'udp' or 'tcp', unless the URI names one.
        """
        try:
            target = parse_uri(uri)
        except ValueError as error:
            raise CallFailed(400, str(error)) from error
        peer = await self._resolve(target, target.param("transport") or transport)
        call = OutgoingCall(self, target, peer, local, codecs, from_user)
        self.keep(call)
        self.counters["dialled"] += 1
        call.begin()
        try:
            return await asyncio.shield(call.outcome)
        except asyncio.CancelledError:
            call.abandon()
            if call.outcome.done() and call.outcome.exception() is None:
                call.hangup()
            raise

    async def _resolve(self, target: Uri, transport: str) -> Peer:
        if target.scheme != "sip" or transport not in ("udp", "tcp"):
            raise CallFailed(416, "only sip: over udp or tcp can be dialled")
        host, port = target.host.strip("[]"), target.port or 5060
        try:
            return Peer(transport, str(ipaddress.ip_address(host)), port)
        except ValueError:
            pass
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise CallFailed(404, "unknown host") from error
        return Peer(transport, str(found[0][4][0]), port)

    # The registry of calls (sip_calls.Calls).

    def keep(self, call: Call) -> None:
        self._calls[call.call_id, call.local_tag] = call

    def drop(self, call: Call) -> None:
        self._calls.pop((call.call_id, call.local_tag), None)
        if isinstance(call, IncomingCall):
            self._ringing.pop(call.server, None)
            self.settled(call, proven=False)

    def settled(self, call: IncomingCall, proven: bool) -> None:
        """The call is confirmed or over. proven: by its source's own answer to ours."""
        host = call.server.peer.host
        if call in self._unsettled:
            self._unsettled.discard(call)
            self._admission.leave(host)
        if proven:
            self._admission.prove(host)

    # What comes in.

    def _ack(self, request: Request) -> None:
        call = self._calls.get((request.call_id, request.to.tag))
        if call is not None:
            call.acknowledge(request)

    def _request(self, server: Server) -> None:
        request = server.request
        self.counters[f"in_{request.method}" if request.method in _METHODS else "in_other"] += 1
        if self._refused(server):
            return
        if request.method == "CANCEL":
            self._cancel(server)
        elif request.to.tag:
            call = self._calls.get((request.call_id, request.to.tag))
            if call is None:
                server.refuse(481)
            else:
                call.take(server)
        elif request.method == "OPTIONS":
            server.refuse(200, _ABOUT)
        elif request.method == "INVITE":
            self._invite(server)
        else:
            server.refuse(481)

    def _refused(self, server: Server) -> bool:
        """The inspections of §8.2.1 to §8.2.3, in their order."""
        request = server.request
        answer = _inspect(request)
        if answer is None:
            return False
        code, extra = answer
        self.counters[f"rejected_{code}"] += 1
        server.refuse(code, extra)
        return True

    def _cancel(self, server: Server) -> None:
        invite = self.layer.invite_of(server.request)
        if invite is None:
            server.refuse(481)
            return
        server.tag = invite.tag
        server.respond(200)
        call = self._ringing.get(invite)
        if call is not None:
            call.cancelled()

    def _invite(self, server: Server) -> None:
        request = server.request
        if len(self._calls) >= self._limits.calls:
            self.counters["overload"] += 1
            server.refuse(503, (("Retry-After", "10"),))
            return
        if not self._admission.admits(server.peer.host):
            self.counters["overload_unconfirmed"] += 1
            server.refuse(503, (("Retry-After", "10"),))
            return
        try:
            call = IncomingCall(self, server)
        except NotAcceptable as refused:
            self.counters["rejected_488"] += 1
            server.refuse(488, (("Warning", f'399 nightbell "{refused.reason}"'),))
            return
        except ValueError:
            self.counters["malformed"] += 1
            server.refuse(400)
            return
        server.respond(100)
        self.keep(call)
        self._ringing[server] = call
        self._unsettled.add(call)
        self._admission.enter(server.peer.host)
        self.counters["calls"] += 1
        self._log(
            "sip_call", transport=server.peer.transport, kind="late" if not request.session else "offer"
        )
        try:
            self._on_call(call)
        except Exception as error:
            self.counters["errors"] += 1
            self._log.failure("call_error", error)
            call.reject(500)


def _inspect(request: Request) -> tuple[int, tuple[tuple[str, str], ...]] | None:
    """The refusal that a request deserves whatever the state, with its header lines; None if it is in order."""
    method = request.method
    if method not in _METHODS:
        return (405 if method in _FOREIGN else 501, (("Allow", ALLOW),))
    if not request.uri.known:
        return 416, ()
    if method == "CANCEL":
        return None
    try:
        required = request.listed("require")
        accepted = request.listed("accept")
    except ValueError:
        return 400, ()
    if required:
        return 420, (("Unsupported", ", ".join(required)),)
    if method in ("INVITE", "UPDATE"):
        if "accept" in request.headers and not any(_takes_sdp(value) for value in accepted):
            return 406, ()
        if session_part(request.headers, request.body) is None:
            return 415, (("Accept", "application/sdp"), ("Accept-Encoding", "identity"))
    return None


def _takes_sdp(media_range: str) -> bool:
    return media_range.partition(";")[0].strip().lower() in ("application/sdp", "application/*", "*/*")
