"""From a call's payloads to its sound: laid on a time line, cut to its parts, decoded last.

G.711 is a table and is done here. G.722 and Opus are decoders in C that a stranger feeds: they run behind the port
`core.sound.Unpacker`. Places are eighths of a millisecond (8000 a second) whatever the codec.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from nightbell.core.capture import AudioPacket, Capture, Codec
from nightbell.core.sound import WIDE, SoundUnavailable, Unpacker
from nightbell.mailbox import parts, rules
from nightbell.mailbox.parts import Part
from nightbell.sip import g711

SAMPLE = 2  # bytes
LAWS = (Codec.PCMU, Codec.PCMA)


@dataclass(frozen=True, slots=True)
class Laid:
    """What is known of a call's sound before it is decoded.

    pieces: (start, end) places, one after the other the stored sound; own: places within marked parts, None when no
    part is marked; bad: payloads that no decoder takes.
    """

    codec: Codec
    packets: tuple[AudioPacket, ...]
    pieces: tuple[tuple[int, int], ...]
    parts: tuple[Part, ...] = ()
    own: int | None = None
    bad: int = 0

    @property
    def length(self) -> int:
        """Places of the stored sound."""
        return sum(end - start for start, end in self.pieces)


@dataclass(frozen=True, slots=True)
class Sound:
    """What is stored of a call's sound. pcm: 16 bit, mono, `rate` samples a second; wav: the same with its header.

    lost: payloads that could not be decoded, which are silence.
    """

    pcm: bytes
    rate: int
    lost: int = 0

    @property
    def wav(self) -> bytes:
        out = BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(SAMPLE)
            file.setframerate(self.rate)
            file.writeframes(self.pcm)
        return out.getvalue()


def lay(capture: Capture) -> Laid:
    """Where everything lies, and what of it the message keeps."""
    codec = capture.meta.codec
    good = rules.fit(capture.packets, codec)
    length = max((end for _, end in good.places), default=0)
    cut = parts.cut(capture.marks, length, rules.recorded(good.places))
    if cut is None:
        return Laid(codec, good.packets, ((0, length),) if length else (), bad=good.bad)
    return Laid(codec, good.packets, cut.pieces, cut.parts, cut.own, good.bad)


def sound(laid: Laid, unpacker: Unpacker | None) -> Sound:
    """Decode it. Raises BadSound and SoundUnavailable, never for G.711."""
    if laid.codec in LAWS:
        line = rules.lay_out(laid.packets, laid.codec)
        return Sound(g711.decode(b"".join(line[a:b] for a, b in laid.pieces), laid.codec), rules.RATE)
    if not laid.length:
        return Sound(b"", WIDE, laid.bad)
    if unpacker is None:
        raise SoundUnavailable("The sound of the call", "this process has no decoder", "let the worker do it")
    packets = in_order(laid.packets)
    unpacked = unpacker.unpack(laid.codec, [packet.payload for packet in packets])
    line = rules.lay_pcm(unpacked.pcm, packets, laid.codec, WIDE)
    size = SAMPLE * WIDE // rules.RATE
    pcm = b"".join(line[a * size : b * size].ljust((b - a) * size, b"\0") for a, b in laid.pieces)
    return Sound(pcm, WIDE, laid.bad + unpacked.lost)


def in_order(packets: Sequence[AudioPacket]) -> list[AudioPacket]:
    """As they were spoken, which is how a decoder with a memory wants them; the last one for a place counts."""
    return sorted({packet.offset: packet for packet in packets}.values(), key=lambda packet: packet.offset)
