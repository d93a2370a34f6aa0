"""Call backs that a patient agreed to have recorded: the answer as a row, and the recording under the message's own key.

A recording is no message: it makes none, wakes nobody and is never written down as words. It lives as long as its message
and is destroyed by the same key. The order at intake is that of a message: blob, row, then the capture goes; who was killed
in between overwrites what the dead one left.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from io import BytesIO

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.capture import AudioPacket, Capture, Codec, EndReason
from nightbell.mailbox import rules
from nightbell.mailbox.models import Message, State, Talk
from nightbell.mailbox.stored import talk_ad
from nightbell.sealing.errors import NoSuchKey
from nightbell.sealing.playback import seal_playback
from nightbell.sip import g711
from nightbell.store import vault

ACTOR = "system:worker"
SIDES = 2  # left the clinician, right the patient


class Result(StrEnum):
    """What became of a capture: STORED; TIDIED, it was before; GONE, its message was destroyed; UNKNOWN, no call back of ours
    that anybody agreed to have recorded."""

    STORED = "talk"
    TIDIED = "tidied"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TalkView:
    """Of one call back, for the message's page. No PHI. sound: it can be heard; recorded: it was taken in, with sound or none."""

    id: str
    agreed: bool
    asked_at: datetime
    seconds: float
    sound: bool
    recorded: bool
    interrupted: bool


def note(message_id: str, talk_id: str, agreed: bool, now: datetime) -> bool:
    """What the patient answered. In the caller's transaction. False: it was answered before, or the message is destroyed."""
    alive = Message.objects.select_for_update().filter(pk=message_id).exclude(state=State.DISPOSED)
    if not list(alive.values_list("pk", flat=True)) or message_id in vault.disposed_ids():
        return False
    answer = {"message_id": message_id, "agreed": agreed, "asked_at": now}
    return Talk.objects.get_or_create(pk=talk_id, defaults=answer)[1]


def history(message_id: str) -> tuple[TalkView, ...]:
    """Oldest first; for the message's page, whose view was audited."""
    rows = Talk.objects.filter(message_id=message_id).order_by("asked_at", "id")
    return tuple(
        TalkView(
            one.id, one.agreed, one.asked_at, one.duration_ms / 1000, one.wav_bytes > 0, one.stored_at is not None,
            one.interrupted,
        )
        for one in rows
    )  # fmt: skip


def take(capture: Capture, now: datetime) -> Result:
    """Take in an opened capture. Safe to repeat. Raises KeysAway, AuditClosed, DatabaseError, OSError: try later."""
    found = Talk.objects.select_related("message").filter(pk=capture.meta.capture, agreed=True).first()
    if found is None:
        return Result.UNKNOWN
    if found.stored_at is not None:
        return Result.TIDIED
    wav, seconds = sound(capture)
    try:
        key = vault.message_key(found.message_id)
    except NoSuchKey:
        return _gone(found, now) if _is_disposed(found.message) else Result.UNKNOWN
    blob = seal_playback(key, talk_ad(found.id, found.message), wav) if wav else b""
    if blob:
        vault.blobs().put(found.message.practice_id, found.id, blob)
    faults.point("talk.blob")
    if not _keep(found, capture, len(blob), len(wav), seconds, now):
        return _gone(found, now)
    faults.point("talk.stored")
    return Result.STORED


def _keep(
    talk: Talk, capture: Capture, audio_bytes: int, wav_bytes: int, seconds: float, now: datetime
) -> bool:
    """The row. False: the message was destroyed meanwhile, and what was written goes with it."""
    with transaction.atomic():
        message = Message.objects.select_for_update().get(pk=talk.message_id)
        if _is_disposed(message):
            return False
        Talk.objects.filter(pk=talk.pk).update(
            stored_at=now, duration_ms=round(seconds * 1000), audio_bytes=audio_bytes, wav_bytes=wav_bytes,
            interrupted=capture.end.reason is EndReason.INTERRUPTED,
        )  # fmt: skip
        audit.record(
            message.practice_id, actor=ACTOR, action="call:recorded", now=now, message=message.id,
            detail={"call": talk.id, "seconds": round(seconds), "end": capture.end.reason.value},
        )  # fmt: skip
    return True


def _is_disposed(message: Message) -> bool:
    return message.state == State.DISPOSED or message.id in vault.disposed_ids()


def _gone(talk: Talk, now: datetime) -> Result:
    vault.blobs().delete(talk.message.practice_id, talk.id)
    audit.record(
        talk.message.practice_id, actor=ACTOR, action="call:recording_destroyed", now=now, message=talk.message_id,
        detail={"call": talk.id},
    )  # fmt: skip
    return Result.GONE


def destroy(message: Message) -> None:
    """After its message's key is gone: what nobody can open any more. Safe to repeat."""
    for talk_id in Talk.objects.filter(message=message).values_list("pk", flat=True):
        vault.blobs().delete(message.practice_id, talk_id)


def sound(capture: Capture) -> tuple[bytes, float]:
    """A WAV of both sides beside each other, and its seconds; b"" for nothing at all. Both are in G.711: nothing is decoded in
    C here."""
    codec = capture.meta.codec
    if codec not in rules.SILENCE:
        return b"", 0.0
    sides = [_laid(packets, codec) for packets in (capture.packets, capture.beside)]
    length = max(len(side) for side in sides)
    if not length:
        return b"", 0.0
    both = bytearray(length * SIDES)
    samples = memoryview(both).cast("h")
    for at, side in enumerate(sides):
        samples[at : len(side) // 2 * SIDES : SIDES] = memoryview(side).cast("h")
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((SIDES, 2, rules.RATE, length // 2, "NONE", ""))
        file.writeframes(both)
    return out.getvalue(), length / 2 / rules.RATE


def _laid(packets: Sequence[AudioPacket], codec: Codec) -> bytes:
    good = rules.fit(packets, codec)
    return g711.decode(rules.lay_out(good.packets, codec), codec)
