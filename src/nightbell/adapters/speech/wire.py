"""How the worker and its speech child talk: frames over two pipes.

A frame is a length (4 bytes, big endian) and that many bytes. A request is two frames, JSON
{"language": str | null} and PCM; an answer is one, JSON: {"ready": ...}, {"refused": [what, why, mend]},
{"failed": type} or {"language": str, "words": [[text, start, end, confidence], ...]}.
"""

from __future__ import annotations

import json
import struct
from typing import BinaryIO

from nightbell.core.notice import Hearing, Word

LONGEST = 256 * 1024 * 1024  # bytes; over four hours of sound


def put(stream: BinaryIO, data: bytes) -> None:
    """Write one frame. Raises OSError when the other side is gone."""
    stream.write(struct.pack(">I", len(data)))
    stream.write(data)
    stream.flush()


def get(stream: BinaryIO) -> bytes:
    """Read one frame. Raises EOFError when the stream ends within or before it, ValueError if too long."""
    (size,) = struct.unpack(">I", _exactly(stream, 4))
    if size > LONGEST:
        raise ValueError("frame too long")
    return _exactly(stream, size)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def put_json(stream: BinaryIO, value: dict[str, object]) -> None:
    """Write one JSON object as a frame."""
    put(stream, json.dumps(value).encode())


def get_json(stream: BinaryIO) -> dict[str, object]:
    """Read one JSON object. Raises EOFError, ValueError."""
    value = json.loads(get(stream))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def words_out(words: tuple[Word, ...]) -> list[list[object]]:
    return [[word.text, word.start, word.end, word.confidence] for word in words]


def hearing_in(answer: dict[str, object], engine: str) -> Hearing:
    """An answer as a value. Raises ValueError or TypeError when the child talked nonsense."""
    rows = answer.get("words")
    if not isinstance(rows, list):
        raise ValueError("an answer without words")
    words = tuple(Word(str(t), float(s), float(e), float(c)) for t, s, e, c in rows)
    return Hearing(str(answer.get("language")), words, engine)
