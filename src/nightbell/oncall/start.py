"""How an alert begins, begins anew and ends. Each is one transaction: the message's due row, the alert, the audit leaf."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from django.db import OperationalError, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.core.ids import new_token
from nightbell.mailbox.joining import NOBODYS, together
from nightbell.mailbox.marks import IMPORTED
from nightbell.mailbox.models import Kind, Message, State, Urgency, Words
from nightbell.oncall import covering, policies, routes
from nightbell.oncall.models import Alert, AlertState, Route, Schedule
from nightbell.oncall.roster import last_resort_of

ACTOR = "system:worker"
PAGE = 200
TOGETHER = 34  # alerts that begin, or take a step, in one transaction
CALM = (Urgency.ROUTINE, Urgency.REVIEW)
UNTOLD = frozenset({"test", IMPORTED})  # tags of what is never told of while it is not urgent
CALM_BACK = timedelta(
    days=1
)  # older messages than that are not begun to be told of: a new route wakes nobody for them
WORDS_AT_MOST = timedelta(
    minutes=5
)  # what is not urgent waits so long for its words, which may make it urgent
Row = TypeVar("Row")


class Asked:
    """What is asked once for alerts that begin together, and forgotten with them."""

    def __init__(self) -> None:
        self._tables: dict[str, routes.Table] = {}
        self._lasts: dict[str, tuple[str, str]] = {}

    def chosen(self, message: Message) -> routes.Chosen:
        practice = message.practice_id
        if practice not in self._tables:
            self._tables[practice] = routes.table_of(practice)
        return routes.choose(message, self._tables[practice])

    def last_resort(self, schedule: Schedule | None) -> tuple[str, str]:
        """A user's id and an address, each may be ''."""
        named = schedule.id if schedule else ""
        if named not in self._lasts:
            last, address = last_resort_of(schedule)
            self._lasts[named] = (last.id if last else "", address)
        return self._lasts[named]


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


def several(
    rows: Sequence[Row],
    together: Callable[[Sequence[Row], datetime], int],
    step: Callable[[Row, datetime], int],
    now: datetime,
    problems: list[Exception] | None,
) -> int:
    """Take one step on all rows in one transaction. Where that fails it changed nothing, and each takes it alone: one that
    cannot go on must not hold up the others."""
    if len(rows) > 1:
        try:
            return together(rows, now)
        except OperationalError:
            raise  # it would be the same for each
        except Exception:
            if problems is None:
                raise
            # Whose fault it is comes out when each is alone.
    return each(rows, step, now, len(rows), problems)


def start_due(now: datetime, limit: int = 50, problems: list[Exception] | None = None) -> int:
    """Give messages that need an alert one. Urgency is a due row that is picked up here."""
    waiting = Message.objects.filter(needs_alert=True).order_by("stored_at", "id")
    done = 0
    for chunk in handfuls(waiting):
        found = Message.objects.select_related("practice").in_bulk(chunk[: limit - done])
        rows = [found[pk] for pk in chunk if pk in found]
        done += several(rows, _start_all, _start, now, problems)
        if done >= limit:
            break
    return done


def handfuls(waiting: QuerySet[Any]) -> Iterator[list[str]]:
    """The first ids, TOGETHER at a time, PAGE at most: behind those that fail there may be others. No more of them are
    asked for than are needed: in a burst every row that SQLite gives costs a wait for the interpreter."""
    seen: list[str] = []
    while len(seen) < PAGE:
        chunk = list(waiting.exclude(pk__in=seen).values_list("pk", flat=True)[:TOGETHER])
        if chunk:
            yield chunk
        if len(chunk) < TOGETHER:
            return
        seen += chunk


def _start(message: Message, now: datetime) -> bool:
    return bool(_start_all([message], now))


def _start_all(messages: Sequence[Message], now: datetime) -> int:
    with transaction.atomic():
        due = Message.objects.filter(pk__in=[message.pk for message in messages], needs_alert=True)
        mine = set(due.select_for_update().order_by("pk").values_list("pk", flat=True))
        Message.objects.filter(pk__in=mine).update(needs_alert=False)
        _begin_all([message for message in messages if message.pk in mine], now)
    faults.point("alert.started")
    return len(mine)


def _begin_all(messages: Sequence[Message], now: datetime) -> None:
    """As `begin`, for several."""
    asked = Asked()
    again = set(Alert.objects.filter(message__in=messages).values_list("message_id", flat=True))
    fresh = [
        Alert(
            message=one, practice=one.practice, token=new_token(), started_at=now, **_state(one, asked, now)
        )
        for one in messages
        if one.pk not in again
    ]
    Alert.objects.bulk_create(fresh)
    covering.let_see([(alert.message, alert.schedule) for alert in fresh], now)
    for practice in sorted({alert.practice_id for alert in fresh}):
        told = [
            audit.Entry(ACTOR, "alert:start", alert.message_id, detail={"alert": alert.id})
            for alert in fresh
            if alert.practice_id == practice
        ]
        audit.record_all(practice, told, now)
    for message in messages:
        if message.pk in again:
            begin(message, now)


def begin(message: Message, now: datetime, why: str = "", keep_owner: bool = False) -> Alert:
    """An alert for a message, or its alert from the first step anew (given back, closed by mistake, not reached).

    In the caller's transaction, which decided that it rings. The message's practice is loaded. keep_owner: the
    record goes on naming who had it last.
    """
    state = _state(message, Asked(), now)
    alert, fresh = Alert.objects.get_or_create(
        message=message,
        defaults=state | {"practice": message.practice, "token": new_token(), "started_at": now},
    )
    if not fresh:
        forget = {} if keep_owner else {"owner": None, "owned_at": None}
        again = state | {"state": AlertState.OPEN, "began": F("step")} | forget
        Alert.objects.filter(pk=alert.pk).update(**again)
    covering.let_see([(message, state["schedule"])], now)
    detail = {"alert": alert.id} | ({"why": why} if why else {})
    audit.record(
        message.practice_id, actor=ACTOR, action="alert:start" if fresh else "alert:restart", now=now,
        message=message.id, detail=detail,
    )  # fmt: skip
    return alert


def _state(message: Message, asked: Asked, now: datetime) -> dict[str, Any]:
    """How an alert begins, or begins anew."""
    chosen = asked.chosen(message)
    policy = policies.freeze(chosen.steps, *asked.last_resort(chosen.schedule), chosen.quiet)
    return {
        "urgency": message.urgency, "schedule": chosen.schedule, "policy": policy.to_text(), "handed_by": None,
        "handed_until": None, "next_at": _first_at(message, chosen, now),
    }  # fmt: skip


def _first_at(message: Message, chosen: routes.Chosen, now: datetime) -> datetime:
    if not chosen.quiet or message.urgency == Urgency.URGENT:
        return now
    try:
        return policies.by_day(now, ZoneInfo(message.practice.zone))
    except (KeyError, ValueError):
        return now  # a zone that cannot be read has no morning


def ring_anew(message: Message, now: datetime, why: str) -> bool:
    """Take an owned message from its owner and ring from the first step: nobody may have it in vain for ever. What is not
    urgent rings only where a route rings it; else it lies in the inbox, as before somebody took it.

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
    if message.urgency == Urgency.URGENT or (
        routes.choose(message).by_route and UNTOLD.isdisjoint(message.tags)
    ):
        begin(message, now, why, keep_owner=True)
    return True


def start_calm(now: datetime, limit: int = 50, problems: list[Exception] | None = None) -> int:
    """Messages that are not urgent are told of where a route with a policy says so, and nowhere else. One that was told of
    and given back is told of again. An import wakes nobody."""
    practices = set(
        Route.objects.exclude(policy=None)
        .exclude(urgency=Urgency.URGENT)
        .values_list("practice_id", flat=True)
    )
    if not practices:
        return 0
    asked, alerts = Asked(), Alert.objects.filter(message=OuterRef("pk"))
    waiting = Message.objects.filter(
        ~Exists(alerts.filter(state=AlertState.OPEN)), Q(stored_at__gt=now - CALM_BACK) | Exists(alerts),
        ~Q(words=Words.PENDING) | Q(stored_at__lt=now - WORDS_AT_MOST),
        practice__in=practices, state=State.NEW, urgency__in=CALM, needs_alert=False, joins=None,
    ).exclude(kind=Kind.STATUS)  # fmt: skip
    rows = (row for row in _pages(waiting.select_related("practice")) if UNTOLD.isdisjoint(row.tags))

    def begun(message: Message, now: datetime) -> int:
        return asked.chosen(message).by_route and _start_calm(message, now)

    return each(rows, begun, now, limit, problems)


def _pages(waiting: QuerySet[Message]) -> Iterator[Message]:
    """All of them: those that no route tells of stay waiting, and must not stand in the way of those behind them."""
    last = ""
    while page := list(waiting.filter(pk__gt=last).order_by("pk")[:PAGE]):
        yield from page
        last = page[-1].pk


def _start_calm(message: Message, now: datetime) -> bool:
    with transaction.atomic():
        still = Message.objects.select_for_update().filter(pk=message.pk, state=State.NEW, needs_alert=False)
        if not still.exists() or Alert.objects.filter(message=message, state=AlertState.OPEN).exists():
            return False
        begin(message, now)
    faults.point("alert.started")
    return True


def settle_owned(now: datetime, problems: list[Exception] | None = None) -> int:
    """End alerts whose message has an owner: the acknowledgement itself was an authenticated act."""
    owned = (
        Alert.objects.filter(state=AlertState.OPEN)
        .exclude(message__state=State.NEW)
        .select_related("message")
    )
    return each(owned[:100], _settle, now, 100, problems)


def _settle(alert: Alert, now: datetime) -> int:
    with transaction.atomic():
        # It may have been given back since it was read: then it must go on ringing. Or others may have it by now.
        message = Message.objects.select_for_update().get(pk=alert.message_id)
        won = message.state != State.NEW and Alert.objects.filter(pk=alert.pk, state=AlertState.OPEN).update(
            state=AlertState.OWNED, owner=message.owner, owned_at=message.owned_at or now
        )
        if won:
            audit.record(
                alert.practice_id, actor=ACTOR, action="alert:owned", now=now, message=alert.message_id,
                detail={"alert": alert.id, "steps": alert.step},
            )  # fmt: skip
    faults.point("alert.settled")
    return int(won)
