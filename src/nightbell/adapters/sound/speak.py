"""A machine's voice, behind the port `core.sound.Speaker`: the program eSpeak NG, where it is installed.

It is GPL: a program of its own that we start, never a library. The text goes in by standard input, so that
no list of processes shows it.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import wave
from io import BytesIO
from pathlib import Path

from nightbell.adapters.sound import cage
from nightbell.core.sound import MOST_LETTERS, BadSound, SoundUnavailable

_VOICES = {"en": "en-us", "es": "es-419"}
_WORDS_A_MINUTE = 155
_MOST_OUT = 20_000_000  # bytes: over seven minutes
_WHAT = "the text to be spoken"


class EspeakSpeaker:
    """Implements `core.sound.Speaker`. search: where the program is looked for, like PATH; seconds: per text."""

    def __init__(self, search: str | None = None, *, seconds: float = 20.0) -> None:
        self._search, self._seconds = search, seconds

    def available(self) -> bool:
        """See `core.sound.Speaker`."""
        return self._program() is not None

    def speak(self, text: str, language: str) -> bytes:
        """See `core.sound.Speaker`."""
        words = plain(text)
        if language not in _VOICES:
            raise BadSound(_WHAT, "there is no voice for this language", "use 'en' or 'es'")
        program = self._program()
        if program is None:
            raise SoundUnavailable(
                "the machine's voice", "eSpeak NG is not installed", "install espeak-ng, or record a person"
            )
        arguments = ["-v", _VOICES[language], "-s", str(_WORDS_A_MINUTE), "-b", "1", "--stdin", "--stdout"]
        try:
            sound = cage.run(program, arguments, words.encode(), seconds=self._seconds, most=_MOST_OUT)
            return _whole(sound)
        except (cage.Ended, OSError, ValueError) as error:
            raise SoundUnavailable(
                "the machine's voice",
                f"eSpeak NG gave no sound ({_cause(error)})",
                "try again, or record a person",
            ) from error

    def _program(self) -> Path | None:
        search = os.environ.get("PATH", os.defpath) if self._search is None else self._search
        found = shutil.which("espeak-ng", path=search)
        return Path(found) if found else None


def plain(text: str) -> str:
    """The text in one line, without what the voice would take for phonemes ([[…]]). Raises BadSound."""
    words = " ".join(re.sub(r"[\x00-\x1f\x7f\[\]\ud800-\udfff]", " ", text).split())
    if not re.search(r"\w", words):
        raise BadSound(_WHAT, "there are no words in it", "write the sentence")
    if len(words) > MOST_LETTERS:
        raise BadSound(_WHAT, f"it is longer than {MOST_LETTERS} letters", "say it in fewer words")
    return words


def _cause(error: Exception) -> str:
    return error.how.value if isinstance(error, cage.Ended) else type(error).__name__


def _whole(sound: bytes) -> bytes:
    """The WAV with its true length: a program that writes to a pipe cannot go back to fill it in.

    Raises ValueError when it is not 16-bit mono PCM, or empty.
    """
    at = sound.find(b"data", 36)
    if sound[:4] != b"RIFF" or at < 0 or struct.unpack_from("<HH", sound, 20) != (1, 1):
        raise ValueError("not a mono PCM WAV")
    rate, bits = struct.unpack_from("<I6xH", sound, 24)
    samples = sound[at + 8 :]
    if bits != 16 or len(samples) < 2:
        raise ValueError("no 16-bit samples")
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples[: len(samples) // 2 * 2])
    return out.getvalue()
