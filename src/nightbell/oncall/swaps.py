"""Somebody gives a shift away: colleagues are asked one after another until one takes it.

Until then nothing changes. Who accepts is put on call in the same transaction, so there is one winner, and no
minute between two people. Each call and letter is planned as a row first; the calls are placed by whoever looks at
`asking`. Locks are taken in one order, the schedule before the swap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Q, QuerySet

from nightbell.audit import service as audit
from nightbell.core.clock import iso
from nightbell.core.notice import NoticeKind
from nightbell.oncall import notices
from nightbell.oncall.errors import BadSwap
from nightbell.oncall.models import Override, Schedule, Swap, SwapState
from nightbell.oncall.roster import next_number, rota_of
from nightbell.oncall.rotation import instant, union, without
from nightbell.oncall.rules import Duty
from nightbell.people import contacts
from nightbell.people.access import Actor, Forbidden, NotFound, demand
from nightbell.people.models import User
from nightbell.people.roles import Act, Role, may

ACTOR = "system:worker"
WAIT = timedelta(minutes=4)  # for an answer, before the next one is asked
AT_ONCE = timedelta(hours=12)  # what begins so soon is asked at any hour
LONGEST = timedelta(days=31, hours=2)
MOST_CANDIDATES = 20
AHEAD = timedelta(days=31)
POLITE = (8 * 60, 21 * 60)  # minutes of the day between which a colleague may be rung for what is not soon
MORNING = 9 * 60


class Answered(StrEnum):
    """What came of an answer."""

    TAKEN = "taken"  # it is theirs
    DECLINED = "declined"
    LATE = "late"  # a colleague was first
    OVER = "over"  # withdrawn, given up, past, or the schedule was changed meanwhile
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, slots=True)
class Asking:
    """Somebody who is asked now and has not answered: they are to be rung. number: counts those asked, from 1."""

    swap: Swap
    user: User
    number: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody who could take a shift. backup: then; nights: of that month, so far as planned; ways: can be told."""

    user: User
    backup: bool
    nights: int
    ways: bool


def turns_of(user: User, now: datetime) -> list[tuple[Schedule, Duty]]:
    """The duties in the month ahead in which this person is first on call, the current one first."""
    found = []
    for schedule in Schedule.objects.filter(practice_id=user.practice_id).select_related("practice"):
        duties = rota_of(schedule.practice, schedule, now).duties(now, now + AHEAD)
        found += [(schedule, duty) for duty in duties if duty.user == user.id and duty.rank <= 0]
    return sorted(found, key=lambda one: (one[1].starts_at, one[0].id))


def candidates(schedule: Schedule, user: User, start: datetime, end: datetime) -> list[Candidate]:
    """Who could take it, in the order in which they should be asked: backup, then who has the fewest nights."""
    rota = rota_of(schedule.practice, schedule, start)
    then = {duty.user for duty in rota.duties(start, end) if duty.rank > 0}
    local = start.astimezone(rota.zone).date()
    first = local.replace(day=1)
    midnights = [instant(first, 1440 * (n + 1), rota.zone) for n in range(31)]
    month = [d for d in rota.duties(midnights[0] - timedelta(days=1), midnights[-1]) if d.rank <= 0]
    able = _able(schedule.practice_id).exclude(pk=user.pk)
    told = set(able.filter(contacts.proved()).values_list("id", flat=True))
    found = [
        Candidate(
            one,
            one.id in then,
            sum(d.starts_at <= at < d.ends_at for d in month if d.user == one.id for at in midnights),
            one.id in told,
        )
        for one in able
    ]
    return sorted(found, key=lambda c: (not c.backup, not c.ways, c.nights, c.user.name, c.user.id))


def _able(practice_id: str) -> QuerySet[User]:
    roles = [role.value for role in Role if may(role, Act.TAKE)]
    return User.objects.filter(practice_id=practice_id, is_active=True, role__in=roles)


def ask_by_page(
    actor: Actor, user_id: str, start: datetime, end: datetime, whom: Sequence[str], schedule_id: str = ""
) -> Swap:
    """Give one's own shift away, or for who edits schedules anybody's. Raises Forbidden, NotFound or BadSwap."""
    demand(actor, Act.TAKE if user_id == actor.user.id else Act.EDIT_SCHEDULE)
    user = User.objects.filter(pk=user_id, practice_id=actor.practice).first()
    if user is None:
        raise NotFound("There is no such person in your practice", "", "choose one from the list")
    schedule = (
        Schedule.objects.filter(practice_id=actor.practice, pk=schedule_id).first() if schedule_id else None
    )
    if schedule_id and schedule is None:
        raise NotFound("There is no such schedule", "it was removed", "reload the page")
    return ask(
        user, start, end, whom, actor.now, False, schedule=schedule, by=actor.name, source=actor.source
    )


def ask(
    user: User,
    start: datetime,
    end: datetime,
    whom: Sequence[str],
    now: datetime,
    by_phone: bool,
    *,
    schedule: Schedule | None = None,
    by: str = "",
    source: str = "telephone",
) -> Swap:
    """Begin to ask `whom` (user ids, in their order) to take a stretch in which `user` is first on call.

    by: who asks, as in the log, '' for the person. Whoever calls this has made sure that it is they. Raises BadSwap.
    """
    start = max(start, now)
    if not timedelta() < end - start <= LONGEST:
        raise BadSwap("Nobody was asked", "the time is over, or ends before it starts", "check the times")
    with transaction.atomic():
        schedule = _hold(schedule, user)
        whom = _checked(user, whom)
        if not _is_theirs(schedule, user, start, end):
            raise BadSwap(
                "Nobody was asked", f"{user.name} is not first on call all that time", "check the times"
            )
        open_ones = Swap.objects.filter(user=user, state=SwapState.ASKED)
        if open_ones.filter(starts_at__lt=end, ends_at__gt=start).exists():
            raise BadSwap(
                "Nobody was asked", "colleagues are being asked for that time", "wait, or withdraw that"
            )
        swap = Swap.objects.create(
            schedule=schedule, user=user, starts_at=start, ends_at=end, candidates=list(whom),
            by_phone=by_phone, made_at=now, next_at=now,
        )  # fmt: skip
        _record(swap, by or f"user:{user.login}", "swap:ask", now, source, {"for": user.login})
        _go_on(swap, now)
    return swap


def _hold(schedule: Schedule | None, user: User) -> Schedule:
    """The schedule with its row locked; the practice's main one when none is given."""
    wanted = Q(pk=schedule.pk) if schedule else Q(main=True)
    found = (
        Schedule.objects.select_for_update(of=("self",))
        .select_related("practice")
        .filter(wanted, practice_id=user.practice_id)
        .first()
    )
    if found is None:
        raise BadSwap("Nobody was asked", "there is no such schedule", "have one made")
    return found


def _checked(user: User, whom: Sequence[str]) -> list[str]:
    """Each once, all of them able to be on call."""
    chosen = list(dict.fromkeys(one for one in whom if one != user.id))
    able = set(_able(user.practice_id).filter(pk__in=chosen).values_list("id", flat=True))
    if not 1 <= len(chosen) <= MOST_CANDIDATES or able != set(chosen):
        raise BadSwap("Nobody was asked", "one of them cannot be on call, or there is nobody", "choose again")
    return chosen


def _is_theirs(schedule: Schedule, user: User, start: datetime, end: datetime) -> bool:
    duties = rota_of(schedule.practice, schedule, start).duties(start, end)
    spans = [(d.starts_at, d.ends_at) for d in duties if d.user == user.id and d.rank <= 0]
    return start < end and not without([(start, end)], union(spans))


def asks_at(now: datetime, start: datetime, zone: ZoneInfo) -> datetime:
    """When the next one is asked: now, or for what is not soon in the morning, if people sleep. Pure."""
    local = now.astimezone(zone)
    minutes = local.hour * 60 + local.minute
    if start - now <= AT_ONCE or POLITE[0] <= minutes < POLITE[1]:
        return now
    morning = instant(local.date(), MORNING + (1440 if minutes >= POLITE[1] else 0), zone)
    return min(morning, start - AT_ONCE)


def _go_on(swap: Swap, now: datetime) -> None:
    """Ask the next one, or put that off until the morning; without any the swap has failed. The caller holds it."""
    practice = swap.schedule.practice
    able = set(_able(practice.id).filter(pk__in=swap.candidates).values_list("id", flat=True))
    left = [one for one in swap.candidates if one in able]
    if not left or swap.ends_at <= now:
        _end(swap, SwapState.FAILED, now)
        _record(swap, ACTOR, "swap:failed", now, "", {})
        for user in (swap.user, *_leading(practice.id)):
            notices.plan(user, NoticeKind.SWAP, f"swap:{swap.id}:failed:{user.id}", now)
        return
    when = asks_at(now, swap.starts_at, ZoneInfo(practice.zone))
    swap.candidates = left
    if when > now:
        swap.next_at = when
    else:
        user = User.objects.get(pk=left[0])
        how = "phone" if swap.by_phone else "page"
        swap.asked = [*swap.asked, {"user": user.id, "at": iso(now), "answer": "", "how": how}]
        swap.candidates, swap.next_at = left[1:], now + WAIT
        notices.plan(user, NoticeKind.ASKED, f"swap:{swap.id}:ask:{len(swap.asked)}", now)
    swap.save(update_fields=["asked", "candidates", "next_at"])


def _leading(practice_id: str) -> list[User]:
    roles = [role.value for role in Role if may(role, Act.EDIT_SCHEDULE)]
    return list(User.objects.filter(practice_id=practice_id, is_active=True, role__in=roles).order_by("id"))


def _end(swap: Swap, state: SwapState, now: datetime) -> None:
    swap.state, swap.ended_at = state, now
    swap.save(update_fields=["asked", "candidates", "state", "ended_at", "taken_by"])


def _locked(swap_id: str) -> Swap | None:
    """The swap as it is now, held with its schedule until the transaction ends."""
    found = Swap.objects.filter(pk=swap_id).values_list("schedule_id", flat=True).first()
    if found is None:
        return None
    Schedule.objects.select_for_update().get(pk=found)
    held = Swap.objects.select_for_update(of=("self",)).select_related("schedule__practice", "user")
    return held.get(pk=swap_id)


def answer(
    swap_id: str, user: User, yes: bool, now: datetime, how: str = "page", source: str = "telephone"
) -> Answered:
    """One who was asked answers, also after the next one was asked: as long as nobody has it, it is to be had.

    how: 'page' or 'phone'. Whoever calls this has made sure that it is they. Raises BadSwap, and nothing was done,
    where the schedule would not name whoever takes it.
    """
    with transaction.atomic():
        swap = _locked(swap_id)
        place = _place(swap, user) if swap else None
        if swap is None or place is None or not may(user.role, Act.TAKE):
            return Answered.NOT_ASKED
        if swap.state != SwapState.ASKED:
            taken = swap.state == SwapState.ACCEPTED
            mine = taken and swap.taken_by_id == user.id
            return Answered.TAKEN if mine else Answered.LATE if taken else Answered.OVER
        waited = place == len(swap.asked) - 1 and not swap.asked[place].get("answer")
        swap.asked[place] |= {"answer": "yes" if yes else "no", "answered_at": iso(now), "how": how}
        if yes:
            return _take(swap, user, now, source)
        _record(swap, f"user:{user.login}", "swap:decline", now, source, {})
        swap.save(update_fields=["asked"])
        if waited:
            _go_on(swap, now)
        return Answered.DECLINED


def _place(swap: Swap, user: User) -> int | None:
    """Where in `asked` this person stands, the last time."""
    there = [at for at, one in enumerate(swap.asked) if one.get("user") == user.id]
    return there[-1] if there and user.is_active else None


def _take(swap: Swap, user: User, now: datetime, source: str) -> Answered:
    start = max(swap.starts_at, now)
    if not _is_theirs(swap.schedule, swap.user, start, swap.ends_at):
        _end(swap, SwapState.WITHDRAWN if swap.ends_at > now else SwapState.FAILED, now)
        _record(swap, f"user:{user.login}", "swap:over", now, source, {})
        notices.plan(swap.user, NoticeKind.SWAP, f"swap:{swap.id}:over", now)
        return Answered.OVER
    swap.taken_by = user
    _end(swap, SwapState.ACCEPTED, now)
    made = Override.objects.create(
        schedule=swap.schedule, user=user, starts_at=start, ends_at=swap.ends_at, made_by=user, swap=swap,
        number=next_number(swap.schedule),
    )  # fmt: skip
    if not _is_theirs(swap.schedule, user, start, swap.ends_at):
        raise BadSwap(
            "The shift was not taken", "the schedule would not name them", "have it put on the calendar"
        )
    detail = {"override": made.id, "from": swap.user.login, "to": user.login, "until": iso(swap.ends_at)}
    _record(swap, f"user:{user.login}", "swap:accept", now, source, detail)
    for told in (swap.user, user):
        notices.plan(told, NoticeKind.SWAP, f"swap:{swap.id}:taken:{told.id}", now)
    return Answered.TAKEN


def withdraw(actor: Actor, swap_id: str) -> None:
    """End the asking: the giver, or who edits schedules. Raises NotFound, Forbidden, or BadSwap when it has ended."""
    with transaction.atomic():
        swap = _locked(swap_id)
        if swap is None or swap.schedule.practice_id != actor.practice:
            raise NotFound("There is no such swap", "", "reload the page")
        if swap.user_id != actor.user.id and not actor.may(Act.EDIT_SCHEDULE):
            raise Forbidden("Nothing was withdrawn", "this swap is a colleague's", "ask your office manager")
        if swap.state != SwapState.ASKED:
            raise BadSwap("Nothing was withdrawn", "this swap has ended", "reload the page")
        _end(swap, SwapState.WITHDRAWN, actor.now)
        _record(swap, actor.name, "swap:withdraw", actor.now, actor.source, {})


def due(now: datetime, problems: list[Exception] | None = None) -> int:
    """Whoever did not answer in time counts as silent, and the next one is asked. Returns how many swaps went on.

    One that fails must not hold up the others: its error goes to `problems`, or is raised when there are none.
    """
    # Nothing is put off for longer than a night: what lies further ahead was set by a clock that ran ahead.
    ready = Q(next_at__lte=now) | Q(next_at__gt=now + timedelta(hours=25))
    moved = 0
    for swap_id in Swap.objects.filter(ready, state=SwapState.ASKED).values_list("id", flat=True)[:50]:
        try:
            moved += _went_on(swap_id, now)
        except Exception as error:
            if problems is None:
                raise
            problems.append(error)
    return moved


def _went_on(swap_id: str, now: datetime) -> bool:
    with transaction.atomic():
        swap = _locked(swap_id)
        if swap is None or swap.state != SwapState.ASKED:
            return False
        if now < swap.next_at <= now + timedelta(hours=25):
            return False  # another worker was quicker
        if swap.asked and not swap.asked[-1].get("answer"):
            swap.asked[-1] |= {"answer": "silent"}
            _record(swap, ACTOR, "swap:silent", now, "", {"asked": len(swap.asked)})
        _go_on(swap, now)
    return True


def asking() -> list[Asking]:
    """Everybody who is to be rung now, by the call of the swap and their number among those asked."""
    found = []
    for swap in Swap.objects.filter(state=SwapState.ASKED).select_related("schedule__practice", "user"):
        if swap.asked and not swap.asked[-1].get("answer"):
            user = User.objects.filter(pk=swap.asked[-1].get("user"), is_active=True).first()
            if user is not None:
                found.append(Asking(swap, user, len(swap.asked)))
    return found


def _record(
    swap: Swap, actor: str, action: str, now: datetime, source: str, detail: Mapping[str, object]
) -> None:
    audit.record(
        swap.schedule.practice_id, actor=actor, action=action, now=now, source=source,
        detail={"swap": swap.id, **detail},
    )  # fmt: skip
