"""Taking over a calendar file of who is on call: shown first, then made into overrides, all of them or none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from nightbell.oncall.errors import BadCalendar
from nightbell.oncall.ical_read import AHEAD, MOST, Entry, read
from nightbell.oncall.models import Override, Schedule
from nightbell.oncall.roster import next_number, rota_of
from nightbell.oncall.rotation import Span, union, without
from nightbell.oncall.rules import Duty
from nightbell.oncall.schedule import changed, colleague, colleagues, schedule_of
from nightbell.people.access import Actor, demand
from nightbell.people.models import User
from nightbell.people.roles import Act, may

_TITLES = frozenset(("dr", "doctor", "md", "do", "np", "pa", "rn", "lpn", "mr", "mrs", "ms", "prof", "de"))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Somebody on call from one instant to another (UTC), as the file would have it. user None: nobody was found."""

    summary: str
    user: User | None
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Preview:
    """What a file would change. Stretches do not overlap: where events do, the later one counts, as the shorter of two.

    unknown: the summaries in which nobody was found, each once; who decides may say who they are (`names`).
    staying: how many changes of before go on deciding where this file says nothing, or nothing else.
    """

    stretches: tuple[Stretch, ...]
    unknown: tuple[str, ...]
    staying: int = 0


def preview(
    actor: Actor, data: bytes, names: Mapping[str, str] | None = None, schedule_id: str = ""
) -> Preview:
    """What taking a file over would do; nothing is changed. names: summary to user id, before all guessing.

    schedule_id: '' for the main one. Raises BadCalendar, also for over MOST changes, BadShift or NotFound.
    """
    demand(actor, Act.EDIT_SCHEDULE)
    entries = read(data, ZoneInfo(actor.user.practice.zone), actor.now)
    named = {text: colleague(actor, user_id) for text, user_id in (names or {}).items()}
    able = [user for user in colleagues(actor) if may(user.role, Act.TAKE)]
    guessed: dict[tuple[str, tuple[str, ...]], User | None] = {}
    for entry in entries:
        who = (entry.summary, entry.attendees)
        if who not in guessed:
            guessed[who] = named.get(entry.summary) or match(entry, able)
    found = _apart([(guessed[e.summary, e.attendees], e) for e in entries], actor.now)
    if sum(one.user is not None for one in found) > MOST:
        raise BadCalendar(
            "The calendar was not read", f"it would make over {MOST:,} changes", "export a shorter time"
        )
    schedule = schedule_of(actor, schedule_id)
    new = union([(one.starts_at, one.ends_at) for one in found if one.user])
    left = (
        [duty for duty in _changes(schedule, actor.now, found) if without([duty.span], new)]
        if schedule
        else []
    )
    unknown = dict.fromkeys(one.summary for one in found if one.user is None)
    return Preview(tuple(found), tuple(unknown), len({duty.source for duty in left}))


def take_over(
    actor: Actor,
    data: bytes,
    schedule_id: str = "",
    names: Mapping[str, str] | None = None,
    leave_out: bool = False,
) -> int:
    """Make a file's stretches overrides in one transaction. Returns how many are new. What is there already stays one.

    leave_out: whoever was not found is left out, else BadCalendar names how many. Raises as `preview`.
    """
    found = preview(actor, data, names, schedule_id)
    if found.unknown and not leave_out:
        raise BadCalendar(
            "Nothing was taken over",
            f"{len(found.unknown)} of its names are nobody's here",
            "say who they are",
        )
    wanted = [(one, one.user) for one in found.stretches if one.user is not None]
    if not wanted:
        raise BadCalendar("Nothing was taken over", "nobody of the practice is in it", "check the file")
    for user in {user.id for _, user in wanted}:
        colleague(actor, user)

    def change(schedule: Schedule) -> tuple[int, Mapping[str, object]]:
        new = _new(schedule, wanted, actor.now)
        first = next_number(schedule)
        Override.objects.bulk_create(
            [
                Override(
                    schedule=schedule, user=user, starts_at=one.starts_at, ends_at=one.ends_at,
                    made_by=actor.user, number=number,
                )
                for number, (one, user) in enumerate(new, first)
            ]
        )  # fmt: skip
        return len(new), {"count": len(new), "users": sorted({user.login for _, user in new})}

    return changed(actor, schedule_id, "schedule:import", change, "")


def _changes(schedule: Schedule, now: datetime, found: Sequence[Stretch]) -> list[Duty]:
    """The overrides from now on as they are in force, each where no newer one covers it."""
    until = max([one.ends_at for one in found], default=now)
    rota = rota_of(schedule.practice, schedule, now)
    return replace(rota, shifts=(), layers=(), holidays=frozenset()).duties(now, max(until, now + AHEAD))


def _new(
    schedule: Schedule, wanted: Sequence[tuple[Stretch, User]], now: datetime
) -> list[tuple[Stretch, User]]:
    """What is not so already: an override of before counts only where it is in force."""
    theirs: dict[str, list[Span]] = {}
    for duty in _changes(schedule, now, [one for one, _ in wanted]):
        theirs.setdefault(duty.user, []).append(duty.span)
    joined = {user: union(spans) for user, spans in theirs.items()}
    return [
        (one, user)
        for one, user in wanted
        if without([(one.starts_at, one.ends_at)], joined.get(user.id, []))
    ]


def _apart(entries: Sequence[tuple[User | None, Entry]], now: datetime) -> list[Stretch]:
    """From now on, one at a time: of two the one that begins later, or ends sooner. Unknown ones cover nobody."""
    order = sorted(entries, key=lambda one: (one[1].starts_at, -one[1].ends_at.timestamp()))
    found, covered = list[Stretch](), list[Span]()
    for user, entry in reversed(order):
        span = (max(entry.starts_at, now), entry.ends_at)
        left = _cover(covered, span) if user else [span]
        found += [Stretch(entry.summary, user, start, end) for start, end in left]
    return sorted(found, key=lambda one: (one.starts_at, one.ends_at, one.summary))


def _cover(covered: list[Span], span: Span) -> list[Span]:
    """What of `span` is not covered yet; then it is. covered: stretches that do not touch, the earliest last, none of which
    begins before `span`: each is looked at once and joined with it, so that all of a file takes no longer than its sorting."""
    (begin, end), left = span, list[Span]()
    at = begin
    while covered and covered[-1][0] <= end:
        start, until = covered.pop()
        if at < start:
            left.append((at, start))
        at = max(at, until)
    if at < end:
        left.append((at, end))
    covered.append((begin, max(at, end)))
    return left


def match(entry: Entry, people: Sequence[User]) -> User | None:
    """The one colleague whom an event names: by address, then login, whole name, family name. None: nobody, or two."""
    texts = [entry.summary, *entry.attendees]
    for fits in (_by_email, _by_login, _by_name, _by_family):
        found = [user for user in people if any(fits(user, text) for text in texts)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _by_email(user: User, text: str) -> bool:
    return bool(user.email) and user.email.casefold() in re.split(r"[\s,;:<>()\[\]]+", text.casefold())


def _by_login(user: User, text: str) -> bool:
    return user.login.casefold() in re.split(r"[\s,;:<>()\[\]/|]+", text.casefold())


def _by_name(user: User, text: str) -> bool:
    """All words of the name, one after another."""
    name, words = _words(user.name), _words(text)
    return bool(name) and any(words[at : at + len(name)] == name for at in range(len(words)))


def _by_family(user: User, text: str) -> bool:
    return _words(user.name)[-1:] != [] and _words(user.name)[-1] in _words(text)


def _words(text: str) -> list[str]:
    """Without accents, capitals, marks and titles."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return [word for word in re.findall(r"[^\W_]+", plain.casefold()) if word not in _TITLES]
