"""The decoding process: a sound file on standard input, a line of JSON and float32 mono on standard output.

The line is {"rate": …} before samples, or {"bad": WORD} alone: 'unreadable', 'long', 'short', 'rate'.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from nightbell.adapters.sound import cage
from nightbell.core.errors import RefusedStart
from nightbell.core.sound import MOST_SECONDS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples: TypeAlias = npt.NDArray[np.float32]

CPU_SECONDS = 20
FORMATS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF"})
SLOWEST, FASTEST = 6000, 192_000  # samples a second
MOST_CHANNELS = 16
_BLOCK = 1 << 16  # frames
_UNKNOWN = 1 << 60  # libsndfile's count of frames where the header has none
_CUT_SHORT = 0.9  # share of what the header promises; MP3 headers only estimate


class Bad(Exception):
    """The file is refused, for the reason that it carries."""


def read(source: Any) -> tuple[int, list[Samples]]:
    """The file's rate and its sound in blocks. Raises Bad.

    source: a descriptor or a binary file that can seek. The header is asked first: an hour costs nothing.
    """
    import soundfile

    try:
        with soundfile.SoundFile(source) as file:
            _check_header(file)
            return int(file.samplerate), _blocks(file)
    except soundfile.LibsndfileError as error:
        raise Bad("unreadable") from error


def _check_header(file: Any) -> None:
    if file.format not in FORMATS or not 1 <= file.channels <= MOST_CHANNELS:
        raise Bad("unreadable")
    if not SLOWEST <= file.samplerate <= FASTEST:
        raise Bad("rate")
    if file.frames < _UNKNOWN and file.frames > MOST_SECONDS * file.samplerate:
        raise Bad("long")


def _blocks(file: Any) -> list[Samples]:
    """All channels mixed to one. A header may promise less or more than there is."""
    blocks: list[Samples] = []
    length = 0
    while len(part := file.read(_BLOCK, dtype="float32", always_2d=True)):
        length += len(part)
        if length > MOST_SECONDS * file.samplerate:
            raise Bad("long")
        blocks.append(part.mean(axis=1))
    if length == 0:
        raise Bad("unreadable")
    if file.frames < _UNKNOWN and length < _CUT_SHORT * file.frames:
        raise Bad("short")
    return blocks


def main() -> int:
    try:
        cage.confine(CPU_SECONDS)
    except RefusedStart:
        return cage.REFUSED
    try:
        rate, blocks = read(os.dup(0))
    except (ImportError, OSError):
        return cage.BROKEN
    except Bad as bad:
        sys.stdout.buffer.write(json.dumps({"bad": str(bad)}).encode() + b"\n")
        return 0
    sys.stdout.buffer.write(json.dumps({"rate": rate}).encode() + b"\n")
    for block in blocks:
        sys.stdout.buffer.write(block.tobytes())
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
