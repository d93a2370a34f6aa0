"""A way to a person that was added or has ended, or a PIN that was locked: they learn of it by what is left to them, for it
may have been somebody else; and the managers learn of one that ended without their doing, or was the last of somebody on
duty, since nobody may be on call and not be woken.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from nightbell.core.clock import iso
from nightbell.core.notice import NoticeKind
from nightbell.oncall import notices, whom
from nightbell.oncall.errors import LastWay
from nightbell.oncall.models import Attempt, AttemptState, Notice, NoticeState, Schedule
from nightbell.oncall.posting import NOT_NEEDED
from nightbell.oncall.roster import rota_of
from nightbell.oncall.schedule import confirms
from nightbell.oncall.sending import NOT_TRIED
from nightbell.people import contacts, pins
from nightbell.people.access import Actor
from nightbell.people.models import Contact, ContactKind, User

SOON = timedelta(days=14)


def watch() -> None:
    """Be told by the room below."""
    contacts.on_disowned = way_ended
    contacts.on_added = way_added
    pins.on_lock = pin_locked


def way_ended(contact: Contact, now: datetime) -> None:
    """In the transaction that ends it, which ends it once."""
    guests = User.objects.filter(home=contact.user_id, is_active=True)
    practices = [contact.user.practice_id, *guests.order_by("id").values_list("practice_id", flat=True)]
    led = [user for practice in practices for user in whom.managers(practice)]
    told = {user.id: user for user in (contact.user, *led)}
    for user in told.values():
        notices.plan(user, NoticeKind.WAYS, f"ways:{contact.id}:{iso(now)}:{user.id}", now)


def way_added(contact: Contact, now: datetime) -> None:
    """In the transaction that adds it. Whoever holds a session of theirs could have themselves told instead of them."""
    _changed(contact, now)


def _changed(contact: Contact, now: datetime) -> None:
    """To the other ways of its owner; once an hour, for whoever sets up their ways adds several."""
    if any(one.id != contact.id for one in contacts.ways(contact.user, now, True)):
        key = f"ways-changed:{contact.user_id}:{iso(now)[:13]}"
        notices.plan(contact.user, NoticeKind.WAYS, key, now)


def take_away(actor: Actor, contact_id: str, confirm: str = "") -> None:
    """Take a way of one's own away. confirm: one's own name, where it is the last working one of somebody on duty within two
    weeks, here or where they cover; then the managers learn of it. Raises LastWay, NotFound."""
    with transaction.atomic():
        user = User.objects.select_for_update(of=("self",)).select_related("practice").get(pk=actor.user.pk)
        left = contacts.ways(user, actor.now, True)
        last = _is_last(contact_id, left) and _on_duty(user, actor.now)
        if last and not confirms(actor, confirm):
            why = "is the only way to tell you" if len(left) == 1 else "is the only way that has reached you"
            raise LastWay(
                "Nothing was taken away",
                f"it {why}, and you are on call within two weeks",
                "prove another first, or confirm it with your own name",
            )
        ended = contacts.remove(actor, contact_id, {"last": True, "confirmed": True} if last else {})
        if last:
            way_ended(ended, actor.now)
        else:
            _changed(ended, actor.now)


def _is_last(contact_id: str, left: Sequence[Contact]) -> bool:
    """Whether without this one nothing would be left, or nothing that works."""
    others = [one for one in left if one.id != contact_id]
    mine = next((one for one in left if one.id == contact_id), None)
    return mine is not None and (not others or (works(mine) and not any(works(one) for one in others)))


def works(contact: Contact) -> bool:
    """Whether a proved way may lead to its owner. One that was proved by a code has; push was never asked: where something
    failed for good and nothing ever arrived, its endpoint goes nowhere. One that its service says is gone has ended."""
    if contact.kind != ContactKind.PUSH or contact.tested_at is not None:
        return True
    told = Attempt.objects.filter(contact=contact, recorded_at__gte=contact.created_at)
    notices = Notice.objects.filter(contact=contact, made_at__gte=contact.created_at)
    if (
        told.filter(state=AttemptState.SENT).exists()
        or notices.filter(state=NoticeState.SENT, channel=contact.kind).exists()
    ):
        return True
    failed = (
        told.filter(state=AttemptState.FAILED).exclude(answer__in=NOT_TRIED).exists()
        or notices.filter(state=NoticeState.FAILED).exclude(answer=NOT_NEEDED).exists()
    )
    return not failed and not contacts.tested_in_vain(contact)


def _on_duty(user: User, now: datetime) -> bool:
    """Whether they are on call within two weeks. A schedule that cannot be read counts as theirs: they are asked."""
    rows = [user, *User.objects.filter(home=user, is_active=True).select_related("practice")]
    mine, practices = {row.id for row in rows}, [row.practice_id for row in rows]
    for schedule in Schedule.objects.filter(practice_id__in=practices).select_related("practice"):
        try:
            duties = rota_of(schedule.practice, schedule, now).duties(now, now + SOON)
        except (ValueError, LookupError, TypeError, ArithmeticError):
            return True
        if any(duty.user in mine for duty in duties):
            return True
    return False


def pin_locked(user: User, now: datetime) -> None:
    """In the transaction that records the last try. Once a day: whoever keys wrong PINs must not ring others by it."""
    notices.plan(user, NoticeKind.WAYS, f"pin-locked:{user.id}:{now.date()}", now)


def untellable(user_ids: Sequence[str], now: datetime) -> list[User]:
    """Of these people, those who have no proved way at all."""
    found = (
        User.objects.filter(pk__in=list(user_ids), is_active=True).select_related("practice").order_by("name")
    )
    return [user for user in found if not contacts.ways(user, now, True)]
