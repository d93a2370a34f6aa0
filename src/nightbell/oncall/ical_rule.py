"""Repeats of a calendar event (RFC 5545 §3.3.10) as far as duties need them: days, weeks, months and years. Pure.

Days are walked one by one and asked whether they fit, so the work is the number of days, whatever a rule says, and
a rule that never comes true ends where the looking ends.
"""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import groupby, islice
from typing import Any

DAY = timedelta(days=1)
MOST_PARTS = 62  # values of one part of a rule
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)\Z")
_KNOWN = frozenset(
    ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYDAY", "BYSETPOS")
)
_PARTS = {
    "DAILY": {"BYMONTH", "BYMONTHDAY", "BYDAY"},
    "WEEKLY": {"BYMONTH", "BYDAY", "BYSETPOS"},
    "MONTHLY": {"BYMONTH", "BYMONTHDAY", "BYDAY", "BYSETPOS"},
    "YEARLY": {"BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYDAY", "BYSETPOS"},
}


class Unreadable(ValueError):
    """A rule that is broken, or repeats in a way that no duty does."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of repetition. by_day: (which of the month or year, 0 for each; Monday 0). until: on the wall, or None."""

    frequency: str
    every: int
    count: int | None
    until: datetime | None
    week_starts: int
    months: frozenset[int]
    month_days: frozenset[int]
    year_days: frozenset[int]
    by_day: frozenset[tuple[int, int]]
    positions: frozenset[int]


def parse(rule: Mapping[str, Any], on_the_wall: Callable[[date | datetime], datetime]) -> Rule:
    """A rule as icalendar gives it: parts to their values. on_the_wall: makes UNTIL a wall time. Raises Unreadable."""
    parts = {
        str(name).upper(): values if isinstance(values, list) else [values] for name, values in rule.items()
    }
    frequency = str(parts.get("FREQ", [""])[0]).upper()
    used = {name for name in parts if name.startswith("BY")}
    if frequency not in _PARTS or not used <= _PARTS[frequency] or not set(parts) <= _KNOWN:
        raise Unreadable
    if any(len(values) > MOST_PARTS for values in parts.values()):
        raise Unreadable
    every = int(parts.get("INTERVAL", [1])[0])
    if not 1 <= every <= 1000:
        raise Unreadable
    by_day = frozenset(_by_day(str(one)) for one in parts.get("BYDAY", []))
    if frequency in ("DAILY", "WEEKLY") and any(number for number, _ in by_day):
        raise Unreadable
    return Rule(
        frequency, every,
        max(0, int(parts["COUNT"][0])) if "COUNT" in parts else None,
        on_the_wall(parts["UNTIL"][0]) if "UNTIL" in parts else None,
        _by_day(str(parts.get("WKST", ["MO"])[0]))[1],
        _numbers(parts, "BYMONTH", 12), _numbers(parts, "BYMONTHDAY", 31), _numbers(parts, "BYYEARDAY", 366),
        by_day, _numbers(parts, "BYSETPOS", 366),
    )  # fmt: skip


def _by_day(text: str) -> tuple[int, int]:
    match = _DAY.match(text.upper())
    if match is None:
        raise Unreadable
    return int(match[1] or 0), WEEKDAYS.index(match[2])


def _numbers(parts: Mapping[str, Iterable[Any]], name: str, most: int) -> frozenset[int]:
    found = frozenset(int(one) for one in parts.get(name, ()))
    if any(not 1 <= abs(one) <= most for one in found):
        raise Unreadable
    return found


def days_of(rule: Rule, start: datetime, horizon: datetime) -> int:
    """How many days `times` will look at."""
    return max(0, (min(rule.until or horizon, horizon) - start).days) + 366


def times(rule: Rule, start: datetime, horizon: datetime) -> Iterator[datetime]:
    """Walls on which the rule comes true, from `start` to `horizon`, both on the wall and included."""
    last = min(rule.until or horizon, horizon)
    walls = (
        wall
        for day in _days(rule, start.date(), last.date())
        if start <= (wall := datetime.combine(day, start.time())) <= last
    )
    return islice(walls, rule.count)


def _days(rule: Rule, first: date, last: date) -> Iterator[date]:
    begin, number = _periods(rule, first)
    walked = (begin + DAY * n for n in range((last - begin).days + 1))
    fits = _fits(rule, first)
    for _, period in groupby((day for day in _turned(walked, rule, number) if fits(day)), key=number):
        there = list(period)
        yield from there if not rule.positions else _placed(there, rule.positions)


def _turned(days: Iterable[date], rule: Rule, number: Callable[[date], int]) -> Iterator[date]:
    return (day for day in days if number(day) % rule.every == 0)


def _placed(days: Sequence[date], positions: frozenset[int]) -> Iterator[date]:
    for at, day in enumerate(days):
        if at + 1 in positions or at - len(days) in positions:
            yield day


def _periods(rule: Rule, first: date) -> tuple[date, Callable[[date], int]]:
    """The first day of the period that `first` lies in, and the number of a day's period, counted from there."""
    if rule.frequency == "DAILY":
        return first, lambda day: (day - first).days
    if rule.frequency == "WEEKLY":
        begin = first - DAY * ((first.weekday() - rule.week_starts) % 7)
        return begin, lambda day: (day - begin).days // 7
    if rule.frequency == "MONTHLY":
        return first.replace(day=1), lambda day: (day.year - first.year) * 12 + day.month - first.month
    return first.replace(month=1, day=1), lambda day: day.year - first.year


def _fits(rule: Rule, first: date) -> Callable[[date], bool]:
    """Whether a day is one of the rule's. What a rule leaves open is as the first day has it."""
    months, month_days, by_day = rule.months, rule.month_days, rule.by_day
    if not (month_days or by_day or rule.year_days):
        if rule.frequency == "WEEKLY":
            by_day = frozenset({(0, first.weekday())})
        elif rule.frequency in ("MONTHLY", "YEARLY"):
            month_days = frozenset({first.day})
            if rule.frequency == "YEARLY" and not months:
                months = frozenset({first.month})
    in_year = rule.frequency == "YEARLY" and not rule.months

    def fits(day: date) -> bool:
        if months and day.month not in months:
            return False
        length = monthrange(day.year, day.month)[1]
        if month_days and not {day.day, day.day - length - 1} & month_days:
            return False
        of_year, year = day.timetuple().tm_yday, 366 if isleap(day.year) else 365
        if rule.year_days and not {of_year, of_year - year - 1} & rule.year_days:
            return False
        at, size = (of_year, year) if in_year else (day.day, length)
        which = {0, (at - 1) // 7 + 1, -((size - at) // 7 + 1)}
        return not by_day or any((number, day.weekday()) in by_day for number in which)

    return fits


def end_of(day: date) -> datetime:
    """The last second of a day: an UNTIL without a time."""
    return datetime.combine(day, time(23, 59, 59))
