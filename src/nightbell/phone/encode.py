"""What a line says, from 8000 samples a second into the frames of a codec, and a little way back.

G.722 takes the samples as its lower band, Opus as narrow-band sound: nothing is resampled. Both are C.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO

from nightbell.core.capture import Codec
from nightbell.sip import codecs, g711, ogg

RATE = 8000
FRAME = 160  # samples in 20 ms
_BIT_RATE = 64_000
_MEMORY = 4  # Opus packets


def load() -> None:
    """Load both codecs, and numpy with them: a fifth of a second, for which no call shall wait.

    Only once the process is locked in: numpy starts threads, and those that run before stay outside.
    """
    for name in ("soundfile", "G722"):
        import_module(name)


def frames(pcm: bytes, codec: Codec) -> tuple[bytes, ...]:
    """Frames of 20 ms. pcm: 16 bit, RATE; the last frame is filled with silence. No sound: no frames."""
    pcm += bytes(-len(pcm) % (2 * FRAME))
    if not pcm:
        return ()
    if codec is Codec.OPUS:
        return _opus(pcm)
    if codec is Codec.G722:
        return tuple(_g722(pcm))
    sound = g711.encode(pcm, codec)
    return tuple(sound[at : at + FRAME] for at in range(0, len(sound), FRAME))


def _g722(pcm: bytes) -> Iterator[bytes]:
    from G722 import G722

    encoder, samples = G722(RATE, _BIT_RATE), array("h", pcm)
    for at in range(0, len(samples), FRAME):  # piece by piece: a thread that encodes lets the others run
        yield encoder.encode(samples[at : at + FRAME])


def _opus(pcm: bytes) -> tuple[bytes, ...]:
    """The encoder looks ahead, so the sound ends a few milliseconds late: one frame more than went in, at most."""
    import soundfile

    out = BytesIO()
    with soundfile.SoundFile(out, "w", RATE, 1, format="OGG", subtype="OPUS") as file:
        file.buffer_write(pcm, "int16")
    return tuple(ogg.packets(out.getvalue())[: len(pcm) // (2 * FRAME)])


class Ear:
    """Decodes what one stream brings, at RATE."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._before: list[bytes] = []
        if codec is Codec.G722:
            from G722 import G722

            self._g722 = G722(RATE, _BIT_RATE)

    def feed(self, payload: bytes) -> list[array[int]]:
        """Its samples in frames of 20 ms, the last one perhaps shorter; none for what is malformed."""
        if self._codec is Codec.OPUS:
            pcm = self._opus(payload)
        elif self._codec is Codec.G722:
            pcm = self._g722.decode(payload)
        else:
            pcm = array("h", g711.decode(payload, self._codec))
        return [pcm[at : at + FRAME] for at in range(0, len(pcm), FRAME)]

    def _opus(self, payload: bytes) -> array[int]:
        """By way of a file, anew for each packet, behind those that came before: a decoder's memory is short."""
        ticks = codecs.duration(Codec.OPUS, payload)
        if not ticks:
            return array("h")
        import soundfile

        self._before = [*self._before[-_MEMORY:], payload]
        with soundfile.SoundFile(BytesIO(ogg.wrap(self._before, RATE))) as file:
            pcm = array("h", bytes(file.buffer_read(dtype="int16")))
        return pcm[len(pcm) - ticks * RATE // Codec.OPUS.clock :]


class Mouth:
    """Encodes a stream at RATE as it comes, in G.711 or G.722."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        if codec is Codec.G722:
            from G722 import G722

            self._g722 = G722(RATE, _BIT_RATE)

    def say(self, pcm: bytes) -> bytes:
        """A payload as long as the sound. pcm: 16 bit."""
        if self._codec is Codec.G722:
            encoded: bytes = self._g722.encode(array("h", pcm))
            return encoded
        return g711.encode(pcm, self._codec)
