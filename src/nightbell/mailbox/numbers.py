"""The number that a caller says: digits and number words, in English and Spanish, to a string of digits. Pure.

Numbers are North American (ten digits; area code and exchange begin with 2 to 9). A wrong call-back
number is worse than none: whatever is not plainly whole is marked uncertain, for a person to listen to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nightbell.core.notice import Word

_UNITS = {
    "en": "zero one two three four five six seven eight nine",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
}
_TEENS = {
    "en": "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
    "es": "diez once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve",
}
_TENS = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
}
_MORE: Mapping[str, Mapping[str, int]] = {
    "en": {"oh": 0, "o": 0, "fourty": 40},
    "es": {"un": 1, "una": 1, "dieciseis": 16}
    | {
        f"veinti{name}": 20 + n
        for n, name in enumerate(
            ["ún", "uno", "dós", "tres", "cuatro", "cinco", "séis", "siete", "ocho", "nueve"]
        )
    }
    | {"veintidos": 22, "veintidós": 22, "veintitrés": 23, "veintiseis": 26, "veintiún": 21, "veintiuno": 21},
}


def _values(language: str) -> dict[str, int]:
    names: dict[str, int] = dict(_MORE[language])
    names |= {name: n for n, name in enumerate(_UNITS[language].split())}
    names |= {name: n + 10 for n, name in enumerate(_TEENS[language].split())}
    names |= {name: 10 * n + 20 for n, name in enumerate(_TENS[language].split())}
    return names


_VALUE: Mapping[str, Mapping[str, int]] = {language: _values(language) for language in ("en", "es")}
_REPEAT = {"double": 2, "triple": 3, "doble": 2}
_FILLER = frozenset(
    [
        ",",
        ".",
        "-",
        "(",
        ")",
        "+",
        ";",
        "area",
        "code",
        "and",
        "dash",
        "um",
        "uh",
        "er",
        "then",
        "guion",
        "guión",
        "y",
        "eh",
        "este",
        "código",
        "codigo",
        "de",
        "área",
    ]
)
_CUE = re.compile(
    r"\b(?:call|reach|number|phone|cell|callback|back at|me at|contact|llam\w+|número|numero|teléfono|celular)\b"
)
_NOT_A_PHONE = re.compile(r"\b(?:birth\w*|born|dob|account|policy|member|record|nac\w+|cuenta|póliza)\b")
_WHOLE = re.compile(r"1?([2-9]\d{2}[2-9]\d{6})\Z")
_PIECE = re.compile(r"\d+|[^\W\d_]+|[^\w\s]")
_HUNDRED = frozenset(["hundred", "cientos"])
_SURE = 0.45  # least confidence of each spoken digit
_LONGEST_PAUSE = 6.0  # seconds between the parts of one number
_CONTEXT = 10  # words before a number that say what it is


@dataclass(frozen=True, slots=True)
class Spoken:
    """A number as heard. number: digits only; certain: plainly whole, heard well and not contradicted.

    start, end: seconds; indexes: positions of its words in the transcript.
    """

    number: str
    certain: bool
    start: float
    end: float
    indexes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Run:
    """Digits said one after another, and the words that hold them."""

    digits: str
    indexes: tuple[int, ...]


def spoken_number(words: Sequence[Word], language: str = "en") -> Spoken | None:
    """The call-back number that was most likely meant: the best candidate, the last one of equals."""
    candidates = []
    for run in _runs(words, _VALUE.get(language, _VALUE["en"])):
        score, number = _score(run, words)
        if score > 0:
            candidates.append((score, number, run))
    if not candidates:
        return None
    score, number, run = max(reversed(candidates), key=lambda candidate: candidate[0])
    rivals = {other for _, other, _ in candidates if _WHOLE.match(other)} - {number}
    heard_well = all(words[index].confidence >= _SURE for index in run.indexes)
    certain = _WHOLE.match(number) is not None and number in _halves(run.digits) and heard_well and not rivals
    return Spoken(number, certain, words[run.indexes[0]].start, words[run.indexes[-1]].end, run.indexes)


def _halves(digits: str) -> set[str]:
    """What a run says when it is one number, or the same one twice."""
    half = len(digits) // 2
    said = {digits}
    if len(digits) >= 20 and digits[:half] == digits[half:]:
        said.add(digits[:half])
    return {match[1] for text in said if (match := _WHOLE.match(text))}


def _score(run: _Run, words: Sequence[Word]) -> tuple[int, str]:
    """How much a run looks like a telephone number (0: not at all), and the number in it."""
    before = " ".join(word.text.lower() for word in words[max(0, run.indexes[0] - _CONTEXT) : run.indexes[0]])
    cues = [match.start() for match in _CUE.finditer(before)]
    others = [match.start() for match in _NOT_A_PHONE.finditer(before)]
    wanted = bool(cues) and max(cues) > max(others, default=-1)
    unwanted = bool(others) and not wanted
    whole = _halves(run.digits)
    if whole:
        return (20 if wanted else 10 - 5 * unwanted), min(whole)
    size = len(run.digits)
    if unwanted or not 7 <= size <= 22:
        return 0, run.digits
    return (4 if size == 7 else 3) + 5 * wanted, run.digits


def _runs(words: Sequence[Word], values: Mapping[str, int]) -> Iterator[_Run]:
    """Each unbroken row of digits. A row ends at any other word, at / : $ %, or at a long pause."""
    pieces = [
        (index, piece) for index, word in enumerate(words) for piece in _PIECE.findall(word.text.lower())
    ]
    digits, held, repeat, at = "", list[int](), 1, 0
    while at < len(pieces):
        index, piece = pieces[at]
        said, used = _digits([piece for _, piece in pieces[at : at + 3]], values)
        if piece in _HUNDRED and digits:
            said = "00"
        paused = bool(held) and words[index].start - words[held[-1]].end > _LONGEST_PAUSE
        breaks = not said and piece not in _REPEAT and piece not in _FILLER
        if digits and (breaks or paused):
            yield _Run(digits, tuple(held))
            digits, held = "", []
        if said:
            digits += said * repeat
            held += [i for i, _ in pieces[at : at + used] if i not in held]
        repeat = _REPEAT.get(piece, 1)
        at += used
    if digits:
        yield _Run(digits, tuple(held))


def _digits(pieces: Sequence[str], values: Mapping[str, int]) -> tuple[str, int]:
    """The digits that the first pieces say ('' if none) and how many pieces say them: "forty" "two" is 42."""
    first, *following = pieces
    if first.isascii() and first.isdecimal():
        return first, 1
    if first not in values:
        return "", 1
    value = values[first]
    joined = following[:1] == ["y"]
    unit = values.get(following[joined], 0) if len(following) > joined else 0
    if 20 <= value < 100 and value % 10 == 0 and 0 < unit < 10:
        return str(value + unit), 2 + joined
    return str(value), 1
