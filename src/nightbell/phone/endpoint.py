"""The SIP endpoint: takes calls, places calls, and answers everything else by the book (RFC 3261 §8.2, §11)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone.admission import Admission, Quiet, source_of
from nightbell.phone.gate import Gate
from nightbell.phone.layer import Layer
from nightbell.phone.policy import Policy
from nightbell.phone.resolve import Resolver, Unresolved
from nightbell.phone.sip_call import Call
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.sip_dial import CallFailed, OutgoingCall
from nightbell.phone.sip_transactions import Server
from nightbell.phone.tls import Tls
from nightbell.phone.transport import Limits, Peer, Transport
from nightbell.sip import timers
from nightbell.sip.digest import Credentials
from nightbell.sip.grammar import Uri, parse_uri
from nightbell.sip.message import ALLOW, SUPPORTED, Request, session_part
from nightbell.sip.sdp import NotAcceptable
from nightbell.sip.srtp import Keying
from nightbell.sip.transaction import Timing

__all__ = ["Call", "CallFailed", "Endpoint", "IncomingCall", "Limits", "OutgoingCall"]

_METHODS = frozenset(ALLOW.split(", "))
# Known to us by name and not for us: 405. Everything else is 501 (§21.5.2).
_FOREIGN = frozenset(["REGISTER", "INFO", "NOTIFY", "SUBSCRIBE", "PUBLISH", "REFER", "MESSAGE"])
_ABOUT = (
    ("Allow", ALLOW),
    ("Accept", "application/sdp"),
    ("Accept-Encoding", "identity"),
    ("Supported", ", ".join(SUPPORTED)),
)


class Endpoint:
    """UDP, TCP and TLS. `on_call` is called for each new INVITE that we could take.

    bind: addresses to listen on; tls: certificates, without one there is no TLS listener; public: addresses to show beyond
    private networks; policy: who may talk to us; resolver: for the names that we dial.
    `counters` counts what happened by name: malformed, rejected_488, strangers, throttled, merged, overload, calls, ...;
    `refused_plain` by trunk id what came unencrypted and was not allowed to.
    """

    def __init__(
        self,
        bind: str | Sequence[str],
        port: int,
        on_call: Callable[[IncomingCall], None],
        log: Log,
        limits: Limits = Limits(),  # noqa: B008
        timing: Timing = Timing(),  # noqa: B008
        *,
        tls: Tls | None = None,
        sips_port: int = 0,
        public: Sequence[str] = (),
        policy: Policy | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.refused_plain: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()  # calls by trunk id
        self.heard: Callable[[str], None] = lambda trunk_id: None  # told the trunk of each request
        self._on_call, self._log, self._limits = on_call, log, limits
        layer = self.layer = Layer(limits, self.counters, log, self._request, self._ack, timing)
        binds = (bind,) if isinstance(bind, str) else bind
        layer.transport = self._transport = Transport(
            binds, port, limits, self.counters, layer.received, layer.refused, layer.unreachable, tls, sips_port, public
        )  # fmt: skip
        self.gate = self.layer.gate = Gate(policy or Policy(), limits, self.counters, log, self)
        self.resolver = resolver or Resolver.system()
        self._wire()
        self._calls: dict[tuple[str, str], Call] = {}
        self._ringing: dict[Server, IncomingCall] = {}
        self._unsettled: set[IncomingCall] = set()
        self._tags: dict[str, str] = {}  # of calls, and with which host each is
        self._hosts: Counter[str] = Counter()
        self._admission = Admission(limits.unconfirmed, limits.unconfirmed_proven)
        self._quiet = Quiet(limits.quiet, limits.quiet_local)

    def _wire(self) -> None:
        """Let the transport ask the gate, and the gate the transport."""
        gate, transport = self.gate, self._transport
        self.resolver.families = {6 if ":" in bind else 4 for bind in transport.binds}
        transport.lets_in = lambda host, encrypted: gate.lets_in(host, encrypted, clock.monotonic())
        transport.knows = gate.knows
        transport.trusts = lambda peer: gate.trusts(peer, clock.monotonic())
        transport.keeps = lambda peer: gate.policy.keeps(peer)
        gate.names, gate.own, gate.opened = (
            transport.peer_certificate_names,
            transport.is_own,
            transport.opened,
        )

    @property
    def port(self) -> int:
        """The port really bound, of UDP and TCP."""
        return self._transport.port

    @property
    def sips_port(self) -> int:
        """The port of TLS, 0 without it."""
        return self._transport.sips_port

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
        security: Keying | None = None,
        credentials: Callable[[str], Credentials] | None = None,
    ) -> OutgoingCall:
        """Place a call; returns when it is answered. Raises CallFailed. Cancel the task to give up.

        security: how the sound is encrypted, None: as fits the transport; credentials: what to answer in a realm.
        local: address and port of our sound; transport: 'udp', 'tcp' or 'tls', unless the URI names one. A server that
        does not answer, or says that it cannot, is passed over while there is another one (RFC 3263 §4.3).
        """
        try:
            target = parse_uri(uri)
        except ValueError as error:
            raise CallFailed(400, str(error)) from error
        *others, last = await self._resolve(target, transport)
        for peer in others:
            try:
                return await self._try(
                    OutgoingCall(self, target, peer, local, codecs, from_user, security, credentials)
                )
            except CallFailed as failed:
                if not _elsewhere(failed):
                    raise
                self.counters["failed_over"] += 1
        return await self._try(
            OutgoingCall(self, target, last, local, codecs, from_user, security, credentials)
        )

    async def _try(self, call: OutgoingCall) -> OutgoingCall:
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

    async def _resolve(self, target: Uri, transport: str) -> tuple[Peer, ...]:
        if target.scheme == "sips":
            transport = "tls"
        elif target.scheme == "sip":
            transport = (target.param("transport") or transport).lower()
        if target.scheme == "tel" or transport not in ("udp", "tcp", "tls"):
            raise CallFailed(416, "only sip: and sips: over udp, tcp or tls can be dialled")
        try:
            return await self.resolver.targets(target.host.strip("[]"), target.port or 0, transport)
        except Unresolved as error:
            raise CallFailed(404, "unknown host") from error

    # Who may talk to us (phone.gate).

    def take_policy(self, policy: Policy) -> None:
        """New rules, at once; calls in progress go on."""
        self.gate.take(policy)

    def asked(self, branch: str) -> bool:
        return self.layer.asked(branch)

    def answering(self, method: str, branch: str) -> bool:
        return self.layer.answering(method, branch)

    def in_call(self, tag: str) -> bool:
        return tag in self._tags

    def points_to(self, host: str) -> bool:
        return host in self._hosts

    # The registry of calls (sip_call.Calls).

    def keep(self, call: Call) -> None:
        # Whence it came or whither it was sent: not what the other side writes of itself, into its Contact.
        host = call.server.peer.host if isinstance(call, IncomingCall) else call.peer.host
        self._calls[call.call_id, call.local_tag] = call
        self._tags[call.local_tag] = host
        self._hosts[host] += 1

    def drop(self, call: Call) -> None:
        known = self._calls.pop((call.call_id, call.local_tag), None)
        host = self._tags.pop(call.local_tag, "")
        self._hosts[host] -= 1
        if self._hosts[host] <= 0:
            del self._hosts[host]
        if isinstance(call, IncomingCall):
            if known is not None:
                self._quiet.over(*_whose(call), call.spoke, clock.monotonic())
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
        if server.verdict.trunk is not None:
            self.heard(server.verdict.trunk.id)
        if self._refused(server) or self._plain(server):
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

    def _plain(self, server: Server) -> bool:
        """Whether the request begins something unencrypted that must be encrypted; it is refused then."""
        request, verdict = server.request, server.verdict
        encrypted = server.peer.transport == "tls" or verdict.plain_allowed
        if encrypted or verdict.trunk is None or request.to.tag or request.method == "CANCEL":
            return False
        self.counters["rejected_403"] += 1
        self.refused_plain[verdict.trunk.id] += 1
        server.refuse(403, (("Warning", '399 nightbell "TLS is required"'),))
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
            call.count_reasons(server.request)
            call.cancelled()

    def _made(self, server: Server) -> IncomingCall | None:
        """The call that an INVITE begins, None for one that is refused."""
        if len(self._calls) >= self._limits.calls:
            self._busy(server, "overload", 10)
            return None
        if not self._admission.admits(server.peer.host):
            self._busy(server, "overload_unconfirmed", 10)
            return None
        try:
            call = IncomingCall(self, server, server.verdict.plain_allowed)
        except NotAcceptable as refused:
            self.counters["rejected_488"] += 1
            server.refuse(488, (("Warning", f'399 nightbell "{refused.reason}"'),))
            return None
        except ValueError:
            self.counters["malformed"] += 1
            server.refuse(400)
            return None
        if not self._quiet.admits(*_whose(call), clock.monotonic()):
            self._busy(server, "overload_quiet", 60)
            return None
        return call

    def _busy(self, server: Server, why: str, seconds: int) -> None:
        self.counters[why] += 1
        server.refuse(503, (("Retry-After", str(seconds)),))

    def _invite(self, server: Server) -> None:
        call = self._made(server)
        if call is None:
            return
        server.respond(100)
        self.keep(call)
        self._ringing[server] = call
        self._unsettled.add(call)
        self._admission.enter(server.peer.host)
        self.counters["calls"] += 1
        if call.trunk is not None:
            self.taken[call.trunk.id] += 1
        self._log(
            "sip_call", transport=server.peer.transport, kind="offer" if server.request.session else "late"
        )
        try:
            self._on_call(call)
        except Exception as error:
            self.counters["errors"] += 1
            self._log.failure("call_error", error)
            call.reject(500)


def _whose(call: IncomingCall) -> tuple[str, str]:
    """By whom calls without a word are counted: (trunk, number), or ('', source)."""
    if call.trunk is not None:
        return call.trunk.id, call.caller
    return "", source_of(call.server.peer.host)


def _elsewhere(failed: CallFailed) -> bool:
    """Whether the next server is worth a try: this one did not answer, or says that it cannot."""
    return failed.code == 503 or (failed.code == 408 and failed.reason == "no answer")


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
    unknown = [option for option in required if option.lower() not in SUPPORTED]
    if unknown:
        return 420, (("Unsupported", ", ".join(unknown)),)
    if method in ("INVITE", "UPDATE"):
        try:
            timers.agree(request)
        except timers.TooBrief:
            return 422, (("Min-SE", str(timers.MIN_SE)),)
        if "accept" in request.headers and not any(_takes_sdp(value) for value in accepted):
            return 406, ()
        if session_part(request.headers, request.body) is None:
            return 415, (("Accept", "application/sdp"), ("Accept-Encoding", "identity"))
    return None


def _takes_sdp(media_range: str) -> bool:
    return media_range.partition(";")[0].strip().lower() in ("application/sdp", "application/*", "*/*")
