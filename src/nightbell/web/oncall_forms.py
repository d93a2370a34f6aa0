"""Reading what people type about schedules: every field is told wrong by its own name, with the mend."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.http import HttpRequest

from nightbell.core.errors import NightbellError
from nightbell.oncall.errors import BadShift
from nightbell.oncall.policies import WAYS, Step, Who
from nightbell.oncall.rotation import Window, instant
from nightbell.oncall.schedule import Turns
from nightbell.web.doors import actor_of, ulid_or_nothing
from nightbell.web.format import local, read_clock

NAMES = {
    "user": "the person",
    "from_day": "the first day",
    "from_time": "the time it starts",
    "to_day": "the last day",
    "to_time": "the time it ends",
    "weekday": "the day",
    "start": "the time it starts",
    "end": "the time it ends",
    "rank": "first or backup",
    "every": "how long a turn is",
    "unit": "the length of a turn",
    "starts_on": "the first day",
    "ends_on": "the last day",
    "handover": "the time of the handover",
    "day": "the day",
}
FAR = timedelta(days=731)
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)
WHAT = "Nothing was changed"


def bad(why: str, mend: str) -> BadShift:
    return BadShift(WHAT, why, mend)


def field(request: HttpRequest, name: str) -> str:
    """What was typed, or BadShift when nothing was."""
    text = request.POST.get(name, "").strip()
    if not text:
        raise bad(f"{NAMES[name]} is missing", "fill it in")
    return text


def clock(request: HttpRequest, name: str) -> int:
    """Minutes after midnight."""
    return minutes_of(field(request, name), NAMES[name])


def minutes_of(text: str, called: str) -> int:
    minutes = read_clock(text)
    if minutes is None:
        raise bad(f"{called} cannot be read", "write it as 17:30 or 5:30 pm")
    return minutes


def day(request: HttpRequest, name: str) -> date:
    """A day near enough that it is no slip."""
    text = field(request, name)
    try:
        if not _DAY.match(text):
            raise ValueError
        found = date.fromisoformat(text)
    except ValueError:
        raise bad(f"{NAMES[name]} cannot be read", "write it as 2026-11-24") from None
    actor = actor_of(request)
    today = local(actor.now, actor.user.practice.zone).date()
    if found < today - FAR:
        raise bad(f"{NAMES[name]} lies over two years in the past", "check the year")
    if found > today + FAR:
        raise bad(f"{NAMES[name]} is over two years away", "check the year")
    return found


def moment(request: HttpRequest, which: str) -> datetime:
    """A day and a time on the practice's clock, `which` 'from' or 'to'; near, so that every zone can reckon with it."""
    minutes = clock(request, f"{which}_time")
    return instant(day(request, f"{which}_day"), minutes, ZoneInfo(actor_of(request).user.practice.zone))


def choice(request: HttpRequest, name: str, choices: str) -> int:
    text = field(request, name)
    if len(text) != 1 or text not in choices:
        raise bad(f"{NAMES[name]} is none of the list", "choose it again")
    return int(text)


def number(request: HttpRequest, name: str, most: int) -> int:
    text = field(request, name)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= most):
        raise bad(f"{NAMES[name]} is out of range", f"give a number from 1 to {most}")
    return int(text)


def turns(request: HttpRequest) -> Turns:
    """A rotation as typed. Members and hours stand in rows; empty ones count for nothing. Raises BadShift."""
    members = tuple(one for text in request.POST.getlist("member") if (one := ulid_or_nothing(text)))
    if not members:
        raise bad("nobody is in the rotation", "choose who takes turns, in their order")
    last = request.POST.get("ends_on", "").strip()
    return Turns(
        members, field(request, "unit")[:8], number(request, "every", 2000), day(request, "starts_on"),
        clock(request, "handover") % 1440, day(request, "ends_on") if last else None, hours(request),
        request.POST.get("holidays_only") == "1", choice(request, "rank", "012"),
        int(request.POST.get("position", "0")[:2]) if request.POST.get("position", "0")[:2].isdecimal() else 0,
        request.POST.get("name", "").strip(),
    )  # fmt: skip


def rows(request: HttpRequest) -> list[str]:
    """The keys of repeated rows in their order on the page."""
    return [key for key in request.POST.getlist("row")[:60] if key.isalnum() and len(key) < 8]


def hours(request: HttpRequest) -> tuple[Window, ...]:
    """Weekly hours: each row has days, from and to. Rows without a day count for nothing."""
    found: list[Window] = []
    for key in rows(request):
        days = [int(text) for text in request.POST.getlist(f"days-{key}") if text in tuple("0123456")]
        if not days:
            continue
        start = minutes_of(request.POST.get(f"start-{key}", ""), "a start of the hours")
        end = minutes_of(request.POST.get(f"end-{key}", ""), "an end of the hours")
        found += [Window(one, start % 1440, (end - start) % 1440 or 1440) for one in sorted(set(days))]
    return tuple(found)


def steps(request: HttpRequest, wrong: Callable[[str, str], NightbellError]) -> tuple[Step, ...]:
    """Steps of a policy as typed, a row each. who: 'on_call', …, 'user:ID' or 'group:ID'; a row without one is left out.

    wrong: makes the error of a row that cannot be read.
    """
    found: list[Step] = []
    for count, key in enumerate(rows(request), 1):
        who, _, named = request.POST.get(f"who-{key}", "").partition(":")
        if not who:
            continue
        if who not in list(Who):
            raise wrong(f"step {count} tells nobody that we know", "choose whom it tells")
        wait = seconds(request.POST.get(f"wait-{key}", ""))
        if wait is None:
            raise wrong(f"the wait of step {count} cannot be read", "write minutes, as 2 or 2:30, up to 60")
        how = tuple(one for one in WAYS if one in request.POST.getlist(f"how-{key}"))
        if not how:
            raise wrong(f"step {count} tells by no way", "tick one at least, or leave the step out")
        found.append(Step(Who(who), wait, ulid_or_nothing(named), () if len(how) == len(WAYS) else how))
    return tuple(found)


def seconds(text: str) -> int | None:
    """'2', '2.5' or '2:30' minutes as seconds; None for what is no wait of 1 to 3600 s."""
    text = text.strip().removesuffix("min").strip()
    whole, colon, rest = text.partition(":")
    try:
        value = int(whole) * 60 + int(rest) if colon else round(float(text) * 60)
    except (ValueError, OverflowError):
        return None
    return value if 1 <= value <= 3600 and (not colon or 0 <= int(rest) < 60) else None


def wait_text(wait_s: int) -> str:
    """The same, to be typed over: '2' or '2:30'."""
    minutes, rest = divmod(wait_s, 60)
    return f"{minutes}:{rest:02d}" if rest else str(minutes)


def hour_rows(windows: Sequence[dict[str, int]]) -> list[dict[str, object]]:
    """Stored hours as rows of the form: days that have the same hours stand in one."""
    found: dict[tuple[int, int], list[str]] = {}
    for one in windows:
        found.setdefault((one["start"], one["minutes"]), []).append(str(one["weekday"]))
    return [
        {"key": f"h{n}", "days": days, "start": hhmm(start), "end": hhmm((start + minutes) % 1440)}
        for n, ((start, minutes), days) in enumerate(found.items())
    ]


def hhmm(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
