"""Playing a message: one audit row opens a short grant, Range requests live on it, a closing row says how much."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core.ids import new_ulid
from nightbell.core.phi import Warrant
from nightbell.mailbox.errors import BadRange
from nightbell.mailbox.intake import playback_ad
from nightbell.mailbox.models import Hearing, Message, PlayGrant
from nightbell.mailbox.service import find
from nightbell.mailbox.values import Sound
from nightbell.people.access import Actor, NotFound, reveal
from nightbell.people.roles import Act
from nightbell.sealing.playback import PlaybackReader
from nightbell.store import vault

GRANT = timedelta(minutes=5)
WAV_HEADER, BYTES_A_SECOND = 44, 16000


def open_play(actor: Actor, message_id: str) -> str:
    """Open a grant: one 'message:play' row, whatever number of Range requests follow. Returns its id."""
    found = find(actor, message_id, Act.PLAY)
    return _open(actor, found).id


def _open(actor: Actor, found: Message) -> PlayGrant:
    if not found.audio_bytes:
        raise NotFound(
            "This message has no sound", "the caller hung up before speaking", "read the message page"
        )
    vault.message_key(found.id)
    grant_id = new_ulid()

    def begin(warrant: Warrant) -> PlayGrant:
        with transaction.atomic():
            Hearing.objects.get_or_create(message=found, user=actor.user, defaults={"first_at": actor.now})
            return PlayGrant.objects.create(
                id=grant_id, message=found, user=actor.user, session=actor.session,
                opened_at=actor.now, expires_at=actor.now + GRANT,
            )  # fmt: skip

    return reveal(actor, Act.PLAY, begin, message=found.id, detail={"grant": grant_id})


def sound(actor: Actor, message_id: str, start: int, length: int) -> Sound:
    """Bytes of the WAV. A request from the very start is a new play; others go on under an open grant.

    The role and the grant are checked on each call. Raises NotFound, Forbidden, AuditClosed, KeysAway,
    ValueError (`start` outside of the file).
    """
    found = find(actor, message_id, Act.PLAY)
    grant = None
    if start > 0:
        grant = (
            PlayGrant.objects.filter(
                message=found,
                user=actor.user,
                session=actor.session,
                closed_at=None,
                expires_at__gt=actor.now,
            )
            .order_by("-opened_at")
            .first()
        )
    if start < 0 or (found.audio_bytes and start >= found.wav_bytes):
        raise BadRange("start")
    grant = grant or _open(actor, found)
    blobs = vault.blobs()
    reader = PlaybackReader(
        vault.message_key(found.id),
        playback_ad(found.id, found.practice_id),
        lambda offset, size: blobs.read_range(found.practice_id, found.id, offset, size),
        found.audio_bytes,
    )
    reader.seek(start)
    data = reader.read(min(length, found.wav_bytes - start))
    reached = max(0, start + len(data) - WAV_HEADER) * 1000 // BYTES_A_SECOND
    PlayGrant.objects.filter(pk=grant.pk, heard_ms__lt=reached).update(heard_ms=reached)
    return Sound(data, start, found.wav_bytes)


def close_play(actor: Actor, message_id: str, heard_s: float) -> None:
    """The player stopped after `heard_s` seconds: close this session's grants with one row."""
    found = find(actor, message_id, Act.PLAY)
    open_ones = PlayGrant.objects.filter(
        message=found, user=actor.user, session=actor.session, closed_at=None
    )
    grant = open_ones.order_by("-opened_at").first()
    if grant is not None:
        heard = min(grant.heard_ms, max(0, round(heard_s * 1000)))
        _close(grant, heard, actor.now, actor.source)


def close_expired(now: datetime, limit: int = 100) -> int:
    """The worker's round: grants that ran out are closed with what was delivered under them."""
    expired = PlayGrant.objects.filter(closed_at=None, expires_at__lte=now).select_related("user", "message")
    closed = 0
    for grant in expired.order_by("expires_at")[:limit]:
        closed += _close(grant, grant.heard_ms, now, "system:worker")
    return closed


def _close(grant: PlayGrant, heard_ms: int, now: datetime, source: str) -> bool:
    with transaction.atomic():
        won = PlayGrant.objects.filter(pk=grant.pk, closed_at=None).update(closed_at=now, heard_ms=heard_ms)
        if won:
            Hearing.objects.filter(message=grant.message, user=grant.user, heard_ms__lt=heard_ms).update(
                heard_ms=heard_ms
            )
            audit.record(
                grant.message.practice_id, actor=f"user:{grant.user.login}", action="message:play_ended", now=now,
                message=grant.message_id, source=source,
                detail={"grant": grant.id, "heard_ms": heard_ms, "of_ms": grant.message.duration_ms},
            )  # fmt: skip
    return bool(won)
