"""What a call's sound is made of, as values: the other side, what was counted, whether it holds a voice."""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nightbell.core.capture import Codec
from nightbell.phone.datagrams import Address, Basket
from nightbell.phone.protection import Pen, Protection
from nightbell.sip import codecs, g711
from nightbell.sip.rtp import HEADER_BYTES, RTP_HEADER
from nightbell.sip.srtp import SrtpKeys

if TYPE_CHECKING:
    from nightbell.phone.session import Session

LOST = 5  # frames: a gap of so many is loss, a longer one a pause
_VOICE_LEVEL = 4  # mean of |sample| / 16: about -52 dBFS. Too low only costs silence detection


class Engine(Protocol):
    """What a session needs of phone.media. post: call in the event loop; order: call in the media thread; ticks: of
    20 ms that were sent until now; baskets: by address family; pen: of the media thread."""

    post: Callable[..., object]
    ticks: int
    baskets: dict[socket.AddressFamily, Basket]
    pen: Pen

    def order(self, act: Callable[[], None]) -> None: ...

    def speaks(self, session: Session) -> None: ...

    def hurry(self, session: Session) -> None: ...

    def forget(self, session: Session) -> None: ...


class Listener(Protocol):
    """What a call hears from its sound. Called in the event loop."""

    def digit(self, key: str, at: float) -> None: ...

    def played(self, token: int) -> None: ...

    def sounded(self) -> None:
        """The first sound or key came before `Session.confirm`."""


def _loudness(codec: Codec) -> bytes:
    """|sample| / 16, at most 255, for each code."""
    pcm = g711.decode(bytes(range(256)), codec)
    return bytes(min(255, abs(sample) // 16) for (sample,) in struct.iter_unpack("<h", pcm))


_LOUDNESS = {codec: _loudness(codec) for codec in (Codec.PCMU, Codec.PCMA)}


def has_voice(codec: Codec, payload: bytes) -> bool:
    """Whether somebody may be speaking in this payload."""
    table = _LOUDNESS.get(codec)
    if table is None:
        return codecs.loud(codec, payload)
    some = payload[::4].translate(table)
    return sum(some) > _VOICE_LEVEL * len(some)


@dataclass(slots=True)
class Counters:
    """What one session, or all of them, saw: datagrams. unauthentic: encrypted with other keys, damaged or forged."""

    received: int = 0
    sent: int = 0
    strangers: int = 0
    bad: int = 0
    doubled: int = 0
    unsent: int = 0
    unauthentic: int = 0
    rtcp: int = 0

    def add(self, other: Counters) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side as its SDP has it. payload_type: of `codec`; mute: it wants no sound (hold); secured: only SRTP is
    believed and sent, with `keys`, or, while they are None, not before `Session.secure`."""

    address: Address
    codec: Codec
    payload_type: int
    dtmf_type: int | None
    mute: bool = False
    keys: SrtpKeys | None = None
    secured: bool = False


class Outgoing:
    """What all our packets of a call have in common, over moves and new keys: one source, one sequence, one clock."""

    __slots__ = ("_marker", "_pen", "_sequence", "_ssrc", "_start", "_step", "sent_at", "until")

    def __init__(self, ticks: int, codec: Codec, pen: Pen) -> None:
        """ticks: of 20 ms, as `packet` counts them."""
        # Below 2**15, so that nobody who misses the first packets guesses the roll-overs wrong (RFC 3711 §3.3.1).
        self._sequence = secrets.randbits(15)
        self._start = secrets.randbits(32)
        self._ssrc = secrets.randbits(32)
        self._marker = 0x80
        self._pen, self._step = pen, codecs.frame_ticks(codec)
        self.sent_at = ticks
        self.until = 0  # where the sound that was passed on ends, see `relayed`

    def packet(
        self, frame: bytes, number: int, payload_type: int, protection: Protection | None
    ) -> memoryview:
        """The frame of that tick, ready to be sent; it lies there until the next one. Raises NoProtection."""
        if number - self.sent_at > 1:
            self._marker = 0x80  # sound after a pause (RFC 3551 §4.1)
        view, timestamp = self._pen.view, (self._start + number * self._step) & 0xFFFFFFFF
        size = HEADER_BYTES + len(frame)
        RTP_HEADER.pack_into(
            view, 0, 0x80, payload_type | self._marker, self._sequence, timestamp, self._ssrc
        )
        view[HEADER_BYTES:size] = frame
        self.sent_at = number
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._marker = 0
        return self._sealed(size, protection)

    def relayed(
        self, frame: bytes, at: int, ticks: int, peer: Peer, protection: Protection | None
    ) -> memoryview:
        """Somebody else's payload, passed on at its own place on our clock. at: ticks of the codec's clock, where `packet`'s
        are number * frame_ticks; ticks: as for `Outgoing`. As `packet` else.

        What went missing leaves out its numbers, so that a player can tell it from a pause in speaking.
        """
        gap, frame_ticks = at - self.until, codecs.frame_ticks(peer.codec)
        if not 0 <= gap <= LOST * frame_ticks:
            self._marker = 0x80
        else:
            self._sequence = (self._sequence + gap // frame_ticks) & 0xFFFF
        view, timestamp, size = self._pen.view, (self._start + at) & 0xFFFFFFFF, HEADER_BYTES + len(frame)
        RTP_HEADER.pack_into(
            view, 0, 0x80, peer.payload_type | self._marker, self._sequence, timestamp, self._ssrc
        )
        view[HEADER_BYTES:size] = frame
        self.sent_at, self.until = ticks, at + codecs.duration(peer.codec, frame)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._marker = 0
        return self._sealed(size, protection)

    def own_again(self, now: int) -> None:
        """The next sound is ours: nothing that was passed on may lie later. now: the place of the next frame."""
        self._start = (self._start + max(0, self.until - now)) & 0xFFFFFFFF
        self.until = 0

    def _sealed(self, size: int, protection: Protection | None) -> memoryview:
        """What lies in the pen, encrypted where it must be."""
        pen = self._pen
        return pen.view[:size] if protection is None else pen.view[: protection.seal_in(pen, size)]
