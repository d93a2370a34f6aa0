"""A schedule as an iCalendar file (RFC 5545) for people's own calendars. Pure: duties in, bytes out.

Every duty is an event of its own, in UTC: what the rotation says was reckoned already, so a reader needs neither
our rules nor a table of time zones, and cannot reckon otherwise. A summary is a fixed word, the name of a member
of staff and the practice's code. Nothing here can hold a patient's words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from nightbell.oncall.rules import Duty

WORDS = {"en": ("On call", "Backup"), "es": ("De guardia", "Refuerzo")}
FOLD = 75  # octets a line, without its end
REFRESH = "PT15M"


@dataclass(frozen=True, slots=True)
class Feed:
    """The file and its entity tag, quoted."""

    body: bytes
    etag: str


def write(found: Iterable[Duty], names: Mapping[str, str], code: str, language: str, stamp: datetime) -> Feed:
    """A calendar of these duties. names: user id to name; stamp: when it counts as made.

    An event's UID is its source and its start, so that it stays the same event while the schedule stays.
    """
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Nightbell//On call//EN",
        "CALSCALE:GREGORIAN",
        f"X-WR-CALNAME:Nightbell {text(code)}",
        f"REFRESH-INTERVAL;VALUE=DURATION:{REFRESH}",
        f"X-PUBLISHED-TTL:{REFRESH}",
    ]
    first, backup = WORDS.get(language, WORDS["en"])
    for duty in found:
        word = backup if duty.rank > 0 else first
        lines += [
            "BEGIN:VEVENT",
            f"UID:{duty.source}-{duty.rank + 1}-{_utc(duty.starts_at)}@nightbell",
            f"DTSTAMP:{_utc(stamp)}",
            f"DTSTART:{_utc(duty.starts_at)}",
            f"DTEND:{_utc(duty.ends_at)}",
            "SUMMARY:" + text(f"{word}: {names.get(duty.user, '')} ({code})"),
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    body = b"".join(fold(line) for line in lines)
    return Feed(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def text(value: str) -> str:
    """A TEXT value: escaped, without characters that no calendar may hold."""
    plain = "".join(one for one in value if one.isprintable() or one in " \n")
    return plain.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def fold(line: str) -> bytes:
    """A content line in UTF-8, folded at 75 octets between characters, with its end."""
    whole = line.encode()
    if len(whole) <= FOLD:
        return whole + b"\r\n"
    out, room = [], FOLD
    for one in line:
        size = len(one.encode())
        if size > room:
            out.append("\r\n ")
            room = FOLD - 1
        out.append(one)
        room -= size
    return ("".join(out) + "\r\n").encode()
