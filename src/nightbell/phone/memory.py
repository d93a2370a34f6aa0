"""What is remembered of a caller for the next call: the language, and that there was no hurry.

In memory alone, under a key of this process: a number is not written anywhere, and a restart forgets all.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

SLOW_FOR = 600.0  # seconds: a relay operator often has to call again
LANGUAGE_FOR = 180 * 86400.0
MOST = 20_000


@dataclass(frozen=True, slots=True)
class Remembered:
    """language: '' when none was chosen; slow: begin with the slow column."""

    language: str = ""
    slow: bool = False


class Memory:
    """Callers of one phone. now: monotonic seconds."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._kept: OrderedDict[bytes, tuple[str, float, float]] = OrderedDict()

    def recall(self, practice: str, caller: str, now: float) -> Remembered:
        """What an earlier call left; nothing for a withheld number."""
        kept = self._kept.get(self._name(practice, caller)) if caller else None
        if kept is None:
            return Remembered()
        language, language_at, slow_at = kept
        return Remembered(
            language if now - language_at < LANGUAGE_FOR else "",
            now - slow_at < SLOW_FOR,
        )

    def keep(self, practice: str, caller: str, language: str, slow: bool, now: float) -> None:
        """language '': as it was."""
        if not caller:
            return
        name = self._name(practice, caller)
        before, before_at, slow_at = self._kept.pop(name, ("", 0.0, -SLOW_FOR))
        self._kept[name] = (
            language or before,
            now if language else before_at,
            now if slow else slow_at,
        )
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def _name(self, practice: str, caller: str) -> bytes:
        return hmac.digest(self._key, f"{practice}|{caller}".encode(), hashlib.sha256)[:16]
