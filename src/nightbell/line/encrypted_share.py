"""How many of the calls were encrypted: counted by day from what phones say, for the evidence of 30 days.

About right and not exact: what a phone counted while no worker listened to it is lost with the phone's restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from nightbell.store.models import Flag

DAYS = 30
_PREFIX = "calls-by-sound:"
_KEPT = timedelta(days=400)
NAMES = ("calls_encrypted", "calls_plain")


@dataclass(frozen=True, slots=True)
class Share:
    """Calls of the last 30 days; since: the first day that was counted, ISO, '' for none."""

    encrypted: int = 0
    plain: int = 0
    since: str = ""

    @property
    def percent(self) -> int | None:
        """Rounded down: 100 only when all were encrypted. None without a call."""
        calls = self.encrypted + self.plain
        return self.encrypted * 100 // calls if calls else None


class Counting:
    """Turns the phones' rising counters into what came since the last look. Of one worker."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None

    def since_last(self, phones: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
        """(encrypted, plain). The first look gives nothing, for a worker that starts anew counted these before; a
        sum that fell is a phone that started anew."""
        tables = [one["sip"] for one in phones if isinstance(one.get("sip"), dict)]
        if not tables:
            return 0, 0
        now = (sum(t.get(NAMES[0], 0) for t in tables), sum(t.get(NAMES[1], 0) for t in tables))
        last, self._last = self._last, now
        if last is None:
            return 0, 0
        if now[0] < last[0] or now[1] < last[1]:
            return now
        return now[0] - last[0], now[1] - last[1]


def add(encrypted: int, plain: int, now: datetime) -> None:
    """Add to the day."""
    if not encrypted and not plain:
        return
    with transaction.atomic():
        name = f"{_PREFIX}{now:%Y-%m-%d}"
        row, _ = Flag.objects.select_for_update().get_or_create(
            name=name, defaults={"value": "[0, 0]", "changed_at": now}
        )
        before = json.loads(row.value)
        row.value, row.changed_at = json.dumps([before[0] + encrypted, before[1] + plain]), now
        row.save()
        Flag.objects.filter(name__startswith=_PREFIX, changed_at__lt=now - _KEPT).delete()


def share(now: datetime) -> Share:
    """Of the last 30 days, today included."""
    first = f"{_PREFIX}{now - timedelta(days=DAYS - 1):%Y-%m-%d}"
    last = f"{_PREFIX}{now:%Y-%m-%d}"
    rows = Flag.objects.filter(name__startswith=_PREFIX, name__gte=first, name__lte=last).order_by("name")
    found = [(row.name.removeprefix(_PREFIX), json.loads(row.value)) for row in rows]
    if not found:
        return Share()
    return Share(sum(v[0] for _, v in found), sum(v[1] for _, v in found), found[0][0])
