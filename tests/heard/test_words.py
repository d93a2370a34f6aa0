"""The comparing itself."""

from __future__ import annotations

import pytest
from tests.heard.words import errors, plain


@pytest.mark.parametrize(
    ("language", "said", "heard"),
    [
        ("en", "hang up and call nine one one.", "Hang up and call 911!"),
        ("en", "within twenty-five minutes.", "within 25 minutes"),
        ("en", "at nine forty-two in the evening.", "at 9:42 in the evening"),
        ("en", "at nine o'clock", "at 9:00"),
        ("en", "oh five, thirty", "05 30"),
        ("es", "Número equivocado: oprima dos.", "numero equivocado oprima 2"),
        ("es", "a las nueve y cuarenta y dos", "a las 9:42"),
        ("es", "a la una y quince", "a la 1:15"),
        ("es", "su nombre y su número", "su nombre y su numero"),
        ("es", "treinta y cinco", "35"),
    ],
)
def test_it_takes_numbers_for_the_same_however_they_are_written(language: str, said: str, heard: str) -> None:
    assert plain(said, language) == plain(heard, language)


@pytest.mark.parametrize(
    ("said", "heard", "count"),
    [("a b c", "a c", 1), ("a b", "a x b y", 2), ("press one", "press two", 1), ("", "a", 1)],
)
def test_it_counts_words_that_are_wrong(said: str, heard: str, count: int) -> None:
    assert errors(plain(said, "en"), plain(heard, "en")) == count
