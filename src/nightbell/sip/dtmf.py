"""Key presses in RTP: telephone-event (RFC 4733 §2)."""

from __future__ import annotations

import struct

from nightbell.sip.rtp import SAMPLE_RATE, RtpPacket, signed_distance

KEYS = "0123456789*#ABCD"
_EVENT = struct.Struct("!BBH")
_RECENT = 5  # seconds


class DtmfDecoder:
    """One key for each press, told at its first packet that arrives.

    A press is known by its timestamp, so updates and the three end packets count once, and a lost end does
    no harm. A press longer than 8 s comes in segments with new timestamps (§2.5.1.3), and some gateways
    advance the timestamp with each packet: the same event, unmarked, not ended and next in sequence is
    the same press. clock: ticks a second of the stream's timestamps, that of its codec (RFC 4733 §2.1).
    """

    def __init__(self, clock: int = SAMPLE_RATE) -> None:
        self._recent = _RECENT * clock
        self._ssrc = -1
        self._event = -1
        self._timestamp = 0
        self._sequence = 0
        self._ended = True

    def feed(self, packet: RtpPacket) -> str | None:
        """The key that this packet begins, or None. Bad payloads and events above 15 are no keys."""
        if len(packet.payload) < _EVENT.size:
            return None
        event, flags, _duration = _EVENT.unpack_from(packet.payload)
        if event >= len(KEYS):
            return None
        ended = bool(flags & 0x80)
        fresh = self._is_new(packet, event)
        if fresh is None:
            return None
        self._ended = ended if fresh else self._ended or ended
        self._ssrc, self._event = packet.ssrc, event
        self._timestamp, self._sequence = packet.timestamp, packet.sequence
        return KEYS[event] if fresh else None

    def _is_new(self, packet: RtpPacket, event: int) -> bool | None:
        """Whether a press begins; None for a straggler of an older one."""
        if packet.ssrc != self._ssrc:
            return True
        distance = signed_distance(packet.timestamp, self._timestamp)
        if distance == 0:
            return False
        if -self._recent < distance < 0:
            return None
        follows = signed_distance(packet.sequence, self._sequence, 16) == 1
        return not (follows and event == self._event and not self._ended and not packet.marker)


def pack_event(event: int, duration: int, end: bool, volume: int = 10) -> bytes:
    """One telephone-event payload. duration: ticks, at most 65,535; volume: -dBm0, 0 to 63."""
    return _EVENT.pack(event, (0x80 if end else 0) | (volume & 0x3F), min(duration, 0xFFFF))


def key_press(
    key: str,
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    ms: int = 160,
    ptime: int = 20,
    clock: int = SAMPLE_RATE,
) -> tuple[RtpPacket, ...]:
    """The packets of one press, to be sent every `ptime` ms: updates, then the end three times.

    Raises ValueError for what is not a key.
    """
    event = KEYS.find(key.upper()) if len(key) == 1 else -1
    if event < 0:
        raise ValueError("a key is one of 0-9 * # A-D")
    step = ptime * clock // 1000
    count = max(1, ms // ptime)
    payloads = [pack_event(event, step * (n + 1), False) for n in range(count)]
    payloads += [pack_event(event, step * count, True)] * 3
    return tuple(
        RtpPacket(payload_type, n == 0, (sequence + n) & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)
        for n, payload in enumerate(payloads)
    )
