"""RTP packets as values, and where in a recording each one belongs (RFC 3550 §5.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError
from nightbell.sip.codecs import duration

RTP_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")
HEADER_BYTES = 12
SAMPLE_RATE = 8000
AHEAD = 10.0  # seconds that a timestamp may be ahead of its arrival
BOUND = 30.0  # seconds that a timestamp may be away from what is known of its source
AT_ONCE = 0.1  # seconds: whoever sends from the beginning begins at sample 0


class BadRtp(NightbellError, ValueError):
    """These bytes are not an RTP packet."""


class RtpPacket(NamedTuple):
    """One packet without its CSRCs, extension and padding. timestamp: ticks of the codec's clock, modulo 2**32."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def pack(packet: RtpPacket) -> bytes:
    """The bytes to send: a plain 12-byte header and the payload. Raises ValueError for a field out of range."""
    if not 0 <= packet.payload_type < 128:
        raise ValueError("a payload type has seven bits")
    try:
        header = RTP_HEADER.pack(
            0x80,
            packet.payload_type | (0x80 if packet.marker else 0),
            packet.sequence,
            packet.timestamp,
            packet.ssrc,
        )
    except struct.error as error:
        raise ValueError("an RTP header field is out of range") from error
    return header + packet.payload


def unpack(data: bytes) -> RtpPacket:
    """Read one datagram. Raises BadRtp (a ValueError): wrong version, cut short, or padding that lies.

    RTCP on the same port (RFC 5761: second byte 192 to 223) is refused too.
    """
    if len(data) < HEADER_BYTES:
        raise BadRtp("RTP packet", "shorter than its header")
    first, second, sequence, timestamp, ssrc = RTP_HEADER.unpack_from(data)
    if first >> 6 != 2:
        raise BadRtp("RTP packet", "not version 2")
    if 192 <= second <= 223:
        raise BadRtp("RTP packet", "this is RTCP")
    start, end = HEADER_BYTES, len(data)
    if first & 0x3F:  # CSRCs, extension or padding: rare, kept off the fast path
        start, end = _payload_bounds(data, first)
    return RtpPacket(second & 0x7F, second >= 0x80, sequence, timestamp, ssrc, data[start:end])


def _payload_bounds(data: bytes, first: int) -> tuple[int, int]:
    start, end = HEADER_BYTES + 4 * (first & 0x0F), len(data)
    if first & 0x10:
        if start + 4 > end:
            raise BadRtp("RTP packet", "cut inside its extension")
        start += 4 + 4 * int(_EXTENSION.unpack_from(data, start)[1])
    if first & 0x20:
        padding = data[-1]
        if not padding:
            raise BadRtp("RTP packet", "padding of length 0")
        end -= padding
    if start > end:
        raise BadRtp("RTP packet", "header, extension and padding are longer than the packet")
    return start, end


def signed_distance(later: int, earlier: int, bits: int = 32) -> int:
    """`later - earlier` on a wrapping counter, as the nearest signed distance."""
    half = 1 << (bits - 1)
    return ((later - earlier + half) & ((1 << bits) - 1)) - half


class _Timeline:
    """One stretch of continuous timestamps: which one lies at which offset."""

    __slots__ = ("offset", "ssrc", "timestamp")

    def __init__(self, ssrc: int, timestamp: int, offset: int) -> None:
        self.ssrc, self.timestamp, self.offset = ssrc, timestamp, offset


class Placement:
    """Gives each audio packet its place, in ticks of the codec's clock since the first one (or since `start`).

    Wrapped timestamps, loss, doubles, lateness and re-ordering come out right by the timestamp. A new
    SSRC or a timestamp further than `bound` from what is known starts a new stretch. It is joined where the
    last one ended, or, when the caller passes the arrival time, by the time elapsed.
    """

    __slots__ = (
        "_ahead", "_arrival", "_began", "_bound", "_clock", "_codec", "_first", "_head", "_holes", "_next", "_start",
        "_stretches", "end",
    )  # fmt: skip
    _STRETCHES = 8
    _HOLES = 256  # gaps that may still be filled; beyond it the oldest stays empty

    def __init__(
        self,
        start: int | None = None,
        bound: float = BOUND,
        began: float | None = None,
        codec: Codec = Codec.PCMU,
    ) -> None:
        """start: RTP timestamp of offset 0 (None: the first packet's). bound: seconds, at most six hours. began: the
        monotonic instant of offset 0: who sends nothing while silent begins later than the recording does."""
        self._codec, self._clock = codec, codec.clock
        self._start = start
        self._bound = min(int(bound * codec.clock), 1 << 30)
        self._ahead = int(AHEAD * codec.clock)
        self._stretches: list[_Timeline] = []
        self._head: _Timeline | None = None  # whose latest packet ends at `end`
        self._next = 0  # the head's timestamp at `end`
        self._holes: list[tuple[int, int]] = []
        self._arrival: float | None = None
        self._began = began
        self._first = began
        self.end = 0

    def place(self, packet: RtpPacket, now: float | None = None) -> int | None:
        """Ticks since the start; None for a double, for what has no duration, lies before the start or is too late.

        now: monotonic seconds of arrival, used only where timestamps tell nothing.
        """
        return self.put(packet.timestamp, packet.ssrc, duration(self._codec, packet.payload), now)

    def put(self, timestamp: int, ssrc: int, ticks: int, now: float | None = None) -> int | None:
        """As `place`, for a payload that lasts so many ticks."""
        head, offset = self._head, self.end
        if (
            ticks
            and head is not None
            and timestamp == self._next
            and ssrc == head.ssrc
            and now is not None
            and self._first is not None
            and offset <= (now - self._first) * self._clock + self._ahead
        ):  # in order: nearly all of them
            self._next = (timestamp + ticks) & 0xFFFFFFFF
            self.end = offset + ticks
            self._arrival = now
            return offset
        return self._put(timestamp, ssrc, ticks, now) if ticks else None

    def _put(self, timestamp: int, ssrc: int, ticks: int, now: float | None) -> int | None:
        if self._head is not None:  # what the short way of `put` leaves out
            self._head.timestamp, self._head.offset = self._next, self.end
        stretch, offset = self._by_timestamp(timestamp, ssrc)
        if now is not None:
            if self._first is None:
                self._first = now
            if offset > (now - self._first) * self._clock + self._ahead:
                stretch = None  # nobody speaks faster than time: a few jumps must not make an hour of silence
        if stretch is None:
            stretch, offset = self._join(timestamp, ssrc, ticks, now)
        if offset < 0 or offset + self._bound < self.end:
            return None
        stop = offset + ticks
        if stop <= self.end:
            return offset if self._fill(offset, stop) else None
        if offset > self.end:
            self._holes = [*self._holes[1 - self._HOLES :], (self.end, offset)]
        else:
            self._fill(offset, self.end)
        self.end, self._arrival = stop, now
        self._head, self._next = stretch, (timestamp + ticks) & 0xFFFFFFFF
        return offset

    def _fill(self, start: int, stop: int) -> bool:
        """Whether any of it was empty; it no longer is."""
        left = []
        for first, last in self._holes:
            if first < start:
                left.append((first, min(last, start)))
            if last > stop:
                left.append((max(first, stop), last))
        filled = any(first < stop and start < last for first, last in self._holes)
        self._holes = left if filled else self._holes
        return filled

    def _by_timestamp(self, timestamp: int, ssrc: int) -> tuple[_Timeline | None, int]:
        for stretch in self._stretches:
            if stretch.ssrc == ssrc:
                distance = signed_distance(timestamp, stretch.timestamp)
                if -self._bound <= distance <= self._bound:
                    offset = stretch.offset + distance
                    if distance > 0:
                        stretch.timestamp, stretch.offset = timestamp, offset
                    return stretch, offset
        return None, 0

    def _join(self, timestamp: int, ssrc: int, ticks: int, now: float | None) -> tuple[_Timeline, int]:
        offset = self.end
        if not self._stretches and self._start is not None:
            distance = signed_distance(timestamp, self._start)
            if abs(distance) <= self._bound:
                offset = distance
        elif not self._stretches and now is not None and self._began is not None:
            silent = now - self._began
            offset = int(silent * self._clock) if silent > AT_ONCE else 0
        elif self._stretches and now is not None and self._arrival is not None:
            offset += max(0, int((now - self._arrival) * self._clock) - ticks)
        stretch = _Timeline(ssrc, timestamp, offset)
        self._stretches = [stretch, *self._stretches[: self._STRETCHES - 1]]
        return stretch, offset
