"""Sound that comes from outside: the ports that decode it and that speak a text, and their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError

MOST_BYTES = 20_000_000  # of an uploaded file
MOST_SECONDS = 120.0
MOST_RATE = 48000  # samples a second of what was decoded
MOST_LETTERS = 600  # of a text to be spoken


class BadSound(NightbellError, ValueError):
    """This recording or text cannot be used; the person who brought it can mend it."""


class SoundUnavailable(NightbellError):
    """This installation cannot decode or speak; who looks after the system can mend it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Sound out of a file. samples: float32, mono, in the machine's byte order; rate: samples a second."""

    samples: bytes
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / 4 / self.rate


class Decoder(Protocol):
    """Reads an uploaded sound file."""

    def decode(self, data: bytes, seconds: float = MOST_SECONDS) -> Decoded:
        """Blocks for seconds. Full scale is 1.0; lossy files may go above. The rate is MOST_RATE or less.

        Raises BadSound (no sound, damaged, more than MOST_BYTES or `seconds` of sound), SoundUnavailable.
        """
        ...


class Speaker(Protocol):
    """Speaks a text with a machine's voice."""

    def available(self) -> bool:
        """Whether `speak` can work here, now."""
        ...

    def speak(self, text: str, language: str) -> bytes:
        """A mono 16-bit PCM WAV at the voice's own rate. language: 'en' or 'es'. Blocks for seconds.

        Raises BadSound (no text, more than MOST_LETTERS, another language), SoundUnavailable.
        """
        ...


WIDE = 16000  # samples a second of what is decoded from G.722 and Opus
MOST_CALL = 3600  # seconds that one call's payloads may last together


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Payloads as PCM, 16 bit little endian, mono, WIDE, one after the other: each has the length that
    `sip.codecs.duration` tells. lost: how many could not be decoded; they are silence."""

    pcm: bytes
    lost: int


class Unpacker(Protocol):
    """Decodes what came over the wire: never trusted, so never in a process that holds a key."""

    def unpack(self, codec: Codec, payloads: Sequence[bytes]) -> Unpacked:
        """One stream, in its order. codec: G722 or OPUS. Blocks for up to half a minute.

        An Opus payload for which `sip.codecs.duration` tells 0 is lost, and takes no place. Raises BadSound
        (the decoder died of it, or it lasts more than MOST_CALL) and SoundUnavailable.
        """
        ...
