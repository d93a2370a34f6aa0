"""Other ways to a person by Apprise, an optional extra of Nightbell's.

Only services on a list (`core.other_ways`), with certificates verified. What the service does with the words after
that is the practice's choice, and stands so with each notification. The words are those of every other channel: the
closed grammar.
"""

from __future__ import annotations

import importlib
from typing import Any

from nightbell.core.notice import ChannelError, Receipt, Rendered
from nightbell.core.other_ways import problem

NOT_THERE = "the extra 'apprise' is not installed: pip install 'nightbell[apprise]'"
ANSWER = "handed to {schema}: how it travels from there is the practice's choice"


def _library() -> Any:
    try:
        return importlib.import_module("apprise")
    except ImportError:
        raise ChannelError(NOT_THERE, permanent=True) from None


class AppriseChannel:
    """Implements `core.notice.Channel`. An address is an Apprise URL of a service on the list."""

    name = "other"

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """See `core.notice.Channel`. What is kept is title and body as they were handed over."""
        wrong = problem(address)
        if wrong:
            raise ChannelError(f"the address is refused: {wrong}"[:120], permanent=True)
        library = _library()
        one = library.Apprise.instantiate(address, suppress_exceptions=True)
        if one is None or not one.verify_certificate:
            raise ChannelError("the service does not take this address", permanent=True)
        title, body = rendered.subject, rendered.body.strip()
        kind = library.NotifyType.WARNING if rendered.pressing else library.NotifyType.INFO
        if not one.notify(body=body, title=title, notify_type=kind):
            # It says no more: whether the far side had it cannot be known.
            raise ChannelError("the service did not confirm it", unsure=True)
        schema = address.partition(":")[0].lower()
        return Receipt(f"{title}\n{body}".encode(), ANSWER.format(schema=schema))
