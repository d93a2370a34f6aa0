"""The third call in twenty minutes: somebody who calls again and again needs a person, whatever was pressed or said."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from django.db.models import Q

from nightbell.audit import service as audit
from nightbell.core.phi import Warrant
from nightbell.mailbox import rules
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.models import Kind, Message, State, Urgency
from nightbell.sealing.errors import SealError
from nightbell.store import vault

ACTOR = "system:worker"
TAG = "third"


# Which caller a stored call came from, as a keyed digest that dies with the process: a night on which hundreds call
# must not open every number anew for every call. message id: (answered at, digest).
_KEY = secrets.token_bytes(32)
_known: dict[str, tuple[datetime, bytes]] = {}
_SLACK = timedelta(hours=1)  # between the clock of the phone and ours


def thirds(message: Message, caller: str) -> set[str]:
    """Ids of third and later calls from this caller around a message that is about to be stored; it may be one itself.

    Opens numbers, to compare them and for nothing else: call it outside of the transaction. An earlier call may be
    taken in after a later one, and make that one the third.
    """
    number = rules.digits(caller)
    if not number or message.kind == Kind.STATUS or "test" in message.tags:
        return set()
    near = Message.objects.filter(
        practice_id=message.practice_id,
        state__in=[State.NEW, State.OWNED, State.CLOSED],
        received_at__gt=message.answered_at - rules.THIRD_WITHIN - _SLACK,  # the index knows this time
        answered_at__gte=message.answered_at - rules.THIRD_WITHIN,
        answered_at__lte=message.answered_at + rules.THIRD_WITHIN,
    ).exclude(Q(kind=Kind.STATUS) | Q(pk=message.id))
    calls = dict(near.values_list("id", "answered_at"))
    _learn(calls)
    same = _digest(number)
    found = [pk for pk in calls if _known.get(pk, (None, b""))[1] == same]
    tests = {pk for pk, tags in near.filter(pk__in=found).values_list("id", "tags") if "test" in tags}
    return rules.third_calls(
        [(message.answered_at, message.id), *((calls[pk], pk) for pk in found if pk not in tests)]
    )


def _learn(calls: dict[str, datetime]) -> None:
    """Open the numbers that this process has not seen, and forget old ones."""
    new = [pk for pk in calls if pk not in _known]
    keys = vault.message_keys(new)
    for row in Message.objects.filter(pk__in=new).only("id", "practice_id", "caller_sealed"):
        _known[row.id] = (calls[row.id], _digest(_caller(row, keys.get(row.id))))
    oldest = min(calls.values(), default=None)
    if oldest is not None and len(_known) > 2 * len(calls) + 1000:
        for pk in [pk for pk, (at, _) in _known.items() if at < oldest]:
            del _known[pk]


def _digest(number: str) -> bytes:
    return hmac.new(_KEY, number.encode(), hashlib.sha256).digest()


def _caller(row: Message, key: bytes | None) -> str:
    if key is None:
        return ""
    try:
        where = sealed.place("caller", row.id, row.practice_id)
        return rules.digits(sealed.open_text(key, where, row.caller_sealed or b"").open(Warrant("internal")))
    except SealError:
        return ""  # destroyed meanwhile, or damaged


def mark(message: Message) -> None:
    """This call, before it is stored."""
    message.tags = [*message.tags, TAG]
    message.urgency = Urgency.URGENT
    message.needs_alert = message.joins_id is None


def mark_stored(ids: set[str], now: datetime) -> int:
    """Calls that were stored before. Returns how many ring for it. In the caller's transaction."""
    ringing = 0
    for row in Message.objects.filter(pk__in=ids).exclude(state=State.DISPOSED).order_by("id"):
        if TAG in row.tags:
            continue
        change: dict[str, object] = {"tags": [*row.tags, TAG]}
        if row.state != State.CLOSED and row.urgency != Urgency.URGENT:
            rings = row.state == State.NEW
            change |= {"urgency": Urgency.URGENT, "needs_alert": rings}
            ringing += rings
        Message.objects.filter(pk=row.pk).update(**change)
        audit.record(row.practice_id, actor=ACTOR, action="message:third", now=now, message=row.id)
    return ringing
