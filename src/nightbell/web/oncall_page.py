"""The calendar of who is on call, ready to print: weeks as lanes of 168 columns, and the same as a list by day. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo

from nightbell.mailbox.values import Person
from nightbell.oncall.roster import DutyView, Lanes
from nightbell.oncall.rotation import Span
from nightbell.web.format import day_name, local, span
from nightbell.web.present import short_name

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HOURS = 168
WIDE, NARROW = 36, 12  # hours from which a bar has room for a time beside its name, and for a name
OPEN = "open"
CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch within one week. start: column from 1; words: the whole stretch; note: the little beside the name.

    person None: nobody. kind: 'first', 'backup', 'gap' or 'open' (nobody on call, but people are in the house).
    """

    person: Person | None
    name: str
    kind: str
    start: int
    span: int
    words: str
    note: str
    swap: str  # what the swap page is asked with, '' where there is nothing to give away
    past: bool = False  # before today, where the plan of today is shown and not who was on call


@dataclass(frozen=True, slots=True)
class Day:
    """The head of a column."""

    name: str
    number: int
    month: str
    note: str
    today: bool
    gap: bool


@dataclass(frozen=True, slots=True)
class Week:
    number: int
    days: tuple[Day, ...]
    lanes: tuple[tuple[str, tuple[Bar, ...]], ...]
    now: int  # column of this moment, 0 in another week


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch on one day of the list. words: 'until 08:00', '08:00 to 17:00', 'all day'."""

    person: Person | None
    name: str
    kind: str
    words: str
    note: str
    swap: str
    past: bool = False  # as of a Bar


@dataclass(frozen=True, slots=True)
class ListDay:
    """A day of the list, or several that are the same. last: of several the last one, '' of one; each: those whose
    stretches lead to swaps of their own, one by one."""

    day: date
    name: str
    note: str
    today: bool
    parts: tuple[Part, ...]
    last: str = ""
    count: int = 1
    each: tuple[ListDay, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """What drawing needs besides the duties. holidays: names by day; swappable: user ids whose duties this reader may
    give away, None for everybody's; tones: 1 to 4 by user id."""

    zone: str
    now: datetime
    open: tuple[Span, ...]
    holidays: Mapping[date, str]
    swappable: frozenset[str] | None
    tones: Mapping[str, int]

    def shown(self, who: Person | None) -> Person | None:
        """With the colour of this page."""
        return toned(who, self.tones)

    def swap(self, duty: DutyView) -> str:
        who = duty.person
        if who is None or duty.ends_at <= self.now:
            return ""
        if self.swappable is not None and who.id not in self.swappable:
            return ""
        start = max(duty.starts_at, self.now)
        return f"user={who.id}&from={start:%Y%m%dT%H%M%S}Z&to={duty.ends_at:%Y%m%dT%H%M%S}Z"


def toned(who: Person | None, tones: Mapping[str, int]) -> Person | None:
    """On the calendar colours are given out in order: two neighbours rarely share one."""
    return replace(who, tone=tones.get(who.id, who.tone)) if who is not None else None


def joined(duties: Sequence[DutyView]) -> list[DutyView]:
    """Stretches in their order, those of one person that follow each other at once drawn as one."""
    out: list[DutyView] = []
    for duty in sorted(duties, key=lambda d: (d.starts_at, d.rank)):
        last = out[-1] if out else None
        same = last is not None and last.person == duty.person and last.override_id == duty.override_id
        if last is not None and same and last.ends_at == duty.starts_at and last.rank == duty.rank:
            out[-1] = replace(last, ends_at=duty.ends_at)
        else:
            out.append(duty)
    return out


def weeks(lanes: Lanes, monday: date, count: int, frame: Frame) -> list[Week]:
    """Each with its lanes: Primary, Backup, Changes, and On call, which is what is true."""
    gaps = _gaps(lanes.gaps, frame)
    drawn = (
        ("Primary", [(d, "first") for d in joined(lanes.primary)]),
        ("Backup", [(d, "backup") for d in joined([d for d in lanes.backup if d.rank == 1])]),
        ("Changes", [(d, "first") for d in joined(lanes.changes)]),
        ("On call", [(d, "first") for d in joined(lanes.on_call)] + gaps),
    )
    found = []
    for n in range(count):
        first = monday + timedelta(days=7 * n)
        placed = tuple((name, tuple(_bars(duties, first, frame))) for name, duties in drawn)
        found.append(Week(first.isocalendar().week, _days(first, gaps, frame), placed, _now(first, frame)))
    return found


def _gaps(gaps: Sequence[DutyView], frame: Frame) -> list[tuple[DutyView, str]]:
    """Red where nobody is there at all, quiet where the practice is open."""
    found = []
    for gap in gaps:
        edges = sorted(
            {gap.starts_at, gap.ends_at}
            | {e for one in frame.open for e in one if gap.starts_at < e < gap.ends_at}
        )
        for start, end in pairwise(edges):
            is_open = any(a <= start and end <= b for a, b in frame.open)
            found.append((replace(gap, starts_at=start, ends_at=end), OPEN if is_open else "gap"))
    return found


def column(at: datetime, monday: date, zone: str) -> float:
    """Hours since Monday's midnight as the clock on the wall shows them, so that every day has 24."""
    here = local(at, zone)
    return (here.date() - monday).days * 24 + here.hour + here.minute / 60


def _bars(duties: Sequence[tuple[DutyView, str]], monday: date, frame: Frame) -> list[Bar]:
    found: list[Bar] = []
    taken = 1
    today = (local(frame.now, frame.zone).date() - monday).days * 24
    for duty, kind in sorted(duties, key=lambda one: one[0].starts_at):
        first = max(0, round(column(duty.starts_at, monday, frame.zone)))
        last = min(HOURS, round(column(duty.ends_at, monday, frame.zone)))
        first = max(first, taken - 1)
        if last <= first:
            continue
        taken = last + 1
        edges = [first, today, last] if first < today < last else [first, last]
        found += [_bar(duty, kind, a, b, frame, b <= today) for a, b in pairwise(edges)]
    return found


def _bar(duty: DutyView, kind: str, first: int, last: int, frame: Frame, past: bool) -> Bar:
    start, end = local(duty.starts_at, frame.zone), local(duty.ends_at, frame.zone)
    words = f"{day_name(start.date())} {start:%H:%M} to {day_name(end.date())} {end:%H:%M}"
    note = f"to {end:%a %H:%M}" if last - first >= WIDE and last < HOURS else ""
    if duty.override_id and last - first >= WIDE - NARROW:
        note = CHANGED
    name = short_name(duty.person.name) if duty.person and last - first >= NARROW else ""
    if kind == "gap" and past:
        name = "nobody" if last - first >= NARROW else ""
    elif kind == "gap":
        name = hours_words(duty.ends_at - duty.starts_at) if last - first >= 8 else ""
    elif kind == OPEN:
        name = "open" if last - first >= 5 else ""
    swap = "" if past else frame.swap(duty)
    return Bar(frame.shown(duty.person), name, kind, first + 1, last - first, words, note, swap, past)


def hours_words(length: timedelta) -> str:
    """'15 h', '15 h 30 m', '2 d 4 h'."""
    return span(length).removesuffix(" 00 m").removesuffix(" 0 h")


def _days(monday: date, gaps: Sequence[tuple[DutyView, str]], frame: Frame) -> tuple[Day, ...]:
    today = local(frame.now, frame.zone).date()
    found = []
    for n in range(7):
        day = monday + timedelta(days=n)
        start, end = _edges(day, frame.zone)
        red = day >= today and any(k == "gap" and d.starts_at < end and d.ends_at > start for d, k in gaps)
        month = f"{day:%b}" if day.day == 1 or n == 0 else ""
        found.append(Day(DAYS[n], day.day, month, frame.holidays.get(day, ""), day == today, red))
    return tuple(found)


def _edges(day: date, zone: str) -> tuple[datetime, datetime]:
    here = ZoneInfo(zone)
    return datetime.combine(day, time(), here), datetime.combine(day + timedelta(days=1), time(), here)


def _now(monday: date, frame: Frame) -> int:
    at = column(frame.now, monday, frame.zone)
    return int(at) + 1 if 0 <= at < HOURS else 0


def by_day(lanes: Lanes, monday: date, count: int, frame: Frame) -> list[ListDay]:
    """The lowest lane, what is true, day by day; backups and gaps with it."""
    backup = [(d, "backup") for d in joined([d for d in lanes.backup if d.rank == 1])]
    there = [(d, "first") for d in joined(lanes.on_call)] + _gaps(lanes.gaps, frame)
    today = local(frame.now, frame.zone).date()
    found = []
    for n in range(count):
        day = monday + timedelta(days=n)
        start, end = _edges(day, frame.zone)
        here = [one for one in there if one[0].starts_at < end and one[0].ends_at > start]
        here += [
            (d, k) for d, k in backup
            if d.starts_at < end and d.ends_at > start and not any(d.person == o.person for o, _ in here)
        ]  # fmt: skip
        here.sort(key=lambda one: (one[0].starts_at, one[1] == "backup"))
        parts = tuple(_part(d, k, (start, end), frame, day < today) for d, k in here)
        found.append(ListDay(day, f"{day:%a} {day.day}", frame.holidays.get(day, ""), day == today, parts))
    return found


def folded(days: Sequence[ListDay]) -> list[ListDay]:
    """From today on, and neighbours in which the same people are there at the same hours as one.

    Loud is what must not be overlooked: today, a gap, a change, and a holiday stand alone.
    """
    first = next((at for at, day in enumerate(days) if day.today), 0)
    return [_as_one(tuple(same)) for _, same in groupby(days[first:], _sameness)]


def _sameness(day: ListDay) -> object:
    if day.today or day.note or any(part.kind == "gap" or part.note == CHANGED for part in day.parts):
        return day.day
    return [(part.person.id if part.person else "", part.kind, part.words) for part in day.parts]


def _as_one(days: tuple[ListDay, ...]) -> ListDay:
    first, last = days[0], days[-1]
    if first is last:
        return first
    parts = []
    for same in zip(*(day.parts for day in days), strict=True):
        swaps = {part.swap for part in same}
        parts.append(same[0] if len(swaps) == 1 else replace(same[0], swap=""))
    each = days if tuple(parts) != first.parts else ()
    return replace(
        first,
        name=day_name(first.day),
        last=day_name(last.day),
        count=len(days),
        parts=tuple(parts),
        each=each,
    )


def _part(duty: DutyView, kind: str, whole: Span, frame: Frame, past: bool) -> Part:
    before, after = duty.starts_at <= whole[0], duty.ends_at >= whole[1]
    begins, ends = f"{local(duty.starts_at, frame.zone):%H:%M}", f"{local(duty.ends_at, frame.zone):%H:%M}"
    if before and after:
        words = "all day"
    elif before:
        words = f"until {ends}"
    else:
        words = f"from {begins}" if after else f"{begins} to {ends}"
    name = short_name(duty.person.name) if duty.person else {"gap": "Nobody", OPEN: "Practice open"}[kind]
    note = CHANGED if duty.override_id else "backup" if kind == "backup" else ""
    swap = "" if past else frame.swap(duty)
    return Part(frame.shown(duty.person), name, kind, words, note, swap, past)


@dataclass(frozen=True, slots=True)
class GapWords:
    """An empty stretch in words, and as it fills the form that puts somebody there."""

    start: str
    end: str
    length: str
    from_day: str
    from_time: str
    to_day: str
    to_time: str


def gap_words(found: Span, zone: str, now: datetime) -> GapWords:
    start, end = local(found[0], zone), local(found[1], zone)
    begins = max(start, local(now, zone))
    return GapWords(
        f"{day_name(start.date())}, {start:%H:%M}",
        f"{end:%a %H:%M}" if (end.date() - start.date()).days < 6 else f"{day_name(end.date())}, {end:%H:%M}",
        hours_words(found[1] - found[0]),
        f"{begins:%Y-%m-%d}", f"{begins:%H:%M}", f"{end:%Y-%m-%d}", f"{end:%H:%M}",
    )  # fmt: skip
