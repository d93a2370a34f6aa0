"""Numbers that lead somewhere for a quarter of an hour: to a draft before anybody else hears it, or to recording a clip."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.db import transaction

from nightbell.core.config import Config, load
from nightbell.flow.clips import LANGUAGES
from nightbell.line.errors import BadClip
from nightbell.line.models import TryNumber
from nightbell.line.recordings import longest
from nightbell.line.state import audited, first_version, lock
from nightbell.people.access import Actor, demand
from nightbell.people.roles import Act

VALID = timedelta(minutes=15)
KEPT = timedelta(days=30)  # a recording may wait for its keys; and the page tells what came of it


def try_number(actor: Actor) -> TryNumber:
    """A fresh number for the practice's draft, or for the live plan when there is none; an older one ends."""
    demand(actor, Act.EDIT_LINE)
    return _made(actor)


def record_number(actor: Actor, clip: str, language: str) -> TryNumber:
    """A fresh number under which a clip is recorded; an older one of the same person ends. Raises BadClip."""
    demand(actor, Act.EDIT_LINE)
    longest(clip)  # a place that there is
    if language not in LANGUAGES:
        raise BadClip("There is no number", "its language is not known", "choose one of the list")
    return _made(actor, clip, language)


def recorded(actor: Actor, clip: str, language: str) -> TryNumber | None:
    """The actor's last number for this clip: what was kept, or what was wrong; None when there is none."""
    demand(actor, Act.EDIT_LINE)
    mine = TryNumber.objects.filter(practice_id=actor.practice, made_by=actor.user).exclude(clip="")
    here = mine.filter(clip=clip, language=language).select_related("kept")
    return here.order_by("-made_at", "pk").first()


def stop_recording(actor: Actor, clip: str, language: str) -> None:
    """Forget the actor's numbers for this clip, and what came of them. A call that is up is kept as one that nobody
    kept; a clip that was made stays among the practice's recordings."""
    demand(actor, Act.EDIT_LINE)
    mine = TryNumber.objects.filter(
        practice_id=actor.practice, made_by=actor.user, clip=clip, language=language
    )
    with transaction.atomic():
        if clip and mine.delete()[0]:
            audited(actor, "line:try", {"clip": f"{language}/{clip}", "until": actor.now.isoformat()})


def sip_address(dialled: str, config: Config | None = None) -> str:
    """Where a number of ours is called: 'sip:try-123456@192.0.2.1:5060'. A phone that listens everywhere goes by the
    name of the pages."""
    config = config or load()
    host = config.sip_bind[0]
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = urlsplit(config.url).hostname or host
    return f"sip:{dialled}@{f'[{host}]' if ':' in host else host}:{config.sip_port}"


def _made(actor: Actor, clip: str = "", language: str = "") -> TryNumber:
    first_version(actor.user.practice, actor.now)
    with transaction.atomic():
        lock(actor.user.practice, actor.now)
        _end_older(actor, clip)
        made = TryNumber.objects.create(
            dialled=_free(), practice_id=actor.practice, made_by=actor.user, made_at=actor.now,
            expires_at=actor.now + VALID, clip=clip, language=language,
        )  # fmt: skip
        detail = {"until": made.expires_at.isoformat()}
        audited(actor, "line:try", detail | ({"clip": f"{language}/{clip}"} if clip else {}))
    return made


def _end_older(actor: Actor, clip: str) -> None:
    """Of the practice's trials there is one; of recordings one a person, and what came of the others is kept."""
    practices = TryNumber.objects.filter(practice_id=actor.practice)
    if clip:
        mine = practices.filter(made_by=actor.user, expires_at__gt=actor.now).exclude(clip="")
        mine.update(expires_at=actor.now)
    else:
        practices.filter(clip="").delete()
    TryNumber.objects.filter(clip="", expires_at__lte=actor.now).delete()
    TryNumber.objects.filter(expires_at__lte=actor.now - KEPT).delete()


def _free() -> str:
    while True:
        dialled = f"try-{secrets.randbelow(1_000_000):06}"
        if not TryNumber.objects.filter(pk=dialled).exists():
            return dialled


def in_force(now: datetime) -> list[TryNumber]:
    """The numbers that lead somewhere now."""
    return list(TryNumber.objects.filter(expires_at__gt=now).order_by("dialled"))
