"""The status line: a caller asks how far the message is. Who asks from another number learns nothing, not even that."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F

from nightbell.audit import service as audit
from nightbell.core.phi import Warrant
from nightbell.mailbox import rules, status_rules
from nightbell.mailbox import secrets as sealed
from nightbell.mailbox.joining import together
from nightbell.mailbox.models import Guess, Hearing, Kind, Message, State, Urgency
from nightbell.sealing.errors import SealError
from nightbell.store import vault

ACTOR = "caller"
# Numbers are counted by a keyed digest that dies with the process: the table tells nobody who called.
_KEY = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """state: none, waiting, left, waiting_open, heard, owned, tried or done; ref: the message, '' for none."""

    state: str
    at: datetime | None = None
    ref: str = ""


NONE = StatusAnswer(status_rules.NONE)


def ask(
    practice_id: str, number: str, caller: str, now: datetime, rings: Callable[[str, datetime], bool]
) -> StatusAnswer:
    """The state of the newest message to be called back at `number`, if the call comes from there.

    number: as keyed in; caller: as the carrier gave it, '' if withheld; rings: whether people are told of a message.
    Raises AuditClosed, KeysAway or DatabaseError: then nothing may be told.
    """
    keyed, calling = rules.digits(number), rules.digits(caller)
    budgets = [(f"caller:{_digest(calling)}", status_rules.CALLER_MISSES)]
    if keyed != calling:
        budgets.append((f"practice:{practice_id}", status_rules.PRACTICE_MISSES))
    else:  # a caller ID can be faked, so that each pair looks like a caller of its own
        budgets.append((f"pairs:{practice_id}", status_rules.PAIR_MISSES))
    # Counted before anybody looks: of two guesses at once both count. A hit is given back.
    allowed = all(_spend(key, limit, now) for key, limit in budgets)
    found = _find(practice_id, keyed, calling, now) if allowed else None
    answer = _answer(found, now, rings) if found else NONE
    audit.record(
        practice_id, actor=ACTOR, action="status:ask", now=now, message=answer.ref,
        outcome="ok" if found else "none", detail=None if allowed else {"throttled": True},
    )  # fmt: skip
    if found:
        Guess.objects.filter(pk__in=[key for key, _ in budgets], count__gt=0).update(count=F("count") - 1)
    return answer


def _find(practice_id: str, keyed: str, calling: str, now: datetime) -> Message | None:
    """Opens the number of every candidate, whichever fits: how long it takes tells nothing."""
    candidates = Message.objects.filter(
        practice_id=practice_id,
        state__in=[State.NEW, State.OWNED, State.CLOSED],
        received_at__gt=now - status_rules.LOOKS_BACK,
        kind=Kind.MESSAGE,
        joins=None,
    )
    found = ""
    narrow = candidates.only("id", "practice_id", "callback_sealed", "caller_sealed", "tags")
    rows = list(narrow.order_by("received_at", "id"))
    keys = vault.message_keys([message.id for message in rows])
    for message in rows:
        number = _number(message, keys.get(message.id))
        if status_rules.fits(rules.digits(number), keyed, calling) and "test" not in message.tags:
            found = message.id
    return candidates.filter(pk=found).first()


def _number(message: Message, key: bytes | None) -> str:
    """Where the patient is called back: the number that was confirmed, or else the one that the call came from."""
    column, stored = "callback", message.callback_sealed
    if stored is None:
        column, stored = "caller", message.caller_sealed
    where = sealed.place(column, message.id, message.practice_id)
    if key is None:
        return ""
    try:
        return sealed.open_text(key, where, stored or b"").open(Warrant("internal"))
    except SealError:
        return ""  # one damaged row must not silence the line for all


def _answer(message: Message, now: datetime, rings: Callable[[str, datetime], bool]) -> StatusAnswer:
    newest = (
        together(message.id).exclude(state=State.DISPOSED).order_by("received_at", "id").last() or message
    )
    heard = Hearing.objects.filter(message=newest).order_by("first_at").first()
    state, at = status_rules.standing(
        status_rules.Standing(
            message.state, message.urgency == Urgency.URGENT, message.needs_alert or rings(message.id, now),
            message.received_at, heard.first_at if heard else None, message.closed_at, message.outcome,
            message.tried_at,
        )
    )  # fmt: skip
    return StatusAnswer(state, at, message.id)


def _digest(number: str) -> str:
    return hmac.new(_KEY, number.encode(), hashlib.sha256).hexdigest()[:40]


def _spend(key: str, limit: int, now: datetime, within: timedelta = status_rules.HOUR) -> bool:
    """Take one of `limit` tries an hour. Compare-and-set: of two for the last one, one gets it."""
    running = Guess.objects.filter(pk=key, since__gt=now - within)
    if running.filter(count__lt=limit).update(count=F("count") + 1):
        return True
    if running.exists():
        return False
    Guess.objects.filter(since__lte=now - within).delete()
    _, made = Guess.objects.get_or_create(pk=key, defaults={"since": now, "count": 1})
    return made or bool(running.filter(count__lt=limit).update(count=F("count") + 1))
