"""RTP packets as values, and where in a recording each one belongs (RFC 3550 §5.1)."""

from __future__ import annotations

import struct
from collections import deque
from typing import NamedTuple

from nightbell.core.errors import NightbellError

_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")
HEADER_BYTES = 12
SAMPLE_RATE = 8000
AHEAD = 10 * 8000  # samples that a timestamp may be ahead of its arrival
AT_ONCE = 0.1  # seconds: whoever sends from the beginning begins at sample 0


class BadRtp(NightbellError, ValueError):
    """These bytes are not an RTP packet."""


class RtpPacket(NamedTuple):
    """One packet without its CSRCs, extension and padding. timestamp: samples, modulo 2**32."""

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
        header = _HEADER.pack(
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
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
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
    """One stretch of continuous timestamps: where its latest packet lies."""

    __slots__ = ("offset", "ssrc", "timestamp")

    def __init__(self, ssrc: int, timestamp: int, offset: int) -> None:
        self.ssrc, self.timestamp, self.offset = ssrc, timestamp, offset


class Placement:
    """Gives each audio packet its place, in samples since the first one (or since `start`).

    Wrapped timestamps, loss, doubles, lateness and re-ordering come out right by the timestamp. A new
    SSRC or a timestamp further than `bound` samples from what is known starts a new stretch. It is
    joined where the last one ended, or, when the caller passes the arrival time, by the time elapsed.
    """

    _STRETCHES = 8
    _REMEMBERED = 1024  # packets; a double that comes later than that (20 s) is older than `late` allows

    def __init__(
        self, start: int | None = None, bound: int = 30 * SAMPLE_RATE, began: float | None = None
    ) -> None:
        """start: RTP timestamp of sample 0 (None: the first packet's). bound: samples, at most 2**30. began: the
        monotonic instant of sample 0: who sends nothing while silent begins later than the recording does."""
        self._start = start
        self._bound = min(bound, 1 << 30)
        self._stretches: deque[_Timeline] = deque(maxlen=self._STRETCHES)
        self._seen: set[int] = set()
        self._order: deque[int] = deque()
        self._arrival: float | None = None
        self._began = began
        self._first = began
        self.end = 0

    def place(self, packet: RtpPacket, now: float | None = None) -> int | None:
        """Samples since the start; None for a double, or for what lies before the start or is far too late.

        now: monotonic seconds of arrival, used only where timestamps tell nothing.
        """
        samples = len(packet.payload)  # G.711: a byte a sample
        if not samples:
            return None
        offset = self._by_timestamp(packet)
        if now is not None:
            if self._first is None:
                self._first = now
            if offset is not None and offset > (now - self._first) * SAMPLE_RATE + AHEAD:
                offset = None  # nobody speaks faster than time: a few jumps must not make an hour of silence
        if offset is None:
            offset = self._join(packet, now)
        if offset < 0 or offset in self._seen or offset + self._bound < self.end:
            return None
        self._remember(offset)
        if offset + samples > self.end:
            self.end = offset + samples
            self._arrival = now
        return offset

    def _by_timestamp(self, packet: RtpPacket) -> int | None:
        for stretch in self._stretches:
            if stretch.ssrc == packet.ssrc:
                distance = signed_distance(packet.timestamp, stretch.timestamp)
                if -self._bound <= distance <= self._bound:
                    offset = stretch.offset + distance
                    if distance > 0:
                        stretch.timestamp, stretch.offset = packet.timestamp, offset
                    return offset
        return None

    def _join(self, packet: RtpPacket, now: float | None) -> int:
        offset = self.end
        if not self._stretches and self._start is not None:
            distance = signed_distance(packet.timestamp, self._start)
            if abs(distance) <= self._bound:
                offset = distance
        elif not self._stretches and now is not None and self._began is not None:
            silent = now - self._began
            offset = int(silent * SAMPLE_RATE) if silent > AT_ONCE else 0
        elif self._stretches and now is not None and self._arrival is not None:
            gap = int((now - self._arrival) * SAMPLE_RATE) - len(packet.payload)
            offset += max(0, gap)
        self._stretches.appendleft(_Timeline(packet.ssrc, packet.timestamp, offset))
        return offset

    def _remember(self, offset: int) -> None:
        self._seen.add(offset)
        self._order.append(offset)
        if len(self._order) > self._REMEMBERED:
            self._seen.discard(self._order.popleft())
