"""How an alert begins, begins anew and ends. Each is one transaction: the message's due row, the alert, the audit leaf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.ids import new_token
from nightbell.mailbox.joining import NOBODYS, together
from nightbell.mailbox.models import Kind, Message, State, Urgency, Words
from nightbell.oncall import policies, routes
from nightbell.oncall.models import Alert, AlertState, Route
from nightbell.oncall.roster import last_resort_of

ACTOR = "system:worker"
PAGE = 200
CALM = (Urgency.ROUTINE, Urgency.REVIEW)
CALM_BACK = timedelta(
    days=1
)  # older messages than that are not begun to be told of: a new route wakes nobody for them
WORDS_AT_MOST = timedelta(
    minutes=5
)  # what is not urgent waits so long for its words, which may make it urgent
Row = TypeVar("Row")


def each(
    rows: Iterable[Row],
    step: Callable[[Row, datetime], int],
    now: datetime,
    limit: int,
    problems: list[Exception] | None,
) -> int:
    """Take `step` on each row until `limit` were done. One that fails must not hold up the others:
    its error goes to `problems`, for the caller to tell when all had their turn."""
    done = 0
    for row in rows:
        try:
            done += step(row, now)
        except Exception as error:
            if problems is None:
                raise
            problems.append(error)
        if done >= limit:
            break
    return done


def start_due(now: datetime, limit: int = 50, problems: list[Exception] | None = None) -> int:
    """Give messages that need an alert one. Urgency is a due row that is picked up here."""
    waiting = Message.objects.filter(needs_alert=True).select_related("practice").order_by("stored_at")
    return each(waiting[:200], _start, now, limit, problems)


def _start(message: Message, now: datetime) -> bool:
    with transaction.atomic():
        if not Message.objects.filter(pk=message.pk, needs_alert=True).update(needs_alert=False):
            return False
        begin(message, now)
    faults.point("alert.started")
    return True


def begin(message: Message, now: datetime, why: str = "", keep_owner: bool = False) -> Alert:
    """An alert for a message, or its alert from the first step anew (given back, closed by mistake, not reached).

    In the caller's transaction, which decided that it rings. The message's practice is loaded. keep_owner: the
    record goes on naming who had it last.
    """
    chosen = routes.choose(message)
    schedule = chosen.schedule
    last, address = last_resort_of(schedule)
    policy = policies.freeze(chosen.steps, last.id if last else "", address, chosen.quiet)
    state: dict[str, object] = {
        "urgency": message.urgency, "schedule": schedule, "policy": policy.to_text(), "handed_by": None,
        "handed_until": None, "next_at": _first_at(message, chosen, now),
    }  # fmt: skip
    alert, fresh = Alert.objects.get_or_create(
        message=message,
        defaults=state | {"practice": message.practice, "token": new_token(), "started_at": now},
    )
    if not fresh:
        forget = {} if keep_owner else {"owner": None, "owned_at": None}
        again = state | {"state": AlertState.OPEN, "began": F("step")} | forget
        Alert.objects.filter(pk=alert.pk).update(**again)
    detail = {"alert": alert.id} | ({"why": why} if why else {})
    audit.record(
        message.practice_id, actor=ACTOR, action="alert:start" if fresh else "alert:restart", now=now,
        message=message.id, detail=detail,
    )  # fmt: skip
    return alert


def _first_at(message: Message, chosen: routes.Chosen, now: datetime) -> datetime:
    if not chosen.quiet or message.urgency == Urgency.URGENT:
        return now
    try:
        return policies.by_day(now, ZoneInfo(message.practice.zone))
    except (KeyError, ValueError):
        return now  # a zone that cannot be read has no morning


def ring_anew(message: Message, now: datetime, why: str) -> bool:
    """Take an owned message from its owner and ring from the first step: nobody may have it in vain for ever.

    In the caller's transaction. Returns False when it is not owned any more.
    """
    owner = message.owner.login if message.owner else ""
    owned = together(message.id).filter(state=State.OWNED)
    if not owned.filter(pk=message.pk, owner=message.owner).exists():
        return False
    owned.update(**{name: value for name, value in NOBODYS.items() if name != "tried_at"}, needs_alert=False)
    audit.record(
        message.practice_id, actor=ACTOR, action="message:taken_back", now=now, message=message.id,
        detail={"owner": owner, "why": why},
    )  # fmt: skip
    begin(message, now, why, keep_owner=True)
    return True


def start_calm(now: datetime, limit: int = 50, problems: list[Exception] | None = None) -> int:
    """Messages that are not urgent are told of where a route with a policy says so, and nowhere else."""
    practices = set(
        Route.objects.exclude(policy=None)
        .exclude(urgency=Urgency.URGENT)
        .values_list("practice_id", flat=True)
    )
    if not practices:
        return 0
    waiting = Message.objects.filter(
        ~Exists(Alert.objects.filter(message=OuterRef("pk"))),
        ~Q(words=Words.PENDING) | Q(stored_at__lt=now - WORDS_AT_MOST),
        practice__in=practices, state=State.NEW, urgency__in=CALM, needs_alert=False, joins=None,
        stored_at__gt=now - CALM_BACK,
    ).exclude(kind=Kind.STATUS)  # fmt: skip
    rows = _pages(waiting.select_related("practice"))
    return each((row for row in rows if "test" not in row.tags), _start_calm, now, limit, problems)


def _pages(waiting: QuerySet[Message]) -> Iterator[Message]:
    """All of them: those that no route tells of stay waiting, and must not stand in the way of those behind them."""
    last = ""
    while page := list(waiting.filter(pk__gt=last).order_by("pk")[:PAGE]):
        yield from page
        last = page[-1].pk


def _start_calm(message: Message, now: datetime) -> bool:
    if not routes.choose(message).by_route:
        return False
    with transaction.atomic():
        still = Message.objects.select_for_update().filter(pk=message.pk, state=State.NEW, needs_alert=False)
        if not still.exists() or Alert.objects.filter(message=message).exists():
            return False
        begin(message, now)
    faults.point("alert.started")
    return True


def settle_owned(now: datetime) -> int:
    """End alerts whose message has an owner: the acknowledgement itself was an authenticated act."""
    settled = 0
    owned = (
        Alert.objects.filter(state=AlertState.OPEN)
        .exclude(message__state=State.NEW)
        .select_related("message")
    )
    for alert in owned[:100]:
        with transaction.atomic():
            # It may have been given back since it was read: then it must go on ringing.
            won = Alert.objects.filter(
                ~Q(message__state=State.NEW), pk=alert.pk, state=AlertState.OPEN
            ).update(
                state=AlertState.OWNED, owner=alert.message.owner, owned_at=alert.message.owned_at or now
            )
            if won:
                audit.record(
                    alert.practice_id, actor=ACTOR, action="alert:owned", now=now, message=alert.message_id,
                    detail={"alert": alert.id, "steps": alert.step},
                )  # fmt: skip
        faults.point("alert.settled")
        settled += won
    return settled
