"""What a caller said in this take, kept in memory for as long as the call lasts, so that it can be heard again.

The capture itself cannot be read here: only its public key is. Nothing of a take ever reaches a disk, and all
takes of a phone together have a bound: beyond it a caller hears nothing back, and loses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from nightbell.core.capture import Codec
from nightbell.sip import codecs

LONGEST = 180 * 8000  # bytes of one call
ALL = 64_000_000
_LEAST = 100  # bytes that a payload counts for: keeping it costs as much beside its own

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
        """Keep one payload. offset: ticks of the codec's clock since the recording began."""
        if self._full or self._over:
            return
        self._size += max(_LEAST, len(payload))
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
        """What was kept, in frames of 20 ms without the pauses between parts; [] when it was too much to keep.

        An Opus packet of 40 or 60 ms stands in the place of so many frames: it is followed by empty ones.
        """
        if self._full or not self._heard:
            return []
        heard = sorted(self._heard)
        return _packets(heard) if codec is Codec.OPUS else _bytes(heard, codec)


def _bytes(heard: list[tuple[int, bytes]], codec: Codec) -> list[bytes]:
    """For codecs that have a byte a tick: the frames may be cut anew."""
    quiet = codecs.silence(codec)
    size = len(quiet)
    out = bytearray()
    ends = heard[0][0]
    for offset, payload in heard:
        gap = offset - ends
        if 0 < gap <= codec.clock:  # a lost packet; more is the pause in which the line spoke
            out += quiet[:1] * gap
        elif gap < 0:
            del out[gap:]
        out += payload
        ends = offset + len(payload)
    out += quiet[:1] * (-len(out) % size)
    return [bytes(out[at : at + size]) for at in range(0, len(out), size)]


def _packets(heard: list[tuple[int, bytes]]) -> list[bytes]:
    """For Opus: the packets as they came, brought to 20 ms; two that overlap are the same one again."""
    clock, step = Codec.OPUS.clock, codecs.frame_ticks(Codec.OPUS)
    out: list[bytes] = []
    short: list[bytes] = []
    ends = heard[0][0]
    for offset, payload in heard:
        ticks = codecs.duration(Codec.OPUS, payload)
        gap = offset - ends
        if not ticks or gap < 0:
            continue
        if step <= gap <= clock:
            out += [codecs.silence(Codec.OPUS)] * (gap // step)
        ends = offset + ticks
        if ticks >= step:
            out += [payload] + [b""] * (ticks // step - 1)
            continue
        short.append(payload)
        if len(short) * ticks >= step:
            out.append(codecs.joined(short))
            short = []
    return out
