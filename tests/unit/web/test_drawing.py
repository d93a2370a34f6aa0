"""Waveform, transcript pieces and byte ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.core.notice import Word
from nightbell.web.ranges import PIECE, Wanted, parse
from nightbell.web.wave import HEIGHT, WIDTH, bars, mark
from nightbell.web.words import pieces


def said(text: str, confidence: float = 0.9) -> Word:
    return Word(text, 0.0, 1.0, confidence)


@given(st.lists(st.integers(-50, 500), max_size=240), st.floats(0, 3600), st.floats(0, 60))
def test_every_bar_stays_in_the_drawing(peaks: list[int], duration: float, start: float) -> None:
    for bar in bars(peaks, duration, [(start, start + 2)]):
        assert 0 <= float(bar.x) <= WIDTH
        assert float(bar.y) >= 0 and float(bar.y) + float(bar.height) <= HEIGHT


def test_bars_are_red_while_the_flag_is_said() -> None:
    drawn = bars([50] * 10, 10.0, [(3.2, 4.1)])
    assert [bar.flag for bar in drawn] == [False, False, False, True, True, False, False, False, False, False]


@given(st.floats(0, 4000), st.floats(0, 4000), st.floats(0, 3600))
def test_a_mark_stays_in_the_drawing(start: float, length: float, duration: float) -> None:
    made = mark(start, start + length, duration, "flag")
    if duration > 0:
        assert made is not None
        assert float(made.x) >= 0 and float(made.x) + float(made.width) <= WIDTH + 0.11


def test_each_word_is_in_one_piece_and_a_flag_outranks_doubt() -> None:
    words = [
        said("I"),
        said("have"),
        said("chest", 0.2),
        said("pain"),
        said("sinse", 0.3),
        said("555"),
        said("0134"),
    ]
    found = pieces(words, {2: 0, 3: 0}, (5, 6))
    assert [(p.kind, p.text) for p in found] == [
        ("plain", "I have"),
        ("flag", "chest pain"),
        ("doubt", "sinse"),
        ("number", "555 0134"),
    ]
    assert found[2].least == 30


@given(st.lists(st.floats(0, 1), max_size=30), st.sets(st.integers(0, 29)))
def test_no_word_is_lost_or_doubled(confidences: list[float], marked: set[int]) -> None:
    words = tuple(Word(str(n), n, n + 1, c) for n, c in enumerate(confidences))
    found = pieces(words, dict.fromkeys(marked, 0), (3, 5))
    assert tuple(word for piece in found for word in piece.words) == words


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-", Wanted(0, PIECE)),
        ("bytes=100-199", Wanted(100, 100)),
        ("bytes=5-5", Wanted(5, 1)),
        ("bytes=-500", Wanted(None, 500)),
        ("bytes=0-99999999", Wanted(0, PIECE)),
        ("bytes=9-3", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=٣-", None),
        ("", None),
    ],
)
def test_it_reads_a_range(header: str, wanted: Wanted | None) -> None:
    assert parse(header) == wanted


@given(st.integers(0, 2000), st.integers(1, 2000), st.integers(0, 1500))
def test_a_range_never_leaves_the_thing(start: int, length: int, total: int) -> None:
    place = Wanted(start, length).within(total)
    if place is None:
        assert start >= total
    else:
        assert place[0] == start and 0 < place[1] <= length and place[0] + place[1] <= total
    assert Wanted(None, length).within(0) is None


@given(st.text(max_size=40))
def test_no_header_breaks_the_reader(header: str) -> None:
    wanted = parse(header)
    assert wanted is None or 0 <= wanted.length <= PIECE
