"""Recordings that were given up are asked for again now and then: a provider mends itself, a key is put right."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from nightbell.core.carriers import BadRecording, CarrierAway, NotThere
from nightbell.core.ids import new_ulid
from nightbell.core.sound import SoundUnavailable
from nightbell.line import carrier_capture
from nightbell.line.carrier_intake import Tools
from nightbell.line.carrier_models import CarrierCall, CarrierRecording, Kept, Stage
from nightbell.mailbox.models import Message

AGAIN = timedelta(hours=6)
ASK_FOR = timedelta(days=30)


def ask_again(tools: Tools, now: datetime) -> int:
    """How many recordings came back. Each of their calls goes its way once more, with a message for the sound."""
    back = 0
    given_up = CarrierRecording.objects.filter(
        status__in=[Kept.LOST, Kept.BAD], call__stage=Stage.DONE, call__due_at__lte=now,
        call__answered_at__gt=now - ASK_FOR, call__provider__in=list(tools.carriers),
    )  # fmt: skip
    for row in given_up.exclude(sid="").select_related("call"):
        CarrierCall.objects.filter(pk=row.call_id).update(due_at=now + AGAIN)
        try:
            carrier_capture.read_sound(tools.carriers[row.call.provider].fetch(row.sid), tools.decoder)
        except (CarrierAway, NotThere, BadRecording, SoundUnavailable):
            continue
        _reopen(row, now)
        tools.log("carrier.came_back", capture=row.call.capture, kind=row.call.provider)
        back += 1
    return back


def _reopen(row: CarrierRecording, now: datetime) -> None:
    call = row.call
    later = new_ulid() if Message.objects.filter(pk=call.later).exists() else call.later
    with transaction.atomic():
        # What was had before is no part of this round: the log says what became of it.
        call.recordings.filter(status=Kept.COMPLETED).update(status=Kept.ABSENT)
        CarrierRecording.objects.filter(pk=row.pk).update(status=Kept.COMPLETED)
        CarrierCall.objects.filter(pk=call.pk).update(
            stage=Stage.ENDED, due_at=now, attempts=0, trouble="", later=later, verified_at=None,
            stand_in_at=call.stand_in_at or now,
        )  # fmt: skip
