import struct
import time

import pytest

from nightbell.core.capture import Codec
from nightbell.sip import g711

LAWS = [Codec.PCMU, Codec.PCMA]


def samples(pcm: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(pcm) // 2}h", pcm))


@pytest.mark.parametrize(
    ("codec", "code", "value"),
    [  # ITU-T G.711 tables 1a to 2b: first, last and middle values, scaled to 16 bit
        (Codec.PCMU, 0x80, 32124),
        (Codec.PCMU, 0x00, -32124),
        (Codec.PCMU, 0xFF, 0),
        (Codec.PCMU, 0xFE, 8),
        (Codec.PCMU, 0x8F, 16764),
        (Codec.PCMA, 0xAA, 32256),
        (Codec.PCMA, 0x2A, -32256),
        (Codec.PCMA, 0xD5, 8),
        (Codec.PCMA, 0x55, -8),
        (Codec.PCMA, 0x80, 5504),
    ],
)
def test_it_expands_as_the_standard_says(codec: Codec, code: int, value: int) -> None:
    assert samples(g711.decode(bytes([code]), codec)) == [value]


@pytest.mark.parametrize("codec", LAWS)
def test_it_compresses_each_expanded_code_to_itself(codec: Codec) -> None:
    codes = bytes(range(256))
    again = g711.encode(g711.decode(codes, codec), codec)
    different = {a for a, b in zip(codes, again, strict=True) if a != b}
    assert different <= {0x7F}  # µ-law's negative zero becomes the positive one


@pytest.mark.parametrize("codec", LAWS)
def test_it_compresses_every_sample_to_its_nearest_code(codec: Codec) -> None:
    values = list(range(-32768, 32768))
    heard = samples(g711.decode(g711.encode(struct.pack("<65536h", *values), codec), codec))
    levels = sorted(set(samples(g711.decode(bytes(range(256)), codec))))
    best, worst, low = 0, 0, 0
    for value, got in zip(values, heard, strict=True):
        while low + 1 < len(levels) and abs(levels[low + 1] - value) <= abs(levels[low] - value):
            low += 1
        best = max(best, abs(got - value) - abs(levels[low] - value))
        worst = max(worst, abs(got - value))
    # The decision values of the standard differ from "nearest" by at most half a small step at segment ends.
    assert best <= 256
    assert worst <= 1024


@pytest.mark.parametrize("codec", LAWS)
def test_silence_is_silent(codec: Codec) -> None:
    assert max(map(abs, samples(g711.decode(g711.silence(160, codec), codec)))) <= 8


def test_it_transcodes_within_one_step() -> None:
    codes = bytes(range(256))
    there = g711.transcode(codes, Codec.PCMU, Codec.PCMA)
    before, after = samples(g711.decode(codes, Codec.PCMU)), samples(g711.decode(there, Codec.PCMA))
    assert all(abs(a - b) <= 16 + abs(a) // 16 for a, b in zip(before, after, strict=True))
    assert g711.transcode(codes, Codec.PCMU, Codec.PCMU) == codes


def test_it_refuses_half_a_sample() -> None:
    with pytest.raises(ValueError, match="even"):
        g711.encode(b"\x00", Codec.PCMU)


def test_it_is_fast_enough_for_whole_messages() -> None:
    began = time.monotonic()
    minute = g711.decode(bytes(range(256)) * 1875, Codec.PCMU)
    g711.encode(minute, Codec.PCMA)
    assert time.monotonic() - began < 1.0
