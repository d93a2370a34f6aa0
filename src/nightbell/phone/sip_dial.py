"""Calls that we place (RFC 3261 §13.2)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from urllib.parse import quote

from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError
from nightbell.phone import dtls
from nightbell.phone.sip_call import Call, Calls
from nightbell.phone.sip_transactions import new_tag
from nightbell.phone.transport import Peer
from nightbell.sip import digest, negotiation, sdp
from nightbell.sip.dialog import Dialog, as_uac
from nightbell.sip.digest import Credentials, Session
from nightbell.sip.grammar import Uri, printable
from nightbell.sip.message import ALLOW, Response, build_request
from nightbell.sip.sdp import NotAcceptable
from nightbell.sip.srtp import Keying

CHALLENGES = 4  # INVITEs of one call


class CallFailed(NightbellError):
    """A call that we placed was not taken. code: a SIP status, 408 if nobody answered; reason: theirs, printable."""

    def __init__(self, code: int, reason: str = "") -> None:
        self.code, self.reason = code, printable(reason)
        super().__init__(f"The call was not taken: {code}")


class OutgoingCall(Call):
    """A call that we place. `outcome` resolves when it is answered or has failed."""

    def __init__(
        self,
        calls: Calls,
        target: Uri,
        peer: Peer,
        local: tuple[str, int],
        codecs: tuple[Codec, ...],
        user: str,
        keying: Keying | None = None,
        credentials: Callable[[str], Credentials] | None = None,
        sender: str = "",
        asserted: bool = False,
        required: bool = True,
    ) -> None:
        """keying: None is SDES over TLS, where its keys are safe, and nothing else. credentials: by realm, for
        a server that asks. sender: our URI for From, '' for `user` at our own address; asserted: the server that we dial
        trusts it (RFC 3325). required: False takes plain sound for an answer too (RFC 8643)."""
        super().__init__(calls, secrets.token_hex(16), new_tag(), peer)
        if keying is None:
            keying = Keying.SDES if peer.transport == "tls" else Keying.NONE
        self._offered = negotiation.propose(keying, dtls.identity().fingerprint, required=required)
        self.allow_plain = keying is Keying.NONE or not required
        self.on_progress: Callable[[int], None] = lambda code: None  # told each provisional status
        self.dialled, self.caller = target.user, user
        self.outcome: asyncio.Future[OutgoingCall] = asyncio.get_running_loop().create_future()
        # Whoever gave up waiting does not fetch the failure.
        self.outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._target, self._local = target, local
        self._credentials, self._cseq = credentials, 1
        # By header and realm: each that asked gets its answer, in every request (RFC 3261 §22.3).
        self._auth: dict[tuple[str, str], Session] = {}
        self._branch = self._layer.branch()
        self._contact = self._layer.contact(peer)
        host = self._layer.transport.local_address(peer)
        shown = f"[{host}]" if ":" in host else host
        sender = sender or f"sip:{quote(user, safe='+') or 'anonymous'}@{shown}"
        self._from = f"<{sender}>;tag={self.local_tag}"
        self._identity = (("P-Asserted-Identity", f"<{sender}>"),) * asserted
        self._offer = self._describe(sdp.build_offer(local, codecs, self._session, 0, security=self._offered))
        self._ack = b""
        self._ringing = self._abandoned = False
        self.codec = codecs[0]

    def begin(self) -> None:
        extra = [("Contact", self._contact), ("Allow", ALLOW), *self._identity]
        for key, session in self._auth.items():
            if self._credentials is not None:
                cnonce, known = secrets.token_hex(16), self._credentials(key[1])
                self._auth[key], line = digest.answer(session, known, "INVITE", self._target.text, cnonce)
                extra.append(line)
        data = build_request("INVITE", self._target.text, [*self._lines("INVITE"), *extra], self._offer)
        ack = self._refusal_ack(self._lines("ACK"))
        self._layer.start("INVITE", data, self.peer, self._branch, self._respond, ack)

    def _challenged(self, response: Response) -> bool:
        """401 or 407 (§22.2): whether the call is placed again, with an answer. Once a nonce, and not for ever."""
        if self._credentials is None or self._abandoned or self._cseq >= CHALLENGES:
            return False
        offer = digest.offered(response.headers, response.code)
        known = self._credentials(offer[0].realm if offer else "")
        before = self._auth.get((digest.header_for(response.code), known.realm))
        found = digest.challenged(response.code, response.headers, known, before)
        if isinstance(found, digest.Refusal):
            return False
        self._auth[found.header, found.challenge.realm] = found
        self._branch, self._ringing = self._layer.branch(), False
        self._cseq += 1
        self.begin()
        return True

    def abandon(self) -> None:
        """Nobody waits any longer: CANCEL as soon as that is allowed (§9.1), BYE if it was answered meanwhile."""
        first, self._abandoned = not self._abandoned, True
        if first and self._ringing and self.dialog is None:
            self._cancel()

    def hangup(self, cause: int = 0, text: str = "") -> None:
        if self.dialog is None:
            self.abandon()
            return
        super().hangup(cause, text)

    def _lines(self, method: str, to: str = "") -> list[tuple[str, str]]:
        return [
            ("Via", self._layer.via(self.peer, self._branch)),
            ("Max-Forwards", "70"),
            ("From", self._from),
            ("To", to or f"<{self._target.text}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self._cseq} {method}"),
        ]

    def _refusal_ack(self, lines: list[tuple[str, str]]) -> Callable[[Response], bytes]:
        """Of the INVITE as it is now: with its branch and its number."""

        def ack(response: Response) -> bytes:
            said = [(name, response.get("to") if name == "To" else value) for name, value in lines]
            return build_request("ACK", self._target.text, said)

        return ack

    def _cancel(self) -> None:
        data = build_request("CANCEL", self._target.text, self._lines("CANCEL"))
        self._layer.start("CANCEL", data, self.peer, self._branch, lambda _: None)

    def _respond(self, response: Response | None) -> None:
        if response is None:
            self._fail(CallFailed(408, "no answer"))
        elif response.code < 200:
            first, self._ringing = not self._ringing, True
            if first and self._abandoned:
                self._cancel()
            self.on_progress(response.code)
        elif response.code in (401, 407) and self._challenged(response):
            return
        elif response.code >= 300:
            self._fail(CallFailed(response.code, response.reason))
        elif self.dialog is None:
            self._answered(response)
        elif response.to.tag == self.dialog.remote_tag:
            self._layer.transport.send(self._ack, self.peer)
        else:
            self._refuse_fork(response)

    def _answered(self, response: Response) -> None:
        try:
            dialog = self._dialog_of(response)
            self.peer = self._layer.way(dialog, self.peer)
        except ValueError:
            self._fail(CallFailed(500, "malformed answer"))
            return
        self.dialog = dialog
        self._ack = self._acknowledge(dialog, self.peer)
        try:
            answer = sdp.parse(response.session)
            self.security = negotiation.settle(self._offered, answer)
        except NotAcceptable as refused:
            self._leave()
            self._fail(CallFailed(488, refused.reason))
            return
        self.remote, self.codec = answer, answer.codecs[0][1]
        self._codec = self.codec
        if self._abandoned or self.outcome.done():
            self._leave()
        else:
            self._watch.begin()
            self.outcome.set_result(self)

    def _dialog_of(self, response: Response) -> Dialog:
        dialog = as_uac(self._from, self.local_tag, response, self._contact, self._target.text)
        dialog.next_hop()
        return dialog

    def _acknowledge(self, dialog: Dialog, peer: Peer) -> bytes:
        ack = dialog.request("ACK", self._layer.via(peer, self._layer.branch()), dialog.invite_cseq)
        self._layer.transport.send(ack, peer)
        return ack

    def _refuse_fork(self, response: Response) -> None:
        """A second branch answered too: take it and end it at once (§13.2.2.4)."""
        try:
            dialog = self._dialog_of(response)
        except ValueError:
            return
        peer = self._layer.way(dialog, self.peer._replace(connection=0))
        self._acknowledge(dialog, peer)
        self._layer.send_in_dialog(dialog, "BYE", peer, lambda _: None)

    def _fail(self, failure: CallFailed) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(failure)
            self.ended = True
        if self.dialog is None:
            self.forget()
