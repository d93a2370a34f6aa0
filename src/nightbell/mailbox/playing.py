"""Playing a message: one audit row opens a short grant, Range requests live on it, a closing row says how much."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core.ids import new_ulid
from nightbell.core.phi import Warrant
from nightbell.mailbox import stored
from nightbell.mailbox.errors import BadRange
from nightbell.mailbox.models import Hearing, Message, PlayGrant, Talk
from nightbell.mailbox.service import find
from nightbell.mailbox.values import Sound
from nightbell.people.access import Actor, NotFound, reveal
from nightbell.people.roles import Act
from nightbell.store import vault

GRANT = timedelta(minutes=5)
WORD_MS = 1000  # what was cut before is not heard


def length(actor: Actor, message_id: str, talk_id: str = "") -> int:
    """Bytes of the WAV, which is no play: nothing is opened. talk_id: of that call back. Raises NotFound where there is no
    sound, Forbidden."""
    if talk_id:
        return _with_talk(actor, message_id, talk_id)[1].wav_bytes
    return _with_sound(actor, message_id).wav_bytes


def _with_talk(actor: Actor, message_id: str, talk_id: str) -> tuple[Message, Talk]:
    found = find(actor, message_id, Act.PLAY)
    talk = Talk.objects.filter(pk=talk_id, message=found, wav_bytes__gt=0).first()
    if talk is None:
        raise NotFound(
            "This call has no recording", "it was not recorded, or it was destroyed", "reload the page"
        )
    return found, talk


def _with_sound(actor: Actor, message_id: str) -> Message:
    found = find(actor, message_id, Act.PLAY)
    if found.audio_bytes and not found.wav_bytes:
        raise NotFound(
            "This message's sound cannot be played yet",
            "it could not be decoded",
            "it is kept and tried again",
        )
    if not found.audio_bytes:
        raise NotFound(
            "This message has no sound", "the caller hung up before speaking", "read the message page"
        )
    return found


def _open(actor: Actor, found: Message, talk: Talk | None = None, lasts: timedelta = GRANT) -> PlayGrant:
    """A grant: one 'message:play' row, whatever number of Range requests follow."""
    vault.message_key(found.id)  # fails before the log claims a play
    grant_id = new_ulid()

    def begin(warrant: Warrant) -> PlayGrant:
        return PlayGrant.objects.create(
            id=grant_id, message=found, talk=talk, user=actor.user, session=actor.session,
            opened_at=actor.now, expires_at=actor.now + lasts,
        )  # fmt: skip

    what = {"grant": grant_id} | ({"call": talk.id} if talk is not None else {})
    return reveal(actor, Act.PLAY, begin, message=found.id, detail=what)


def _under(actor: Actor, found: Message, talk: Talk | None = None) -> PlayGrant | None:
    """The newest grant of this session that is still open."""
    grants = PlayGrant.objects.filter(
        message=found,
        talk=talk,
        user=actor.user,
        session=actor.session,
        closed_at=None,
        expires_at__gt=actor.now,
    )
    return grants.order_by("-opened_at").first()


def sound(actor: Actor, message_id: str, start: int, length: int, talk_id: str = "") -> Sound:
    """Bytes of the WAV. A request from the very start is a new play; others go on under an open grant. talk_id: of that call
    back, which makes no message heard.

    The role and the grant are checked on each call. Raises NotFound, Forbidden, AuditClosed, KeysAway,
    BadRange (`start` outside of the file, before anything is opened).
    """
    if talk_id:
        return _talk_sound(actor, *_with_talk(actor, message_id, talk_id), start, length)
    found = _with_sound(actor, message_id)
    if not 0 <= start < found.wav_bytes:
        raise BadRange("start")
    grant = (_under(actor, found) if start > 0 else None) or _open(actor, found)
    data = _read(found, start, min(length, found.wav_bytes - start))
    _delivered(actor, grant, found, start, data)
    return Sound(data, start, found.wav_bytes)


def _talk_sound(actor: Actor, found: Message, talk: Talk, start: int, length: int) -> Sound:
    if not 0 <= start < talk.wav_bytes:
        raise BadRange("start")
    grant = (_under(actor, found, talk) if start > 0 else None) or _open(actor, found, talk)
    reader = stored.talk_reader(talk, found, vault.message_key(found.id))
    data = reader.read_at(start, min(length, talk.wav_bytes - start))
    reached = max(0, start + len(data) - stored.WAV_HEADER)
    heard = reached * talk.duration_ms // max(1, talk.wav_bytes - stored.WAV_HEADER)
    PlayGrant.objects.filter(pk=grant.pk, heard_ms__lt=heard).update(heard_ms=heard)
    return Sound(data, start, talk.wav_bytes)


def whole(actor: Actor, message_id: str) -> bytes:
    """All of the WAV, for a player of ours, after its one row: nothing of it is heard before `played` says so. Raises as
    `sound`."""
    found = _with_sound(actor, message_id)
    _open(actor, found, lasts=GRANT + timedelta(milliseconds=found.duration_ms))
    return _read(found, 0, found.wav_bytes)


def played(actor: Actor, message_id: str, heard_s: float) -> bool:
    """Our player has ended, or was cut, after `heard_s` seconds: closes the play, and the message is heard if a word of it
    was. Returns whether. Raises NotFound, Forbidden."""
    found = find(actor, message_id, Act.PLAY)
    heard = min(found.duration_ms, max(0, round(heard_s * 1000)))
    is_heard = heard >= min(WORD_MS, found.duration_ms)
    grants = PlayGrant.objects.filter(
        message=found, talk=None, user=actor.user, session=actor.session, closed_at=None
    )
    grant = grants.order_by("-opened_at").first()
    with transaction.atomic():
        if is_heard:
            Hearing.objects.get_or_create(message=found, user=actor.user, defaults={"first_at": actor.now})
        if grant is not None:
            _close(grant, heard, actor.now, actor.source)
    return is_heard


def _read(found: Message, start: int, length: int) -> bytes:
    return stored.reader(found, vault.message_key(found.id)).read_at(start, length)


def _delivered(actor: Actor, grant: PlayGrant, found: Message, start: int, data: bytes) -> None:
    """Only sound that was really read makes a message heard: a header, or a recording that is missing or damaged,
    must not sink it in everybody's inbox."""
    reached = start + len(data) - stored.WAV_HEADER
    if not data or reached <= 0:
        return
    with transaction.atomic():
        Hearing.objects.get_or_create(message=found, user=actor.user, defaults={"first_at": actor.now})
        heard = reached * found.duration_ms // (found.wav_bytes - stored.WAV_HEADER)
        PlayGrant.objects.filter(pk=grant.pk, heard_ms__lt=heard).update(heard_ms=heard)


def close_play(actor: Actor, message_id: str, heard_s: float) -> None:
    """The player stopped after `heard_s` seconds: close this session's grants with one row."""
    found = find(actor, message_id, Act.PLAY)
    open_ones = PlayGrant.objects.filter(
        message=found, talk=None, user=actor.user, session=actor.session, closed_at=None
    )
    grant = open_ones.order_by("-opened_at").first()
    if grant is not None:
        heard = min(grant.heard_ms, max(0, round(heard_s * 1000)))
        _close(grant, heard, actor.now, actor.source)


def close_expired(now: datetime, limit: int = 100) -> int:
    """The worker's round: grants that ran out are closed with what was delivered under them."""
    expired = PlayGrant.objects.filter(closed_at=None, expires_at__lte=now).select_related(
        "user", "message", "talk"
    )
    closed = 0
    for grant in expired.order_by("expires_at")[:limit]:
        closed += _close(grant, grant.heard_ms, now, "system:worker")
    return closed


def _close(grant: PlayGrant, heard_ms: int, now: datetime, source: str) -> bool:
    with transaction.atomic():
        won = PlayGrant.objects.filter(pk=grant.pk, closed_at=None).update(closed_at=now, heard_ms=heard_ms)
        if won and grant.talk is None:
            Hearing.objects.filter(message=grant.message, user=grant.user, heard_ms__lt=heard_ms).update(
                heard_ms=heard_ms
            )
        if won:
            what = grant.message if grant.talk is None else grant.talk
            audit.record(
                grant.message.practice_id, actor=f"user:{grant.user.login}", action="message:play_ended", now=now,
                message=grant.message_id, source=source,
                detail={"grant": grant.id, "heard_ms": heard_ms, "of_ms": what.duration_ms},
            )  # fmt: skip
    return bool(won)
