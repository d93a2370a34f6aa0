"""A signed file: what the worker tells the phone, in a form that the phone checks against a pinned key.

{"payload": base64(JSON), "signature": base64(Ed25519 over the payload's bytes)}
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def sign(payload: Mapping[str, object], key: Ed25519PrivateKey) -> bytes:
    """The signed file of a payload."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    signed = {
        "payload": base64.b64encode(body).decode(),
        "signature": base64.b64encode(key.sign(body)).decode(),
    }
    return json.dumps(signed).encode()


def opened(file: bytes, trust: bytes) -> bytes:
    """The payload of a signed file. trust: raw Ed25519 public key, 32 bytes.

    Raises ValueError (no signed file) or InvalidSignature.
    """
    try:
        outer = json.loads(file)
        body = base64.b64decode(outer["payload"], validate=True)
        signature = base64.b64decode(outer["signature"], validate=True)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError("not a signed file") from error
    Ed25519PublicKey.from_public_bytes(trust).verify(signature, body)
    return body


def is_good(file: bytes, trust: bytes) -> bool:
    """Whether a file is whole and signed with that key."""
    try:
        opened(file, trust)
    except (ValueError, InvalidSignature):
        return False
    return True
