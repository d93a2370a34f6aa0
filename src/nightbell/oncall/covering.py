"""Covering clinicians: what they may open, and the end of it.

They see what they were told of (oncall.attempts), and what began to ring while they were on call. At the end, what it
leaves uncovered is weighed first, and what they owned rings again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from nightbell.core.notice import NoticeKind
from nightbell.mailbox import service as mailbox
from nightbell.mailbox import shown
from nightbell.mailbox.models import Message
from nightbell.oncall import gaps, notices, questions
from nightbell.oncall.errors import Uncovered
from nightbell.oncall.models import Schedule
from nightbell.oncall.roster import on_call_ids
from nightbell.oncall.rotation import Span, union
from nightbell.oncall.schedule import confirms, uncovered_detail
from nightbell.people import covers
from nightbell.people.access import Actor
from nightbell.people.models import Cover, User


def ask(actor: Actor, who: str) -> Cover:
    """Ask a clinician of another practice, and have them told of it, once, in their own ways. Raises as covers.ask."""
    return covers.ask(actor, who, lambda row: _tell(row, actor.now))


def _tell(row: Cover, now: datetime) -> None:
    notices.plan(row.user, NoticeKind.COVER, questions.cover_key(row.id), now)


def let_see(begun: Sequence[tuple[Message, Schedule | None]], now: datetime) -> None:
    """Whoever covers and is on call now may open what begins to ring. In the caller's transaction.

    A schedule that cannot be read holds no alert up: whoever is told of it may open it all the same.
    """
    practices = {message.practice_id for message, _ in begun}
    guests: dict[str, list[User]] = {}
    for user in User.objects.filter(practice__in=practices, is_active=True).exclude(home=None):
        guests.setdefault(user.practice_id, []).append(user)
    for message, schedule in begun:
        theirs = guests.get(message.practice_id)
        there = _there(message, schedule, now) if theirs else frozenset()
        for user in theirs or ():
            if user.id in there:
                shown.show(message.id, user, now)


def _there(message: Message, schedule: Schedule | None, now: datetime) -> frozenset[str]:
    try:
        return frozenset(on_call_ids(message.practice, now, schedule))
    except (ValueError, LookupError, TypeError, ArithmeticError):
        return frozenset()


def end(actor: Actor, cover_id: str, confirm: str = "") -> None:
    """End somebody's covering, from either side; before they accepted: take the request back, or decline it.

    confirm: the actor's own name, where minutes are left without anybody. Raises NotFound or Uncovered.
    """
    with transaction.atomic():
        row = covers.held_for(actor, cover_id)
        held = Schedule.objects.select_for_update(of=("self",)).select_related("practice").order_by("id")
        schedules = list(held.filter(practice_id=row.practice_id)) if row.guest_id else []
        before = [gaps.uncovered(one, actor.now) for one in schedules]
        covers.close(row, actor.name, actor.now)
        opened: list[Span] = []
        for schedule, was in zip(schedules, before, strict=True):
            opened += gaps.opened(was, gaps.uncovered(schedule, actor.now))
        opened = union(opened)
        if opened and not confirms(actor, confirm):
            raise Uncovered(opened)
        if row.guest is not None:
            shown.hold_all(row.guest)
        covers.note(row, actor.name, covers.END, actor.now, actor.source, uncovered_detail(opened))
        if row.guest is not None:
            mailbox.give_back_all(row.guest, actor.name, actor.now)
