"""Text that a person typed or pasted, as it is kept: nothing in it that is not seen. Pure."""

from __future__ import annotations

import unicodedata

JOINER = "\u200d"
_MARKS = frozenset(
    "\u00ad\u200b\u200c\u2060\ufeff\u180e\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def clean(text: str) -> str:
    """Lines end in LF, every space is a space, and marks that show nothing or turn the reading round are gone: a dose must
    read as it was meant. ZWJ stays only between two pictures."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = "".join(one for one in text if one not in _MARKS)
    kept = [
        " " if unicodedata.category(one) == "Zs" else one
        for at, one in enumerate(text)
        if one != JOINER or _joins(text, at)
    ]
    return "".join(kept).strip()


def _joins(text: str, at: int) -> bool:
    before, after = text[:at][-1:], text[at + 1 : at + 2]
    return _picture(before) and _picture(after)


def _picture(one: str) -> bool:
    """Of an emoji: the sign, its skin (Sk) or how it is drawn (U+FE0F)."""
    return one == "\ufe0f" or (one != "" and unicodedata.category(one) in ("So", "Sk"))


def has_control(text: str) -> bool:
    """Whether what `clean` gave still holds something that cannot be printed."""
    return any(not one.isprintable() and one not in "\n\t" + JOINER for one in text)
