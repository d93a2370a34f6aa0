"""Session timers at work (RFC 4028): our side refreshes a call in time, or notices that the other side no longer does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from nightbell.core import clock
from nightbell.phone.layer import Layer
from nightbell.phone.transport import Peer
from nightbell.sip import timers
from nightbell.sip.dialog import Dialog
from nightbell.sip.message import Response, build_request
from nightbell.sip.presence import GONE
from nightbell.sip.timers import Expiry

GRACE = 5.0  # seconds between two looks at an unrefreshed call whose caller still speaks
UNKNOWN = 180.0  # seconds for a caller of whom we know only that sound came once
GLARE = 2.1  # seconds to wait when both sides change the call at once (RFC 3261 §14.1)
TRIES = 3  # refreshes in a row that may be refused before we wait for the next half interval


class Refreshed(Protocol):
    """What the timer needs of its call."""

    dialog: Dialog | None
    peer: Peer
    updates: bool  # whether the other side takes UPDATE

    def way(self) -> Peer:
        """Where the next request goes."""
        ...

    def offer_again(self) -> bytes:
        """Our description as it stands, as an offer."""
        ...

    def answered_again(self, response: Response) -> None:
        """The other side answered that offer."""
        ...

    def changing(self) -> bool:
        """Whether an INVITE of the other side waits for its ACK."""
        ...

    def voices(self) -> int | None:
        """How many datagrams of its sound came so far; None where that is not known."""
        ...

    def once_heard(self) -> bool:
        """Whether sound came at all."""
        ...

    def asked(self) -> bool:
        """Whether we wait for a sign of life: then a refresh waits too."""
        ...

    def alive(self) -> None:
        """The other side answered."""
        ...

    def lost(self, cause: int, text: str) -> None:
        """The other side is gone: BYE, and the end."""
        ...


class Refresher:
    """One call's timer. Everything in the event loop."""

    def __init__(self, call: Refreshed, layer: Layer) -> None:
        self._call, self._layer = call, layer
        self._expiry: Expiry | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._least, self._tries, self._heard = timers.MIN_SE, 0, -1
        self._stopped = False
        self.asking = False  # an INVITE of ours is under way: theirs must wait
        self.waiting: float | None = None  # since when a refresh of ours waits for its answer

    def begin(self, expiry: Expiry | None) -> None:
        """Start anew with what was agreed; None: this call has no timer (any more)."""
        self._expiry, self._tries, self._heard = expiry, 0, -1
        if expiry is None or self._stopped:
            self._disarm()
        elif expiry.ours:
            self._arm(expiry.refresh_after, self._refresh)
        else:
            self._arm(expiry.ends_after, self._unrefreshed)

    def stop(self) -> None:
        """The call is over."""
        self._stopped = True
        self._disarm()

    def _arm(self, seconds: float, act: Callable[[], None]) -> None:
        self._disarm()
        self._handle = asyncio.get_running_loop().call_later(seconds * self._layer.timing.second, act)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _unrefreshed(self) -> None:
        """Their refresh is overdue."""
        self._unless_heard(self._unrefreshed)

    def _unreached(self) -> None:
        """Ours found nobody. The way of the signalling may be broken while that of the sound is not: asked again."""
        self._tries = 0
        self._unless_heard(self._refresh)

    def _unless_heard(self, act: Callable[[], None]) -> None:
        """The end; but whoever still speaks is not cut off, the call's own limits end it: then `act` after a while."""
        voices, wait = self._call.voices(), GRACE
        if voices is None:
            voices, wait = int(self._call.once_heard()), UNKNOWN
        if voices > max(self._heard, 0):
            first, self._heard = self._heard < 0, voices
            self._layer.counters["kept_unrefreshed"] += first
            self._arm(wait, act)
            return
        self._layer.counters["ended_unrefreshed"] += 1
        self._call.lost(408, "not refreshed")

    def _refresh(self) -> None:
        dialog, expiry = self._call.dialog, self._expiry
        if dialog is None or expiry is None or self._stopped:
            return
        if self._call.changing() or self._call.asked():
            self._arm(GLARE, self._refresh)
            return
        self._tries, self.waiting = self._tries + 1, clock.monotonic()
        self._layer.counters["refreshes"] += 1
        lines = timers.request_lines(expiry, self._least)
        if self._call.updates:
            self._update(dialog, lines)
        else:
            self._invite(dialog, lines)

    def _update(self, dialog: Dialog, lines: tuple[tuple[str, str], ...]) -> None:
        peer, branch = self._call.way(), self._layer.branch()
        data = dialog.request("UPDATE", self._layer.via(peer, branch), extra=lines)
        self._layer.start("UPDATE", data, peer, branch, self._answered)

    def _invite(self, dialog: Dialog, lines: tuple[tuple[str, str], ...]) -> None:
        peer, branch = self._call.way(), self._layer.branch()
        via = self._layer.via(peer, branch)
        data = dialog.request("INVITE", via, extra=lines, body=self._call.offer_again())
        cseq = dialog.local_cseq
        sent: list[bytes] = []

        def refused(response: Response) -> bytes:
            ack = [("Via", via), ("Max-Forwards", "70"), ("From", dialog.local), ("To", response.get("to"))]
            ack += [("Call-ID", dialog.call_id), ("CSeq", f"{cseq} ACK")]
            uri, routes = dialog.way()
            return build_request("ACK", uri, [*ack, *(("Route", route) for route in routes)])

        def told(response: Response | None) -> None:
            if response is not None and 200 <= response.code < 300:
                if not sent:
                    dialog.refresh(response)
                    there = self._call.way()
                    sent.append(dialog.request("ACK", self._layer.via(there, self._layer.branch()), cseq))
                    self._call.answered_again(response)
                    self._final(response)
                self._layer.transport.send(sent[0], self._call.way())
            else:
                self._answered(response)

        self.asking = True
        self._layer.start("INVITE", data, peer, branch, told, refused)

    def _answered(self, response: Response | None) -> None:
        if response is None or response.code >= 200:
            self._final(response)
        elif self.asking:
            self.waiting = None  # a provisional answer to an INVITE may be all that ever comes

    def _final(self, response: Response | None) -> None:
        """What the other side says to our refresh (§10)."""
        self.asking, self.waiting = False, None
        if self._stopped or self._expiry is None:
            return
        if response is None or response.code in GONE:
            self._unreached()
            return
        self._call.alive()
        if response.code < 300:
            self._agreed(response)
        else:
            self._refused(response, self._expiry)

    def _agreed(self, response: Response) -> None:
        if self._call.dialog is not None:
            self._call.dialog.refresh(response)
        self.begin(timers.granted(response))

    def _refused(self, response: Response, expiry: Expiry) -> None:
        self._layer.counters["refreshes_refused"] += 1
        if response.code in (405, 501):
            self._call.updates = False
        elif response.code == 422:
            self._least = max(self._least, timers.least(response))
        if response.code in (405, 422, 501) and self._tries < TRIES:
            self._refresh()
            return
        self._arm(GLARE if response.code == 491 else expiry.refresh_after / 2, self._refresh)
