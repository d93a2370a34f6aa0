"""ULIDs: 26 characters of Crockford's base 32, 48 bits of milliseconds and 80 random bits.

Source: github.com/ulid/spec. Sortable by time of birth, safe in a path and a URL.
"""

from __future__ import annotations

import re
import secrets

from nightbell.core import clock

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SHAPE = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")


def new_ulid(at_ms: int | None = None) -> str:
    """A fresh ULID born now, or at `at_ms` (milliseconds since 1970)."""
    if at_ms is None:
        at_ms = int(clock.utc_now().timestamp() * 1000)
    value = (at_ms & (2**48 - 1)) << 80 | secrets.randbits(80)
    return "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    """Whether `text` has the shape of a ULID (upper case). Anything else must not reach a path."""
    return _SHAPE.match(text) is not None


def new_token() -> str:
    """An opaque, unguessable name for a link: 22 characters, 132 bits, URL-safe."""
    return secrets.token_urlsafe(17)[:22]
