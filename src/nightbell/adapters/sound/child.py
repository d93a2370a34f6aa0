"""The decoding process: a sound file on standard input, a line of JSON and float32 mono on standard output.

Its argument is for how many seconds it may be; above MOST_RATE every second sample is left out, so that what is
handed on is small however wide the file. The line is {"rate": …} before samples, or {"bad": WORD} alone: 'unreadable', 'long', 'short', 'rate'.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from nightbell.adapters.sound import cage
from nightbell.core.errors import RefusedStart
from nightbell.core.sound import MOST_RATE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples: TypeAlias = npt.NDArray[np.float32]

CPU_SECONDS = 20
FORMATS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF"})
SLOWEST, FASTEST = 6000, 2 * MOST_RATE  # samples a second
MOST_CHANNELS = 16
_BLOCK = 1 << 16  # frames
_UNKNOWN = 1 << 60  # libsndfile's count of frames where the header has none
_REACH, _PASSED = 32, 0.4  # of the filter: samples to a side, share of the band
_CUT_SHORT = 0.9  # share of what the header promises; MP3 headers only estimate


class Bad(Exception):
    """The file is refused, for the reason that it carries."""


def read(source: Any, seconds: float) -> tuple[int, Samples]:
    """The sound and its rate, MOST_RATE or less. Raises Bad.

    source: a descriptor or a binary file that can seek. The header is asked first: an hour costs nothing.
    """
    import numpy as np
    import soundfile

    try:
        with soundfile.SoundFile(source) as file:
            _check_header(file, seconds)
            rate, samples = int(file.samplerate), np.concatenate(_blocks(file, seconds))
    except soundfile.LibsndfileError as error:
        raise Bad("unreadable") from error
    return (rate, samples) if rate <= MOST_RATE else (rate // 2, halved(samples))


def _check_header(file: Any, seconds: float) -> None:
    if file.format not in FORMATS or not 1 <= file.channels <= MOST_CHANNELS:
        raise Bad("unreadable")
    rate = file.samplerate
    if not SLOWEST <= rate <= FASTEST:
        raise Bad("rate")
    if file.frames < _UNKNOWN and file.frames > seconds * rate:
        raise Bad("long")


def _blocks(file: Any, seconds: float) -> list[Samples]:
    """All channels mixed to one. A header may promise less or more than there is."""
    blocks: list[Samples] = []
    length = 0
    while len(part := file.read(_BLOCK, dtype="float32", always_2d=True)):
        length += len(part)
        if length > seconds * file.samplerate:
            raise Bad("long")
        blocks.append(part.mean(axis=1))
    if length == 0:
        raise Bad("unreadable")
    if file.frames < _UNKNOWN and length < _CUT_SHORT * file.frames:
        raise Bad("short")
    return blocks


def halved(samples: Samples) -> Samples:
    """Every second sample of the sound without its upper half: what would fold down is 60 dB lower, or more."""
    import numpy as np

    at = np.arange(-_REACH, _REACH + 1)
    taps = (np.sinc(at * _PASSED) * np.kaiser(len(at), 6.0)).astype(np.float32)
    passed: Samples = np.convolve(samples, taps / taps.sum(), mode="same")[: len(samples) : 2]
    return passed


def main() -> int:
    try:
        cage.confine(CPU_SECONDS)
    except RefusedStart:
        return cage.REFUSED
    try:
        rate, samples = read(os.dup(0), float(sys.argv[1]))
    except (ImportError, OSError):
        return cage.BROKEN
    except Bad as bad:
        sys.stdout.buffer.write(json.dumps({"bad": str(bad)}).encode() + b"\n")
        return 0
    sys.stdout.buffer.write(json.dumps({"rate": rate}).encode() + b"\n")
    sys.stdout.buffer.write(samples.tobytes())
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
