"""How the calls by webhook stand, in numbers: for `nightbell status`. No PHI."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from nightbell.core.clock import iso
from nightbell.line.carrier_models import CarrierCall, CarrierRecording, Kept, Stage
from nightbell.store.models import Flag

REFUSED = "hooks-refused"
MOST_NAMED = 5
TOLD_FOR = timedelta(days=7)  # so long a recording that was lost is told of


def refused(name: str, now: datetime) -> None:
    """Count a request whose signature is not the provider's."""
    flag = f"{REFUSED}:{name}"
    row, made = Flag.objects.get_or_create(name=flag, defaults={"value": "1", "changed_at": now})
    if not made:
        Flag.objects.filter(pk=flag).update(value=str(int(row.value or 0) + 1), changed_at=now)


def report(names: list[str], now: datetime) -> dict[str, Any] | None:
    """What the worker tells; None where no provider is set up and none ever called."""
    calls = CarrierCall.objects
    if not names and not calls.exists():
        return None
    unfinished = calls.exclude(stage__in=[Stage.OPEN, Stage.DONE])
    oldest = unfinished.order_by("ended_at").values_list("ended_at", flat=True).first()
    failures = Flag.objects.filter(name__startswith=f"{REFUSED}:").order_by("-changed_at").first()
    troubled = calls.exclude(trouble__in=["", "waiting"]).filter(seen_at__gt=now - TOLD_FOR)
    unset = ["no-settings"] if unfinished.exclude(provider__in=names).exists() else []
    return {
        "names": sorted(names),
        "today": calls.filter(answered_at__gt=now - timedelta(days=1)).count(),
        "up": calls.filter(stage=Stage.OPEN).count(),
        "to_fetch": unfinished.filter(stage=Stage.ENDED).count(),
        "to_delete": unfinished.filter(stage=Stage.SPOOLED).count(),
        "oldest_s": round((now - oldest).total_seconds()) if oldest else 0,
        "lost": calls.filter(trouble="lost", seen_at__gt=now - TOLD_FOR).count(),
        "lost_names": _lost_names(now),
        "trouble": sorted({*troubled.exclude(trouble="lost").values_list("trouble", flat=True), *unset}),
        "refused": int(failures.value or 0) if failures else 0,
        "refused_at": iso(failures.changed_at) if failures else "",
    }


def _lost_names(now: datetime) -> list[str]:
    """By what the provider finds them, so that a person can look there: some."""
    lost = CarrierRecording.objects.filter(
        status__in=[Kept.LOST, Kept.BAD], call__trouble="lost", call__seen_at__gt=now - TOLD_FOR
    )
    named = lost.exclude(sid="").order_by("call__seen_at").values_list("call__provider", "sid")
    return [f"{provider} {sid}" for provider, sid in named[:MOST_NAMED]]
