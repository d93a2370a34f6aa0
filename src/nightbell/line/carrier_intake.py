"""From a provider's recordings to a message, and then away with the provider's copy: in this order, whatever dies when.

A call's capture has an id that was chosen when the call came, so it becomes one message however often this is tried.
The provider's copy is deleted when the message is there, its sound was opened, and each recording lies in it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.carriers import BadRecording, Carrier, CarrierAway, KeyDoesNotFit, NotThere
from nightbell.core.log import Log
from nightbell.core.sound import Decoder
from nightbell.line import carrier_calls, carrier_capture, carrier_fetch, carrier_write
from nightbell.line.carrier_models import CarrierCall, CarrierRecording, Kept, Stage
from nightbell.mailbox import stored
from nightbell.mailbox.models import Message, State
from nightbell.store import jobs, vault

ACTOR = "system:worker"
IDLE_OVER = timedelta(minutes=30)  # without a request, and the provider tells nothing: nobody is on the line
ASK_AFTER = timedelta(seconds=15)  # no word of a recording: the provider is asked
AGAIN = timedelta(hours=1)
SOON = timedelta(seconds=5)
AT_ONCE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Tools:
    """carriers: by name; folder: the spool."""

    carriers: Mapping[str, Carrier]
    decoder: Decoder
    folder: Path
    log: Log


def run_one(tools: Tools, now: datetime) -> bool:
    """One step of the call whose turn it is, urgent ones first. Whether there was one."""
    waiting = CarrierCall.objects.exclude(stage=Stage.DONE).filter(
        due_at__lte=now, provider__in=list(tools.carriers)
    )
    call = waiting.order_by("-urgent", "due_at", "id").first()
    if call is None:
        return False
    try:
        _STEPS[Stage(call.stage)](call, tools, now)
    except CarrierAway as error:
        trouble = "recording-key" if isinstance(error, KeyDoesNotFit) else "away"
        _later(call, jobs.backoff(call.attempts + 1), now, trouble)
        tools.log.failure("carrier.away", error, kind=call.provider, capture=call.capture)
    except vault.KeysAway:
        _set(call, due_at=now + SOON, trouble="keys")
    except Exception as error:
        # It steps back behind the others: one call that cannot be handled must not keep theirs from being fetched.
        _later(call, jobs.backoff(call.attempts + 3), now, type(error).__name__[:40])
        raise
    return True


def _set(call: CarrierCall, **columns: object) -> None:
    CarrierCall.objects.filter(pk=call.pk).update(**columns)
    for name, value in columns.items():
        setattr(call, name, value)


def _later(call: CarrierCall, delay: timedelta, now: datetime, trouble: str = "") -> None:
    _set(call, due_at=now + delay, attempts=call.attempts + 1, trouble=trouble)


def forget(call: CarrierCall) -> None:
    """Nothing of the call's own state is left here."""
    vault.keyring().destroy(call.id)
    _set(call, sealed=None)


# Is anybody still on the line?


def _open(call: CarrierCall, tools: Tools, now: datetime) -> None:
    gone = now - call.seen_at > IDLE_OVER
    if not gone:
        try:
            gone = tools.carriers[call.provider].facts(call.sid).over
        except NotThere:
            gone = True
    if gone:
        carrier_calls.finish(call, None, now)
    else:
        _later(call, carrier_calls.LOOK, now)


# What was recorded?


def _ended(call: CarrierCall, tools: Tools, now: datetime) -> None:
    age = now - (call.ended_at or call.seen_at)
    rows, carrier = carrier_fetch.rows_of(call), tools.carriers[call.provider]
    if not carrier_fetch.told(rows) and age < ASK_AFTER:
        _wait(call, now)
        return
    rows = carrier_fetch.compared(call, rows, carrier_fetch.held(carrier, call), age)
    sounds = None
    if carrier_fetch.told(rows):
        sounds = carrier_fetch.sounds_of(call, rows, carrier, tools.decoder, age, tools.log)
    if sounds is None:
        _wait(call, now)
        return
    faults.point("carrier.fetched")
    _spool(call, rows, sounds, tools, now)


def _wait(call: CarrierCall, now: datetime) -> None:
    _later(call, min(timedelta(seconds=60), jobs.backoff(call.attempts + 1)), now, "waiting")


# To intake.


def _spool(
    call: CarrierCall, rows: list[CarrierRecording], sounds: dict[int, bytes], tools: Tools, now: datetime
) -> None:
    marks: carrier_write.Marks = (carrier_write.UNFETCHED,) if _lost(rows) else ()
    told = carrier_write.asked(call, tools.carriers[call.provider])
    with carrier_write.LOCK:
        if _stands_in(call, bool(sounds)) and call.stand_in_at is None:
            _set(call, stand_in_at=now)  # it was written, and who wrote it died before the row said so
        if call.stand_in_at is None or sounds:
            if call.stand_in_at is not None and call.urgent:
                marks = (*marks, (0, f"joins:{call.capture}"))
            target = _target(call, bool(sounds))
            carrier_write.write(call, target, sounds, marks, told, tools.folder)
            faults.point("carrier.spooled")
        _set(call, stage=Stage.SPOOLED, due_at=now + AT_ONCE, attempts=0, trouble="")


def _lost(rows: list[CarrierRecording]) -> bool:
    return any(row.status in (Kept.LOST, Kept.BAD) for row in rows)


def _stands_in(call: CarrierCall, sounds: bool) -> bool:
    """Whether people were told of the call without its sound meanwhile."""
    call.refresh_from_db(fields=["stand_in_at"])
    first = Message.objects.filter(pk=call.capture).values_list("audio_bytes", flat=True).first()
    return call.stand_in_at is not None or (sounds and first == 0)


def _target(call: CarrierCall, sounds: bool) -> str:
    """The message that holds what could be had of the sound."""
    return call.later if call.stand_in_at is not None and sounds else call.capture


# Is it safe? Then away with the provider's copy.


def _spooled(call: CarrierCall, tools: Tools, now: datetime) -> None:
    rows = [row for row in carrier_fetch.rows_of(call) if carrier_fetch.is_there(row)]
    message = _message(call, bool(rows))
    age = now - (call.ended_at or now)
    if message is None and (rows or age < carrier_fetch.GIVE_UP):
        _later(
            call, SOON if call.attempts > 5 else AT_ONCE, now, "unverified" if age > AGAIN else call.trouble
        )
        return
    if message is not None and rows and _without_sound(call, message):
        # A stand-in was taken in before the sound, which gets a message of its own.
        _set(call, stage=Stage.ENDED, stand_in_at=now, due_at=now, attempts=0)
        return
    if message is not None and call.sealed is not None:
        forget(call)  # the message holds it now
    if message is not None and not _verified(call, message, rows, tools, now):
        return
    faults.point("carrier.verified")
    for row in rows:
        _delete(tools.carriers[call.provider], row, now)
    _done(call, message, now)


def _without_sound(call: CarrierCall, message: Message) -> bool:
    return message.id == call.capture and not message.audio_bytes and message.state != State.DISPOSED


def _message(call: CarrierCall, sound: bool) -> Message | None:
    """The one with the sound; where none is to be had (any more), what people were told with."""
    if sound:
        return Message.objects.filter(pk=_target(call, sound)).first()
    found = Message.objects.in_bulk([call.later, call.capture])
    return found.get(call.later) or found.get(call.capture)


def _verified(
    call: CarrierCall, message: Message, rows: list[CarrierRecording], tools: Tools, now: datetime
) -> bool:
    """Whether the stored message holds all that the provider holds. If not, a person must look."""
    if call.verified_at is not None or message.state == State.DISPOSED or not rows:
        return True
    wav = _stored(message)
    if not all(_same(tools.carriers[call.provider], row, wav, tools.decoder) for row in rows):
        tools.log("carrier.unverified", capture=message.id, kind=call.provider)
        _later(call, AGAIN, now, "unverified")
        return False
    _set(call, verified_at=now)
    return True


def _delete(carrier: Carrier, row: CarrierRecording, now: datetime) -> None:
    """The row says which of two it was: deleted by us, or gone already."""
    deleted = carrier.delete(row.sid)
    faults.point("carrier.deleted")
    if deleted:
        row.deleted_at = now
    else:
        row.sid = ""
    row.save(update_fields=["deleted_at", "sid"])


def _stored(message: Message) -> bytes:
    """The message's sound, opened again from where it lies; b'' when it has none."""
    if not message.audio_bytes:
        return b""
    return stored.reader(message, vault.message_key(message.id)).read()


def _same(carrier: Carrier, row: CarrierRecording, wav: bytes, decoder: Decoder) -> bool:
    """Whether what the provider still holds lies whole in the stored message. It is fetched once more for that."""
    try:
        return carrier_capture.lies_whole(wav, carrier_capture.read_sound(carrier.fetch(row.sid), decoder))
    except NotThere:
        return True  # nothing of it is left to delete
    except BadRecording:
        return False


def _done(call: CarrierCall, message: Message | None, now: datetime) -> None:
    """Nothing of this call is with the provider any more but what could not be had, and nothing of the patient's here."""
    rows = list(call.recordings.all())
    lost = _lost(rows)
    had = [row for row in rows if row.status == Kept.COMPLETED]
    deleted = sum(row.deleted_at is not None for row in had)
    forget(call)
    with transaction.atomic():
        call.recordings.exclude(status__in=[Kept.LOST, Kept.BAD]).update(sid="")
        _set(
            call, stage=Stage.DONE, done_at=now, due_at=now + AGAIN, sid=call.sid if lost else "",
            trouble="lost" if lost else "",
        )  # fmt: skip
        if had or lost:
            audit.record(
                message.practice_id if message else audit.INSTALLATION, actor=ACTOR, now=now,
                action="carrier:lost" if lost else "carrier:deleted", message=message.id if message else call.capture,
                outcome="failed" if lost else "ok",
                detail={"provider": call.provider, "deleted": deleted, "gone": len(had) - deleted},
            )  # fmt: skip


_STEPS: dict[Stage, Callable[[CarrierCall, Tools, datetime], None]] = {
    Stage.OPEN: _open,
    Stage.ENDED: _ended,
    Stage.SPOOLED: _spooled,
}
