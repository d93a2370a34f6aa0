"""G.711 µ-law and A-law to and from linear PCM (ITU-T G.711): mono, 16 bit signed little endian.

Whole buffers go through tables in C: no loop per sample in Python. (`audioop` is gone from 3.13.)
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable

from nightbell.core.capture import Codec

ULAW_SILENCE, ALAW_SILENCE = 0xFF, 0xD5


def _expand_ulaw(code: int) -> int:
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 132 << ((code >> 4) & 7)) - 132
    return -magnitude if code & 0x80 else magnitude


def _expand_alaw(code: int) -> int:
    code ^= 0x55
    exponent, mantissa = code >> 4 & 7, code & 0x0F
    magnitude = (mantissa << 4) + 8 if not exponent else ((mantissa << 4) + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


def _ulaw_codes() -> bytes:
    """A code for each of 65,536 samples, indexed by the sample as an unsigned number."""
    # Magnitudes 0 to 32768; the bias of 132 cuts the first step to four values, the last one takes the clipped.
    steps = b"".join(bytes([code]) * (8 << (code >> 4)) for code in range(128))[4:]
    steps = (steps + bytes([127]) * 32769)[:32769]
    positive = bytes(~code & 0xFF for code in steps[:32768])
    negative = bytes(~(code | 0x80) & 0xFF for code in steps[:0:-1])
    return positive + negative


def _alaw_codes() -> bytes:
    steps = b"".join(bytes([code]) * (16 << max(0, (code >> 4) - 1)) for code in range(128))
    positive = bytes((code | 0x80) ^ 0x55 for code in steps)
    negative = bytes(code ^ 0x55 for code in steps[::-1])
    return positive + negative


class _Law:
    """The tables of one law."""

    def __init__(self, expand: Callable[[int], int], codes: bytes) -> None:
        pairs = [struct.pack("<h", expand(code)) for code in range(256)]
        self.low = bytes(pair[0] for pair in pairs)
        self.high = bytes(pair[1] for pair in pairs)
        self.codes = codes

    def decode(self, data: bytes) -> bytes:
        out = bytearray(2 * len(data))
        out[0::2] = data.translate(self.low)
        out[1::2] = data.translate(self.high)
        return bytes(out)

    def encode(self, pcm: bytes) -> bytes:
        if len(pcm) % 2:
            raise ValueError("16-bit PCM has an even number of bytes")
        samples = array("H", pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        return bytes(map(self.codes.__getitem__, samples))


_LAWS = {
    Codec.PCMU: _Law(_expand_ulaw, _ulaw_codes()),
    Codec.PCMA: _Law(_expand_alaw, _alaw_codes()),
}
_PCMU_TO_PCMA = _LAWS[Codec.PCMA].encode(_LAWS[Codec.PCMU].decode(bytes(range(256))))
_PCMA_TO_PCMU = _LAWS[Codec.PCMU].encode(_LAWS[Codec.PCMA].decode(bytes(range(256))))


def decode(data: bytes, codec: Codec) -> bytes:
    """G.711 bytes to PCM, two bytes a sample. Every byte is a valid code."""
    return _LAWS[codec].decode(data)


def encode(pcm: bytes, codec: Codec) -> bytes:
    """PCM to G.711, a byte a sample. Raises ValueError for half a sample."""
    return _LAWS[codec].encode(pcm)


def transcode(data: bytes, source: Codec, target: Codec) -> bytes:
    """From one law to the other by a 256-byte table (prompts are stored in one of them)."""
    if source is target:
        return data
    return data.translate(_PCMU_TO_PCMA if source is Codec.PCMU else _PCMA_TO_PCMU)


def silence(samples: int, codec: Codec) -> bytes:
    """So many samples of digital zero."""
    return bytes([ULAW_SILENCE if codec is Codec.PCMU else ALAW_SILENCE]) * samples
