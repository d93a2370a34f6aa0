"""Calling a draft before anybody else hears it: a number that leads to it for a quarter of an hour."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.db import transaction

from nightbell.line.models import TryNumber
from nightbell.line.state import audited, first_version, lock
from nightbell.people.access import Actor, demand
from nightbell.people.roles import Act

VALID = timedelta(minutes=15)


def try_number(actor: Actor) -> TryNumber:
    """A fresh number for the practice's draft, or for the live plan when there is none; an older one ends."""
    demand(actor, Act.EDIT_LINE)
    first_version(actor.user.practice, actor.now)
    with transaction.atomic():
        lock(actor.user.practice, actor.now)
        TryNumber.objects.filter(practice_id=actor.practice).delete()
        TryNumber.objects.filter(expires_at__lte=actor.now).delete()
        made = TryNumber.objects.create(
            dialled=_free(), practice_id=actor.practice, made_by=actor.user, made_at=actor.now,
            expires_at=actor.now + VALID,
        )  # fmt: skip
        audited(actor, "line:try", {"until": made.expires_at.isoformat()})
    return made


def _free() -> str:
    while True:
        dialled = f"try-{secrets.randbelow(1_000_000):06}"
        if not TryNumber.objects.filter(pk=dialled).exists():
            return dialled


def in_force(now: datetime) -> list[TryNumber]:
    """The numbers that lead to a draft now."""
    return list(TryNumber.objects.filter(expires_at__gt=now).order_by("dialled"))
