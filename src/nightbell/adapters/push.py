"""Web push with an empty body: RFC 8030, identified by VAPID (RFC 8292).

The push service learns that something is to be told to a browser, and how pressing it is. The words stand in the
page's own service worker. Nothing is encrypted because nothing is sent.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
import threading
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from nightbell.adapters.outward import Outward, Reply
from nightbell.core.clock import SYSTEM, Clock
from nightbell.core.durable import sync_folder
from nightbell.core.errors import RefusedStart
from nightbell.core.notice import ChannelError, Receipt, Rendered

TTL_PRESSING, TTL = 900, 43_200  # seconds: what is pressing is told again, and replaced by its topic
TOKEN_SECONDS = 43_200  # of at most 24 hours (RFC 8292 2)
LONGEST = 600  # characters of an endpoint, as a contact has them


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Vapid:
    """The key by which push services know us. Browsers bind their subscription to it: a new key ends them all."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, subject: str) -> None:
        """subject: a mailto: or https: address at which the push service finds the one who sends."""
        self._key, self._subject = key, subject
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public = _base64(point)  # as a page gives it to PushManager.subscribe
        self._kept: dict[str, tuple[datetime, str]] = {}
        self._lock = threading.Lock()

    def authorization(self, endpoint: str, now: datetime) -> str:
        """The value of the header, for one push service; the same for an hour."""
        parts = urlsplit(endpoint)
        audience = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            made, token = self._kept.get(audience, (None, ""))
            if made is None or not 0 <= (now - made).total_seconds() < 3600:
                token = self._token(audience, now)
                if len(self._kept) > 100:
                    self._kept.clear()
                self._kept[audience] = (now, token)
        return f"vapid t={token}, k={self.public}"

    def _token(self, audience: str, now: datetime) -> str:
        """A JWT signed with ES256 (RFC 7518 3.4: r and s, 32 bytes each)."""
        expires = int(now.timestamp()) + TOKEN_SECONDS
        claims = {"aud": audience, "exp": expires, "sub": self._subject}
        parts = [{"typ": "JWT", "alg": "ES256"}, claims]
        text = ".".join(_base64(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def load_or_make(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key of `path` (PEM, its owner's alone), made when there is none: two processes get the same.

    Raises RefusedStart.
    """
    try:
        if not path.exists():
            _make(path)
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise RefusedStart(
            f"the key {path}", "it cannot be read or made", "restore it from a backup"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RefusedStart(f"the key {path}", "it is none of P-256", "restore it from a backup")
    return key


def _make(path: Path) -> None:
    data = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(name, path)  # unlike a rename it never takes the place of another's
        except FileExistsError:
            return
    finally:
        Path(name).unlink(missing_ok=True)
    sync_folder(path.parent)


class PushChannel:
    """Implements `core.notice.Channel`. An address is the endpoint of a browser's subscription."""

    name = "push"

    def __init__(self, vapid: Vapid, outward: Outward | None = None, clock: Clock = SYSTEM) -> None:
        self._vapid, self._clock = vapid, clock
        self._outward = outward or Outward("the push service", clock=clock)

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """See `core.notice.Channel`. What is kept as sent leaves out the one header that is a credential."""
        if len(address) > LONGEST:
            raise ChannelError("the push address is too long", permanent=True)
        headers = {
            "TTL": str(TTL_PRESSING if rendered.pressing else TTL),
            "Urgency": "high" if rendered.pressing else "normal",
            **({"Topic": rendered.topic[:32]} if rendered.topic else {}),
        }
        now = self._clock.now()
        token = {"Authorization": self._vapid.authorization(address, now)}
        reply = self._outward.post(address, {**headers, **token}, b"")
        if reply.status not in (200, 201, 202, 204):
            raise _refusal(reply, now)
        return Receipt(_head(address, headers), "taken by the push service")


def _head(address: str, headers: dict[str, str]) -> bytes:
    """The request as it left, without its credential."""
    parts = urlsplit(address)
    where = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {where or '/'} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in {**headers, "Content-Length": "0"}.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _refusal(reply: Reply, now: datetime) -> ChannelError:
    """RFC 8030 5, 7.3: a subscription that is gone, a service that asks to wait, or one that does not want us."""
    if reply.status in (404, 410):
        return ChannelError("the browser is not subscribed any more", gone=True)
    if reply.status == 429 or reply.status >= 500:
        return ChannelError(f"the push service answered {reply.status}", after_s=reply.after_s(now))
    return ChannelError(f"the push service answered {reply.status}", permanent=True)
