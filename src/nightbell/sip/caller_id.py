"""The caller's number, as far as it is one that can be called back."""

from __future__ import annotations

import re

from nightbell.sip.grammar import parse_address
from nightbell.sip.message import Request

_SEPARATORS = str.maketrans("", "", " .-()")
# Up to 15 digits with a plus sign (E.164); some more without, for prefixes like 011.
_NUMBER = re.compile(r"(?:\+[0-9]{3,15}|[0-9]{2,18})\Z")


def caller_of(request: Request) -> str:
    """The caller's number: asserted by the carrier (RFC 3325) or else claimed; '' if withheld (RFC 3323) or none."""
    if "id" in [word.strip().lower() for word in request.get("privacy").split(";")]:
        return ""
    try:
        asserted = [parse_address(value) for value in request.listed("p-asserted-identity")]
    except ValueError:
        asserted = []
    sources = sorted(asserted, key=lambda one: one.uri.scheme != "tel") or [request.sender]
    numbers = [as_number(one.uri.user) for one in sources if one.uri.host != "anonymous.invalid"]
    return next((number for number in numbers if number), "")


def as_number(user: str) -> str:
    """A user part as a number to call back, '' where it is none.

    E.164 or the digits that somebody can dial here; separators (RFC 3966) and parameters (`;phone-context=`) go. A name,
    an address or a word like "anonymous" shown as the number of a patient would send a clinician astray: the inbox says
    "unknown" for '', and asks to listen for the number.
    """
    number = user.partition(";")[0].translate(_SEPARATORS)
    return number if _NUMBER.match(number) else ""
