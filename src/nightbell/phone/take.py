"""What a caller said in this take, kept in memory for as long as the call lasts, so that it can be heard again.

The capture itself cannot be read here: only its public key is. Nothing of a take ever reaches a disk, and all
takes of a phone together have a bound: beyond it a caller hears nothing back, and loses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from nightbell.core.capture import Codec
from nightbell.sip import g711

FRAME = 160
LONGEST = 180 * 8000  # bytes of one call
ALL = 64_000_000

Sink = Callable[[int, bytes, float], None]


class Budget:
    """Bytes that all takes may hold together."""

    def __init__(self, most: int = ALL) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


class Take:
    """`hear` is for the media thread; the rest for the event loop."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._heard: list[tuple[int, bytes]] = []
        self._size = 0
        self._room = 0  # bought from the budget in blocks, so that a packet costs no lock
        self._full = self._over = False

    def hear(self, offset: int, payload: bytes) -> None:
        """Keep one payload. offset: samples since the recording began."""
        if self._full or self._over:
            return
        self._size += len(payload)
        if self._size > self._room:
            if self._size > LONGEST or not self._budget.take(80_000):
                self._full = True
                return
            self._room += 80_000
        self._heard.append((offset, payload))

    def close(self) -> None:
        """End: what still comes in is not kept."""
        self._over = True
        self.forget()

    def forget(self) -> None:
        """Begin anew. Idempotent."""
        self._heard = []
        self._budget.give_back(self._room)
        self._size = self._room = 0
        self._full = False

    def frames(self, codec: Codec) -> list[bytes]:
        """What was kept, in frames of 20 ms without the pauses between parts; [] when it was too much to keep."""
        if self._full or not self._heard:
            return []
        heard = sorted(self._heard)
        silence = g711.silence(FRAME, codec)
        out = bytearray()
        ends = heard[0][0]
        for offset, payload in heard:
            gap = offset - ends
            if 0 < gap <= 8000:  # a lost packet; more is the pause in which the line spoke
                out += silence[:1] * gap
            elif gap < 0:
                del out[gap:]
            out += payload
            ends = offset + len(payload)
        out += g711.silence(-len(out) % FRAME, codec)
        return [bytes(out[at : at + FRAME]) for at in range(0, len(out), FRAME)]
