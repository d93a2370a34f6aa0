"""One message key, one derived key per use: HKDF-SHA256 (RFC 5869) without salt, the use as info."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY = 32


def subkey(key: bytes, use: bytes) -> bytes:
    """32 bytes for `use`. Raises ValueError when `key` is not a 32-byte key."""
    if len(key) != KEY:
        raise ValueError(f"a key has {KEY} bytes")
    return HKDF(hashes.SHA256(), KEY, None, use).derive(key)
