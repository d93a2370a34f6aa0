"""Bearer tokens of the API: made once, kept as a digest, limited to scopes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.people.access import Actor
from nightbell.people.models import ApiToken, User
from nightbell.people.roles import ACTS, Act, Role

PREFIX = "nbt_"


def _digest(bearer: str) -> str:
    return hashlib.sha256(bearer.encode()).hexdigest()


def issue(
    user: User,
    name: str,
    now: datetime,
    scopes: Iterable[Act] | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Make a token and return it, the only time it can be seen. Scopes never exceed the role's acts."""
    allowed = ACTS[Role(user.role)]
    chosen = sorted(act.value for act in (allowed if scopes is None else set(scopes) & allowed))
    bearer = PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(
        user=user, name=name, digest=_digest(bearer), scopes=chosen, created_at=now, expires_at=expires_at
    )
    return bearer


def authenticate(bearer: str, now: datetime, source: str) -> Actor | None:
    """Who a bearer is, or None: unknown, expired, revoked, or the person was locked out."""
    if not bearer.startswith(PREFIX) or len(bearer) > 100:
        return None
    token = ApiToken.objects.select_related("user").filter(digest=_digest(bearer)).first()
    if token is None or token.revoked_at or not token.user.is_active:
        return None
    if token.expires_at and token.expires_at <= now:
        return None
    return Actor(token.user, source, _digest("token:" + token.id), now, frozenset(token.scopes))


def add(user: User, name: str, actor: str, now: datetime) -> str:
    """`issue`, with its row in the log."""
    with transaction.atomic():
        bearer = issue(user, name[:60], now)
        audit.record(user.practice_id, actor=actor, action="token:add", now=now, detail={"user": user.login})
    return bearer


def revoke(user: User, name: str, actor: str, now: datetime) -> int:
    """End a user's tokens of that name. Returns how many."""
    with transaction.atomic():
        ended = ApiToken.objects.filter(user=user, name=name, revoked_at=None).update(revoked_at=now)
        audit.record(
            user.practice_id,
            actor=actor,
            action="token:revoke",
            now=now,
            detail={"user": user.login, "count": ended},
        )
    return ended
