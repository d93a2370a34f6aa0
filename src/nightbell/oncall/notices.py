"""Notices that are no alerts: a gap ahead, a swap, a test that failed, the week's numbers.

A notice is a row before it leaves. Its key says what it is about, and exists once: whoever plans it again,
after a crash or beside another worker, changes nothing. Whoever sends alerts sends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from nightbell.core.notice import NoticeKind
from nightbell.oncall.models import Notice, NoticeState
from nightbell.people.models import User


def plan(user: User, kind: NoticeKind, key: str, now: datetime, by: str = "") -> bool:
    """Have a person told of something, once. key: at most 120 characters, the same for the same thing; by: a kind of contact,
    '' for whichever way takes it.

    In the caller's transaction, if there is one. Returns whether it is new.
    """
    defaults = {
        "practice_id": user.practice_id,
        "user": user,
        "kind": kind.value,
        "made_at": now,
        "retry_at": now,
        "by": by,
    }
    return Notice.objects.get_or_create(key=key, defaults=defaults)[1]


def plan_one(user: User, kind: NoticeKind, keys: Sequence[str], now: datetime) -> bool:
    """One notice for several things that are said in the same words. Returns whether any of them is new.

    The others are kept as told with it, so that none of them is told again.
    """
    known = set(Notice.objects.filter(key__in=keys).values_list("key", flat=True))
    new = [key for key in dict.fromkeys(keys) if key not in known]
    with transaction.atomic():
        for key in new[1:]:
            made = {
                "practice_id": user.practice_id,
                "user": user,
                "kind": kind.value,
                "made_at": now,
                "retry_at": now,
            }
            made |= {"state": NoticeState.SENT, "answer": "told together with another"}
            Notice.objects.get_or_create(key=key, defaults=made)
        return bool(new) and plan(user, kind, new[0], now)
