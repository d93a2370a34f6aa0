"""Nobody holds a line by being gone: a call of which nothing arrives is asked whether it is still there (sip.presence)."""

from __future__ import annotations

import asyncio
from typing import Protocol

from nightbell.core import clock
from nightbell.phone.layer import Layer
from nightbell.phone.transport import Peer
from nightbell.sip.dialog import Dialog
from nightbell.sip.message import Response
from nightbell.sip.presence import Presence, Step

_ACCEPT = (("Accept", "application/sdp"),)


class Watched(Protocol):
    """What the watch needs of its call."""

    dialog: Dialog | None

    def way(self) -> Peer:
        """Where the next request goes."""
        ...

    def busy(self) -> bool:
        """Whether an answer within the call is repeated until its ACK: that one shows who is there."""
        ...

    def refreshing(self) -> float | None:
        """Since when a refresh of ours waits for its answer (monotonic seconds): who is there answers that one."""
        ...

    def voices(self) -> int | None:
        """How many datagrams of its sound came so far; None where that is not known."""
        ...

    def lost(self, cause: int, text: str) -> None:
        """The other side is gone: BYE, and the end."""
        ...


class Watch:
    """Over one call. Everything in the event loop."""

    def __init__(self, call: Watched, layer: Layer) -> None:
        self._call, self._layer = call, layer
        self._presence: Presence | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def asking(self) -> bool:
        """Whether a question of ours waits for its answer."""
        return self._presence is not None and self._presence.asking

    def begin(self) -> None:
        """The call is up. Idempotent."""
        if self._presence is None and not self._stopped:
            now = clock.monotonic()
            self._presence = Presence(self._layer.limits.patience, now)
            self._arm(self._presence.due(now))

    def alive(self) -> None:
        """A request or an answer of the other side came."""
        if self._presence is not None:
            self._presence.alive(clock.monotonic())

    def stop(self) -> None:
        """The call is over."""
        self._stopped, self._presence = True, None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, seconds: float) -> None:
        self._handle = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        presence, signs = self._presence, self._call.voices()
        if presence is None:
            return
        if signs is None or (self._call.busy() and not presence.asking):
            self._arm(self._layer.limits.patience.pace)
            return
        waiting = self._call.refreshing()
        self._take(presence.look(signs, clock.monotonic(), waiting))
        if not self._stopped:
            self._arm(presence.due(clock.monotonic(), waiting))

    def _take(self, step: Step) -> None:
        dialog = self._call.dialog
        if step is Step.ASK and dialog is not None:
            self._layer.counters["asked_alive"] += 1
            self._layer.send_in_dialog(dialog, "OPTIONS", self._call.way(), self._answered, _ACCEPT)
        elif step is Step.GONE:
            self._layer.counters["ended_vanished"] += 1
            self._call.lost(408, "nobody is there")

    def _answered(self, response: Response | None) -> None:
        """None: over a stream it could not be sent, and until its time is over a packet may still come."""
        presence = self._presence
        if presence is not None and response is not None and response.code >= 200:
            signs = self._call.voices()
            self._take(presence.answered(response.code, signs or 0, clock.monotonic()))
