"""Closing out of the ordinary: at once, or ahead. Apart from the plan, so that snow publishes nobody's half-made draft."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from nightbell.line.errors import BadClosure
from nightbell.line.models import Closure
from nightbell.line.state import audited, lock, name_of
from nightbell.people.access import Actor, NotFound, demand
from nightbell.people.roles import Act

LONGEST = timedelta(days=366)
AHEAD = timedelta(days=2 * 366)
MOST = 50  # at a time: all of them go to the phone


@dataclass(frozen=True, slots=True)
class ClosureView:
    """A closure in force or to come. ends_at None: until somebody opens again; times in UTC."""

    id: str
    starts_at: datetime
    ends_at: datetime | None
    visits: bool
    at_once: bool
    in_force: bool
    made_by: str
    made_at: datetime


def closures(practice_id: str, now: datetime) -> list[ClosureView]:
    """Those in force or to come, by their start. For whoever may see the practice's line."""
    found = _left(practice_id, now).select_related("made_by").order_by("starts_at", "id")
    return [
        ClosureView(
            one.id, one.starts_at, one.ends_at, one.visits, one.at_once, one.starts_at <= now,
            name_of(one.made_by), one.made_at,
        )
        for one in found
    ]  # fmt: skip


def _left(practice_id: str, now: datetime) -> QuerySet[Closure]:
    return Closure.objects.filter(Q(ends_at=None) | Q(ends_at__gt=now), practice_id=practice_id)


def close_now(actor: Actor, visits: bool) -> str:
    """Closed from this moment until somebody opens again. Returns the closure's id; a second time it is the same.

    visits: tell callers who had a visit that they will be called.
    """
    demand(actor, Act.EDIT_LINE)
    with transaction.atomic():
        lock(actor.user.practice, actor.now)
        running = _left(actor.practice, actor.now).filter(
            at_once=True, ends_at=None, starts_at__lte=actor.now
        )
        same = running.filter(visits=visits).first()
        if same is not None:
            return same.id
        running.update(ends_at=actor.now, ended_by=actor.user)
        made = Closure.objects.create(
            practice_id=actor.practice, starts_at=actor.now, visits=visits, at_once=True, made_by=actor.user,
            made_at=actor.now,
        )  # fmt: skip
        audited(actor, "line:close", {"closure": made.id, "visits": visits})
    return made.id


def reopen_now(actor: Actor) -> int:
    """End every closure in force, planned ones too: the week's hours count again. Returns how many ended."""
    demand(actor, Act.EDIT_LINE)
    with transaction.atomic():
        lock(actor.user.practice, actor.now)
        running = _left(actor.practice, actor.now).filter(starts_at__lte=actor.now)
        ended = running.update(ends_at=actor.now, ended_by=actor.user)
        if ended:
            audited(actor, "line:reopen", {"closures": ended})
    return ended


def add_closure(actor: Actor, starts: datetime, ends: datetime, visits: bool) -> str:
    """A closure from one instant to another. Returns its id. Raises BadClosure."""
    demand(actor, Act.EDIT_LINE)
    what = "The closure was not kept"
    if starts.tzinfo is None or ends.tzinfo is None:
        raise BadClosure(what, "a time has no zone", "give both times with a zone")
    if ends <= starts or ends - starts > LONGEST:
        raise BadClosure(what, "it ends before it starts or lasts over a year", "check the times")
    if ends <= actor.now or starts > actor.now + AHEAD:
        raise BadClosure(what, "it lies in the past or over two years ahead", "check the dates")
    with transaction.atomic():
        lock(actor.user.practice, actor.now)
        if _left(actor.practice, actor.now).count() >= MOST:
            raise BadClosure(what, f"there are {MOST} already", "take out those that you do not need")
        made = Closure.objects.create(
            practice_id=actor.practice, starts_at=starts, ends_at=ends, visits=visits, made_by=actor.user,
            made_at=actor.now,
        )  # fmt: skip
        audited(actor, "line:closure", {"closure": made.id, "visits": visits})
    return made.id


def remove_closure(actor: Actor, closure_id: str) -> None:
    """End a closure that is in force, or take out one to come. Raises NotFound."""
    demand(actor, Act.EDIT_LINE)
    with transaction.atomic():
        lock(actor.user.practice, actor.now)
        found = _left(actor.practice, actor.now).filter(pk=closure_id)
        ended = found.filter(starts_at__lte=actor.now).update(ends_at=actor.now, ended_by=actor.user)
        gone = 0 if ended else found.delete()[0]
        if not ended and not gone:
            raise NotFound(
                "There is no such closure", "it is over or was taken out already", "reload the page"
            )
        audited(actor, "line:closure_removed", {"closure": closure_id})
