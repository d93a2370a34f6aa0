"""Calls that come in, as the application sees them (RFC 3261 §13.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.phone.reliable import Reliable, demanded
from nightbell.phone.sip_call import Call, Calls
from nightbell.phone.sip_transactions import Server
from nightbell.phone.transport import Peer
from nightbell.sip import negotiation, sdp
from nightbell.sip.caller_id import caller_of
from nightbell.sip.dialog import as_uas
from nightbell.sip.grammar import printable
from nightbell.sip.message import ALLOW, listed
from nightbell.sip.negotiation import Terms
from nightbell.sip.srtp import PLAIN, Fingerprint, Keying, Security

STAYED = 3.0  # seconds within an acknowledged call


class IncomingCall(Call):
    """A caller waits for `ring`, `answer` or `reject`."""

    def __init__(self, calls: Calls, server: Server, allow_plain: bool = True) -> None:
        """Raises ValueError for malformed routes, NotAcceptable for an unusable offer or one that is not encrypted where
        that is not allowed."""
        request = server.request
        super().__init__(calls, request.call_id, server.tag, server.peer)
        self.allow_plain = allow_plain
        self.trunk = server.verdict.trunk  # None: this machine
        self.began, self.spoke = clock.monotonic(), False
        self.on_confirmed: Callable[[], None] | None = None
        self._late = not request.session
        terms = self._terms(server.peer)
        if request.session:
            self.remote, self.security = negotiation.best(sdp.parse_all(request.session), terms)
        else:
            self.security = _proposal(server.peer, terms)
        self.dialled = printable(request.uri.user or request.to.uri.user)
        self.caller = caller_of(request)
        self._layer.counters["callers_unknown"] += not self.caller
        self.server = server
        self.dialog = as_uas(request, server.tag, self._layer.contact_for(server))
        self.dialog.next_hop()
        self._direct = len(request.listed("via")) == 1
        self.peer = self._layer.way(self.dialog, server.peer, self._direct)
        self.confirmed = False
        self._reliable: Reliable | None = None

    @property
    def quiet(self) -> bool:
        """Whether the caller has neither been heard nor stayed: such calls are bounded by source (phone.admission)."""
        stayed = self.confirmed and clock.monotonic() - self.began >= STAYED
        return not (self.spoke or stayed or (self.heard is not None and self.heard()))

    def sounded(self) -> None:
        """Sound of the caller came, with or without an ACK: somebody is there."""
        self.spoke = True
        self._calls.settled(self, proven=False)

    def ring(self) -> None:
        """180 Ringing; until its PRACK for a caller who requires that. Once, and not any more after a final answer."""
        request = self.server.request
        routes = [("Record-Route", route) for route in listed(request.headers, "record-route")]
        lines = (*routes, ("Contact", self._layer.contact_for(self.server)), ("Allow", ALLOW))
        if not demanded(request):
            self.server.respond(180, lines)
        elif self.server.open and self._reliable is None and not self._late:
            # Without an offer a reliable answer would have to bring one (RFC 3262 §5); that comes with the 200.
            timing = self._layer.timing
            self._reliable = Reliable(self.server, timing, 180, lines, self._never_acknowledged_ring)

    def _never_acknowledged_ring(self) -> None:
        self._layer.counters["rings_unacknowledged"] += 1
        self.server.respond(504)
        self._end("timeout")

    def _provisional_acknowledged(self, server: Server) -> None:
        """PRACK (RFC 3262 §3). An offer in it comes before its time: the one of the INVITE is not answered yet."""
        if self._reliable is None or not self._reliable.matches(server.request):
            server.respond(481)
        elif server.request.session:
            server.respond(488, (("Warning", '399 nightbell "the first offer is not answered yet"'),))
        else:
            server.respond(200)

    def answer(self, local: tuple[str, int], codec: Codec, fingerprint: Fingerprint | None = None) -> None:
        """Take the call: 200 with our description, repeated until its ACK. Nothing happens once it is over.

        local: address and port of our sound; fingerprint: of the certificate that its handshake will use, if that is not
        this process's. Raises NotAcceptable for a codec that was not offered.
        """
        if self.ended or not self.server.open:
            return
        self._local, self._codec, self._fingerprint = local, codec, fingerprint
        if self.security.keying is Keying.DTLS and fingerprint is not None:
            self.security = replace(self.security, fingerprint=fingerprint)
        if self._late:
            self._offered = self.security
            body = self._describe(sdp.build_offer(local, (codec,), self._session, 0, security=self._offered))
        else:
            body = self._answer_to(self.remote, self.security)
        self._accept(self.server, body, late=self._late)

    def reject(self, code: int, reason: str = "") -> None:
        """Refuse the call with a status of 300 to 699, else ValueError. `on_end` is not called: nothing has begun."""
        if not 300 <= code <= 699:
            raise ValueError("a refusal is a status of 300 to 699")
        if not self.server.open or self.ended:
            return
        self.ended = True
        self.server.respond(code, reason=printable(reason))
        self.forget()

    def _tell_end(self, reason: str) -> None:
        self.spoke = not self.quiet  # asked before the application lets go of the sound
        super()._tell_end(reason)

    def hangup(self, cause: int = 0, text: str = "") -> None:
        self.spoke = not self.quiet
        if not self.ended and self.server.open:
            self.server.respond(480)
            self._leaving = True
            self.forget()
            asyncio.get_running_loop().call_soon(self._tell_end, "bye")
            return
        super().hangup(cause, text)

    def forget(self) -> None:
        if self._reliable is not None:
            self._reliable.stop()
        super().forget()

    def cancelled(self) -> None:
        """CANCEL came before our answer (§9.2). After it, it means nothing."""
        if self.server.open:
            self.server.respond(487)
            self._end("cancel")

    def _bye_received(self) -> None:
        if self.server.open:
            self.server.respond(487)
        super()._bye_received()

    def _confirmed(self) -> None:
        if not self.confirmed:
            self.confirmed = True
            if self.trunk is not None:  # for the share of encrypted calls in the evidence
                self._layer.counters["calls_encrypted" if self.security.secured else "calls_plain"] += 1
            self._calls.settled(self, proven=True)
            if self.on_confirmed is not None and not self.ended:
                self._guard(self.on_confirmed)
        super()._confirmed()


def _proposal(peer: Peer, terms: Terms) -> Security:
    """What we offer to a caller who lets us offer. Over TLS keys in the description are safe; a peer that may also speak
    plainly is let choose (RFC 8643). Where the description can be read, the handshake, unless plain is in order anyway."""
    if peer.transport == "tls":
        return negotiation.propose(Keying.SDES, terms.ours, required=not terms.plain)
    return PLAIN if terms.plain else negotiation.propose(Keying.DTLS, terms.ours)
