"""A fake of two providers of text messages: what they take, refuse and tell afterwards.

Written to their published contracts: www.twilio.com/docs/messaging/api/message-resource and /docs/api/errors;
developers.telnyx.com (Send a message, Idempotency, Receiving webhooks, Messaging error codes). Receipts are signed as the
providers sign: Twilio's by their own SDK, Telnyx's with Ed25519.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.fakes.carrier_api import ACCOUNT, API_KEY, TOKEN, counter, twilio_id
from tests.fakes.https_server import Quiet, serving
from twilio.request_validator import RequestValidator

from nightbell.core import gsm7

SENDER = "+15035550199"
TEXT = {
    21211: "Invalid 'To' Phone Number",
    21610: "Attempt to send to unsubscribed recipient",
    20003: "Authenticate",
    20429: "Too Many Requests",
    30008: "Unknown error",
}


@dataclass
class FakeText:
    """A text that a provider took. callback: where it tells what becomes of it."""

    provider: str
    id: str
    to: str
    body: str
    callback: str = ""
    raw: bytes = b""


@dataclass
class FakeMessaging:
    """answers: in place of the usual, each used once: (status, provider's code), or a function that writes its own after
    the text was taken (an answer that is lost, or late). stopped: numbers that answered STOP; unknown: that are none."""

    texts: list[FakeText] = field(default_factory=list)
    answers: list[tuple[int, int] | Callable[[Quiet], None]] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    keys: dict[str, tuple[bytes, FakeText]] = field(default_factory=dict)
    telnyx_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    lock: threading.Lock = field(default_factory=threading.Lock)
    base: str = ""
    ca: str = ""

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.telnyx_key.public_key().public_bytes_raw()).decode()


@contextmanager
def running(folder: Path, messaging: FakeMessaging) -> Iterator[FakeMessaging]:
    handler = type("Handler", (_Handler,), {"messaging": messaging})
    with serving(folder, handler) as (messaging.base, messaging.ca):
        yield messaging


def hangs(handler: Quiet) -> None:
    """The text was taken; the answer never comes."""
    time.sleep(5)


def cuts(handler: Quiet) -> None:
    """The text was taken; the connection ends in the middle of the answer."""
    handler.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{")
    handler.close_connection = True


class _Handler(Quiet):
    messaging: ClassVar[FakeMessaging]

    def do_POST(self) -> None:
        body = self.body()
        with self.messaging.lock:
            told = self.messaging.answers.pop(0) if self.messaging.answers else None
            if isinstance(told, tuple):
                self._refuse(*told)
                return
            twilio = self.path.startswith("/2010-04-01/")
            taken = self._twilio(body) if twilio else self._telnyx(body)
        if callable(told):
            told(self)
        elif taken is not None:
            self._took(taken)

    def _took(self, text: FakeText) -> None:
        if text.provider == "twilio":
            found = {"sid": text.id, "status": "queued", "to": text.to, "error_code": None}
            self.answer(201, json.dumps(found).encode(), Content_Type="application/json")
        else:
            found = {"data": {"id": text.id, "to": [{"phone_number": text.to, "status": "queued"}]}}
            self.answer(200, json.dumps(found).encode(), Content_Type="application/json")

    def _refuse(self, status: int, code: int) -> None:
        headers = {"Retry_After": "7"} if status == 429 else {}
        words = TEXT.get(code, "a text of theirs that names +15035550148")
        if self.path.startswith("/2010-04-01/"):
            told: dict[str, Any] = {"code": code, "message": words, "status": status}
        else:
            told = {"errors": [{"code": str(code), "title": words}]}
        self.answer(status, json.dumps(told).encode(), Content_Type="application/json", **headers)

    def _twilio(self, body: bytes) -> FakeText | None:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
        basic = "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if self.path != f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json":
            return self._refuse(404, 20404)
        if self.headers.get("Authorization") != basic:
            return self._refuse(401, 20003)
        if form.get("To") in self.messaging.stopped:
            return self._refuse(400, 21610)
        if form.get("To") in self.messaging.unknown or not re.fullmatch(
            r"\+[1-9]\d{6,14}", form.get("To", "")
        ):
            return self._refuse(400, 21211)
        known = {"To", "From", "MessagingServiceSid", "Body", "StatusCallback", "ValidityPeriod"}
        sender = ("From" in form) != ("MessagingServiceSid" in form)
        if (
            set(form) - known
            or not sender
            or not form.get("Body")
            or not 1 <= int(form["ValidityPeriod"]) <= 36000
        ):
            return self._refuse(400, 21604)
        return self._keep(
            FakeText(
                "twilio", twilio_id("SM"), form["To"], form["Body"], form.get("StatusCallback", ""), body
            )
        )

    def _telnyx(self, body: bytes) -> FakeText | None:
        asked = json.loads(body)
        key = self.headers.get("Idempotency-Key", "")
        if self.path != "/v2/messages" or self.headers.get("Authorization") != f"Bearer {API_KEY}":
            return self._refuse(401, 10009)
        if key in self.messaging.keys:  # only successful answers are given again, to the same bytes
            before, text = self.messaging.keys[key]
            return text if before == body else self._refuse(422, 10027)
        if asked["to"] in self.messaging.stopped:
            return self._refuse(400, 40300)
        if asked["to"] in self.messaging.unknown:
            return self._refuse(400, 10002)
        if (
            asked.get("encoding") != "gsm7"
            or gsm7.septets(asked["text"]) is None
            or asked.get("type") != "SMS"
        ):
            return self._refuse(400, 40304)
        name = f"40385f64-5717-4562-b3fc-{next(counter):012d}"
        text = FakeText("telnyx", name, asked["to"], asked["text"], asked.get("webhook_url", ""), body)
        if key:
            self.messaging.keys[key] = (body, text)
        return self._keep(text)

    def _keep(self, text: FakeText) -> FakeText:
        self.messaging.texts.append(text)
        return text


def receipt(
    messaging: FakeMessaging, text: FakeText, status: str, code: int = 0, now: datetime | None = None
) -> tuple[str, bytes, dict[str, str]]:
    """A receipt as it is sent: (path, body, headers). status: 'queued', 'sent', 'delivered', 'undelivered' (Twilio),
    'delivery_failed', 'delivery_unconfirmed' (Telnyx) and so on."""
    path = urlsplit(text.callback).path
    if text.provider == "twilio":
        form = {
            "MessageSid": text.id, "SmsSid": text.id, "AccountSid": ACCOUNT, "MessageStatus": status,
            "SmsStatus": status, "From": SENDER, "To": text.to, "ApiVersion": "2010-04-01",
        }  # fmt: skip
        form |= {"ErrorCode": str(code)} if code else {}
        signature = RequestValidator(TOKEN).compute_signature(text.callback, form)
        kind = "application/x-www-form-urlencoded"
        return path, urlencode(form).encode(), {"X-Twilio-Signature": signature, "Content-Type": kind}
    payload = {
        "record_type": "message", "direction": "outbound", "id": text.id, "text": text.body,
        "to": [{"phone_number": text.to, "status": status}],
        "errors": [{"code": str(code), "title": "theirs"}] if code else [],
    }  # fmt: skip
    event = "message.sent" if status in ("sent", "sending", "queued") else "message.finalized"
    body = json.dumps({"data": {"event_type": event, "record_type": "event", "payload": payload}}).encode()
    stamp = str(int((now or datetime.now(UTC)).timestamp()))
    signature = base64.b64encode(messaging.telnyx_key.sign(f"{stamp}|".encode() + body)).decode()
    headers = {
        "telnyx-timestamp": stamp,
        "telnyx-signature-ed25519": signature,
        "Content-Type": "application/json",
    }
    return path, body, headers
