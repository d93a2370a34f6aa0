"""A way to a person that ended without their doing, or a PIN that was locked: they learn of it by what is left to them,
and the managers learn of a way that ended, since nobody may be on call and not be woken.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nightbell.core.clock import iso
from nightbell.core.notice import NoticeKind
from nightbell.oncall import notices, whom
from nightbell.people import contacts, pins
from nightbell.people.models import Contact, User


def watch() -> None:
    """Be told by the room below."""
    contacts.on_disowned = way_ended
    pins.on_lock = pin_locked


def way_ended(contact: Contact, now: datetime) -> None:
    """In the transaction that ends it, which ends it once."""
    guests = User.objects.filter(home=contact.user_id, is_active=True)
    practices = [contact.user.practice_id, *guests.order_by("id").values_list("practice_id", flat=True)]
    led = [user for practice in practices for user in whom.managers(practice)]
    told = {user.id: user for user in (contact.user, *led)}
    for user in told.values():
        notices.plan(user, NoticeKind.WAYS, f"ways:{contact.id}:{iso(now)}:{user.id}", now)


def pin_locked(user: User, now: datetime) -> None:
    """In the transaction that records the last try. Once a day: whoever keys wrong PINs must not ring others by it."""
    notices.plan(user, NoticeKind.WAYS, f"pin-locked:{user.id}:{now.date()}", now)


def untellable(user_ids: Sequence[str], now: datetime) -> list[User]:
    """Of these people, those who have no proved way at all."""
    found = (
        User.objects.filter(pk__in=list(user_ids), is_active=True).select_related("practice").order_by("name")
    )
    return [user for user in found if not contacts.ways(user, now, True)]
