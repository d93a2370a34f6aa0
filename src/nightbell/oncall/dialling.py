"""Which number is dialled, and which is shown. Pure. A call costs money and may reach anybody: what is no plain number is not
dialled."""

from __future__ import annotations

import re

_E164 = re.compile(r"\+[1-9][0-9]{7,14}\Z")
_NORTH_AMERICA = re.compile(r"[2-9][0-9]{2}[2-9][0-9]{6}\Z")
_SHOWN = re.compile(r"[A-Za-z0-9+._-]{1,40}\Z")
_DEAR = re.compile(r"\+1(?:900|976|[2-9][0-9]{2}976)")  # whoever is called there is paid for it


def e164(number: str) -> str:
    """'+16175550142' for '(617) 555-0142', '' for what is none: too short or long, a service with three digits, a number
    that charges whoever rings it."""
    plain = re.sub(r"[\s().-]", "", number)
    if not plain.startswith("+"):
        digits = plain[1:] if len(plain) == 11 and plain.startswith("1") else plain
        plain = f"+1{digits}" if _NORTH_AMERICA.match(digits) else ""
    if not _E164.match(plain) or _DEAR.match(plain):
        return ""
    if plain.startswith("+1") and not _NORTH_AMERICA.match(plain[2:]):
        return ""
    return plain


def shown(number: str) -> str:
    """The practice's number as the other telephone shows it; 'nightbell' for a practice without one."""
    plain = e164(number) or re.sub(r"[\s()-]", "", number)
    return plain if _SHOWN.match(plain) else "nightbell"
