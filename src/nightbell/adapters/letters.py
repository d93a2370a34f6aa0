"""A notification as an RFC 5322 message: constants, an address, an opaque reference, and nothing else. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from nightbell.core.ids import is_ulid
from nightbell.core.notice import ChannelError, Rendered

# What we accept as an address: RFC 5321 dot-string and domain, no quoting, ASCII. No room for a header.
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z"
)

# What stands in a letter as it is: no header is folded, no line encoded (RFC 5322 2.1.1, RFC 2045 2.7).
_PLAIN = re.compile(r"[!-~](?:[ -~]{0,74}[!-~])?\Z")
_OF_PLAIN_TEXT = (
    'Content-Type: text/plain; charset="utf-8"',
    "Content-Transfer-Encoding: 7bit",
    "MIME-Version: 1.0",
)


def check(address: str, reference: str) -> None:
    """Raises ChannelError (permanent) on an address or a reference that must not reach a header or a path."""
    if not _ADDRESS.match(address):
        raise ChannelError("the address is not an e-mail address", permanent=True)
    if not is_ulid(reference):
        raise ChannelError("the reference is not a ULID", permanent=True)


def compose(rendered: Rendered, sender: str, address: str, reference: str, when: datetime) -> bytes:
    """The exact bytes to send, lines ended by CR LF. when: aware. Raises ChannelError (permanent).

    The same reference gives the same Message-ID, so that a mail box can drop a second delivery
    (RFC 5322 3.6.4); Auto-Submitted keeps answering machines silent (RFC 3834 5).
    """
    check(address, reference)
    check(sender, reference)
    headers = {
        "From": sender, "To": address, "Subject": rendered.subject, "Date": format_datetime(when),
        "Message-ID": f"<{reference}@{sender.rpartition('@')[2]}>", "Auto-Submitted": "auto-generated",
    }  # fmt: skip
    return _written(headers, rendered.body) or _laid_out(headers, rendered.body)


def _laid_out(headers: Mapping[str, str], body: str) -> bytes:
    """Folded and encoded as they need."""
    message = EmailMessage(policy=SMTP)
    for name, value in headers.items():
        message[name] = value
    message.set_content(body)
    return message.as_bytes()


def _written(headers: Mapping[str, str], body: str) -> bytes:
    """The same bytes as `_laid_out` for what needs neither; b"" for all else. In a burst each letter waits for the one
    before, and laying one out takes longer than handing it over."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    text = body.splitlines()
    if not body.endswith("\n") or "\n".join(text) + "\n" != body or not text[-1]:
        return b""
    if not all(_PLAIN.match(line) for line in (*lines, *filter(None, text))):
        return b""
    return "\r\n".join([*lines, *_OF_PLAIN_TEXT, "", *text, ""]).encode("ascii")
