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
