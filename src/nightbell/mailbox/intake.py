"""From the phone's sealed capture to a message under its own key: exactly once, whatever is killed when.

The order is the proof (DESIGN decision 2): blob, keyring entry, database row, then the capture goes.
The capture's id is the message's id, so a second run finds the row and only tidies up; a run that
died before the row starts anew under a new key and overwrites what the dead one left.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core import durable, faults
from nightbell.core.capture import Capture
from nightbell.core.ids import is_ulid
from nightbell.core.sound import Unpacker
from nightbell.mailbox import joining, marks, rules, sounding, third, undecoded
from nightbell.mailbox.describe import Heard, describe, home_of, seal_columns
from nightbell.mailbox.marks import Said
from nightbell.mailbox.models import Message, Words
from nightbell.mailbox.stored import payloads_ad, playback_ad
from nightbell.sealing import spool
from nightbell.sealing.capture import open_capture, peek
from nightbell.sealing.errors import Busy, KeyUnavailable, NoSuchKey, SealError
from nightbell.sealing.playback import seal_playback
from nightbell.store import jobs, vault

ACTOR = "system:worker"
LATER = "transcribe-imported"  # thousands of them may wait, and none of tonight's calls behind them
BEGINNING = 65536  # bytes: some seven seconds of sound and all keys before it


@dataclass(frozen=True, slots=True)
class Taken:
    """What intake did with one capture: 'stored', 'tidied' (was stored before), 'empty' or 'unreadable'.

    rings: an alert is stored for this call; urgent: for this call or, by it, for another.
    """

    capture: str
    result: str
    urgent: bool = False
    rings: bool = False


@dataclass(frozen=True, slots=True)
class Unpackers:
    """What decodes G.722 and Opus. urgent: gives up sooner, for an alert waits behind it; the job tries again."""

    others: Unpacker | None = None
    urgent: Unpacker | None = None


def take_in(
    path: Path, now: datetime, unpacker: Unpacker | None = None, quick: Unpacker | None = None
) -> Taken | None:
    """Turn one capture file into a message. None when another process holds it or it is gone.

    unpacker: decodes G.722 and Opus; without one, or when it fails, their payloads are kept for `undecoded`. quick: the
    same for an urgent call, whose alert does not wait long for it.
    Raises KeysAway (leave everything as it is, try later) or AuditClosed/DatabaseError (try later).
    """
    try:
        with spool.claimed(path):
            data = path.read_bytes()
            try:
                epoch_id, capture_id = peek(data)
            except SealError:
                return _without_header(path, data, now)
            return _take(path, data, (epoch_id, capture_id), Unpackers(unpacker, quick or unpacker), now)
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


def _take(path: Path, data: bytes, ids: tuple[str, str], unpackers: Unpackers, now: datetime) -> Taken:
    epoch_id, capture_id = ids
    before = Message.objects.filter(pk=capture_id).first()
    if before is not None:
        durable.remove_file(path)
        return Taken(capture_id, "tidied", rings=before.urgency == "urgent")
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
    rings, urgent = _store(capture, unpackers, now)
    faults.point("intake.stored")
    durable.remove_file(path)
    return Taken(capture_id, "stored", urgent, rings)


def _store(capture: Capture, unpackers: Unpackers, now: datetime) -> tuple[bool, bool]:
    """Blob, key, row: in this order. Returns whether the message rings, and whether anything does."""
    said = marks.read(capture.marks)
    rings = said.urgent or bool(said.joins)
    heard = hear(capture, unpackers.urgent if rings else unpackers.others)
    practice, mailbox = home_of(capture, said)
    message = describe(capture, said, heard, (practice, mailbox), now)
    thirds = set() if said.imported else third.thirds(message, capture.meta.caller)
    key = secrets.token_bytes(32)
    if heard.laid.length:
        blob, message.wav_bytes = _object(key, message, heard)
        vault.blobs().put(practice.id, message.id, blob)
        message.audio_bytes = len(blob)
        faults.point("intake.blob")
    vault.keyring().put(message.id, "message", key)
    faults.point("intake.key")
    seal_columns(message, key, capture, said, heard)
    with transaction.atomic():
        others = _insert(message, said, thirds, now)
        faults.point("intake.uncommitted")
    rings = message.urgency == "urgent"
    return rings, rings or others > 0


def _insert(message: Message, said: Said, thirds: set[str], now: datetime) -> int:
    """The row, and what it does to others. Returns how many stored before ring for it."""
    first = None
    if said.joins and not said.test:
        first = joining.first_of(message.practice_id, said.joins)
        message.tags = [*message.tags, "worse"]
    if first is not None:
        message.joins, message.needs_alert = first, False
    if message.id in thirds:
        third.mark(message)
    message.save(force_insert=True)
    if message.words == Words.PENDING:
        jobs.enqueue(LATER if said.imported else "transcribe", message.id, now)
    if undecoded.TAG in message.tags:
        jobs.enqueue(undecoded.JOB, message.id, now)
    if said.studio and said.keep:
        jobs.enqueue("studio", message.id, now)  # line.takeup makes a clip of it
    audit.record(
        message.practice_id, actor=ACTOR, action="message:received", now=now, message=message.id,
        detail={"kind": message.kind, "urgency": message.urgency, "end": message.end_reason,
                "seconds": round(message.duration_ms / 1000), "mailbox": message.mailbox_id or "",
                "joins": message.joins_id or "", "third": message.id in thirds},
    )  # fmt: skip
    if first is not None:
        joining.worsen(first, message, now)
    return third.mark_stored(thirds - {message.id}, now)


def hear(capture: Capture, unpacker: Unpacker | None) -> Heard:
    """Decode what the message keeps. Whatever becomes of that, there is a message: intake fails open."""
    laid = sounding.lay(capture)
    try:
        return Heard(laid, sounding.sound(laid, unpacker))
    except Exception:  # of whatever kind: the next attempt is the job's, and this is a message now
        return Heard(laid, None)


def _object(key: bytes, message: Message, heard: Heard) -> tuple[bytes, int]:
    """What is put into the store, and how many bytes of WAV are in it."""
    if heard.sound is None:
        return seal_playback(key, payloads_ad(message.id, message.practice_id), undecoded.pack(heard.laid)), 0
    wav = heard.sound.wav
    return seal_playback(key, playback_ad(message.id, message.practice_id), wav), len(wav)


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
