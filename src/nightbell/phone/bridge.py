"""Two legs joined: what one brings goes to the other, by the media thread, decrypted and under the other's own keys.

Each side gets one stream of ours: its own source, sequence and clock, the same in which it hears clips. There is no buffer
of ours on the way: the telephones have theirs, and see by our numbers what was lost. Keys are never passed on, they are
events. Nothing is kept, but what a tape takes (phone.tape).
"""

from __future__ import annotations

from collections.abc import Callable

from nightbell.core.capture import Codec
from nightbell.phone import encode, wav
from nightbell.phone.session import Packets, Session
from nightbell.phone.tape import Kept, Tape, law_of
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

    def __init__(self, target: Session, turn: Turn, kept: Kept | None = None) -> None:
        self._target, self._turn, self._kept = target, turn, kept
        self._base: int | None = None  # where on the target's clock the source's began

    def take(self, packets: Packets, now: float) -> None:
        """Sound of the source, by its place."""
        kept: Packets = []
        for offset, payload in sorted(packets):
            sound = self._turn(payload)
            if self._kept is not None:
                kept.append((offset, self._kept.choice(payload, sound)))
            place, until = self._target.places
            if self._base is None:
                self._base = max(place, until) - offset
            if self._base + offset < until:
                continue  # too late: what comes after it has gone
            if not self._target.forward(sound, self._base + offset):
                self._base = None  # it hears a clip of ours meanwhile, or has no keys yet
        if self._kept is not None:
            self._kept.sink(kept, now)


def kept_of(source: Codec, target: Codec, tape: Tape, side: int) -> Kept:
    """What a tape keeps of this direction."""

    def sink(packets: Packets, now: float) -> None:
        if not tape.failed:
            tape.sides[side](packets, now)

    if source is tape.law:
        return Kept(lambda payload, sound: payload, sink)
    if target is tape.law:
        return Kept(lambda payload, sound: sound, sink)
    turn = turning(source, tape.law)
    return Kept(lambda payload, sound: turn(payload), sink)


class Bridge:
    """Between two sessions of one media thread, each with its codec, until `end`."""

    def __init__(
        self, one: tuple[Session, Codec], other: tuple[Session, Codec], tape: Tape | None = None
    ) -> None:
        # The codecs as agreed on: the media thread may not have come to them yet.
        self._sides: tuple[Session, ...] = one[0], other[0]
        self._tape, self._silent = tape, 0
        for side, (source, target) in enumerate(((one, other), (other, one))):
            kept = kept_of(source[1], target[1], tape, side) if tape is not None else None
            source[0].listen(Relay(target[0], turning(source[1], target[1]), kept).take)

    def end(self) -> None:
        """Idempotent."""
        sides, self._sides = self._sides, ()
        for side in sides:
            side.stop_listening(lambda: self._stopped(len(sides)))
        for side in sides:
            side.alone()

    def _stopped(self, of: int) -> None:
        """One side gives nothing more. A tape ends when all do."""
        self._silent += 1
        if self._silent == of and self._tape is not None:
            self._tape.end()


__all__ = ["CODECS", "Bridge", "Relay", "law_of", "turning"]
