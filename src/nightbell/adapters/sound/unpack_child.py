"""The process that decodes a call: payloads on standard input, a line of JSON and PCM on standard output.

Its argument is the codec. A payload is its length as u16, big-endian, and itself. The line is {"lost": how many could
not be decoded}; the PCM is as `core.sound.Unpacked` says.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from io import BytesIO

from nightbell.adapters.sound import cage
from nightbell.core.capture import Codec
from nightbell.core.errors import RefusedStart
from nightbell.core.sound import WIDE
from nightbell.sip import ogg
from nightbell.sip.codecs import duration

CPU_SECONDS = 30
_MOST_LOST = 100  # the decoder begins anew behind each: a stream with more of them is no sound
_BIT_RATE = 64_000
_BLOCK = 1 << 20  # samples


def payloads(data: bytes) -> Iterator[bytes]:
    """What was put in. A last one that is cut off is left out."""
    at = 0
    while at + 2 <= len(data):
        (size,) = struct.unpack_from(">H", data, at)
        at += 2 + size
        if at <= len(data):
            yield data[at - size : at]


def samples(codec: Codec, payload: bytes) -> int:
    """How many samples a payload gives."""
    return duration(codec, payload) * WIDE // codec.clock


def decode(codec: Codec, found: list[bytes]) -> tuple[bytes, int]:
    """PCM of all, and how many are lost. Raises ImportError without the libraries."""
    if codec is Codec.G722:
        from G722 import G722

        decoder = G722(WIDE, _BIT_RATE)
        return b"".join(decoder.decode(one).tobytes() for one in found), 0
    sound = [one for one in found if duration(codec, one)]
    lost = len(found) - len(sound)
    out = bytearray()
    begin = again = 0
    while begin < len(sound):
        pcm = _opus(sound[begin:])
        while begin < len(sound) and len(pcm) >= 2 * samples(codec, sound[begin]):
            size = 2 * samples(codec, sound[begin])
            out += pcm[:size]
            pcm = pcm[size:]
            begin += 1
        if begin < len(sound):  # the decoder gave up on this one
            out += bytes(2 * samples(codec, sound[begin]))
            begin, lost, again = begin + 1, lost + 1, again + 1
            if again > _MOST_LOST:
                out += bytes(2 * sum(samples(codec, one) for one in sound[begin:]))
                return bytes(out), lost + len(sound) - begin
    return bytes(out), lost


def _opus(packets: list[bytes]) -> memoryview:
    """PCM up to the first packet that the decoder does not take."""
    import numpy as np
    import soundfile

    blocks = []
    try:
        with soundfile.SoundFile(BytesIO(ogg.wrap(packets, WIDE))) as file:
            while len(block := file.read(_BLOCK, dtype="float32")):
                # A lossy codec may go over full scale, where the library's own integers would turn around.
                blocks.append(np.clip(np.rint(block * 32768), -32768, 32767).astype("<i2").tobytes())
    except soundfile.LibsndfileError:
        pass  # what came before it counts
    return memoryview(b"".join(blocks))


def main() -> int:
    try:
        cage.confine(CPU_SECONDS)
    except RefusedStart:
        return cage.REFUSED
    try:
        with os.fdopen(os.dup(0), "rb") as source:
            source.seek(0)
            pcm, lost = decode(Codec(sys.argv[1]), list(payloads(source.read())))
    except (ImportError, OSError):
        return cage.BROKEN
    sys.stdout.buffer.write(json.dumps({"lost": lost}).encode() + b"\n")
    sys.stdout.buffer.write(pcm)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
