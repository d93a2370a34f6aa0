"""Two legs joined: what one brings goes to the other, by the media thread, decrypted and under the other's own keys.

Each side gets one stream of ours: its own source, sequence and clock, the same in which it hears clips. There is no buffer
of ours on the way: the telephones have theirs, and see by our numbers what was lost. Keys are never passed on, they are
events. Nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable

from nightbell.core.capture import Codec
from nightbell.phone import encode, wav
from nightbell.phone.session import Packets, Session
from nightbell.sip import g711

Turn = Callable[[bytes], bytes]
CODECS = (
    Codec.PCMU,
    Codec.PCMA,
    Codec.G722,
)  # in which two sides can be joined: a byte a tick of 8000 a second


def turning(source: Codec, target: Codec) -> Turn:
    """Makes of one stream's payloads those of another codec, as long as they were. Both of CODECS."""
    if source is target:
        return lambda payload: payload
    if source in wav.LAWS and target in wav.LAWS:
        return lambda payload: g711.transcode(payload, source, target)
    ear, mouth = encode.Ear(source), encode.Mouth(target)
    return lambda payload: mouth.say(b"".join(one.tobytes() for one in ear.feed(payload)))


class Relay:
    """One direction. In the media thread."""

    def __init__(self, target: Session, turn: Turn) -> None:
        self._target, self._turn = target, turn
        self._base: int | None = None  # where on the target's clock the source's began

    def take(self, packets: Packets, _now: float) -> None:
        """Sound of the source, by its place."""
        for offset, payload in sorted(packets):
            sound = self._turn(payload)
            place, until = self._target.places
            if self._base is None:
                self._base = max(place, until) - offset
            if self._base + offset < until:
                continue  # too late: what comes after it has gone
            if not self._target.forward(sound, self._base + offset):
                self._base = None  # it hears a clip of ours meanwhile, or has no keys yet


class Bridge:
    """Between two sessions of one media thread, each with its codec, until `end`."""

    def __init__(self, one: tuple[Session, Codec], other: tuple[Session, Codec]) -> None:
        # The codecs as agreed on: the media thread may not have come to them yet.
        self._sides: tuple[Session, ...] = one[0], other[0]
        one[0].listen(Relay(other[0], turning(one[1], other[1])).take)
        other[0].listen(Relay(one[0], turning(other[1], one[1])).take)

    def end(self) -> None:
        """Idempotent."""
        for side in self._sides:
            side.stop_listening()
        for side in self._sides:
            side.alone()
        self._sides = ()


__all__ = ["CODECS", "Bridge", "Relay", "turning"]
