"""Sealing key epochs: whoever has the public half can seal, only the holder of the private seed opens.

HPKE (RFC 9180, base mode) with ML-KEM-768 + X25519 (draft-ietf-hpke-pq), HKDF-SHA256, AES-256-GCM.
The code point is young: a version byte comes first, and our own vectors in tests/vectors/sealed
tell when a library changes its mind.

    sealed  = 0x01, encapsulated key (1120), AES-256-GCM(key)
    public  = 0x01, ML-KEM-768 public key (1184), X25519 public key (32)
    private = 0x01, ML-KEM-768 seed (64), X25519 private key (32)
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from nightbell.core.ids import is_ulid, new_ulid
from nightbell.sealing.errors import Truncated, UnknownFormat, WrongKey

Unfolded = MLKEM768X25519PrivateKey
VERSION = b"\x01"
_KEM_PUBLIC, _CURVE = 1184, 32
_KEM_SEED = 64
PUBLIC_SIZE = 1 + _KEM_PUBLIC + _CURVE
PRIVATE_SIZE = 1 + _KEM_SEED + _CURVE
SEALED_OVERHEAD = 1 + 1120 + 16
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True)
class EpochPublic:
    """The half of an epoch that the phone holds. id: ULID; public: PUBLIC_SIZE bytes."""

    id: str
    public: bytes

    def __post_init__(self) -> None:
        if not is_ulid(self.id):
            raise UnknownFormat("a sealing key epoch", "its id is not a ULID")
        _public_key(self.public)

    def to_dict(self) -> dict[str, str]:
        return {"id": self.id, "public": base64.b64encode(self.public).decode()}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> EpochPublic:
        """Raises UnknownFormat for anything that to_dict did not make."""
        try:
            return cls(str(data["id"]), base64.b64decode(str(data["public"]), validate=True))
        except (KeyError, ValueError) as error:
            raise UnknownFormat("a sealing key epoch", "'id' or 'public' is missing or garbled") from error


@lru_cache(4)
def _public_key(data: bytes) -> MLKEM768X25519PublicKey:
    """Read once, not for each call: the new epoch, the one before, and some room."""
    if len(data) != PUBLIC_SIZE or data[:1] != VERSION:
        raise UnknownFormat("a sealing public key", f"it is not version 1 of {PUBLIC_SIZE} bytes")
    try:
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(data[1 : 1 + _KEM_PUBLIC]),
            X25519PublicKey.from_public_bytes(data[1 + _KEM_PUBLIC :]),
        )
    except ValueError as error:
        raise UnknownFormat("a sealing public key", "it is not a valid point or ring element") from error


def new_epoch() -> tuple[EpochPublic, bytes]:
    """A fresh epoch and its private seed, which belongs into the keyring and nowhere else."""
    kem, curve = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    public = VERSION + kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return EpochPublic(new_ulid(), public), VERSION + kem.private_bytes_raw() + curve.private_bytes_raw()


def seal_key(epoch: EpochPublic, key: bytes, info: bytes) -> bytes:
    """Seal a short key to an epoch; `info` (public) must be the same at opening."""
    return VERSION + _SUITE.encrypt(key, _public_key(epoch.public), info)


def unfold(private: bytes) -> Unfolded:
    """The key that a private seed stands for: as long to make as a sealed key takes to open. Raises UnknownFormat."""
    if len(private) != PRIVATE_SIZE or private[:1] != VERSION:
        raise UnknownFormat("a sealing private seed", f"it is not version 1 of {PRIVATE_SIZE} bytes")
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(private[1 : 1 + _KEM_SEED]),
        X25519PrivateKey.from_private_bytes(private[1 + _KEM_SEED :]),
    )


def open_key(private: bytes | Unfolded, sealed: bytes, info: bytes) -> bytes:
    """Open what seal_key made. private: the seed, or it unfolded. Raises UnknownFormat, Truncated, WrongKey."""
    pair = unfold(private) if isinstance(private, bytes) else private
    if sealed[:1] != VERSION:
        raise UnknownFormat("a sealed key", "its version is not 1")
    if len(sealed) <= SEALED_OVERHEAD:
        raise Truncated("a sealed key", f"it has {len(sealed)} bytes, needs more than {SEALED_OVERHEAD}")
    try:
        return _SUITE.decrypt(sealed[1:], pair, info)
    except (InvalidTag, ValueError) as error:
        raise WrongKey("a sealed key", "this epoch's private key does not open it") from error
