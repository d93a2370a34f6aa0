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
_SAME_S = 5.0  # two starts so near are the same: words of a phone are that old at times
_MOST_PHONES = 16


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


@dataclass(slots=True)
class _Phone:
    """One phone process as it was seen last. began: its start, monotonic seconds."""

    pid: int
    began: float
    counts: tuple[int, int]


class Counting:
    """Turns the phones' rising counters into what came since the last look. Of one worker.

    Each phone is followed by itself: while one takes over from another both are there, and either may be away for a
    while. A process is known by its number and its start, for in containers two may have the same number.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._phones: list[_Phone] = []

    def since_last(self, phones: Iterable[Mapping[str, Any]], at: float) -> tuple[int, int]:
        """(encrypted, plain). phones: what they said; at: monotonic seconds. A phone that began before the first look
        gives nothing when it is seen first, for the worker of before counted these."""
        if self._first is None:
            self._first = at
        gained = [self._gained(one, at, self._first) for one in phones if isinstance(one.get("sip"), dict)]
        return sum(one[0] for one in gained), sum(one[1] for one in gained)

    def _gained(self, said: Mapping[str, Any], at: float, first: float) -> tuple[int, int]:
        now = (said["sip"].get(NAMES[0], 0), said["sip"].get(NAMES[1], 0))
        pid, began = said.get("pid", 0), at - said.get("age_s", 0.0) - said.get("uptime", at)
        known = next((p for p in self._phones if p.pid == pid and abs(p.began - began) < _SAME_S), None)
        if known is None:
            known = _Phone(pid, began, (0, 0) if began > first else now)
            self._phones = [*self._phones, known][-_MOST_PHONES:]
        before, known.counts = known.counts, now
        return max(0, now[0] - before[0]), max(0, now[1] - before[1])


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
