"""What a person types or pastes into a note: all that is seen, and nothing that is not."""

from __future__ import annotations

import pytest

from nightbell.core.typed import clean, has_control
from nightbell.mailbox.errors import BadText
from nightbell.oncall import phone_note


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("5\u00a0mg\u202f/ day", "5 mg / day"), ("\u200eRing\u200b her\ufeff", "Ring her"), ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("take \u202e05\u202c mg", "take 05 mg"), ("\u206710\u2069 ml", "10 ml"), ("a\u200db", "ab"), ("\u200d", ""),
        ("\U0001f469\u200d\u2695\ufe0f", "\U0001f469\u200d\u2695\ufe0f"),
        ("\U0001f468\U0001f3fd\u200d\U0001f4bb", "\U0001f468\U0001f3fd\u200d\U0001f4bb"), ("col\tumn", "col\tumn"),
    ],
)  # fmt: skip
def test_what_was_pasted_reads_as_it_was_meant(typed: str, kept: str) -> None:
    assert clean(typed) == kept and not has_control(clean(typed))
    assert phone_note.check({"advice": typed}).advice == kept


@pytest.mark.parametrize("typed", ["a\x00b", "a\x07", "\x1b[31m", "a\x85b", "a\ud800"])
def test_other_control_characters_are_told(typed: str) -> None:
    assert has_control(clean(typed))
    with pytest.raises(BadText, match="control"):
        phone_note.check({"advice": typed})


def test_a_line_end_counts_once() -> None:
    assert phone_note.check({"advice": "ab\r\n" * 1333 + "x"}).advice.count("\n") == 1333
