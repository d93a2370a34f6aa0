"""What every provider of text messages has in common. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from nightbell.adapters.outward import Reply
from nightbell.core import gsm7
from nightbell.core.ids import is_ulid
from nightbell.core.notice import ChannelError, Rendered

NUMBER = re.compile(r"\+[1-9][0-9]{6,14}\Z")  # E.164


def check(rendered: Rendered, address: str, reference: str) -> None:
    """Raises ChannelError (permanent) on what must not be sent, or would be cut in parts."""
    if not NUMBER.match(address):
        raise ChannelError("the address is not a telephone number", permanent=True)
    if not is_ulid(reference):
        raise ChannelError("the reference is not a ULID", permanent=True)
    length = gsm7.septets(rendered.short)
    if not rendered.short or length is None or length > gsm7.SEGMENT:
        raise ChannelError("the words do not fit into one text message", permanent=True)


def is_public(url: str) -> bool:
    """Whether a provider could call us back there: it takes only names that it can look up."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." in host and "_" not in host
    return False


def receipt_address(url: str, provider: str, reference: str) -> str:
    """Where a provider tells what became of an attempt."""
    return f"{url}/hooks/{provider}/receipt/{reference}"


def json_object(body: bytes) -> dict[str, Any]:
    """The object in an answer, an empty one when there is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def failed(who: str, reply: Reply, code: str, stopped: bool, later: bool, now: datetime) -> ChannelError:
    """An answer that is no success. code: the provider's own, digits; its text never gets into ours."""
    told = f", {code}" if code.isascii() and code.isdigit() and len(code) < 8 else ""
    if stopped:
        return ChannelError(f"{who}: the person asked for no more texts{told}", gone=True)
    answer = f"{who} answered {reply.status}{told}"
    if later or reply.status in (408, 409, 425, 429) or reply.status >= 500:
        # A gateway's 5xx does not say whether what stands behind it had taken the message.
        return ChannelError(answer, unsure=reply.status >= 500, after_s=reply.after_s(now))
    return ChannelError(answer, permanent=True)
