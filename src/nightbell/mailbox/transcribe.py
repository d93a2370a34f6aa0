"""Giving a message its words, after the fact: a job that may be tried again and never hides the message."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.errors import NightbellError, Stopping, TemporaryError
from nightbell.core.log import Log
from nightbell.core.notice import Hearing, Recogniser, Word
from nightbell.core.phi import Warrant
from nightbell.mailbox import numbers, stored, triage
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.intake import ACTOR, LATER
from nightbell.mailbox.marks import IMPORTED
from nightbell.mailbox.models import Message, State, Words
from nightbell.mailbox.values import Reason
from nightbell.sealing.errors import KeyUnavailable, NoSuchKey
from nightbell.store import jobs, vault

JOB = "transcribe"
KEYS_AWAY = timedelta(seconds=20)
LEASE = timedelta(seconds=45)  # renewed while the engine works: after a kill the words are not long in coming

_OF_INTAKE = (
    "menu",
    "missed",
    "interrupted",
    "damaged",
    "unfetched",
    "flagged",
)  # triage does not repeat these
_LABELS = {
    "key": "pressed 1 for urgent",
    "unsure": "the words are uncertain",
    "short": "only a few words",
    "empty": "no words could be made out",
    "not_transcribed": "not transcribed",
    "denied": "said not to have",
}


def run_one(recogniser: Recogniser, clock: Callable[[], datetime], log: Log) -> bool:
    """Do one due transcription, if there is any. Returns whether there was."""
    claim = jobs.claim([JOB], clock(), LEASE) or jobs.claim([LATER], clock(), LEASE)
    if claim is None:
        return False
    message = (
        Message.objects.select_related("practice").filter(pk=claim.key).exclude(state=State.DISPOSED).first()
    )
    if message is None:
        jobs.finish(claim, clock())
        return True
    if claim.attempts > jobs.MAX_ATTEMPTS:  # it killed its worker each time
        _failed(message, claim, "GaveUp", True, clock())
        return True
    try:
        key = vault.message_key(message.id)
        with _held(claim, clock, log):
            pcm, rate = stored.pcm(message, key)
            hearing = recogniser.hear(pcm, message.language or None, rate)
        faults.point("speech.heard")
        _keep(message, key, hearing, claim, clock())
        log("speech.kept", message=message.id, attempt=claim.attempts)
    except NoSuchKey:
        _failed(message, claim, "NoSuchKey", True, clock())
    except (vault.KeysAway, KeyUnavailable) as error:
        log.failure("speech.waits", error, message=message.id)
        jobs.postpone(claim, clock(), KEYS_AWAY, type(error).__name__)
    except Stopping as error:
        jobs.postpone(claim, clock(), timedelta(), type(error).__name__)  # the next worker begins it anew
    except Exception as error:
        # Only a clear word that it can never work ends it at once; anything else may be the moment's fault.
        hopeless = isinstance(error, NightbellError) and not isinstance(error, TemporaryError)
        log.failure("speech.failed", error, message=message.id, attempt=claim.attempts)
        _failed(message, claim, type(error).__name__, hopeless, clock())
    return True


def _failed(message: Message, claim: jobs.Claim, why: str, hopeless: bool, now: datetime) -> None:
    """Try again later, or, in the same transaction, leave the message to people's ears."""
    with transaction.atomic():
        if jobs.fail(claim, now, why, permanent=hopeless):
            _give_up(message, now)


@contextmanager
def _held(claim: jobs.Claim, clock: Callable[[], datetime], log: Log) -> Iterator[None]:
    """Renews the lease for as long as the block runs, from a thread with a database connection of its own."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE.total_seconds() / 3):
            try:
                jobs.renew(claim, clock(), LEASE)
            except DatabaseError as error:
                log.failure("speech.lease", error, job=claim.id)
            finally:
                connection.close()

    keeper = threading.Thread(target=renew, name="speech-lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def _keep(message: Message, key: bytes, hearing: Hearing, claim: jobs.Claim, now: datetime) -> None:
    decision = triage.triage(message.pressed_urgent, hearing.words, hearing.language)
    where = sealed.place("transcript", message.id, message.practice_id)
    change = {
        "words": Words.READY if hearing.words else Words.EMPTY,
        "transcript_sealed": sealed.seal_hearing(key, where, hearing),
        "reasons_sealed": _reasons(message, key, decision.reasons, hearing.words),
    }
    with transaction.atomic():
        if not jobs.finish(claim, now):
            return  # the lease ran out and somebody else does it
        if not _alive(message).update(**change):
            return  # disposed of while the engine listened: its words must not come back
        urgency = _raise(message, decision.urgency)
        audit.record(
            message.practice_id, actor=ACTOR, action="message:transcribed", now=now, message=message.id,
            detail={"words": len(hearing.words), "urgency": urgency, "engine": hearing.engine},
        )  # fmt: skip
        faults.point("speech.uncommitted")


def _alive(message: Message) -> QuerySet[Message]:
    return Message.objects.filter(pk=message.pk).exclude(state=State.DISPOSED)


def _raise(message: Message, found: triage.Urgency) -> str:
    """Urgency goes up only; a message that becomes urgent and has no owner yet is due for an alert. Returns it.

    Read anew: while the engine listened another call may have made it urgent, or a manager a message of a test,
    which never rings. In the caller's transaction, in which the row was written to.
    """
    row = Message.objects.select_for_update().get(pk=message.pk)
    if IMPORTED in row.tags and found == "urgent":
        found = "review"  # it may be years old: a person looks, nobody is woken
    urgency = triage.higher(row.urgency, found)  # type: ignore[arg-type]
    if urgency == row.urgency or "test" in row.tags:
        return urgency
    Message.objects.filter(pk=row.pk).update(urgency=urgency)
    if urgency == "urgent":
        Message.objects.filter(pk=row.pk, state=State.NEW, joins=None).update(needs_alert=True)
    return urgency


def _give_up(message: Message, now: datetime) -> None:
    """No words will come: a person must listen."""
    with transaction.atomic():
        if not _alive(message).update(words=Words.FAILED):
            return
        _raise(message, "review")
        audit.record(
            message.practice_id, actor=ACTOR, action="message:transcribed", now=now, message=message.id,
            outcome="failed",
        )  # fmt: skip


def _reasons(message: Message, key: bytes, found: Sequence[triage.Reason], words: Sequence[Word]) -> bytes:
    """The reasons of intake that triage does not repeat, then triage's own, with the words they stand on."""
    where = sealed.place("reasons", message.id, message.practice_id)
    reasons: list[Reason] = []
    if message.reasons_sealed is not None:
        # Not shown to anybody: it goes from one sealed column into the next.
        kept = sealed.open_reasons(key, where, message.reasons_sealed).open(Warrant("internal"))[0]
        reasons = [reason for reason in kept if reason.kind in _OF_INTAKE]
    marked: dict[int, int] = {}
    for one in found:
        quote = " ".join(words[i].text.strip() for i in one.indexes)
        label = _LABELS.get(one.kind, "") or one.label.replace("_", " ")
        if one.kind == "denied":
            label = f"said not to have: {one.label.replace('_', ' ')}"
        for index in one.indexes:
            if one.kind == "red_flag":
                marked[index] = len(reasons)
        reasons.append(Reason(one.kind, label, quote, one.start, one.end))
    spoken = numbers.spoken_number(words, message.language)
    span = (spoken.indexes[0], spoken.indexes[-1]) if spoken and spoken.indexes else None
    return sealed.seal_reasons(key, where, reasons, marked, span)
