"""Vault or OpenBao Transit as key provider.

Contract: POST /v1/<mount>/encrypt|decrypt/<key> with base64 fields and `associated_data` (AEAD keys),
X-Vault-Token; 400 for a ciphertext that does not verify (developer.hashicorp.com/vault/api-docs/secret/transit).
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from nightbell.core.errors import RefusedStart
from nightbell.sealing.errors import KeyUnavailable, Tampered, UnknownFormat

VERSION = b"\x03"
TIMEOUT = 5.0
MAX_ANSWER = 65536


class TransitProvider:
    """url: https://host:port/MOUNT/KEY; token is read anew for each use (it is renewed by an agent)."""

    def __init__(self, url: str, token: Callable[[], str], ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        mount, _, key = parts.path.strip("/").rpartition("/")
        if parts.scheme != "https" or not parts.hostname or not mount or not key:
            raise RefusedStart(
                "NIGHTBELL_KEY_PROVIDER",
                "it is not a Transit address",
                "write transit:https://host:8200/transit/KEY",
            )
        self._base = f"https://{parts.netloc}/v1/{quote(mount)}"
        self._key, self._token = quote(key, safe=""), token
        self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)

    def wrap(self, data: bytes, context: bytes) -> bytes:
        """Raises KeyUnavailable."""
        answer = self._ask("encrypt", {"plaintext": _b64(data), "associated_data": _b64(context)})
        return VERSION + str(answer["ciphertext"]).encode()

    def unwrap(self, data: bytes, context: bytes) -> bytes:
        """Raises KeyUnavailable, Tampered, UnknownFormat."""
        if data[:1] != VERSION:
            raise UnknownFormat("a wrapped key", "it was not wrapped by Transit")
        body = {"ciphertext": data[1:].decode("ascii", "replace"), "associated_data": _b64(context)}
        return base64.b64decode(str(self._ask("decrypt", body)["plaintext"]))

    def _ask(self, operation: str, body: dict[str, str]) -> dict[str, Any]:
        request = Request(  # noqa: S310 (https is checked above)
            f"{self._base}/{operation}/{self._key}",
            data=json.dumps(body).encode(),
            headers={"X-Vault-Token": self._token(), "Content-Type": "application/json"},
            method="POST",
        )
        try:
            with urlopen(request, timeout=TIMEOUT, context=self._tls) as answer:  # noqa: S310
                found: dict[str, Any] = json.loads(answer.read(MAX_ANSWER))["data"]
                return found
        except HTTPError as error:
            error.close()
            if error.code == 400 and operation == "decrypt":
                raise Tampered("a wrapped key", "Transit refused it: altered, or another context") from None
            raise KeyUnavailable(
                "the Transit key service", f"it answered {error.code}", "check token and policy"
            ) from None
        except (URLError, OSError, ValueError, KeyError) as error:
            raise KeyUnavailable(
                "the Transit key service", type(error).__name__, "check that it is unsealed"
            ) from None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
