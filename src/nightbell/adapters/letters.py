"""A notification as an RFC 5322 message: constants, an address, an opaque reference, and nothing else. Pure."""

from __future__ import annotations

import re
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
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, address, rendered.subject
    message["Date"] = format_datetime(when)
    message["Message-ID"] = f"<{reference}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(rendered.body)
    return message.as_bytes()
