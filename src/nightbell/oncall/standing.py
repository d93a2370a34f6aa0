"""How on call stands, for pages: empty stretches, nights of each, swaps, and what is wrong right now. No PHI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Q

from nightbell.mailbox.opening import person
from nightbell.mailbox.values import Person
from nightbell.oncall import gaps, last_resorts, line_test, lost_ways
from nightbell.oncall.last_resorts import Untold
from nightbell.oncall.measures import WAKING, wakings
from nightbell.oncall.models import Attempt, AttemptState, Schedule, Swap, SwapState
from nightbell.oncall.roster import main_schedule, on_call_ids, rota_of
from nightbell.oncall.rotation import Span, instant, union, without
from nightbell.oncall.schedule import schedule_of
from nightbell.people import contacts
from nightbell.people.access import Actor, demand
from nightbell.people.models import Practice, User
from nightbell.people.roles import Act

SWAPS_SHOWN, SWAPS_BACK = 12, timedelta(days=14)
MOMENT = timedelta(minutes=1)
SOON = timedelta(days=14)
ALONE, OPEN = "alone", "open"


@dataclass(frozen=True, slots=True)
class Empty:
    """Where nobody is on call: `alone` while the practice is closed too, `open` while people are in the house."""

    alone: tuple[Span, ...]
    open: tuple[Span, ...]


def empty(actor: Actor, schedule: Schedule | None, days: int = gaps.AHEAD_DAYS) -> Empty:
    """The stretches of the coming days (UTC) with nobody on call, parted by the practice's opening hours."""
    practice = actor.user.practice
    found = gaps.gaps_ahead(practice, actor.now, days, schedule)
    return parted(practice, found)


def parted(practice: Practice, found: list[Span]) -> Empty:
    """Empty stretches, parted by the practice's opening hours."""
    if not found:
        return Empty((), ())
    here = union(gaps.staffed(practice, found[0][0], found[-1][1]))
    alone = without(found, here)
    return Empty(tuple(alone), tuple(without(found, alone)))


def untold(actor: Actor, schedule: Schedule | None) -> list[str]:
    """Names of those on duty within two weeks who have no proved way to be told (any more)."""
    demand(actor, Act.SCHEDULE)
    duties = rota_of(actor.user.practice, schedule, actor.now).duties(actor.now, actor.now + SOON)
    users = User.objects.filter(~contacts.proved(), pk__in={duty.user for duty in duties})
    return list(users.order_by("name").values_list("name", flat=True))


@dataclass(frozen=True, slots=True)
class NightsOf:
    """How many nights of the month are somebody's, and how often they were woken in it; None: not for this reader."""

    person: Person
    nights: int
    woken: int | None


def nights(actor: Actor, month: date, schedule: Schedule | None) -> list[NightsOf]:
    """Of the month that `month` lies in: who is first on call at the midnights that end its days, most nights first.

    How often somebody was woken is for who may see the numbers, and for that person.
    """
    demand(actor, Act.SCHEDULE)
    zone = ZoneInfo(actor.user.practice.zone)
    first = month.replace(day=1)
    days = ((first + timedelta(days=32)).replace(day=1) - first).days
    midnights = [instant(first, 1440 * (day + 1), zone) for day in range(days)]
    duties = rota_of(actor.user.practice, schedule, midnights[0]).duties(
        midnights[0] - MOMENT, midnights[-1] + MOMENT
    )
    counted: dict[str, int] = {}
    for at in midnights:
        there = [d for d in duties if d.starts_at <= at < d.ends_at]
        if there:
            user = min(there, key=lambda d: d.rank).user
            counted[user] = counted.get(user, 0) + 1
    woken = _woken(actor.user.practice, instant(first, 0, zone), min(midnights[-1], actor.now), zone)
    users = User.objects.in_bulk([*counted, *woken])
    all_of_it = actor.may(Act.NUMBERS)
    found = [
        NightsOf(
            person(one), counted.get(pk, 0), woken.get(pk, 0) if all_of_it or pk == actor.user.id else None
        )
        for pk, one in users.items()
        if counted.get(pk) or all_of_it
    ]
    return sorted(found, key=lambda one: (-one.nights, one.person.name))


def _woken(practice: Practice, start: datetime, end: datetime, zone: ZoneInfo) -> dict[str, int]:
    told = Attempt.objects.filter(
        alert__practice=practice,
        state=AttemptState.SENT,
        channel__in=WAKING,
        user__isnull=False,
        sent_at__gte=start,
        sent_at__lt=end,
    )
    pairs = ((str(user), at) for user, at in told.values_list("user_id", "sent_at") if at is not None)
    return {one.user: one.wakings for one in wakings(pairs, zone)}


def swaps_of(actor: Actor, schedule: Schedule | None) -> list[Swap]:
    """Swaps that run, then those that ended within two weeks, newest first."""
    demand(actor, Act.SCHEDULE)
    if schedule is None:
        return []
    recent = Q(state=SwapState.ASKED) | Q(ended_at__gt=actor.now - SWAPS_BACK)
    found = Swap.objects.filter(recent, schedule=schedule).select_related("user", "taken_by")
    return sorted(
        found.order_by("-made_at", "-id")[:SWAPS_SHOWN], key=lambda one: one.state != SwapState.ASKED
    )


def asked_now(actor: Actor) -> list[Swap]:
    """Swaps that this person was asked to take and that nobody has yet."""
    open_ones = Swap.objects.filter(
        schedule__practice_id=actor.practice, state=SwapState.ASKED, ends_at__gt=actor.now
    )
    found = open_ones.select_related("schedule", "user").order_by("starts_at", "id")
    return [one for one in found if any(entry.get("user") == actor.user.id for entry in one.asked)]


def offered(guests: Sequence[User], now: datetime) -> set[str]:
    """Of somebody's rows in practices that they cover, the ids of those who are asked to take a shift there."""
    ids = {user.id for user in guests}
    practices = {user.practice_id for user in guests}
    running = Swap.objects.filter(schedule__practice__in=practices, state=SwapState.ASKED, ends_at__gt=now)
    return {entry["user"] for one in running for entry in one.asked if entry.get("user") in ids}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with on call at this moment. nobody: no one is on call and the practice is closed; test: what failed
    in the last evening test that ended, in words, '' when nothing did; tested_at: when that was; untellable: names of
    those on call who have no proved way to be told; last: the last resort, when nothing reaches it."""

    nobody: bool
    test: str
    tested_at: datetime | None
    untellable: tuple[str, ...] = ()
    last: Untold | None = None

    @property
    def any(self) -> bool:
        return self.nobody or bool(self.test) or bool(self.untellable) or self.last is not None


def trouble(
    practice: Practice, now: datetime, somebody: bool = False, on_call: Sequence[str] | None = None
) -> Trouble:
    """For the red banner: nobody on call by the main schedule, somebody or a last resort who cannot be told, or an evening
    test that failed.

    somebody: whoever asks knows already that somebody is on call; on_call: and who, by user id.
    """
    nobody = not somebody and _alone(practice, now)
    words = line_test.trouble(practice.id)
    last = line_test.latest(practice.id) if words else None
    silent = lost_ways.untellable(on_call_ids(practice, now) if on_call is None else on_call, now)
    resort = next(iter(last_resorts.untold(practice.id)), None)
    names = tuple(user.name for user in silent)
    return Trouble(nobody, words, last.began_at if last else None, names, resort)


def _alone(practice: Practice, now: datetime) -> bool:
    return _nobody(practice, now) == ALONE


def nobody_now(actor: Actor) -> str:
    """'' when somebody is on call at this moment by the main schedule, else ALONE, or OPEN while the practice is open."""
    demand(actor, Act.SCHEDULE)
    return _nobody(actor.user.practice, actor.now)


def _nobody(practice: Practice, now: datetime) -> str:
    missing = rota_of(practice, main_schedule(practice), now).gaps(now, now + MOMENT)
    found = parted(practice, missing)
    for word, spans in ((ALONE, found.alone), (OPEN, found.open)):
        if any(start <= now < end for start, end in spans):
            return word
    return ""


def named(actor: Actor, schedule_id: str) -> Schedule | None:
    """The schedule of an address, the main one for ''. Raises NotFound."""
    demand(actor, Act.SCHEDULE)
    return schedule_of(actor, schedule_id)
