"""What a provider recorded of one call, and its sound."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from nightbell.core.carriers import BadRecording, Carrier, CarrierAway, Held, NotThere
from nightbell.core.log import Log
from nightbell.core.sound import Decoder
from nightbell.line import carrier_calls, carrier_capture
from nightbell.line.carrier_calls import LOOSE
from nightbell.line.carrier_models import CarrierCall, CarrierRecording, Kept

ABSENT_AFTER = timedelta(minutes=2)  # a recording that nobody told of and the provider does not list
LOST_AFTER = timedelta(minutes=5)  # it says that it does not have what it told us of
BAD_AFTER = timedelta(minutes=30)  # a provider in trouble may send something else for a while
GIVE_UP = timedelta(days=3)


def rows_of(call: CarrierCall) -> list[CarrierRecording]:
    for take in range(call.takes):
        CarrierRecording.objects.get_or_create(call=call, take=take)
    return list(call.recordings.order_by("take"))


def held(carrier: Carrier, call: CarrierCall) -> list[Held]:
    try:
        return carrier.recordings(call.sid)
    except NotThere:
        return []


def told(rows: list[CarrierRecording]) -> bool:
    """Whether of each recording it is known what became of it."""
    return all(row.status != Kept.WAITING for row in rows)


def is_there(row: CarrierRecording) -> bool:
    """Whether the provider should have it still."""
    return row.status == Kept.COMPLETED and bool(row.sid) and row.deleted_at is None


def compared(
    call: CarrierCall, rows: list[CarrierRecording], listed: list[Held], age: timedelta
) -> list[CarrierRecording]:
    """What was told, against what the provider lists: no word may have come of some, and none must be left there.

    The lists are put together by order only where they are of one length. Otherwise nobody can say which take a
    recording is: it becomes a part of its own, at the end.
    """
    known = {row.sid for row in rows if row.sid}
    states = {one.id: one.status for one in listed}
    unnamed = [one for one in listed if one.id not in known]
    nameless = [row for row in rows if row.status == Kept.WAITING and not row.sid]
    if len(nameless) == len(unnamed):
        for row, one in zip(nameless, unnamed, strict=True):
            row.sid = one.id
        unnamed = []
    elif nameless and age < ABSENT_AFTER:
        unnamed = []  # the list may grow still
    for row in (row for row in rows if row.status == Kept.WAITING):
        row.status = _status_of(row, states, age)
        row.save(update_fields=["sid", "status"])
    last = max([LOOSE, *(row.take for row in rows)])
    for at, one in enumerate(unnamed, 1):
        more = CarrierRecording(call=call, take=last + at, sid=one.id)
        more.status = _status_of(more, states, age)
        more.save()
        rows = [*rows, more]
    return rows


def _status_of(row: CarrierRecording, states: Mapping[str, str], age: timedelta) -> Kept:
    word = carrier_calls.STATES.get(states.get(row.sid, ""))
    if word is not None:
        return word
    if age < ABSENT_AFTER or states.get(row.sid) == "processing":
        return Kept.WAITING
    return Kept.LOST if row.sid else Kept.ABSENT


def sounds_of(
    call: CarrierCall,
    rows: list[CarrierRecording],
    carrier: Carrier,
    decoder: Decoder,
    age: timedelta,
    log: Log,
) -> dict[int, bytes] | None:
    """The PCMU of each take that there is, in memory alone. None: look again later. Raises CarrierAway,
    SoundUnavailable."""
    sounds = {}
    for row in filter(is_there, rows):
        try:
            sounds[row.take] = carrier_capture.read_sound(carrier.fetch(row.sid), decoder)
        except CarrierAway as error:
            if age < GIVE_UP:
                raise
            _give_up(row, Kept.LOST, call, log, error)
        except (NotThere, BadRecording) as error:
            # A provider that is in trouble may say so too: nobody is told that it is lost before some time.
            if age < (LOST_AFTER if isinstance(error, NotThere) else BAD_AFTER):
                return None
            _give_up(row, Kept.LOST if isinstance(error, NotThere) else Kept.BAD, call, log, error)
    return sounds


def _give_up(row: CarrierRecording, status: Kept, call: CarrierCall, log: Log, error: Exception) -> None:
    """Its name is kept: it is asked for again now and then, see carrier_lost."""
    row.status = status
    row.save(update_fields=["status"])
    log.failure("carrier.recording_lost", error, kind=call.provider, capture=call.capture, state=status)
