"""Provisional answers that the caller acknowledges (RFC 3262): repeated until their PRACK."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from nightbell.core import clock
from nightbell.phone.sip_transactions import Server, Timed
from nightbell.sip.message import Request
from nightbell.sip.transaction import Timing


def demanded(request: Request) -> bool:
    """Whether this INVITE takes no other provisional answers. Who merely can gets them as always."""
    try:
        return "100rel" in [word.lower() for word in request.listed("require")]
    except ValueError:
        return False


def acknowledged_by(request: Request) -> tuple[int, int, str] | None:
    """RAck as (RSeq, CSeq, method); None when it is missing or malformed."""
    parts = request.get("rack").split()
    if len(parts) != 3 or not all(one.isascii() and one.isdigit() and len(one) <= 10 for one in parts[:2]):
        return None
    return int(parts[0]), int(parts[1]), parts[2]


class Reliable(Timed):
    """One such answer. `on_silence`: 64*T1 have passed without a PRACK (§3)."""

    def __init__(
        self,
        server: Server,
        timing: Timing,
        code: int,
        lines: tuple[tuple[str, str], ...],
        on_silence: Callable[[], None],
    ) -> None:
        super().__init__()
        self._server, self._on_silence = server, on_silence
        self._rseq = 1 + secrets.randbelow(2**31 - 1)
        now = clock.monotonic()
        self._interval, self._ends = timing.t1, now + timing.give_up
        self._due: float | None = now + timing.t1
        self._done = False
        server.respond(code, (*lines, ("Require", "100rel"), ("RSeq", str(self._rseq))))
        self.rearm()

    def due(self) -> float | None:
        return self._due

    def fire(self) -> None:
        if self._due is None:
            return
        if self._due >= self._ends or not self._server.open:
            silent, self._due = self._server.open, None
            self.rearm()
            if silent:
                self._on_silence()
            return
        self._server.repeat("1xx")
        self._interval *= 2  # without an upper bound, other than all else (§3)
        self._due = min(self._due + self._interval, self._ends)
        self.rearm()

    def matches(self, request: Request) -> bool:
        """Whether this PRACK is for it and the first one; from then on it is no longer repeated."""
        ours = (self._rseq, self._server.request.cseq.number, "INVITE")
        if self._done or acknowledged_by(request) != ours:
            return False
        self._done = True
        self.stop()
        return True

    def stop(self) -> None:
        """No more repeats: acknowledged, or a final answer is out."""
        self._due = None
        self.disarm()
