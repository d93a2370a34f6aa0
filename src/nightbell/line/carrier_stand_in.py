"""People are told of a call whose recording does not come: at once when it is urgent.

This asks no provider and decodes nothing, and runs apart from what does: whatever hinders the fetching, an urgent
call's people hear of it in time. It needs no provider's settings either: they may have been taken out meanwhile.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from nightbell.line import carrier_write
from nightbell.line.carrier_intake import Tools, forget
from nightbell.line.carrier_models import CarrierCall, Stage

URGENT_WAITS = timedelta(seconds=60)
OTHERS_WAIT = timedelta(minutes=30)
SILENT = timedelta(minutes=5)  # an urgent call of which nobody can say whether it is over
FORGOTTEN = timedelta(hours=1)  # any other
FORGET = timedelta(days=1)


def write_due(tools: Tools, now: datetime) -> bool:
    """All stand-ins that are due. Whether there was one. One that cannot be written keeps no other from being."""
    problems: list[Exception] = []
    wrote = False
    for call in _due(now):
        try:
            wrote = _write(call, tools, now) or wrote
        except Exception as error:
            tools.log.failure("carrier.no_stand_in", error, capture=call.capture, kind=call.provider)
            problems.append(error)
    for call in _unfinished().filter(stand_in_at__lt=now - FORGET, sealed__isnull=False):
        forget(call)  # the stand-in holds the caller's number, and the provider knows the rest
    if problems:
        raise problems[0]
    return wrote


def _due(now: datetime) -> QuerySet[CarrierCall]:
    ended = Q(stage=Stage.ENDED)
    late = ended & (Q(urgent=True, ended_at__lte=now - URGENT_WAITS) | Q(ended_at__lte=now - OTHERS_WAIT))
    still = Q(stage=Stage.OPEN)
    silent = still & (Q(urgent=True, seen_at__lte=now - SILENT) | Q(seen_at__lte=now - FORGOTTEN))
    return _unfinished().filter(late | silent, stand_in_at=None).order_by("-urgent", "answered_at")


def _unfinished() -> QuerySet[CarrierCall]:
    """By the index that holds no others: these questions are asked every second."""
    return CarrierCall.objects.exclude(stage=Stage.DONE)


def _write(call: CarrierCall, tools: Tools, now: datetime) -> bool:
    with carrier_write.LOCK:
        call.refresh_from_db()
        if call.stand_in_at is not None or call.stage not in (Stage.OPEN, Stage.ENDED):
            return False
        carrier_write.write(call, call.capture, {}, (carrier_write.UNFETCHED,), None, tools.folder)
        CarrierCall.objects.filter(pk=call.pk).update(stand_in_at=now)
    tools.log("carrier.stand_in", capture=call.capture, kind=call.provider)
    return True
