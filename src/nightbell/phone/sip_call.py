"""A call within its dialog, in both directions (RFC 3261 §14, §15): new offers, refreshes, and its end."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from nightbell.core.capture import Codec
from nightbell.phone import dtls
from nightbell.phone.layer import Layer
from nightbell.phone.refresh import Refresher
from nightbell.phone.sip_transactions import Repeater, Server
from nightbell.phone.transport import Peer
from nightbell.phone.watch import Watch
from nightbell.sip import history, negotiation, sdp, timers
from nightbell.sip.dialog import Dialog
from nightbell.sip.message import ALLOW, Request, Response, listed
from nightbell.sip.negotiation import Terms
from nightbell.sip.sdp import AudioOffer, NotAcceptable
from nightbell.sip.srtp import PLAIN, Fingerprint, Security

if TYPE_CHECKING:
    from nightbell.phone.sip_calls import IncomingCall

# What a caller who lets us offer is assumed to have, until its ACK says more.
NO_OFFER = AudioOffer(
    address="0.0.0.0",  # noqa: S104
    port=9,
    codecs=((0, Codec.PCMU), (8, Codec.PCMA)),
    events=((sdp.DTMF_TYPE, 8000),),
    direction="sendrecv",
    ptime=20,
    session_id=0,
    version=0,
    media=(),
    index=0,
)


class Calls(Protocol):
    """Where calls are registered."""

    layer: Layer

    def keep(self, call: Call) -> None: ...

    def drop(self, call: Call) -> None: ...

    def settled(self, call: IncomingCall, proven: bool) -> None: ...


class Call:
    """Common to both directions. All methods are called on the loop's thread."""

    def __init__(self, calls: Calls, call_id: str, local_tag: str, peer: Peer) -> None:
        self.call_id, self.local_tag = call_id, local_tag
        self.dialled = self.caller = ""
        self.remote = NO_OFFER
        self.security = PLAIN
        self.allow_plain = True  # whether sound without encryption may be agreed on
        self.on_end: Callable[[str], None] | None = None
        self.on_media: Callable[[AudioOffer], None] | None = None
        # Whether sound of the other side arrives. Some stacks never repeat a lost ACK (baresip): a caller who is
        # being recorded must not be cut off for that after 32 s.
        self.heard: Callable[[], bool] | None = None
        # How many datagrams of its sound came so far: who still speaks is not cut off for a refresh that stays away.
        self.received: Callable[[], int] | None = None
        self.updates = False
        self.marks: tuple[str, ...] = ()
        self.ended = False
        self.peer = peer
        self._direct = False  # whether the other side's requests come with no proxy between
        self.dialog: Dialog | None = None
        self._calls, self._layer = calls, calls.layer
        self._repeater: Repeater | None = None
        self._answer_due = False
        self._offered = PLAIN  # what we proposed in an offer of ours that is not answered yet
        self._fingerprint: Fingerprint | None = None  # of whoever does the handshake of this call
        self._leaving = False
        self._local: tuple[str, int] = ("", 0)
        self._codec = Codec.PCMU
        self._session, self._version, self._described = secrets.randbits(31), 0, b""
        self._reason: tuple[tuple[str, str], ...] = ()
        me: Call = weakref.proxy(self)  # or each call would lie in a circle until a full collection
        self._refresher = Refresher(me, self._layer)
        self._watch = Watch(me, self._layer)

    def hangup(self, cause: int = 0, text: str = "") -> None:
        """End the call from our side; `on_end('bye')` follows from the loop. cause, text: why, for the other side (RFC 3326):
        a SIP status and words of ours; 0 for an end that needs no reason."""
        if self.ended:
            return
        self._because(cause, text)
        self._leave()
        asyncio.get_running_loop().call_soon(self._tell_end, "bye")

    # What the endpoint hands in.

    def take(self, server: Server) -> None:
        """A request within the dialog."""
        request, dialog = server.request, self.dialog
        if dialog is None or request.sender.tag != dialog.remote_tag:
            server.respond(481)
            return
        self._watch.alive()
        if not dialog.accepts(request):
            self._layer.counters["old_cseq"] += 1
            server.respond(500)
            return
        if self.peer.transport == server.peer.transport == "udp":  # a NAT may have given it another port
            self.peer = self._layer.way(dialog, server.peer, self._direct)
        if request.method == "BYE":
            server.respond(200)
            self.count_reasons(request)
            self._bye_received()
        elif request.method == "PRACK":
            self._provisional_acknowledged(server)
        elif request.method in ("INVITE", "UPDATE"):
            self._reoffer(server, dialog)
        else:
            server.respond(200, (("Allow", ALLOW), ("Accept", "application/sdp")))

    def acknowledge(self, request: Request) -> None:
        """An ACK within the dialog."""
        repeater = self._repeater
        if repeater is None or request.cseq.number != repeater.cseq:
            return
        repeater.acknowledged()
        self._repeater = None
        if self._answer_due:
            self._answer_due = False
            self.answered_again(request)
        self._confirmed()

    def _confirmed(self) -> None:
        if self._leaving:
            self._bye()
        else:
            self._watch.begin()

    def _bye_received(self) -> None:
        self._end("bye")

    def _reoffer(self, server: Server, dialog: Dialog) -> None:
        """A new offer within the call (§14.2, RFC 3311). A refused one changes nothing."""
        request = server.request
        if self.changing() or self._refresher.asking or not self._described:
            server.respond(491)
            return
        offer, security = None, self.security
        try:
            if request.session:
                offers = sdp.parse_all(request.session)
                offer, security = negotiation.best(offers, self._terms(server.peer), security)
                body = self._answer_to(offer, security)
            elif request.method == "INVITE":
                body = self.offer_again()
            else:
                body = b""
        except NotAcceptable as refused:
            self._layer.counters["rejected_488"] += 1
            server.respond(488, (("Warning", f'399 nightbell "{refused.reason}"'),))
            return
        dialog.refresh(request)
        self.peer = self._layer.way(dialog, server.peer, self._direct)
        self._accept(server, body, late=offer is None and request.method == "INVITE")
        if offer is not None:
            self.security = security
            self._change(offer)

    def _terms(self, source: Peer) -> Terms:
        """What may be agreed on, by what a message from `source` could be read by."""
        ours = self._fingerprint or dtls.identity().fingerprint
        return Terms(self.allow_plain, source.transport == "tls" or _same_machine(source.host), ours)

    def _answer_to(self, offer: AudioOffer, security: Security) -> bytes:
        answer = sdp.build_answer(offer, self._local, self._codec, self._session, 0, security=security)
        return self._describe(answer)

    def _accept(self, server: Server, body: bytes, late: bool) -> None:
        """Send our 200 and, for an INVITE, repeat it until its ACK."""
        request = server.request
        extra = [("Record-Route", route) for route in listed(request.headers, "record-route")]
        extra += [("Contact", self._layer.contact_for(server)), ("Allow", ALLOW)]
        expiry = timers.agree(request)  # an interval that is too small was refused on arrival
        extra += timers.answer_lines(expiry) if expiry is not None else ()
        self.updates = self.updates or timers.may_update(request)
        server.respond(200, tuple(extra), body)
        self._refresher.begin(expiry)
        if request.method == "INVITE":
            self._answer_due = late
            self._repeater = Repeater(server, self._layer.timing, self._never_acknowledged)

    def _describe(self, body: bytes) -> bytes:
        """Our description with a version that grows only when it changes (RFC 3264 §8)."""
        same = body.split(b"\r\n", 2)[2]
        if same != self._described:
            self._described = same
            self._version += 1
        old = f"o=- {self._session} 0 ".encode()
        return body.replace(old, f"o=- {self._session} {self._version} ".encode(), 1)

    def _change(self, offer: AudioOffer) -> None:
        self.remote = offer
        if self.on_media is not None and not self.ended:
            self._guard(lambda: self.on_media(offer) if self.on_media else None)

    def _never_acknowledged(self) -> None:
        """64*T1 without an ACK (§13.3.1.4)."""
        self._repeater = None
        self._layer.counters["answers_unacknowledged"] += 1
        if self.heard is not None and self.heard() and not (self._leaving or self._answer_due):
            self._layer.counters["kept_unacknowledged"] += 1
            self._confirmed()
            return
        self._bye()
        self._end("timeout")

    def _leave(self) -> None:
        """Between our 200 and its ACK a BYE must wait (§15)."""
        if self._leaving:
            return
        self._leaving = True
        self._refresher.stop()
        self._watch.stop()
        if self._repeater is None:
            self._bye()

    def _bye(self) -> None:
        if self.dialog is not None:
            self._layer.send_in_dialog(self.dialog, "BYE", self.way(), self._bye_answered, self._reason)

    def _bye_answered(self, response: Response | None) -> None:
        if response is None or response.code >= 200:
            self.forget()

    def _end(self, reason: str) -> None:
        """The other side ended it, or nothing is left to be done."""
        self._tell_end(reason)
        self.forget()

    def forget(self) -> None:
        """Stop repeating and leave the registry."""
        if self._repeater is not None:
            self._repeater.acknowledged()
            self._repeater = None
        self._refresher.stop()
        self._watch.stop()
        self._calls.drop(self)

    def _because(self, cause: int, text: str) -> None:
        self._reason = (history.reason_line(cause, text),) if cause else ()

    def count_reasons(self, request: Request) -> None:
        """Why the other side ends it (RFC 3326)."""
        for reason in history.reasons(request):
            self._layer.counters[f"reason_{reason}"] += 1

    def _provisional_acknowledged(self, server: Server) -> None:
        server.respond(481)

    # What the session timer and the watch need (refresh.Refreshed, watch.Watched).

    def way(self) -> Peer:
        if self.dialog is not None:
            self.peer = self._layer.way(self.dialog, self.peer, self._direct)
        return self.peer

    def offer_again(self) -> bytes:
        """Our description as it stands, as an offer."""
        self._offered = negotiation.again(self.security)
        return self._describe(
            sdp.build_offer(
                self._local, (self._codec,), self._session, 0,
                security=self._offered, protocol=self.remote.protocol,
            )
        )  # fmt: skip

    def answered_again(self, message: Request | Response) -> None:
        """The answer to an offer of ours, in an ACK or a 2xx. A poor one to the first offer leaves nothing to speak by; to
        a later one, what was agreed on before holds, as when such an offer is refused (§14.1)."""
        try:
            answer = sdp.parse(message.session)
            agreed = PLAIN if self._offered is self.security else self.security
            self.security = negotiation.settle(self._offered, answer, agreed)
            self._change(answer)
        except NotAcceptable:
            if self.remote is NO_OFFER:
                self._layer.counters["bad_late_answer"] += 1
                self.hangup(488, "no common description")
            else:
                self._layer.counters["bad_later_answer"] += 1

    def changing(self) -> bool:
        return self._repeater is not None

    def voices(self) -> int | None:
        return None if self.received is None else self.received()

    def asked(self) -> bool:
        return self._watch.asking

    def busy(self) -> bool:
        return self.changing()

    def refreshing(self) -> float | None:
        return self._refresher.waiting

    def alive(self) -> None:
        self._watch.alive()

    def once_heard(self) -> bool:
        return self.heard is not None and self.heard()

    def lost(self, cause: int, text: str) -> None:
        self._because(cause, text)
        self._leave()
        self._tell_end("timeout")
        if self._repeater is None:
            self.forget()  # nobody waits for the answer to the BYE

    def _tell_end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        self._layer.counters[f"ended_{reason}"] += 1
        if self.on_end is not None:
            self._guard(lambda: self.on_end(reason) if self.on_end else None)

    def _guard(self, tell: Callable[[], object]) -> None:
        """An application's mistake must not break the protocol."""
        try:
            tell()
        except Exception as error:
            self._layer.counters["errors"] += 1
            self._layer.log.failure("call_error", error)


def _same_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
