"""The call-back number as people say it, and when not to believe it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightbell.core.notice import Word
from nightbell.mailbox.numbers import Spoken, spoken_number


def said(text: str, confidence: float = 0.9) -> list[Word]:
    return [Word(word, n * 0.5, n * 0.5 + 0.4, confidence) for n, word in enumerate(text.split())]


def heard(text: str, language: str = "en") -> tuple[str, bool] | None:
    found = spoken_number(said(text), language)
    return (found.number, found.certain) if found else None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("call me at six one seven, five five five, oh one nine three.", "en"),
        ("my number is 617 -555 -0193. Thank you", "en"),
        ("my number is 1-617-555-0193", "en"),
        ("six one seven double five five oh one ninety three", "en"),
        ("area code 617 and then um 555 dash 0193", "en"),
        ("(617) 555-0193 again 617 555 0193", "en"),
        ("617 555 0193 617 555 0193", "en"),
        ("account number 7712. Please call me at 617 555 0193", "en"),
        ("born oh three oh four nineteen sixty two, call 617 555 0193", "en"),
        ("mi número es seis uno siete cinco cincuenta y cinco cero uno noventa y tres", "es"),
    ],
)
def test_it_puts_a_whole_number_together(text: str, language: str) -> None:
    assert heard(text, language) == ("6175550193", True)


def test_it_reads_eight_hundred() -> None:
    assert heard("call eight hundred 555 0193") == ("8005550193", True)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("my number is 617 -555 -193.", "617555193"),
        ("my number is 312 -555 -90006.", "31255590006"),
        ("reach me at 555-0193", "5550193"),
        ("call me at 017 555 0193", "0175550193"),
        ("call 617-555-0193 or maybe 212-555-7718", "2125557718"),
    ],
)
def test_it_marks_a_damaged_or_contradicted_number(text: str, number: str) -> None:
    assert heard(text) == (number, False)


def test_it_does_not_trust_a_digit_that_was_heard_badly() -> None:
    words = [*said("call me at 617 555"), Word("0193", 3.0, 3.5, 0.3)]
    assert spoken_number(words) == Spoken("6175550193", False, 1.5, 3.5, (3, 4, 5))


def test_it_does_not_join_digits_over_a_long_pause() -> None:
    words = [Word("617555", 0, 1, 0.9), Word("0193", 9, 10, 0.9)]
    assert spoken_number(words) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I have been sick for three days",
        "my birthday is oh three oh four nineteen sixty two",
        "my blood pressure is 140 over 85",
        "my account is 123 456 78",
        "it is 12:30 on 11/24/2026",
    ],
)
def test_it_finds_no_number_where_there_is_none(text: str) -> None:
    assert heard(text) is None


def test_it_points_at_the_words() -> None:
    found = spoken_number(said("hello call 617 555 0193 thanks"))
    assert found == Spoken("6175550193", True, 1.0, 2.4, (2, 3, 4))


@settings(deadline=None)
@given(st.integers(200, 999), st.integers(200, 999), st.integers(0, 9999), st.booleans())
def test_it_reads_back_every_number(area: int, exchange: int, line: int, spelled: bool) -> None:
    number = f"{area}{exchange}{line:04d}"
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    text = " ".join(names[int(digit)] for digit in number) if spelled else f"{area} -{exchange} -{line:04d}."
    assert heard(f"call me back at {text} thank you") == (number, True)


@settings(deadline=None)
@given(st.lists(st.builds(Word, st.text(max_size=8), st.floats(0, 9), st.floats(0, 9), st.floats(0, 1))))
def test_it_takes_any_words(words: list[Word]) -> None:
    found = spoken_number(words)
    assert found is None or (found.number.isascii() and found.number.isdecimal())
