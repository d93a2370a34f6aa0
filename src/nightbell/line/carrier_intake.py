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
from nightbell.core import durable, faults
from nightbell.core.capture import EndReason
from nightbell.core.carriers import BadRecording, CallFacts, Carrier, CarrierAway, Held, NotThere
from nightbell.core.log import Log
from nightbell.core.sound import Decoder
from nightbell.flow.provider import Progress
from nightbell.line import carrier_calls, carrier_capture, carrier_lines
from nightbell.line.carrier_calls import LOOSE
from nightbell.line.carrier_models import CarrierCall, CarrierRecording, Kept, Stage
from nightbell.mailbox import epochs, stored
from nightbell.mailbox.models import Message, State
from nightbell.sealing import spool
from nightbell.store import jobs, vault

ACTOR = "system:worker"
IDLE_OVER = timedelta(minutes=30)  # without a request, and the provider tells nothing: nobody is on the line
ASK_AFTER = timedelta(seconds=15)  # no word of a recording: the provider is asked
ABSENT_AFTER = timedelta(minutes=2)  # and after this it has none
LOST_AFTER = timedelta(minutes=5)  # it says that it does not have what it told us of
URGENT_WAITS, OTHERS_WAIT = (
    timedelta(seconds=60),
    timedelta(minutes=30),
)  # then people are told without the sound
GIVE_UP = timedelta(days=3)
FORGET = timedelta(days=1)
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
        _later(call, jobs.backoff(call.attempts + 1), now, "away")
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
    rows = _rows(call)
    try:
        if not _told(rows) and age < ASK_AFTER:
            _wait(call, tools, now)
            return
        rows = _compared(call, rows, _held(call, tools), age)
        sounds = _fetch(rows, tools, call, age) if _told(rows) else None
    except CarrierAway:
        _stand_in_if_due(call, tools, now)
        _forget_if_old(call, now)
        raise
    if sounds is None:
        _wait(call, tools, now)
        return
    faults.point("carrier.fetched")
    _spool(call, rows, sounds, tools, now)


def _rows(call: CarrierCall) -> list[CarrierRecording]:
    for take in range(call.takes):
        CarrierRecording.objects.get_or_create(call=call, take=take)
    return list(call.recordings.order_by("take"))


def _held(call: CarrierCall, tools: Tools) -> list[Held]:
    try:
        return tools.carriers[call.provider].recordings(call.sid)
    except NotThere:
        return []


def _told(rows: list[CarrierRecording]) -> bool:
    return all(row.status != Kept.WAITING for row in rows)


def _compared(
    call: CarrierCall, rows: list[CarrierRecording], held: list[Held], age: timedelta
) -> list[CarrierRecording]:
    """What was told, against what the provider lists: no word may have come of some, and none must be left there."""
    known = {row.sid for row in rows if row.sid}
    states = {one.id: one.status for one in held}
    unnamed = [one for one in held if one.id not in known]
    for row in (row for row in rows if row.status == Kept.WAITING):
        if not row.sid and unnamed:
            row.sid = unnamed.pop(0).id
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
    told = carrier_calls.STATES.get(states.get(row.sid, ""))
    if told is not None:
        return told
    if age < ABSENT_AFTER or states.get(row.sid) == "processing":
        return Kept.WAITING
    return Kept.LOST if row.sid else Kept.ABSENT


def _wait(call: CarrierCall, tools: Tools, now: datetime) -> None:
    _stand_in_if_due(call, tools, now)
    _forget_if_old(call, now)
    _later(call, min(timedelta(seconds=60), jobs.backoff(call.attempts + 1)), now, "waiting")


def _forget_if_old(call: CarrierCall, now: datetime) -> None:
    """After a day what is sealed here goes: the stand-in holds the caller's number, and the provider knows the rest."""
    if call.stand_in_at is not None and now - call.stand_in_at > FORGET:
        _forget(call)


def _forget(call: CarrierCall) -> None:
    vault.keyring().destroy(call.id)
    _set(call, sealed=None)


def _fetch(
    rows: list[CarrierRecording], tools: Tools, call: CarrierCall, age: timedelta
) -> dict[int, bytes] | None:
    """The PCMU of each take that there is, in memory alone. None: look again later."""
    sounds = {}
    for row in rows:
        if row.status != Kept.COMPLETED:
            continue
        try:
            data = tools.carriers[call.provider].fetch(row.sid)
            sounds[row.take] = carrier_capture.read_sound(data, tools.decoder)
        except CarrierAway as error:
            if age < GIVE_UP:
                raise
            _give_up(row, Kept.LOST, call, tools, error)
        except (NotThere, BadRecording) as error:
            # A provider that is in trouble may say so too: nobody is told that it is lost before some time.
            if age < (LOST_AFTER if isinstance(error, NotThere) else OTHERS_WAIT):
                return None
            _give_up(row, Kept.LOST if isinstance(error, NotThere) else Kept.BAD, call, tools, error)
    return sounds


def _give_up(row: CarrierRecording, status: Kept, call: CarrierCall, tools: Tools, error: Exception) -> None:
    row.status = status
    row.save(update_fields=["status"])
    tools.log.failure("carrier.recording_lost", error, kind=call.provider, capture=call.capture, state=status)


# To intake.


def _stand_in_if_due(call: CarrierCall, tools: Tools, now: datetime) -> None:
    """People are told of a call whose recording does not come: at once when it is urgent."""
    patience = URGENT_WAITS if call.urgent else OTHERS_WAIT
    if call.stand_in_at is None and now - (call.ended_at or call.seen_at) >= patience:
        _write(call, call.capture, {}, ((0, "unfetched"),), tools)
        _set(call, stand_in_at=now)
        tools.log("carrier.stand_in", capture=call.capture, kind=call.provider)


def _spool(
    call: CarrierCall, rows: list[CarrierRecording], sounds: dict[int, bytes], tools: Tools, now: datetime
) -> None:
    lost = any(row.status in (Kept.LOST, Kept.BAD) for row in rows)
    if call.stand_in_at is not None and not sounds:
        _set(call, stage=Stage.SPOOLED, due_at=now, attempts=0, trouble="")
        return
    marks: tuple[tuple[int, str], ...] = ((0, "unfetched"),) if lost else ()
    if call.stand_in_at is not None and call.urgent:
        marks = (*marks, (0, f"joins:{call.capture}"))
    _write(call, _target(call), sounds, marks, tools)
    faults.point("carrier.spooled")
    _set(call, stage=Stage.SPOOLED, due_at=now + AT_ONCE, attempts=0, trouble="")


def _target(call: CarrierCall) -> str:
    """The message that holds the sound."""
    return call.later if call.stand_in_at is not None else call.capture


def _write(
    call: CarrierCall,
    capture_id: str,
    sounds: Mapping[int, bytes],
    marks: tuple[tuple[int, str], ...],
    tools: Tools,
) -> None:
    """Seal a capture into the spool, whole or not at all. One that is a message already is left alone."""
    if Message.objects.filter(pk=capture_id).exists():
        return
    epoch = epochs.current()
    if epoch is None:
        raise vault.KeysAway("A recording cannot be sealed", "there is no epoch", "run: nightbell migrate")
    capture = carrier_capture.compose(_call(call, capture_id, sounds, marks, tools))
    durable.write_file(tools.folder / (capture_id + spool.CAP), carrier_capture.sealed(capture, epoch))


def _call(
    call: CarrierCall,
    capture_id: str,
    sounds: Mapping[int, bytes],
    marks: tuple[tuple[int, str], ...],
    tools: Tools,
) -> carrier_capture.Call:
    facts = carrier_calls.unseal(call)
    if facts is None:
        return _unknown(call, capture_id, sounds, marks, tools.carriers[call.provider].facts(call.sid))
    here, found = facts.progress, facts.found
    return carrier_capture.Call(
        capture=capture_id, practice=found.practice, mailbox=found.mailbox, dialled=found.dialled,
        caller=facts.caller, answered=facts.answered, language=facts.config().languages[0],
        snapshot=found.snapshot, flow=int(found.entry.get("flow", 0)), marks=(*marks, *here.marks), keys=here.keys,
        ended=_end(here), sounds=sounds,
    )  # fmt: skip


def _end(here: Progress) -> tuple[int, EndReason]:
    return here.ended or (here.now, EndReason.INTERRUPTED)


def _unknown(
    call: CarrierCall,
    capture_id: str,
    sounds: Mapping[int, bytes],
    marks: tuple[tuple[int, str], ...],
    told: CallFacts,
) -> carrier_capture.Call:
    """A call of which nothing could be stored, by what the provider remembers of it."""
    urgent = ((0, "urgent"),) if call.urgent else ()  # a column in clear: it was pressed
    found = carrier_lines.find(told.ring)
    return carrier_capture.Call(
        capture=capture_id, practice=found.practice, mailbox=found.mailbox, dialled=found.dialled,
        caller=told.ring.caller, answered=told.began or call.answered_at, language="en", snapshot=found.snapshot,
        flow=0, marks=(*marks, (0, "short"), *urgent), keys=(), ended=(0, EndReason.HANG_UP), sounds=sounds,
    )  # fmt: skip


# Is it safe? Then away with the provider's copy.


def _spooled(call: CarrierCall, tools: Tools, now: datetime) -> None:
    carrier = tools.carriers[call.provider]
    message = Message.objects.filter(pk=_target(call)).first()
    rows = [row for row in _rows(call) if row.status == Kept.COMPLETED]
    if rows and message is None:
        waits = now - (call.ended_at or now) > AGAIN
        _later(call, SOON if call.attempts > 5 else AT_ONCE, now, "unverified" if waits else call.trouble)
        return
    if message is not None and call.sealed is not None:
        _forget(call)  # the message holds it now
    if message is not None and call.verified_at is None and message.state != State.DISPOSED:
        wav = _stored(message) if rows else b""
        if not all(_same(carrier, row, wav, tools.decoder) for row in rows):
            tools.log("carrier.unverified", capture=message.id, kind=call.provider)
            _later(call, AGAIN, now, "unverified")
            return
        _set(call, verified_at=now)
    faults.point("carrier.verified")
    for row in rows:
        if row.deleted_at is None:
            carrier.delete(row.sid)
            faults.point("carrier.deleted")
            row.deleted_at = now
            row.save(update_fields=["deleted_at"])
    _done(call, message, len(rows), now)


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


def _done(call: CarrierCall, message: Message | None, deleted: int, now: datetime) -> None:
    """Nothing of this call is with the provider any more, and nothing of the patient's here."""
    lost = call.recordings.filter(status__in=[Kept.LOST, Kept.BAD]).exists()
    _forget(call)
    with transaction.atomic():
        call.recordings.update(sid="")
        _set(call, stage=Stage.DONE, done_at=now, sid="", trouble="lost" if lost else "")
        if message is not None and (deleted or lost):
            audit.record(
                message.practice_id, actor=ACTOR, action="carrier:lost" if lost else "carrier:deleted", now=now,
                message=message.id, outcome="failed" if lost else "ok",
                detail={"provider": call.provider, "deleted": deleted},
            )  # fmt: skip


_STEPS: dict[Stage, Callable[[CarrierCall, Tools, datetime], None]] = {
    Stage.OPEN: _open,
    Stage.ENDED: _ended,
    Stage.SPOOLED: _spooled,
}
