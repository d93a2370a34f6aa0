"""HTTP Range for sound: one byte range, capped, as RFC 9110 §14 reads it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

PIECE = 512 * 1024  # a reply is buffered whole: never more than this at once
_ONE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})\Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stretch of bytes. `start` None: the last `length` bytes of the thing."""

    start: int | None
    length: int

    def within(self, total: int) -> tuple[int, int] | None:
        """Start and length inside a thing of `total` bytes, or None: not satisfiable (416)."""
        if self.start is None:
            length = min(self.length, total)
            return (total - length, length) if length else None
        if self.start >= total:
            return None
        return self.start, min(self.length, total - self.start)


def parse(header: str) -> Wanted | None:
    """Read a Range header. None: absent, several ranges, or not ours to read; the whole is sent then."""
    match = _ONE.match(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return Wanted(None, min(int(last), PIECE))
    if last and int(last) < int(first):
        return None
    length = int(last) - int(first) + 1 if last else PIECE
    return Wanted(int(first), min(length, PIECE))
