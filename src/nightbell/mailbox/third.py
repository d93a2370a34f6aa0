"""The third call in twenty minutes: somebody who calls again and again needs a person, whatever was pressed or said."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from nightbell.audit import service as audit
from nightbell.core.phi import Warrant
from nightbell.mailbox import ours, rules
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


def thirds(new: Sequence[tuple[Message, str]]) -> dict[str, set[str]]:
    """By the id of each message that is about to be stored, with its caller: ids of third and later calls from this
    caller around it; it may be one itself. Several are looked at as if they were stored one after the other. A number of
    ours is no caller: whoever comes through it may be anybody.

    Opens numbers, to compare them and for nothing else: call it outside of the transaction. An earlier call may be
    taken in after a later one, and make that one the third.
    """
    own = ours.among(
        [caller for _, caller in new]
    )  # an exchange that shows its own number, or an alert of ours
    asked = [
        (message, _digest(plain))
        for message, plain in ((message, rules.digits(caller)) for message, caller in new)
        if plain and plain not in own and message.kind != Kind.STATUS and "test" not in message.tags
    ]
    found: dict[str, set[str]] = {message.id: set() for message, _ in new}
    calls = _near([message for message, _ in asked])
    for message, same in asked:
        first, last = message.answered_at - rules.THIRD_WITHIN, message.answered_at + rules.THIRD_WITHIN
        beside = [
            (at, pk)
            for pk, (practice, at, digest) in calls.items()
            if digest == same and practice == message.practice_id and first <= at <= last and pk != message.id
        ]
        found[message.id] = rules.third_calls([(message.answered_at, message.id), *beside])
        calls[message.id] = (message.practice_id, message.answered_at, same)
    return found


def _near(new: Sequence[Message]) -> dict[str, tuple[str, datetime, bytes]]:
    """Stored calls around these: practice, when it was answered, and the digest of its caller."""
    near: dict[str, tuple[str, datetime, bytes]] = {}
    for practice in {message.practice_id for message in new}:
        answered = [message.answered_at for message in new if message.practice_id == practice]
        first, last = min(answered) - rules.THIRD_WITHIN, max(answered) + rules.THIRD_WITHIN
        rows = Message.objects.filter(
            practice_id=practice,
            state__in=[State.NEW, State.OWNED, State.CLOSED],
            received_at__gt=first - _SLACK,  # the index knows this time
            answered_at__gte=first,
            answered_at__lte=last,
        ).exclude(kind=Kind.STATUS)
        calls = {
            pk: at for pk, at, tags in rows.values_list("id", "answered_at", "tags") if "test" not in tags
        }
        _learn(calls)
        near |= {pk: (practice, at, _known[pk][1]) for pk, at in calls.items() if pk in _known}
    return near


def remember(message: Message, caller: str) -> None:
    """A call that was just stored: its number need not be opened anew to be compared with the next."""
    _known[message.id] = (message.answered_at, _digest(rules.digits(caller)))


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
    if not ids:
        return ringing
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
