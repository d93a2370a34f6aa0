"""Times, spans and numbers as people read them. Pure: the moment and the zone are arguments."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from nightbell.core.dialling import spaced

phone = spaced


def local(moment: datetime, zone: str) -> datetime:
    """The moment on the clock of a practice (IANA zone)."""
    return moment.astimezone(ZoneInfo(zone))


def clock_time(moment: datetime, zone: str, now: datetime) -> str:
    """'07:36' today, 'Mon 17:12' within six days, else '3 Oct 17:12' (with the year when it is another)."""
    here, today = local(moment, zone), local(now, zone).date()
    days = (today - here.date()).days
    if days == 0:
        return f"{here:%H:%M}"
    if -7 < days < 7:
        return f"{here:%a %H:%M}"
    year = f" {here.year}" if here.year != today.year else ""
    return f"{here.day} {here:%b}{year} {here:%H:%M}"


def day_name(day: date) -> str:
    """'Tue 24 Nov'."""
    return f"{day:%a} {day.day} {day:%b}"


_CLOCK = re.compile(r"([0-9]{1,2}):?([0-9]{2})? ?(?:([ap])\.?(?:m\.?)?)?", re.IGNORECASE)


def read_clock(text: str) -> int | None:
    """Minutes after midnight of '17:30', '1730', '5:30 pm' or '5 pm'; '24:00' is 1440. None for what is no time.

    '5' alone is none: nobody can know which half of the day was meant.
    """
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        return None
    hours, minutes, half = int(found[1]), int(found[2] or 0), (found[3] or "").lower()
    if half:
        if not 1 <= hours <= 12 or minutes > 59:
            return None
        return (hours % 12 + (12 if half == "p" else 0)) * 60 + minutes
    if found[2] is None or minutes > 59 or hours * 60 + minutes > 1440:
        return None
    return hours * 60 + minutes


def span(passed: timedelta) -> str:
    """How long somebody has waited: 'under 1 m', '24 m', '14 h 29 m', '3 d 4 h'."""
    minutes = max(0, int(passed.total_seconds())) // 60
    if minutes == 0:
        return "under 1 m"
    if minutes < 60:
        return f"{minutes} m"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest:02d} m"
    return f"{hours // 24} d {hours % 24} h"


def wait_words(passed: timedelta | None) -> str:
    """A measured span, to the second where it is short: '48 s', '3 m 20 s', '24 m', '14 h 29 m'; '–' for none."""
    if passed is None:
        return "–"
    seconds = max(0, round(passed.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} m {seconds % 60:02d} s" if seconds < 600 else span(passed)


def stopwatch(seconds: float) -> str:
    """'0:16', '4:21', '1:02:03'."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}"


def dial(number: str) -> str:
    """What a tel: link carries: digits and a leading plus (RFC 3966 §5.1.4), '' when there is nothing to ring."""
    digits = "".join(c for c in number if c.isdigit())
    if len(digits) < 3:
        return ""
    if len(digits) == 10 and not number.startswith("+"):
        return f"+1{digits}"
    if len(digits) == 11 and digits.startswith("1"):
        return f"+{digits}"
    return f"+{digits}" if number.startswith("+") else digits


def count_of(amount: int, one: str, many: str = "") -> str:
    """'1 message', '2 messages'."""
    return f"{amount} {one if amount == 1 else many or one + 's'}"
