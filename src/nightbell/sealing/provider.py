"""The key provider: what wraps the period keys. A file here; key services fit the same protocol."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nightbell.core.durable import sync_folder
from nightbell.sealing.errors import KeyUnavailable, Tampered, Truncated, UnknownFormat, WrongKey

KEK = 32
_VERSION = b"\x01"
_ID, _NONCE, _TAG = 8, 12, 16
_USE = b"nightbell kek v1\x00"


class KeyProvider(Protocol):
    """Wraps short secrets under a key that it keeps. `context` is public and must be the same at unwrapping.

    unwrap raises KeyUnavailable (the provider cannot be reached now), WrongKey (wrapped under
    another key), Tampered (altered bytes or context), UnknownFormat, Truncated.
    """

    def wrap(self, data: bytes, context: bytes) -> bytes: ...

    def unwrap(self, data: bytes, context: bytes) -> bytes: ...


def key_id(key: bytes) -> bytes:
    """Names a KEK without telling it: 8 bytes."""
    return hashlib.sha256(b"nightbell kek id v1\x00" + key).digest()[:_ID]


class FileKeyProvider:
    """A 32-byte key in a file that only its owner can read; read anew for every use.

    wrapped = 0x01, key id (8), nonce (12), AES-256-GCM(data, AAD = "nightbell kek v1" 0x00 context)
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, key: bytes | None = None) -> FileKeyProvider:
        """Make the file with a fresh key, or with one typed in from the recovery kit. Never overwrites.

        Raises FileExistsError, OSError, ValueError (wrong length).
        """
        key = secrets.token_bytes(KEK) if key is None else key
        if len(key) != KEK:
            raise ValueError(f"a key has {KEK} bytes")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(key)
                out.flush()
                os.fsync(out.fileno())
            os.link(new, path)
        finally:
            new.unlink()
        sync_folder(path.parent)
        return cls(path)

    def read(self) -> bytes:
        """The key itself, for the recovery kit. Raises KeyUnavailable."""
        try:
            with open(self.path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                key = file.read(KEK + 1)
        except OSError as error:
            raise KeyUnavailable(
                "the key file",
                f"{self.path} cannot be read ({error.strerror})",
                "put it back, or type in the recovery kit",
            ) from error
        if mode & 0o077:
            raise KeyUnavailable(
                "the key file", f"{self.path} can be read by others", f"run: chmod 600 {self.path}"
            )
        if len(key) != KEK:
            raise KeyUnavailable(
                "the key file", f"{self.path} is not a key of {KEK} bytes", "restore it from its copy"
            )
        return key

    def wrap(self, data: bytes, context: bytes) -> bytes:
        key, nonce = self.read(), os.urandom(_NONCE)
        return _VERSION + key_id(key) + nonce + AESGCM(key).encrypt(nonce, data, _USE + context)

    def unwrap(self, data: bytes, context: bytes) -> bytes:
        if data[:1] != _VERSION:
            raise UnknownFormat("a wrapped key", "its version is not 1")
        if len(data) < 1 + _ID + _NONCE + _TAG:
            raise Truncated("a wrapped key", f"it has only {len(data)} bytes")
        key = self.read()
        if data[1 : 1 + _ID] != key_id(key):
            raise WrongKey(
                "a wrapped key",
                f"it needs the key with id {data[1 : 1 + _ID].hex()}, {self.path} holds {key_id(key).hex()}",
                "put the right key file back",
            )
        body = data[1 + _ID :]
        try:
            return AESGCM(key).decrypt(body[:_NONCE], body[_NONCE:], _USE + context)
        except InvalidTag:
            raise Tampered("a wrapped key", "it does not authenticate", "restore it from a backup") from None
