"""Text messages by Telnyx.

POST /v2/messages with a bearer token; 200 with {"data": {"id"}}; errors as {"errors": [{"code": "40300", …}]}
(developers.telnyx.com: Send a message; Idempotency; Messaging error codes). The same Idempotency-Key with the same bytes
is one message for 24 hours, so that a try again after a lost answer sends nothing twice.
"""

from __future__ import annotations

import json
import re
from typing import Any

from nightbell.adapters.messaging.texting import (
    NUMBER,
    check,
    failed,
    is_public,
    json_object,
    receipt_address,
)
from nightbell.adapters.outward import Outward
from nightbell.core.clock import SYSTEM, Clock
from nightbell.core.notice import Delivery, Receipt, Rendered

STOPPED = "40300"  # the person answered STOP
_ID = re.compile(r"[0-9a-fA-F-]{8,64}\Z")
_LATER = frozenset({"10007", "10008", "10011", "40011", "40318"})


class TelnyxSms:
    """Implements `core.notice.Channel`. profile: a messaging profile's id, '' for the number's own."""

    name = "sms"

    def __init__(
        self, api_key: str, sender: str, profile: str, url: str, api: str, outward: Outward | None = None,
        clock: Clock = SYSTEM,
    ) -> None:  # fmt: skip
        self._where = f"{api.rstrip('/')}/v2/messages"
        self._credential = f"Bearer {api_key}"
        self._sender, self._profile, self._url, self._clock = sender, profile, url, clock
        self._outward = outward or Outward("Telnyx", private=True, clock=clock)

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """See `core.notice.Channel`."""
        check(rendered, address, reference)
        asked = {
            "from": self._sender, "to": address, "text": rendered.short, "type": "SMS", "encoding": "gsm7",
            "use_profile_webhooks": False,
        }  # fmt: skip
        if self._profile:
            asked["messaging_profile_id"] = self._profile
        if is_public(self._url):
            asked["webhook_url"] = receipt_address(self._url, "telnyx", reference)
        body = json.dumps(asked, separators=(",", ":"), sort_keys=True).encode()
        headers = {
            "Authorization": self._credential, "Content-Type": "application/json", "Accept": "application/json",
            "Idempotency-Key": reference,
        }  # fmt: skip
        reply = self._outward.post(self._where, headers, body)
        found = json_object(reply.body)
        if reply.status not in (200, 201, 202):
            codes = _codes(found.get("errors"))
            code = STOPPED if STOPPED in codes else next(iter(codes), "")
            raise failed("Telnyx", reply, code, code == STOPPED, code in _LATER, self._clock.now())
        data = found.get("data")
        name = str(data.get("id") or "") if isinstance(data, dict) else ""
        return Receipt(body, "taken by Telnyx", name if _ID.match(name) else "")


def _codes(errors: object) -> list[str]:
    rows = errors if isinstance(errors, list) else []
    return [str(one.get("code") or "") for one in rows if isinstance(one, dict)]


_ARRIVED = {
    "delivered": True, "read": True, "delivery_failed": False, "sending_failed": False, "expired": False,
}  # fmt: skip


def told(body: bytes) -> Delivery | None:
    """What a webhook says; None when it says nothing of a message of ours.

    'delivery_unconfirmed' is final too, and says neither.
    """
    data = json_object(body).get("data")
    payload: Any = data.get("payload") if isinstance(data, dict) else None
    if not isinstance(payload, dict) or payload.get("direction") != "outbound":
        return None
    name, receivers = str(payload.get("id") or ""), payload.get("to")
    if not _ID.match(name) or not isinstance(receivers, list):
        return None
    statuses = {str(one.get("status")) for one in receivers if isinstance(one, dict)}
    arrived = _ARRIVED.get(statuses.pop()) if len(statuses) == 1 else None
    return Delivery(name, arrived, STOPPED in _codes(payload.get("errors")))


def check_sender(sender: str) -> bool:
    """Whether Telnyx could send from it."""
    return bool(NUMBER.match(sender))
