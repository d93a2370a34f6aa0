"""The recovery kit: the provider's key on paper, in groups, with check characters for every line."""

from __future__ import annotations

import hashlib
import re

from nightbell.core.ids import ALPHABET
from nightbell.sealing.errors import SealError
from nightbell.sealing.provider import KEK, key_id

_LINES, _BYTES, _CHARS, _CHECKS = 4, 8, 13, 2
_LINE = re.compile(r"^\s*([1-4])\s*:\s*([0-9A-Za-z -]+?)\s*$", re.MULTILINE)
# Crockford's base 32: what people misread is read as what was meant.
_MEANT = str.maketrans("OIL", "011")


class BadKit(SealError):
    """What was typed in is not a kit, or has a mistake in the line that it names."""


def _checks(number: int, part: bytes) -> str:
    value = int.from_bytes(hashlib.sha256(b"nightbell kit v1" + bytes([number]) + part).digest()[:2], "big")
    return ALPHABET[value >> 5 & 31] + ALPHABET[value & 31]


def _line(number: int, part: bytes) -> str:
    value = int.from_bytes(part, "big")
    text = "".join(ALPHABET[value >> shift & 31] for shift in range(60, -1, -5)) + _checks(number, part)
    return f"    {number}:  {text[:5]} {text[5:10]} {text[10:]}"


def print_kit(key: bytes, made: str, installation: str) -> str:
    """The text to print. made: a date; installation: its public name. Raises ValueError."""
    if len(key) != KEK:
        raise ValueError(f"a key has {KEK} bytes")
    parts = [key[at : at + _BYTES] for at in range(0, KEK, _BYTES)]
    return "\n".join(
        [
            "NIGHTBELL RECOVERY KIT",
            "",
            f"Installation: {installation}",
            f"Made:         {made}",
            f"Key id:       {key_id(key).hex()}",
            "",
            "Whoever holds this page and a copy of the data can read every message.",
            "Print it twice, keep it in two places under lock, store it on no computer.",
            "",
            *(_line(number, part) for number, part in enumerate(parts, 1)),
            "",
            "To use it: nightbell keys restore, then type the four lines. Upper and lower",
            "case, blanks and dashes do not matter; each line carries its own check.",
            "",
        ]
    )


def parse_kit(text: str) -> bytes:
    """The key, from the whole page or from its four numbered lines. Raises BadKit naming the wrong line."""
    lines = {int(number): body for number, body in _LINE.findall(text)}
    parts = []
    for number in range(1, _LINES + 1):
        if number not in lines:
            raise BadKit(
                "the recovery kit", f"line {number} is missing", "type all four lines with their numbers"
            )
        parts.append(_parse_line(number, lines[number]))
    return b"".join(parts)


def _parse_line(number: int, body: str) -> bytes:
    chars = re.sub(r"[ -]", "", body).upper().translate(_MEANT)
    wrong = BadKit("the recovery kit", f"line {number} is mistyped", "compare it with the page, sign by sign")
    if len(chars) != _CHARS + _CHECKS or any(char not in ALPHABET for char in chars):
        raise wrong
    value = 0
    for char in chars[:_CHARS]:
        value = value << 5 | ALPHABET.index(char)
    if value >> 64:
        raise wrong
    part = value.to_bytes(_BYTES, "big")
    if _checks(number, part) != chars[_CHARS:]:
        raise wrong
    return part
