"""A signed file: what the worker tells the phone, in a form that the phone checks against a pinned key.

{"payload": base64(JSON), "signature": base64(Ed25519 over the payload's bytes)}
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign(payload: Mapping[str, object], key: Ed25519PrivateKey) -> bytes:
    """The signed file of a payload."""
    body = json.dumps(payload, separators=(",", ":")).encode()
    signed = {
        "payload": base64.b64encode(body).decode(),
        "signature": base64.b64encode(key.sign(body)).decode(),
    }
    return json.dumps(signed).encode()
