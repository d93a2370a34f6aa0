"""Text messages by Twilio's Messages API.

POST /2010-04-01/Accounts/{sid}/Messages.json; 201 with a `sid`; errors as {"code": 21211, …}
(www.twilio.com/docs/messaging/api/message-resource, www.twilio.com/docs/api/errors). It has no idempotency key: a
request without an answer may have sent. Its status callback goes to an address that names our attempt, so that what was
taken is known although the answer was lost.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import urlencode

from nightbell.adapters.messaging.texting import (
    check,
    failed,
    is_public,
    json_object,
    receipt_address,
)
from nightbell.adapters.outward import Outward
from nightbell.core.clock import SYSTEM, Clock
from nightbell.core.notice import Delivery, Receipt, Rendered

STOPPED = "21610"  # the person answered STOP
_SID = re.compile(r"(SM|MM)[0-9a-f]{32}\Z")
_SERVICE = re.compile(r"MG[0-9a-f]{32}\Z")
VALID_S = 900  # a text that comes later is no alarm but a riddle
# Of the errors that come as a 4xx: those that pass (rates, queues). All others are about the number or the account.
_LATER = frozenset({"20429", "14107", "20500", "20503", "30001"})


class TwilioSms:
    """Implements `core.notice.Channel`.

    sender: a number ('+15035550199') or a messaging service ('MG…'); url: our address; api: of Twilio, with a port or region.
    """

    name = "sms"

    def __init__(
        self, account: str, token: str, sender: str, url: str, api: str, outward: Outward | None = None,
        clock: Clock = SYSTEM,
    ) -> None:  # fmt: skip
        self._where = f"{api.rstrip('/')}/2010-04-01/Accounts/{account}/Messages.json"
        self._credential = "Basic " + base64.b64encode(f"{account}:{token}".encode()).decode()
        self._sender, self._url, self._clock = sender, url, clock
        self._outward = outward or Outward("Twilio", private=True, clock=clock)

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """See `core.notice.Channel`."""
        check(rendered, address, reference)
        form = {
            "To": address,
            "MessagingServiceSid" if _SERVICE.match(self._sender) else "From": self._sender,
            "Body": rendered.short,
            "ValidityPeriod": str(VALID_S),
        }
        if is_public(self._url):
            form["StatusCallback"] = receipt_address(self._url, "twilio", reference)
        body = urlencode(form).encode()
        headers = {
            "Authorization": self._credential,
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        reply = self._outward.post(self._where, headers, body)
        found = json_object(reply.body)
        if reply.status not in (200, 201):
            code = str(found.get("code") or "")
            raise failed("Twilio", reply, code, code == STOPPED, code in _LATER, self._clock.now())
        sid = str(found.get("sid") or "")
        return Receipt(body, "taken by Twilio", sid if _SID.match(sid) else "")


def told(params: Mapping[str, list[str]]) -> Delivery | None:
    """What a status callback says; None when it says nothing of a message of ours.

    They may come in any order, twice and late; 'sent' says only that a carrier has it.
    """
    sid, status = _first(params, "MessageSid"), _first(params, "MessageStatus")
    if not _SID.match(sid):
        return None
    arrived = {"delivered": True, "read": True, "undelivered": False, "failed": False, "canceled": False}.get(
        status
    )
    return Delivery(sid, arrived, _first(params, "ErrorCode") == STOPPED)


def _first(params: Mapping[str, list[str]], name: str) -> str:
    return (params.get(name) or [""])[0]


def check_sender(sender: str) -> bool:
    """Whether Twilio could send from it."""
    return bool(_SERVICE.match(sender) or re.fullmatch(r"\+[1-9][0-9]{6,14}", sender))
