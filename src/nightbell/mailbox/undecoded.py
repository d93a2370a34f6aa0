"""Sound that intake could not decode: kept sealed as it came, tried again, and then a message like the others.

    object  = a playback object (docs/formats/playback.md) with associated data of its own, of this:
    content = length u32, header, payload*
    header  = JSON: {"codec", "pieces": [[start, end], …], "bad"}: what `sounding.Laid` holds beside the payloads
    payload = offset u32, length u16, the payload as it came

Integers are big-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.capture import AudioPacket, Codec
from nightbell.core.log import Log
from nightbell.core.sound import SoundUnavailable, Unpacker
from nightbell.mailbox import rules, sounding, stored
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.models import Message, State, Words
from nightbell.mailbox.sounding import Laid, Sound
from nightbell.sealing.errors import KeyUnavailable, SealError
from nightbell.sealing.playback import seal_playback
from nightbell.store import jobs, vault

JOB = "decode"
TAG = "undecoded"
LEASE = timedelta(minutes=2)
WAIT = timedelta(minutes=5)  # until somebody may have mended the decoder
_ACTOR = "system:worker"
_HEAD, _PAYLOAD = struct.Struct(">I"), struct.Struct(">IH")


def pack(laid: Laid) -> bytes:
    """What a later decoding needs."""
    header = json.dumps({"codec": laid.codec, "pieces": laid.pieces, "bad": laid.bad}).encode()
    payloads = (_PAYLOAD.pack(one.offset, len(one.payload)) + one.payload for one in laid.packets)
    return _HEAD.pack(len(header)) + header + b"".join(payloads)


def unpack(data: bytes) -> Laid:
    """The reverse. Raises ValueError, KeyError, struct.error for what `pack` did not write."""
    at = _HEAD.size + int(_HEAD.unpack_from(data)[0])
    header = json.loads(data[_HEAD.size : at])
    packets = []
    while at < len(data):
        offset, size = _PAYLOAD.unpack_from(data, at)
        at += _PAYLOAD.size + size
        packets.append(AudioPacket(offset, data[at - size : at]))
    pieces = tuple((int(start), int(end)) for start, end in header["pieces"])
    return Laid(Codec(header["codec"]), tuple(packets), pieces, bad=int(header["bad"]))


def run_one(unpacker: Unpacker, clock: Callable[[], datetime], log: Log) -> bool:
    """Decode one due message, if there is any. Returns whether there was."""
    claim = jobs.claim([JOB], clock(), LEASE)
    if claim is None:
        return False
    message = Message.objects.filter(pk=claim.key).exclude(state=State.DISPOSED).first()
    if message is None or TAG not in message.tags:
        jobs.finish(claim, clock())
        return True
    if claim.attempts > jobs.MAX_ATTEMPTS:  # it killed its worker each time
        jobs.fail(claim, clock(), "GaveUp", permanent=True)
        return True
    try:
        key = vault.message_key(message.id)
        _keep(message, key, _sound(message, key, unpacker), claim, clock())
        log("decode.kept", message=message.id, attempt=claim.attempts)
    except (SoundUnavailable, vault.KeysAway, KeyUnavailable) as error:
        log.failure("decode.waits", error, message=message.id)
        jobs.postpone(claim, clock(), WAIT, type(error).__name__)
    except Exception as error:
        log.failure("decode.failed", error, message=message.id, attempt=claim.attempts)
        jobs.fail(claim, clock(), type(error).__name__)  # the payloads stay, and so does the mark
    return True


def _sound(message: Message, key: bytes, unpacker: Unpacker) -> Sound:
    """Decode it anew. A run that died between the store and the row left the WAV: then only the row is to be mended."""
    try:
        kept = stored.reader(message, key, decoded=False).read()
    except SealError:
        message.audio_bytes = vault.blobs().size(message.practice_id, message.id)
        return Sound(*stored.pcm(message, key))
    return sounding.sound(unpack(kept), unpacker)


def _keep(message: Message, key: bytes, sound: Sound, claim: jobs.Claim, now: datetime) -> None:
    """The WAV in the place of the payloads, then the row: until then nothing there is offered to be played."""
    wav = sound.wav
    blob = seal_playback(key, stored.playback_ad(message.id, message.practice_id), wav)
    peaks = sealed.place("peaks", message.id, message.practice_id)
    vault.blobs().put(message.practice_id, message.id, blob)
    faults.point("decode.blob")
    with transaction.atomic():
        row = Message.objects.select_for_update().exclude(state=State.DISPOSED).filter(pk=message.pk).first()
        if row is None:  # disposed of meanwhile: no key opens what was just put there
            vault.blobs().delete(message.practice_id, message.id)
            return
        if not jobs.finish(claim, now):
            return  # the lease ran out and somebody else did the same
        studio = any(tag.startswith("studio") for tag in row.tags)
        Message.objects.filter(pk=row.pk).update(
            audio_bytes=len(blob),
            wav_bytes=len(wav),
            peaks_sealed=sealed.seal_bytes(key, peaks, rules.peaks(sound.pcm)),
            words=Words.EMPTY if studio else Words.PENDING,
            tags=[tag for tag in row.tags if tag != TAG],
        )
        if not studio:
            jobs.enqueue("transcribe", row.id, now)
        audit.record(
            row.practice_id, actor=_ACTOR, action="message:decoded", now=now, message=row.id,
            detail={"lost": sound.lost},
        )  # fmt: skip
