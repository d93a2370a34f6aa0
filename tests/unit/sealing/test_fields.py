from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.core.ids import new_ulid
from nightbell.sealing.errors import SealError, Tampered
from nightbell.sealing.fields import Place, open_field, seal_field

KEY = bytes(range(32))
PLACE = Place("message", "caller", new_ulid(), new_ulid())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_it_gives_back_the_value(value):
    assert open_field(KEY, PLACE, seal_field(KEY, PLACE, value)) == value


def test_a_value_moved_to_another_place_or_key_is_refused():
    sealed = seal_field(KEY, PLACE, b"+15550100")
    moved = [replace(PLACE, **{name: "x"}) for name in ("table", "column", "row", "practice")]
    for place in (*moved, Place("messag", "ecaller", PLACE.row, PLACE.practice)):
        with pytest.raises(Tampered):
            open_field(KEY, place, sealed)
    with pytest.raises(Tampered):
        open_field(bytes(32), PLACE, sealed)


def test_any_flipped_bit_is_refused():
    sealed = seal_field(KEY, PLACE, b"words")
    for at in range(len(sealed)):
        for bit in range(8):
            wrong = bytearray(sealed)
            wrong[at] ^= 1 << bit
            with pytest.raises(SealError):
                open_field(KEY, PLACE, bytes(wrong))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_garbage_is_refused_by_type(data):
    for value in (data, b"\x01" + data):
        with pytest.raises(SealError):
            open_field(KEY, PLACE, value)


def test_the_length_tells_little():
    sizes = [len(seal_field(KEY, PLACE, bytes(n))) for n in range(2000)]
    assert len(set(sizes[:29])) == 1
    assert len(set(sizes)) < 40
    assert all(size <= 29 + 32 + (n + 4) * 9 / 8 for n, size in enumerate(sizes))
    assert seal_field(KEY, PLACE, b"same") != seal_field(KEY, PLACE, b"same")
