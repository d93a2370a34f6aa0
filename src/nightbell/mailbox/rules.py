"""Pure decisions about a message: what kind it is, how urgent, where sound lies."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from nightbell.core.capture import AudioPacket, Capture, Codec, EndReason

RATE = 8000
SHORTEST_MESSAGE_S = 1.0
MAX_SAMPLES = RATE * 3600
BARS = 240
SILENCE = {Codec.PCMU: 0xFF, Codec.PCMA: 0xD5}


def lay_out(packets: Sequence[AudioPacket], codec: Codec) -> bytes:
    """Encoded samples on one time line: gaps are silence, a later packet for the same place wins.

    One byte a sample. What lies beyond an hour is dropped: no call is that long.
    """
    length = max((p.offset + len(p.payload) for p in packets if p.offset < MAX_SAMPLES), default=0)
    line = bytearray([SILENCE[codec]]) * min(length, MAX_SAMPLES)
    for packet in packets:
        end = packet.offset + len(packet.payload)
        if end <= len(line):
            line[packet.offset : end] = packet.payload
    return bytes(line)


def kind_of(capture: Capture, samples: int) -> str:
    """'missed' when the caller never got to speak for a second, else 'message'."""
    return "message" if samples >= SHORTEST_MESSAGE_S * RATE else "missed"


def pressed_urgent(capture: Capture) -> bool:
    """Whether the call flow took a key 1 as urgent."""
    return any(mark.name == "urgent" for mark in capture.marks)


def reached(capture: Capture) -> str:
    """The last stage of the call flow that the caller came to."""
    stages = [mark.name.removeprefix("stage:") for mark in capture.marks if mark.name.startswith("stage:")]
    return stages[-1][:40] if stages else ""


def first_urgency(capture: Capture, kind: str) -> str:
    """Urgency before any words are known: the key decides, and what was cut or missed needs a look."""
    if pressed_urgent(capture):
        return "urgent"
    if kind == "missed" or capture.end.reason is EndReason.INTERRUPTED:
        return "review"
    return "routine"


def peaks(pcm: bytes, bars: int = BARS) -> bytes:
    """Loudness of `bars` equal stretches of 16 bit PCM, 0 to 100, against the loudest. One byte a bar."""
    samples = array("h")
    samples.frombytes(pcm[: len(pcm) // 2 * 2])
    if not samples:
        return b""
    bars = min(bars, len(samples))
    tops = []
    for bar in range(bars):
        part = samples[bar * len(samples) // bars : (bar + 1) * len(samples) // bars]
        tops.append(max(max(part), -min(part)))
    ceiling = max(max(tops), 1200)  # a silent line must not be drawn as a storm
    return bytes(min(100, top * 100 // ceiling) for top in tops)
