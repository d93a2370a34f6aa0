"""A practice's week and closures in words, and the moment that stands for each situation. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from nightbell.flow import hours
from nightbell.flow.hours import Calendar, Day, Kind, Situation

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOPS = 60


def minutes_text(minutes: int | None) -> str:
    """'08:30'; '' for none."""
    return "" if minutes is None else f"{minutes // 60:02}:{minutes % 60:02}"


def week_words(week: tuple[Day, ...]) -> str:
    """'Mon to Fri 08:00 to 17:00, Sat 09:00 to 12:00'; '' for a practice that never opens."""
    return ", ".join(
        f"{days} {minutes_text(day.opens)} to {minutes_text(day.closes)}"
        for day, days in _runs([Day(day.opens, day.closes) for day in week])
        if day.opens is not None
    )


def lunch_words(week: tuple[Day, ...]) -> str:
    """'Mon to Fri 12:00 to 13:00'; '' without lunch breaks."""
    return ", ".join(
        f"{days} {minutes_text(day.lunch[0])} to {minutes_text(day.lunch[1])}"
        for day, days in _runs([Day(lunch=day.lunch) for day in week])
        if day.lunch
    )


def _runs(week: list[Day]) -> list[tuple[Day, str]]:
    """Neighbouring days that are the same, with their names."""
    found = []
    for day, same in groupby(range(7), key=lambda at: week[at]):
        at = list(same)
        found.append((day, DAYS[at[0]] if len(at) == 1 else f"{DAYS[at[0]]} to {DAYS[at[-1]]}"))
    return found


def sample(calendar: Calendar, kind: Kind, now: datetime) -> tuple[Situation, datetime]:
    """The next moment of a kind, or one made up when none is near: what callers will hear then."""
    if kind is Kind.HOLIDAY:
        return _next_holiday(calendar, now)
    at = now
    for _ in range(_HOPS):
        found = hours.situation(calendar, at)
        if found.kind is kind:
            return found, at
        if found.ends is None:
            break
        at = found.ends
    return _made_up(calendar, kind, now), now


def _made_up(calendar: Calendar, kind: Kind, now: datetime, name: str = "") -> Situation:
    reopens = None if kind is Kind.OPEN else _next_opening(calendar, now)
    return Situation(kind, None, reopens, name, False, True)


def _next_holiday(calendar: Calendar, now: datetime) -> tuple[Situation, datetime]:
    """Noon of the next holiday."""
    zone = ZoneInfo(calendar.zone)
    today = now.astimezone(zone).date()
    day = next((one for one in sorted(calendar.holidays) if one >= today), None)
    if day is None:
        return _made_up(calendar, Kind.HOLIDAY, now), now
    noon = datetime.combine(day, time(12), zone).astimezone(UTC)
    found = hours.situation(calendar, noon)
    if found.kind is not Kind.HOLIDAY:  # closed on top of it
        return _made_up(calendar, Kind.HOLIDAY, noon, calendar.holidays[day]), noon
    return found, noon


def _next_opening(calendar: Calendar, now: datetime) -> datetime | None:
    day = hours.next_open_day(calendar, now)
    if day is None:
        return None
    opens = calendar.week[day.weekday()].opens or 0
    start = datetime.combine(day, time(), ZoneInfo(calendar.zone)) + timedelta(minutes=opens)
    return start.astimezone(UTC)


def day_words(day: date) -> str:
    """'Thu, 26 Nov 2026'."""
    return f"{day:%a}, {day.day} {day:%b} {day.year}"
