"""Which messages a covering clinician may open: a row for each, written before they are told (docs/adr/0010)."""

from __future__ import annotations

from datetime import datetime

from nightbell.mailbox.models import Message, Shown, State
from nightbell.people.models import User


def show(message_id: str, user: User, now: datetime) -> None:
    """Let a covering clinician open a message from now on: they are about to be told of it. In the caller's transaction.

    Of an addition the message that it joins. Colleagues of the practice need no such row, and get none.
    """
    if user.home_id is None:
        return
    first = Message.objects.filter(pk=message_id).values_list("joins_id", flat=True).first()
    Shown.objects.get_or_create(message_id=first or message_id, user=user, defaults={"since": now})


def hold_all(*owners: User) -> None:
    """Lock what people own: whoever gives it back and writes to two logs takes messages first, as everybody does."""
    owned = Message.objects.filter(owner__in=owners, state=State.OWNED).order_by("pk")
    list(owned.select_for_update().values_list("pk", flat=True))
