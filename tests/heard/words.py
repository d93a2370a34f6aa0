"""Words as they are compared: no case, no punctuation, every number as its digits, however it was written.

"at nine forty-two", "at 9:42" and "a las nueve y cuarenta y dos", "a las 9:42" come to the same.
"""

from __future__ import annotations

import re
import unicodedata

_SMALL = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciseis"
    " diecisiete dieciocho diecinueve veinte veintiuno veintidos veintitres veinticuatro veinticinco veintiseis"
    " veintisiete veintiocho veintinueve",
}
_TENS = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
}
_NUMBERS = {
    language: {word: n for n, word in enumerate(_SMALL[language].split())}
    | {word: n * 10 for n, word in enumerate(_TENS[language].split(), 2)}
    | ({"oh": 0} if language == "en" else {"una": 1, "un": 1})
    for language in _SMALL
}


def plain(text: str, language: str) -> list[str]:
    """The words of a text in their compared form; every digit is a word of its own."""
    text = re.sub(r"\b(\d{1,2})[:.]00\b", r"\1", text.lower())
    text = re.sub(r"o'?clock|o’clock|\bp\.? ?m\b\.?|\ba\.? ?m\b\.?", " ", text) if language == "en" else text
    text = "".join(one for one in unicodedata.normalize("NFD", text) if not unicodedata.combining(one))
    words = re.findall(r"[a-z']+|\d", text)
    numbers = _NUMBERS[language]
    out: list[str] = []
    before: int | None = None  # a ten that a unit may follow
    for at, word in enumerate(words):
        if (
            language == "es"
            and word == "y"
            and _is_number(words, at + 1, numbers)
            and out
            and out[-1].isdigit()
        ):
            continue
        value = numbers.get(word)
        if value is None:
            out.append(word)
        elif before is not None and 0 < value < 10:
            out[-1] = str(value)
        else:
            out += list(str(value))
        before = value if value is not None and value >= 20 and value % 10 == 0 else None
    return out


def _is_number(words: list[str], at: int, numbers: dict[str, int]) -> bool:
    return at < len(words) and (words[at].isdigit() or words[at] in numbers)


def errors(said: list[str], heard: list[str]) -> int:
    """Words to insert, delete or exchange (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
