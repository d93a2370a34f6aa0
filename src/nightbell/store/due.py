"""When a row's time has come: one rule for jobs, alerts and attempts."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

FAR_AHEAD = timedelta(hours=2)  # longer than any back-off, lease or step


def due(column: str, now: datetime) -> Q:
    """Its time has come, or lies so far ahead that it was set by a clock that ran ahead."""
    return Q(**{f"{column}__lte": now}) | Q(**{f"{column}__gt": now + FAR_AHEAD})
