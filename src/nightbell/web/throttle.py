"""Counting failed attempts across processes."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F

from nightbell.web.models import Knock

LIMIT = 20
WINDOW = timedelta(minutes=5)


def key_of(what: str, source: str) -> str:
    return f"{what}:{source}"[:80]


def too_many(what: str, source: str, now: datetime) -> bool:
    """Whether this source has failed LIMIT times within WINDOW."""
    return Knock.objects.filter(pk=key_of(what, source), since__gt=now - WINDOW, count__gte=LIMIT).exists()


def failed(what: str, source: str, now: datetime) -> None:
    """Count one failure; the first after a quiet time starts anew and clears what is old."""
    key = key_of(what, source)
    if Knock.objects.filter(pk=key, since__gt=now - WINDOW).update(count=F("count") + 1):
        return
    Knock.objects.filter(since__lte=now - WINDOW).delete()
    Knock.objects.update_or_create(pk=key, defaults={"since": now, "count": 1})


def first(what: str, who: str, now: datetime, within: timedelta) -> bool:
    """Whether nothing of this key came `within` that time before; the next to ask is told no. One wins of two at once.

    In the caller's transaction: what it does for the first and this mark stand or fall together.
    """
    key = key_of(what, who)
    if Knock.objects.filter(pk=key, since__lte=now - within).update(since=now):
        return True
    _, made = Knock.objects.get_or_create(pk=key, defaults={"since": now, "count": 1})
    if made:
        Knock.objects.filter(since__lte=now - WINDOW).delete()
    return made
