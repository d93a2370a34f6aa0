import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.sealing.errors import SealError, Tampered, Truncated, WrongKey
from nightbell.sealing.playback import HEAD, PlaybackReader, seal_playback

KEY, AD = bytes(range(32)), b"message 1"
WAV = bytes(i * 7 % 253 for i in range(50_000))


def reader(data, key=KEY, ad=AD, log=None):
    def read_range(offset, length):
        if log is not None:
            log.append((offset, length))
        return data[offset : offset + length]

    return PlaybackReader(key, ad, read_range, len(data))


@pytest.mark.parametrize("size", [0, 1, 16328, 16329, 50_000])
def test_it_gives_back_the_sound(size):
    with reader(seal_playback(KEY, AD, WAV[:size])) as opened:
        assert (opened.length, opened.read()) == (size, WAV[:size])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 50_100), st.integers(0, 50_100))
def test_it_seeks_anywhere(offset, length):
    opened = reader(seal_playback(KEY, AD, WAV))
    opened.seek(offset)
    assert opened.read(length) == WAV[offset : offset + length]


def test_a_seek_fetches_only_its_segment():
    data, log = seal_playback(KEY, AD, os.urandom(1_000_000)), []
    opened = reader(data, log=log)
    log.clear()
    opened.read_at(500_000, 4000)
    assert sum(length for _, length in log) == 16384


def test_another_messages_key_or_place_is_refused():
    data = seal_playback(KEY, AD, WAV)
    with pytest.raises(WrongKey):
        reader(data, key=bytes(32))
    with pytest.raises(Tampered):
        reader(data, ad=b"message 2")
    with pytest.raises((Tampered, Truncated)):
        reader(data[:-1])
    with pytest.raises(Truncated):
        reader(data[:HEAD])
    with pytest.raises(Tampered):
        reader(data + b"\x00")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 7), st.data())
def test_any_flipped_bit_is_refused(bit, data):
    sealed = bytearray(seal_playback(KEY, AD, WAV))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << bit
    with pytest.raises(SealError):
        reader(bytes(sealed)).read()


def test_nothing_of_the_sound_is_readable():
    sealed = seal_playback(KEY, AD, WAV)
    assert all(WAV[at : at + 16] not in sealed for at in range(0, 4000, 4))
    assert KEY not in sealed
