"""Spoken clips with what was said (manifest.json: text, licence, source), as a telephone carries them."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from nightbell.core.capture import Codec
from nightbell.sip.g711 import decode

FOLDER = Path(__file__).parent
_DIGITS = dict(
    zip(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "oh"],
        "01234567890",
        strict=True,
    )
)


@dataclass(frozen=True)
class Clip:
    """pcm: 16 bit, 8000 Hz; plain: the words in lower case, every digit by itself."""

    name: str
    pcm: bytes
    plain: str

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 16000


def read_wav(path: Path) -> bytes:
    """The PCM of a mu-law or 16 bit WAV file at 8000 Hz, mono."""
    data, at, form = path.read_bytes(), 12, (0, 0, 0)
    while True:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data":
            sound = data[at + 8 : at + 8 + size]
            assert form in ((7, 1, 8000), (1, 1, 8000)), path
            return decode(sound, Codec.PCMU) if form[0] == 7 else sound
        if name == b"fmt ":
            form = struct.unpack("<HHI", data[at + 8 : at + 16])
        at += 8 + size + size % 2


def _entries() -> list[dict[str, str]]:
    entries: list[dict[str, str]] = json.loads((FOLDER / "manifest.json").read_text("utf-8"))
    return entries


def load(name: str) -> Clip:
    (entry,) = (entry for entry in _entries() if entry["id"] == name)
    return Clip(name, read_wav(FOLDER / f"{name}.wav"), plain(entry["plain"]))


def names(language: str = "en") -> list[str]:
    return [entry["id"] for entry in _entries() if entry["language"] == language]


def plain(text: str) -> str:
    """Lower case, no punctuation, each digit a word of its own (but 2nd, 22nd)."""
    words = re.sub(r"[^\w' ]", " ", text.lower()).split()
    out: list[str] = []
    for word in words:
        word = _DIGITS.get(word, word)
        out += list(word) if word.isdigit() else [word]
    return " ".join(out)


def word_errors(said: str, heard: str) -> int:
    """Words to insert, delete or exchange (Levenshtein) to get from one to the other."""
    row = list(range(len(heard.split()) + 1))
    for i, a in enumerate(said.split(), 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(heard.split(), 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
