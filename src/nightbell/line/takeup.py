"""From a call that recorded a clip to the clip: exactly once, whatever is killed when.

Intake leaves a job for each recording that its caller kept. An audit row comes first, then the file; then, in one
transaction, the job ends, the clip has its row and the message is closed. A run that died before that begins anew and
writes the same file; a file that nothing came to name goes, at the latest with the daily sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import OperationalError, transaction

from nightbell.audit.errors import AuditClosed
from nightbell.core import faults
from nightbell.core.log import Log
from nightbell.core.sound import BadSound
from nightbell.line import recordings
from nightbell.line.errors import BadClip
from nightbell.line.models import Source, TryNumber
from nightbell.mailbox import stored
from nightbell.mailbox.models import Message, State
from nightbell.people.access import Actor, Forbidden, demand, write
from nightbell.people.roles import Act
from nightbell.sealing.errors import KeyUnavailable, SealError
from nightbell.store import jobs, vault

if TYPE_CHECKING:  # it loads numpy, which a worker without such a call need not wait for
    from nightbell.flow.studio import Finished

JOB, TAG = "studio", "studio:"
RATE = 8000
LEASE = timedelta(seconds=30)  # making a clip of two minutes takes a second or two
SET_BACK = timedelta(seconds=20)
HINDRANCES = (vault.KeysAway, KeyUnavailable, AuditClosed, OperationalError)  # not the recording's fault
UNUSABLE = (BadSound, BadClip, Forbidden, SealError)  # trying again changes nothing


def run_one(clock: Callable[[], datetime], log: Log) -> bool:
    """Take up one recording, if one is due. Returns whether there was."""
    claim = jobs.claim([JOB], clock(), LEASE)
    if claim is None:
        return False
    message = Message.objects.filter(pk=claim.key).exclude(state=State.DISPOSED).first()
    number = _number(message) if message is not None else None
    if message is None or number is None:
        _pass_over(message, claim, clock())
        return True
    actor = Actor(number.made_by, "", "", clock())
    try:
        _take_up(message, number, actor, claim)
        log("clip.taken_up", message=message.id, attempt=claim.attempts)
    except HINDRANCES as error:
        log.failure("clip.waits", error, message=message.id)
        jobs.postpone(claim, clock(), SET_BACK, type(error).__name__)
    except UNUSABLE as error:
        log.failure("clip.unusable", error, message=message.id)
        _refuse(message, number, actor, claim, _words(error))
    except Exception as error:
        # It may be the moment's fault (a full disk).
        log.failure("clip.failed", error, message=message.id, attempt=claim.attempts)
        if claim.attempts < jobs.MAX_ATTEMPTS:
            jobs.fail(claim, clock(), type(error).__name__)
        else:
            _refuse(message, number, actor, claim, _words(error))
    return True


def _number(message: Message) -> TryNumber | None:
    """The number that was called, if it is the practice's. None also when the test was made a real message."""
    dialled = next((tag.removeprefix(TAG) for tag in message.tags if tag.startswith(TAG)), "")
    if "test" not in message.tags:
        return None
    found = TryNumber.objects.filter(pk=dialled, practice_id=message.practice_id).exclude(clip="")
    return found.select_related("made_by__practice").first()


def _words(error: Exception) -> str:
    """For the person who recorded it."""
    if isinstance(error, Forbidden):
        return "Whoever asked for the number may not change the line any more."
    if isinstance(error, (BadSound, BadClip)):
        return str(error)
    return "The recording could not be read or stored. Record it again."


def _take_up(message: Message, number: TryNumber, actor: Actor, claim: jobs.Claim) -> None:
    if claim.attempts > jobs.MAX_ATTEMPTS:  # it killed its worker each time
        raise BadSound("The recording", "it could not be read", "record it again")
    demand(actor, Act.EDIT_LINE, message.id)
    if not actor.user.is_active:
        raise Forbidden("The recording was not kept", "its log-in is locked", "let somebody else record it")
    with transaction.atomic(durable=True):  # it becomes a plain file: not unless this row stands
        write(actor, "line:take_up", message.id, detail={"clip": f"{number.language}/{number.clip}"})
    _keep(message, number, actor, _finished(message, number), claim)


def _finished(message: Message, number: TryNumber) -> Finished:
    """The last take, trimmed and levelled. Raises BadSound, BadClip, KeysAway, a SealError."""
    import numpy as np

    from nightbell.flow import studio

    pcm, rate = _last_take(message)
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float32) / 32768
    return studio.finish(samples, rate, recordings.longest(number.clip))


def _last_take(message: Message) -> tuple[bytes, int]:
    """PCM16 of the parts that count, on the time line of the stored sound, and its rate."""
    if not message.wav_bytes:
        return b"", RATE
    pcm, rate = stored.pcm(message, vault.message_key(message.id))
    spans = [
        (_at(one["start_s"], rate), _at(one["end_s"], rate)) for one in message.parts if not one["earlier"]
    ]
    return b"".join(pcm[start:end] for start, end in spans), rate


def _at(seconds: float, rate: int) -> int:
    """Bytes before this moment."""
    return 2 * round(seconds * rate)


def _keep(message: Message, number: TryNumber, actor: Actor, finished: Finished, claim: jobs.Claim) -> None:
    sha256 = recordings.store(number.clip, number.language, finished)
    faults.point("takeup.file")
    try:
        done = _enter(message, number, actor, finished.seconds, sha256, claim)
    except Exception:
        recordings.remove_unnamed(sha256)
        raise
    if not done:
        recordings.remove_unnamed(sha256)


def _enter(
    message: Message, number: TryNumber, actor: Actor, seconds: float, sha256: str, claim: jobs.Claim
) -> bool:
    """Job, message, clip and number at once. False: nothing names the file, and nothing must."""
    with transaction.atomic():
        if not jobs.finish(claim, actor.now):
            return True  # the lease ran out: it is the file of whoever does it now
        if not _close(message, actor.now, number):
            return False  # disposed of or made a real message meanwhile: nothing of it must come back
        kept = recordings.enter(
            actor, number.clip, number.language, sha256, seconds, Source.PHONE.value, "", message.id
        )
        TryNumber.objects.filter(pk=number.pk).update(kept=kept, trouble="")
        faults.point("takeup.uncommitted")
    return True


def _refuse(message: Message, number: TryNumber, actor: Actor, claim: jobs.Claim, words: str) -> None:
    """Nothing came of it: the number says why."""
    with transaction.atomic():
        if not jobs.finish(claim, actor.now):
            return
        _close(message, actor.now, number)
        TryNumber.objects.filter(pk=number.pk).update(trouble=words)
        write(actor, "line:clip", message.id, "failed", {"clip": f"{number.language}/{number.clip}"})


def _pass_over(message: Message | None, claim: jobs.Claim, now: datetime) -> None:
    """No number of this practice's knows of it any more: the call stays, closed, like one that was not kept."""
    with transaction.atomic():
        if jobs.finish(claim, now) and message is not None:
            _close(message, now)


def _close(message: Message, now: datetime, number: TryNumber | None = None) -> bool:
    """Close what is still a test, and still of that number. False for what is none any more: it stays as it is."""
    found = Message.objects.select_for_update().filter(pk=message.pk).exclude(state=State.DISPOSED).first()
    if found is None or "test" not in found.tags or (number and TAG + number.pk not in found.tags):
        return False
    tags = [tag for tag in found.tags if not tag.startswith(TAG)] + ["studio"]
    return bool(Message.objects.filter(pk=found.pk).update(state=State.CLOSED, closed_at=now, tags=tags))
