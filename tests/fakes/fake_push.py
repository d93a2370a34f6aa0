"""A fake push service, written to RFC 8030 and RFC 8292: it refuses whatever a strict one would.

It checks the VAPID token (signature, audience, age, subject), the headers, and that nothing is in the body.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from tests.fakes.https_server import Quiet, serving

from nightbell.core.clock import utc_now


def unbase64(text: str) -> bytes:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text), "base64url without padding"
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class FakePush:
    """What the service knows. keys: per subscription the only key that may send to it; answers: in place of the
    usual, each used once: a status with headers, or a function that writes its own; waiting: per topic, what a phone
    that is away will get."""

    keys: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[int, dict[str, str]] | Callable[[Quiet], None]] = field(default_factory=list)
    taken: list[dict[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    waiting: dict[str, dict[str, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    base: str = ""
    ca: str = ""

    def subscribe(self, name: str, key: str) -> str:
        """An endpoint, as a browser would give it."""
        self.keys[f"/push/{name}"] = key
        return f"{self.base}/push/{name}"


@contextmanager
def running(folder: Path, push: FakePush) -> Iterator[FakePush]:
    with serving(folder, type("Handler", (_Handler,), {"push": push})) as (push.base, push.ca):
        yield push


class _Handler(Quiet):
    push: ClassVar[FakePush]

    def do_POST(self) -> None:
        body = self.body()
        with self.push.lock:
            if self.push.answers:
                told = self.push.answers.pop(0)
                if callable(told):
                    told(self)
                else:
                    self.answer(told[0], b"a text of the service's own", **told[1])
                return
            self._take(body)

    def _take(self, body: bytes) -> None:
        if self.path not in self.push.keys:
            self.answer(410)
            return
        why = self._wrong(body)
        if why:
            self.push.refused.append(why)
            self.answer(401 if why.startswith("vapid") else 400, why.encode())
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.push.taken.append({**headers, "path": self.path})
        self.push.waiting[headers.get("topic", f"#{len(self.push.taken)}")] = headers
        self.answer(201, Location=f"{self.push.base}/message/{len(self.push.taken)}")

    def _wrong(self, body: bytes) -> str:
        if body or self.headers.get("Content-Encoding") or self.headers.get("Crypto-Key"):
            return "the body is not empty"
        if not re.fullmatch(r"[0-9]{1,7}", self.headers.get("TTL", "")):
            return "TTL is missing"  # RFC 8030 5.2: required
        if self.headers.get("Urgency", "normal") not in ("very-low", "low", "normal", "high"):
            return "Urgency is none"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", self.headers.get("Topic", "a")):
            return "Topic is none"  # RFC 8030 5.4
        return self._vapid()

    def _vapid(self) -> str:
        found = re.fullmatch(r"vapid t=([^,]+), k=(.+)", self.headers.get("Authorization", ""))
        if found is None or found[2] != self.push.keys[self.path]:
            return "vapid: not the key of this subscription"
        head, claims, signature = found[1].split(".")
        if json.loads(unbase64(head)) != {"typ": "JWT", "alg": "ES256"}:
            return "vapid: not ES256"
        told, now = json.loads(unbase64(claims)), utc_now().timestamp()
        if told["aud"] != self.push.base or not now < told["exp"] <= now + 86400:
            return "vapid: another audience, too old or too long"
        if not told["sub"].startswith(("mailto:", "https://")):
            return "vapid: nobody to ask"
        raw = unbase64(signature)
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unbase64(found[2]))
        pair = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        try:
            key.verify(pair, f"{head}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return "vapid: the signature is false"
        return "" if len(raw) == 64 else "vapid: the signature has another length"
