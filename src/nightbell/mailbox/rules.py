"""Pure decisions about a message: what kind it is, how urgent, where sound lies."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nightbell.core.capture import AudioPacket, Capture, Codec, EndReason
from nightbell.mailbox.marks import Said
from nightbell.sip.codecs import duration

RATE = 8000
SHORTEST_MESSAGE_S = 1.0
MAX_SAMPLES = RATE * 3600
BARS = 240
LOOKED_AT = 12  # samples of each bar, when it has more than twice as many
VOICE_LEVEL = 40  # mean of |sample|, about -58 dBFS: well under a whisper, over the noise of a silent line
LEAST_VOICE_MS = 120  # a word; a click is shorter
THIRD_WITHIN = timedelta(minutes=20)
SILENCE = {Codec.PCMU: 0xFF, Codec.PCMA: 0xD5}


@dataclass(frozen=True, slots=True)
class Fit:
    """Payloads that have a length and lie within an hour; places: (start, end) of each, 8000 a second; bad: the others."""

    packets: tuple[AudioPacket, ...]
    places: tuple[tuple[int, int], ...]
    bad: int


def fit(packets: Sequence[AudioPacket], codec: Codec) -> Fit:
    """What can be laid on a time line. Empty payloads are nothing, and nothing bad."""
    good, places, bad = [], [], 0
    for packet in packets:
        start, ticks = packet.offset * RATE // codec.clock, duration(codec, packet.payload)
        end = start + ticks * RATE // codec.clock
        if ticks and end <= MAX_SAMPLES:
            good.append(packet)
            places.append((start, end))
        elif packet.payload:
            bad += 1
    return Fit(tuple(good), tuple(places), bad)


def lay_out(packets: Sequence[AudioPacket], codec: Codec) -> bytes:
    """G.711 on one time line: gaps are silence, a later packet for the same place wins. One byte a sample.

    What lies beyond an hour is dropped: no call is that long.
    """
    length = max((p.offset + len(p.payload) for p in packets if p.offset < MAX_SAMPLES), default=0)
    line = bytearray([SILENCE[codec]]) * min(length, MAX_SAMPLES)
    for packet in packets:
        end = packet.offset + len(packet.payload)
        if end <= len(line):
            line[packet.offset : end] = packet.payload
    return bytes(line)


def lay_pcm(pcm: bytes, packets: Sequence[AudioPacket], codec: Codec, rate: int) -> bytes:
    """As lay_out, of packets that were decoded one after the other: 16 bit PCM, `rate` samples a second."""
    spans = [
        (2 * (p.offset * rate // codec.clock), 2 * (duration(codec, p.payload) * rate // codec.clock))
        for p in packets
    ]
    line = bytearray(max((start + size for start, size in spans), default=0))
    at = 0
    for start, size in spans:
        line[start : start + size] = pcm[at : at + size]
        at += size
    return bytes(line)


def voiced_ms(pcm: bytes, rate: int = RATE) -> int:
    """Milliseconds of 16 bit PCM in which somebody may be speaking: all that is louder than a silent line.

    Steady noise counts too. A sick person's whisper must never pass for silence; a noisy line may pass for a voice.
    """
    samples = array("h")
    samples.frombytes(pcm[: len(pcm) // 2 * 2])
    frame = rate // 50  # 20 ms
    least = VOICE_LEVEL * frame // 2
    frames = range(0, len(samples) - frame + 1, frame)
    return 20 * sum(sum(map(abs, samples[at : at + frame : 2])) > least for at in frames)


def recorded(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The stretches in which sound came: pauses of under a second belong to them. places: of the packets."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if out and start - out[-1][1] < RATE:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        elif end <= MAX_SAMPLES:
            out.append((start, end))
    return out


def kind_of(said: Said, spoken: int | None, samples: int, voiced: int) -> str:
    """'message', 'missed' when nobody could be heard, or 'status' when somebody asked and left nothing.

    spoken: samples within marked parts, None when none is marked; samples: kept; voiced: milliseconds of them. Whoever
    was told that there is no message, and left none, may be a patient whom we miss.
    """
    if spoken is None:
        # An older phone knows no parts; a caller who was told a state by a newer one left no sound at all.
        spoken, heard = samples, True
    else:
        heard = voiced >= LEAST_VOICE_MS  # the phone's own ear is duller: a whisper is a message
    asked = said.status not in ("", "none") and said.asking
    if asked and not spoken and not (said.urgent or said.joins):
        return "status"
    return "message" if heard and spoken >= SHORTEST_MESSAGE_S * RATE else "missed"


def pressed_urgent(capture: Capture) -> bool:
    """Whether the call flow took a key 1 as urgent."""
    return any(mark.name == "urgent" for mark in capture.marks)


def reached(capture: Capture) -> str:
    """The last stage of the call flow that the caller came to."""
    stages = [mark.name.removeprefix("stage:") for mark in capture.marks if mark.name.startswith("stage:")]
    return stages[-1][:40] if stages else ""


def first_urgency(said: Said, kind: str, end: EndReason, damaged: bool = False) -> str:
    """Urgency before any words are known: the key decides, and what was cut, missed or damaged needs a look.

    A test is never urgent: what rings for it would ring for nobody.
    """
    if said.test or kind == "status":
        return "routine"
    if said.imported:  # whoever was to be woken was told by the voicemail of before
        return "review" if said.flagged or damaged else "routine"
    if said.urgent or said.joins:
        return "urgent"
    if said.review or said.unfetched or kind == "missed" or end is EndReason.INTERRUPTED or damaged:
        return "review"
    return "routine"


def digits(number: str) -> str:
    """A telephone number as it is compared: digits alone, a North American one without its 1. '' for none."""
    only = "".join(one for one in number if one in "0123456789")
    return only[1:] if len(only) == 11 and only[0] == "1" else only


def third_calls(calls: Sequence[tuple[datetime, str]]) -> set[str]:
    """Which calls of one caller, (answered at, id), came when two others had come in the 20 minutes before."""
    ordered = sorted(calls)
    return {
        pk
        for (first, _), (last, pk) in zip(ordered, ordered[2:], strict=False)
        if last - first <= THIRD_WITHIN
    }


def peaks(pcm: bytes, bars: int = BARS) -> bytes:
    """Loudness of `bars` equal stretches of 16 bit PCM, 0 to 100, against the loudest. One byte a bar.

    Of a long stretch not every sample is looked at: it is a drawing, and an alert may wait for it.
    """
    samples = array("h")
    samples.frombytes(pcm[: len(pcm) // 2 * 2])
    if not samples:
        return b""
    bars = min(bars, len(samples))
    tops = []
    step = max(1, len(samples) // (bars * LOOKED_AT))
    for bar in range(bars):
        part = samples[bar * len(samples) // bars : (bar + 1) * len(samples) // bars : step]
        tops.append(max(max(part), -min(part)))
    ceiling = max(max(tops), 1200)  # a silent line must not be drawn as a storm
    return bytes(min(100, top * 100 // ceiling) for top in tops)
