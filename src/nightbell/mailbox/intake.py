"""From the phone's sealed capture to a message under its own key: exactly once, whatever is killed when.

The order is the proof (DESIGN decision 2): blob, keyring entry, database row, then the capture goes.
The capture's id is the message's id, so a second run finds the row and only tidies up; a run that
died before the row starts anew under a new key and overwrites what the dead one left.
"""

from __future__ import annotations

import secrets
import wave
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core import durable, faults
from nightbell.core.capture import Capture, EndReason
from nightbell.core.clock import parse_iso
from nightbell.core.errors import NightbellError
from nightbell.core.ids import is_ulid
from nightbell.mailbox import rules
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.models import Mailbox, Message, Words
from nightbell.mailbox.values import Reason
from nightbell.people.models import Practice
from nightbell.sealing import spool
from nightbell.sealing.capture import open_capture, peek
from nightbell.sealing.errors import Busy, KeyUnavailable, NoSuchKey, SealError
from nightbell.sealing.fields import Place
from nightbell.sealing.playback import seal_playback
from nightbell.sip import g711
from nightbell.store import jobs, vault

ACTOR = "system:worker"
BEGINNING = 65536  # bytes: some seven seconds of sound and all keys before it


@dataclass(frozen=True, slots=True)
class Taken:
    """What intake did with one capture: 'stored', 'tidied' (was stored before), 'empty' or 'unreadable'."""

    capture: str
    result: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Sound:
    """A capture's audio, decoded. samples: 8000 a second."""

    pcm: bytes
    wav: bytes
    samples: int


def take_in(path: Path, now: datetime) -> Taken | None:
    """Turn one capture file into a message. None when another process holds it or it is gone.

    Raises KeysAway (leave everything as it is, try later) or AuditClosed/DatabaseError (try later).
    """
    try:
        with spool.claimed(path):
            data = path.read_bytes()
            try:
                epoch_id, capture_id = peek(data)
            except SealError:
                return _without_header(path, data, now)
            return _take(path, data, epoch_id, capture_id, now)
    except (Busy, FileNotFoundError):
        return None


def begins_urgent(path: Path) -> bool | None:
    """Whether the caller of a waiting capture pressed 1, from its beginning alone. None: cannot be told now."""
    try:
        with path.open("rb") as file:
            data = file.read(BEGINNING)
        epoch_id, _ = peek(data)
        return rules.pressed_urgent(open_capture(data, vault.keyring().get(epoch_id, "epoch")))
    except (OSError, SealError, KeyUnavailable):
        return None  # intake itself will say what is the matter


def _take(path: Path, data: bytes, epoch_id: str, capture_id: str, now: datetime) -> Taken:
    if Message.objects.filter(pk=capture_id).exists():
        durable.remove_file(path)
        return Taken(capture_id, "tidied")
    try:
        seed = vault.keyring().get(epoch_id, "epoch")
    except NoSuchKey as error:
        return _unreadable(path, capture_id, type(error).__name__, now)
    except (KeyUnavailable, SealError) as error:
        # Another key file than ours is no fault of the capture's: it waits for the right one.
        raise vault.KeysAway(
            "Captures wait in the spool", "the right keys are not available", "put the key file back"
        ) from error
    try:
        capture = open_capture(data, seed)
    except SealError as error:
        return _unreadable(path, capture_id, type(error).__name__, now)
    urgent = _store(capture, now)
    faults.point("intake.stored")
    durable.remove_file(path)
    return Taken(capture_id, "stored", urgent)


def _store(capture: Capture, now: datetime) -> bool:
    """Blob, key, row: in this order. Returns whether the message is urgent."""
    sound = decode(capture)
    practice, mailbox = _home_of(capture)
    message = _describe(capture, sound, practice, mailbox, now)
    key = secrets.token_bytes(32)
    ad = playback_ad(message.id, practice.id)
    if sound.samples:
        blob = seal_playback(key, ad, sound.wav)
        vault.blobs().put(practice.id, message.id, blob)
        message.audio_bytes, message.wav_bytes = len(blob), len(sound.wav)
        faults.point("intake.blob")
    vault.keyring().put(message.id, "message", key)
    faults.point("intake.key")
    _seal_columns(message, key, capture, sound)
    with transaction.atomic():
        message.save(force_insert=True)
        if message.words == Words.PENDING:
            jobs.enqueue("transcribe", message.id, now)
        audit.record(
            practice.id, actor=ACTOR, action="message:received", now=now, message=message.id,
            detail={"kind": message.kind, "urgency": message.urgency, "end": message.end_reason,
                    "seconds": round(message.duration_ms / 1000), "mailbox": mailbox.id if mailbox else ""},
        )  # fmt: skip
        faults.point("intake.uncommitted")
    return message.urgency == "urgent"


def decode(capture: Capture) -> Sound:
    """Lay the packets on their time line and decode them to PCM and a WAV file."""
    line = rules.lay_out(capture.packets, capture.meta.codec)
    pcm = g711.decode(line, capture.meta.codec)
    out = BytesIO()
    with wave.open(out, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rules.RATE)
        wav.writeframes(pcm)
    return Sound(pcm, out.getvalue(), len(line))


def playback_ad(message_id: str, practice_id: str) -> bytes:
    """Associated data of the playback object."""
    return f"playback|{message_id}|{practice_id}".encode()


def _home_of(capture: Capture) -> tuple[Practice, Mailbox | None]:
    """The mailbox that the snapshot named, or the unrouted tray."""
    if is_ulid(capture.meta.mailbox):
        mailbox = Mailbox.objects.select_related("practice").filter(pk=capture.meta.mailbox).first()
        if mailbox is not None:
            return mailbox.practice, mailbox
    practice = Practice.objects.filter(pk=capture.meta.practice).first()
    practice = practice or Practice.objects.filter(takes_unrouted=True).order_by("id").first()
    practice = practice or Practice.objects.order_by("id").first()
    if practice is None:
        raise NightbellError(
            "A capture has no home", "there is no practice yet", "finish set-up: nightbell practice add"
        )
    return practice, None


def _describe(
    capture: Capture, sound: Sound, practice: Practice, mailbox: Mailbox | None, now: datetime
) -> Message:
    kind = rules.kind_of(capture, sound.samples)
    answered = parse_iso(capture.meta.answered_at)
    urgency = rules.first_urgency(capture, kind)
    return Message(
        id=capture.meta.capture,
        practice=practice,
        mailbox=mailbox,
        kind=kind,
        urgency=urgency,
        pressed_urgent=rules.pressed_urgent(capture),
        needs_alert=urgency == "urgent",
        language=capture.meta.language[:2] or "en",
        answered_at=answered,
        received_at=min(now, answered + timedelta(milliseconds=capture.end.at)),
        stored_at=now,
        duration_ms=sound.samples * 1000 // rules.RATE,
        end_reason=capture.end.reason.value,
        reached=rules.reached(capture),
        words=Words.PENDING if sound.samples else Words.EMPTY,
    )


def _seal_columns(message: Message, key: bytes, capture: Capture, sound: Sound) -> None:
    def where(column: str) -> Place:
        return sealed.place(column, message.id, message.practice_id)

    message.caller_sealed = sealed.seal_text(key, where("caller"), capture.meta.caller)
    message.peaks_sealed = sealed.seal_bytes(key, where("peaks"), rules.peaks(sound.pcm))
    message.reasons_sealed = sealed.seal_reasons(key, where("reasons"), _reasons(capture, message), {}, None)


def _reasons(capture: Capture, message: Message) -> list[Reason]:
    reasons = []
    if message.pressed_urgent:
        reasons.append(Reason("key", "pressed 1 for urgent", "", 0, 0))
    if message.kind == "missed":
        reasons.append(Reason("missed", "possible missed patient", "", 0, 0))
    if capture.end.reason is EndReason.INTERRUPTED:
        reasons.append(Reason("interrupted", "the recording was cut short", "", 0, 0))
    return reasons


def _without_header(path: Path, data: bytes, now: datetime) -> Taken:
    """A file cut before its header was whole: the phone died as it answered. Nothing can be learnt from it."""
    if len(data) >= 4096:
        return _unreadable(path, path.stem, "UnknownFormat", now)
    audit.record(
        audit.INSTALLATION, actor=ACTOR, action="capture:empty", now=now,
        message=path.stem if is_ulid(path.stem) else "", outcome="failed", detail={"bytes": len(data)},
    )  # fmt: skip
    durable.remove_file(path)
    return Taken(path.stem, "empty")


def _unreadable(path: Path, capture_id: str, why: str, now: datetime) -> Taken:
    """Keep a capture that no key opens, out of the way, and say so: it is never thrown away silently."""
    tray = path.parent.parent / "unreadable"
    tray.mkdir(mode=0o700, exist_ok=True)
    audit.record(
        audit.INSTALLATION, actor=ACTOR, action="capture:unreadable", now=now,
        message=capture_id if is_ulid(capture_id) else "", outcome="failed", detail={"why": why},
    )  # fmt: skip
    path.rename(tray / path.name)
    durable.sync_folder(tray)
    durable.sync_folder(path.parent)
    return Taken(capture_id, "unreadable")
