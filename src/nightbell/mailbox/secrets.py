"""PHI columns of a message: sealed and opened under the message's own key, as typed PHI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nightbell.core.notice import Hearing, Word
from nightbell.core.phi import Phi
from nightbell.mailbox.values import Reason
from nightbell.sealing.fields import Place, open_field, seal_field

_TABLE = "mailbox_message"
NOTES = "mailbox_note"


def place(column: str, message_id: str, practice_id: str, table: str = _TABLE) -> Place:
    """The associated data of a sealed column. Not the mailbox: forwarding must work (decision 3)."""
    return Place(table, column, message_id, practice_id)


def seal_text(key: bytes, where: Place, text: str) -> bytes:
    return seal_field(key, where, text.encode())


def open_text(key: bytes, where: Place, sealed: bytes | memoryview) -> Phi[str]:
    return Phi(open_field(key, where, bytes(sealed)).decode())


def seal_bytes(key: bytes, where: Place, value: bytes) -> bytes:
    return seal_field(key, where, value)


def open_bytes(key: bytes, where: Place, sealed: bytes | memoryview) -> Phi[bytes]:
    return Phi(open_field(key, where, bytes(sealed)))


def seal_hearing(key: bytes, where: Place, hearing: Hearing) -> bytes:
    words = [[w.text, round(w.start, 2), round(w.end, 2), round(w.confidence, 3)] for w in hearing.words]
    return seal_text(
        key, where, json.dumps({"language": hearing.language, "engine": hearing.engine, "words": words})
    )


def open_words(key: bytes, where: Place, sealed: bytes | memoryview) -> Phi[tuple[Word, ...]]:
    stored: dict[str, Any] = json.loads(open_field(key, where, bytes(sealed)))
    return Phi(tuple(Word(*word) for word in stored["words"]))


def seal_reasons(
    key: bytes, where: Place, reasons: Sequence[Reason], words: dict[int, int], number: tuple[int, int] | None
) -> bytes:
    stored = {"reasons": [asdict(r) for r in reasons], "words": sorted(words.items()), "number": number}
    return seal_text(key, where, json.dumps(stored))


def open_reasons(
    key: bytes, where: Place, sealed: bytes | memoryview
) -> Phi[tuple[tuple[Reason, ...], dict[int, int], tuple[int, int] | None]]:
    stored: dict[str, Any] = json.loads(open_field(key, where, bytes(sealed)))
    number = tuple(stored["number"]) if stored["number"] else None
    return Phi((tuple(Reason(**r) for r in stored["reasons"]), dict(stored["words"]), number))
