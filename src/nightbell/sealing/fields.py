"""Sealed database fields: short PHI under the message's key, bound to the place where it stands.

field = 0x01, nonce (12), AES-256-GCM(HKDF(key, "nightbell field v1"), padded, AAD)
padded = length u32, value, zeros up to the next bucket: 32-byte steps, from 256 on eighths of a power of two
AAD   = "nightbell field v1" 0x00, then table, column, row and practice, each with its length u16 before it
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nightbell.sealing.errors import Tampered, Truncated, UnknownFormat
from nightbell.sealing.subkeys import subkey

_VERSION, _NONCE, _TAG = b"\x01", 12, 16
_USE = b"nightbell field v1"
_LENGTH = struct.Struct(">I")
_STEP = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. row and practice: ULIDs. Not the mailbox: forwarding must not break it."""

    table: str
    column: str
    row: str
    practice: str

    def as_bytes(self) -> bytes:
        parts = [part.encode() for part in (self.table, self.column, self.row, self.practice)]
        return _USE + b"\x00" + b"".join(struct.pack(">H", len(part)) + part for part in parts)


def _bucket(size: int) -> int:
    step = max(_STEP, 1 << max(0, (size - 1).bit_length() - 4))
    return -(-size // step) * step


class Fields:
    """Seals and opens the fields of one message. Holds its derived key: drop it with the request."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(subkey(key, _USE))

    def seal(self, place: Place, value: bytes) -> bytes:
        size = _LENGTH.size + len(value)
        padded = (_LENGTH.pack(len(value)) + value).ljust(_bucket(size), b"\x00")
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, padded, place.as_bytes())

    def open(self, place: Place, sealed: bytes) -> bytes:
        """The value. Raises UnknownFormat, Truncated, Tampered (altered, of another place, another key)."""
        if sealed[:1] != _VERSION:
            raise UnknownFormat("a sealed field", "its version is not 1")
        if len(sealed) < 1 + _NONCE + _TAG + _LENGTH.size:
            raise Truncated("a sealed field", f"it has only {len(sealed)} bytes")
        try:
            padded = self._cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], place.as_bytes())
        except InvalidTag:
            raise Tampered(
                "a sealed field",
                "it does not authenticate at this place with this key",
                "restore the row from a backup",
            ) from None
        end = _LENGTH.size + int(_LENGTH.unpack_from(padded)[0])
        if end > len(padded):
            raise UnknownFormat("a sealed field", "its length runs over its end")
        return padded[_LENGTH.size : end]


def seal_field(key: bytes, place: Place, value: bytes) -> bytes:
    """Seal `value` for `place`. Raises ValueError for a key that is not 32 bytes."""
    return Fields(key).seal(place, value)


def open_field(key: bytes, place: Place, sealed: bytes) -> bytes:
    """The value. Raises as Fields.open."""
    return Fields(key).open(place, sealed)
