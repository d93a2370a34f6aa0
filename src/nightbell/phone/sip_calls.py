"""Calls as the application sees them: an INVITE and all that follows within its dialog (RFC 3261 §13 to §15)."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Protocol

from nightbell.core.capture import Codec
from nightbell.phone.layer import Layer
from nightbell.phone.sip_transactions import Repeater, Server
from nightbell.phone.transport import Peer
from nightbell.sip import sdp
from nightbell.sip.dialog import Dialog, as_uas
from nightbell.sip.grammar import parse_address, printable
from nightbell.sip.message import ALLOW, Request, Response, listed
from nightbell.sip.sdp import AudioOffer, NotAcceptable

# What a caller who lets us offer is assumed to have, until its ACK says more.
NO_OFFER = AudioOffer(
    address="0.0.0.0",  # noqa: S104
    port=9,
    codecs=((0, Codec.PCMU), (8, Codec.PCMA)),
    dtmf_type=sdp.DTMF_TYPE,
    direction="sendrecv",
    ptime=20,
    session_id=0,
    version=0,
    media=(),
    index=0,
)
_SEPARATORS = str.maketrans("", "", " .-()")
# Up to 15 digits with a plus sign (E.164); some more without, for prefixes like 011.
_NUMBER = re.compile(r"(?:\+[0-9]{3,15}|[0-9]{2,18})\Z")


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
        self.on_end: Callable[[str], None] | None = None
        self.on_media: Callable[[AudioOffer], None] | None = None
        # Whether sound of the other side arrives. Some stacks never repeat a lost ACK (baresip): a caller who is
        # being recorded must not be cut off for that after 32 s.
        self.heard: Callable[[], bool] | None = None
        self.ended = False
        self.peer = peer
        self.dialog: Dialog | None = None
        self._calls, self._layer = calls, calls.layer
        self._repeater: Repeater | None = None
        self._answer_due = False
        self._leaving = False
        self._local: tuple[str, int] = ("", 0)
        self._codec = Codec.PCMU
        self._session, self._version, self._described = secrets.randbits(31), 0, b""

    def hangup(self) -> None:
        """End the call from our side; `on_end('bye')` follows from the loop."""
        if self.ended:
            return
        self._leave()
        asyncio.get_running_loop().call_soon(self._tell_end, "bye")

    # What the endpoint hands in.

    def take(self, server: Server) -> None:
        """A request within the dialog."""
        request, dialog = server.request, self.dialog
        if dialog is None or request.sender.tag != dialog.remote_tag:
            server.respond(481)
        elif not dialog.accepts(request):
            self._layer.counters["old_cseq"] += 1
            server.respond(500)
        elif request.method == "BYE":
            server.respond(200)
            self._bye_received()
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
            try:
                self._change(sdp.parse(request.session))
            except NotAcceptable:
                self._layer.counters["bad_late_answer"] += 1
                self.hangup()
        self._confirmed()

    def _confirmed(self) -> None:
        if self._leaving:
            self._bye()

    def _bye_received(self) -> None:
        self._end("bye")

    def _reoffer(self, server: Server, dialog: Dialog) -> None:
        """A new offer within the call (§14.2, RFC 3311). A refused one changes nothing."""
        request = server.request
        if self._repeater is not None or not self._described:
            server.respond(491)
            return
        offer = None
        try:
            if request.session:
                offer = sdp.parse(request.session)
                body = self._describe(sdp.build_answer(offer, self._local, self._codec, self._session, 0))
            elif request.method == "INVITE":
                body = self._describe(sdp.build_offer(self._local, (self._codec,), self._session, 0))
            else:
                body = b""
        except NotAcceptable as refused:
            self._layer.counters["rejected_488"] += 1
            server.respond(488, (("Warning", f'399 nightbell "{refused.reason}"'),))
            return
        dialog.refresh(request)
        self.peer = self._layer.way(dialog, server.peer)
        self._accept(server, body, late=offer is None and request.method == "INVITE")
        if offer is not None:
            self._change(offer)

    def _accept(self, server: Server, body: bytes, late: bool) -> None:
        """Send our 200 and, for an INVITE, repeat it until its ACK."""
        request = server.request
        extra = [("Record-Route", route) for route in listed(request.headers, "record-route")]
        extra += [("Contact", self._layer.contact(server.peer)), ("Allow", ALLOW)]
        server.respond(200, tuple(extra), body)
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
        if self._repeater is None:
            self._bye()

    def _bye(self) -> None:
        if self.dialog is not None:
            self.peer = self._layer.way(self.dialog, self.peer)
            self._layer.send_in_dialog(self.dialog, "BYE", self.peer, self._bye_answered)

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
        self._calls.drop(self)

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


class IncomingCall(Call):
    """A caller waits for `ring`, `answer` or `reject`."""

    def __init__(self, calls: Calls, server: Server) -> None:
        """Raises ValueError for malformed routes, NotAcceptable for an unusable offer."""
        request = server.request
        super().__init__(calls, request.call_id, server.tag, server.peer)
        self.on_confirmed: Callable[[], None] | None = None
        self._late = not request.session
        if request.session:
            self.remote = sdp.parse(request.session)
        self.dialled = printable(request.uri.user or request.to.uri.user)
        self.caller = caller_of(request)
        self._layer.counters["callers_unknown"] += not self.caller
        self.server = server
        self.dialog = as_uas(request, server.tag, self._layer.contact(server.peer))
        self.dialog.next_hop()
        self.peer = self._layer.way(self.dialog, server.peer)
        self.confirmed = False

    def sounded(self) -> None:
        """Sound of the caller came, with or without an ACK: somebody is there."""
        self._calls.settled(self, proven=False)

    def ring(self) -> None:
        """180 Ringing."""
        request = self.server.request
        extra = [("Record-Route", route) for route in listed(request.headers, "record-route")]
        self.server.respond(180, (*extra, ("Contact", self._layer.contact(self.server.peer))))

    def answer(self, local: tuple[str, int], codec: Codec) -> None:
        """Take the call: 200 with our description, repeated until its ACK. Nothing happens once it is over.

        local: address and port of our sound. Raises NotAcceptable for a codec that was not offered.
        """
        if self.ended or not self.server.open:
            return
        self._local, self._codec = local, codec
        if self._late:
            body = sdp.build_offer(local, (codec,), self._session, 0)
        else:
            body = sdp.build_answer(self.remote, local, codec, self._session, 0)
        self._accept(self.server, self._describe(body), late=self._late)

    def reject(self, code: int, reason: str = "") -> None:
        """Refuse the call with a status of 300 to 699, else ValueError. `on_end` is not called: nothing has begun."""
        if not 300 <= code <= 699:
            raise ValueError("a refusal is a status of 300 to 699")
        if not self.server.open or self.ended:
            return
        self.ended = True
        self.server.respond(code, reason=printable(reason))
        self.forget()

    def hangup(self) -> None:
        if not self.ended and self.server.open:
            self.server.respond(480)
            self._leaving = True
            self.forget()
            asyncio.get_running_loop().call_soon(self._tell_end, "bye")
            return
        super().hangup()

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
            self._calls.settled(self, proven=True)
            if self.on_confirmed is not None and not self.ended:
                self._guard(self.on_confirmed)
        super()._confirmed()


def caller_of(request: Request) -> str:
    """The caller's number: asserted by the carrier (RFC 3325) or else claimed; '' if withheld (RFC 3323) or none."""
    if "id" in [word.strip().lower() for word in request.get("privacy").split(";")]:
        return ""
    try:
        asserted = [parse_address(value) for value in request.listed("p-asserted-identity")]
    except ValueError:
        asserted = []
    sources = sorted(asserted, key=lambda one: one.uri.scheme != "tel") or [request.sender]
    numbers = [as_number(one.uri.user) for one in sources if one.uri.host != "anonymous.invalid"]
    return next((number for number in numbers if number), "")


def as_number(user: str) -> str:
    """A user part as a number to call back, '' where it is none.

    E.164 or the digits that somebody can dial here; separators (RFC 3966) and parameters (`;phone-context=`) go. A name,
    an address or a word like "anonymous" shown as the number of a patient would send a clinician astray: the inbox says
    "unknown" for '', and asks to listen for the number.
    """
    number = user.partition(";")[0].translate(_SEPARATORS)
    return number if _NUMBER.match(number) else ""
