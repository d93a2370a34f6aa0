"""PINs of the telephone: only their hash is kept, tries are counted durably before they are compared (DESIGN §2)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import StrEnum

from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core.errors import NightbellError
from nightbell.people.access import Actor, write
from nightbell.people.models import Pin, User

TRIES = 5
LOCK, LONGEST_LOCK = timedelta(minutes=15), timedelta(days=1)
MOST_TRIES = 30_000  # that are counted: the column holds no more
MOST_STRANGERS = 10_000  # numbers that are remembered
SHORTEST, LONGEST = 6, 8
_RISING, _FALLING = "0123456789012345", "9876543210987654"


class PinAnswer(StrEnum):
    OK = "ok"
    WRONG = "wrong"
    LOCKED = "locked"
    NONE = "none"  # the person has set none, or is locked out


def tell_nobody(_user: User, _now: datetime) -> None:
    """Until a room above tells the owner of a lock."""


# Set by oncall.lost_ways: telling people belongs to a room above this one. In the transaction that locks.
on_lock: Callable[[User, datetime], None] = tell_nobody


class BadPin(NightbellError):
    """A PIN that is too easy to guess."""


def set_pin(actor: Actor, pin: str) -> None:
    """Give the actor a new PIN; the old one is gone, and so is a lock. Raises BadPin."""
    if not (pin.isascii() and pin.isdigit() and SHORTEST <= len(pin) <= LONGEST):
        raise BadPin("The PIN was not kept", f"it is not {SHORTEST} to {LONGEST} digits", "choose another")
    if _is_obvious(pin):
        raise BadPin("The PIN was not kept", "it is one of the first that anybody tries", "choose another")
    digest = make_password(pin)  # takes its time: before the write lock is held
    with transaction.atomic():
        Pin.objects.update_or_create(
            user=actor.user,
            defaults={
                "digest": digest,
                "set_at": actor.now,
                "tries": 0,
                "locked_until": None,
                "in_tries": 0,
                "in_locked_until": None,
            },
        )
        write(actor, "pin:set")


def _is_obvious(pin: str) -> bool:
    """One digit or two, a row of them, the same half twice, or a date of this century or the last."""
    half = len(pin) // 2
    return (
        len(set(pin)) < 3 or pin in _RISING or pin in _FALLING or pin == pin[:half] * 2 or _is_date(pin)
    )  # fmt: skip


def _is_date(pin: str) -> bool:
    """As people write birthdays: day, month (either first) and year, or the year of four digits first."""
    last = re.fullmatch(r"(\d\d)(\d\d)(?:19|20)?(\d\d)", pin)
    first = re.fullmatch(r"(?:19|20)(\d\d)(\d\d)(\d\d)", pin)
    written = [last.group(1, 2), last.group(2, 1)] if last else [first.group(2, 3)] if first else []
    for month, day in written:
        try:
            date(2000, int(month), int(day))  # a leap year
        except ValueError:
            continue
        return True
    return False


def has_pin(user: User) -> bool:
    return Pin.objects.filter(user_id=user.person_id).exists()


def check_pin(user: User, pin: str, now: datetime, rang_in: bool = False) -> PinAnswer:
    """Compare what was keyed. Five wrong ones in a row lock for 15 minutes, the next five for 30, and so on to a day, over
    restarts and from many telephones; a right one, or a new PIN, begins anew.

    The try is counted before it is compared: a kill, or two calls at once, give none for nothing. rang_in: in a call that
    came in. Anybody can show another's number, so those are counted apart: they lock ringing in, and never the answer to
    a call of ours to a proved number. A covering clinician keys their one PIN; the row in the log is the practice's
    whose call it is.
    """
    row = Pin.objects.filter(user_id=user.person_id, user__is_active=True).first()
    if row is None or not User.objects.filter(pk=user.pk, is_active=True).exists():
        make_password(pin)  # as long as a comparison takes
        return PinAnswer.NONE
    counted = _counted(row, now, rang_in)
    if counted is None:
        _write(user, "pin:check", now, "refused", PinAnswer.LOCKED, rang_in=rang_in)
        return PinAnswer.LOCKED
    if check_password(pin, row.digest):
        with transaction.atomic():
            # A PIN that was changed meanwhile is not this one.
            good = {"in_tries": 0, "in_locked_until": None} if rang_in else {"tries": 0, "locked_until": None}
            if not Pin.objects.filter(user_id=row.user_id, digest=row.digest).update(**good):
                return PinAnswer.WRONG
            _write(user, "pin:check", now, "ok", PinAnswer.OK, rang_in=rang_in)
        return PinAnswer.OK
    locked = counted % TRIES == 0
    with transaction.atomic():
        _write(user, "pin:check", now, "refused", PinAnswer.WRONG, counted, rang_in)
        if locked:
            on_lock(user, now)
    return PinAnswer.LOCKED if locked else PinAnswer.WRONG


def _counted(row: Pin, now: datetime, rang_in: bool = False) -> int | None:
    """Count one try by compare-and-set; None when it is locked, or others try at this very moment."""
    before, until = (row.in_tries, row.in_locked_until) if rang_in else (row.tries, row.locked_until)
    if is_locked(until, before, now):
        return None
    tries = _next(before)
    prefix = "in_" if rang_in else ""
    held = {f"{prefix}tries": before, f"{prefix}locked_until": until}
    new = {
        f"{prefix}tries": tries,
        f"{prefix}locked_until": now + lock_of(tries) if tries % TRIES == 0 else None,
    }
    won = Pin.objects.filter(user_id=row.user_id, digest=row.digest, **held).update(**new)
    return tries if won else None


def _next(tries: int) -> int:
    return (tries if tries < MOST_TRIES else MOST_TRIES - TRIES) + 1


def lock_of(tries: int) -> timedelta:
    """How long a lock lasts that so many wrong ones in a row have brought."""
    doubled = max(tries // TRIES - 1, 0)
    return min(LOCK * (1 << min(doubled, 10)), LONGEST_LOCK)


def is_locked(until: datetime | None, tries: int, now: datetime) -> bool:
    """A lock further ahead than any lasts was set by a clock that ran ahead."""
    return until is not None and timedelta() < until - now <= lock_of(tries)


_KEY = secrets.token_bytes(32)
_strangers: dict[
    bytes, tuple[int, datetime | None]
] = {}  # by digest of the shown number: tries, and locked until
_strange = threading.Lock()


def check_stranger(number: str, pin: str, now: datetime) -> PinAnswer:
    """The same for whoever rings in and has no PIN here, by the number that they show: never right, and answered, locked and
    taking time as somebody's is, so that nobody learns which numbers are known. Not over restarts."""
    shown = hmac.new(_KEY, number.encode(), hashlib.sha256).digest()
    with _strange:
        before, until = _strangers.pop(shown, (0, None))
        if is_locked(until, before, now):
            _strangers[shown] = (before, until)
            return PinAnswer.LOCKED
        tries = _next(before)
        locked = tries % TRIES == 0
        _strangers[shown] = (tries, now + lock_of(tries) if locked else None)
        while len(_strangers) > MOST_STRANGERS:
            del _strangers[next(iter(_strangers))]
    make_password(pin)  # as long as a comparison takes
    return PinAnswer.LOCKED if locked else PinAnswer.WRONG


def _write(
    user: User,
    action: str,
    now: datetime,
    outcome: str,
    answer: PinAnswer,
    tries: int = 0,
    rang_in: bool = False,
) -> None:
    detail: dict[str, object] = {"answer": answer.value} | ({"rang_in": True} if rang_in else {})
    if tries:
        detail["tries"] = tries
    audit.record(
        user.practice_id, actor=f"user:{user.login}", action=action, now=now, outcome=outcome,
        source="telephone", detail=detail,
    )  # fmt: skip
