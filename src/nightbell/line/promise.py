"""What a line may truthfully promise its callers now: from what the practice means to do and what it did lately.

A sentence that the system knows to be false is never said: '' says nothing of a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from django.db.models import Case, F, Q, QuerySet, When

from nightbell.audit.models import Event
from nightbell.flow import hours, phrases
from nightbell.flow.hours import Calendar
from nightbell.flow.model import Promise
from nightbell.flow.plan import Plan
from nightbell.line.calendars import calendar
from nightbell.mailbox.models import Kind, Message, Outcome, State, Urgency
from nightbell.oncall.escalation import standing_still
from nightbell.people.models import Practice
from nightbell.people.roles import Act

LAST, ENOUGH = 20, 5  # messages that are looked at; fewer than ENOUGH do not prove that days are kept
MOST = 200  # rows that are read to find those
NEARLY_ALL = (9, 10)  # of the callers were called back within the time that is said
KEPT = (8, 10)  # of the routine messages were closed in time
AHEAD = timedelta(days=14)
BACK = timedelta(days=60)  # holidays and closures of messages that are still looked at
TEST, THIRD = "test", "third"  # tags: of a call that tried the line out, and of one that was urgent by itself
REOPEN = "message:reopen"
CALLS = (Outcome.REACHED, Outcome.LEFT_WORD, Outcome.EMERGENCY, Outcome.WRONG_NUMBER)
# A call came, the patient is tried again.
LEFT = Q(state=State.OWNED, outcome=Outcome.LEFT_WORD, tried_at__isnull=False)

Span = tuple[datetime, datetime | None]
"""Since when a message waited, and when it was closed (None: it is open)."""


def urgent(
    team: bool, standing: bool, meant: int, took: Sequence[timedelta], oldest: timedelta | None
) -> str:
    """The clip of a time within which an urgent caller is called back, or ''.

    team: somebody can be told; standing: an alert stands still; meant: minutes that the practice means to keep;
    took: how long the last calls took; oldest: since when the longest waiting urgent caller waits.
    """
    if not team or standing:
        return ""
    spans = [timedelta(minutes=meant)]
    if took:
        spans.append(_percentile(took))  # of a few it is the slowest: they can only make the promise later
    if oldest is not None:
        spans.append(oldest)
    return phrases.within(-(-max(spans) // timedelta(minutes=1)))


def _percentile(spans: Sequence[timedelta]) -> timedelta:
    """The span that nearly all stay within (nearest rank, so it is one of them)."""
    part, whole = NEARLY_ALL
    return sorted(spans)[-(-len(spans) * part // whole) - 1]


def routine(calendar: Calendar, last: Iterable[Span], now: datetime) -> str:
    """'promise-open-day' when there is such a day soon and the practice keeps to it; else ''.

    last: routine messages, newest first. One that is open and not yet late says nothing.
    """
    ahead = hours.next_open_day(calendar, now)
    zone = ZoneInfo(calendar.zone)
    if ahead is None or ahead - now.astimezone(zone).date() > AHEAD:
        return ""
    decided = (kept for kept in (_kept(calendar, span, now) for span in last) if kept is not None)
    judged = list(islice(decided, LAST))
    part, whole = KEPT
    if len(judged) >= ENOUGH and sum(judged) * whole < len(judged) * part:
        return ""
    return "promise-open-day"


def _kept(calendar: Calendar, span: Span, now: datetime) -> bool | None:
    """Whether a message was closed by the end of the next open day after it came in; None: not yet decided."""
    received, closed = span
    day = hours.next_open_day(calendar, received)
    if day is None:
        return None  # nothing was promised
    until = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(calendar.zone)).astimezone(UTC)
    if closed is not None:
        return closed < until
    return None if now < until else False


def promise(practice: Practice, plan: Plan, now: datetime, team: bool) -> Promise:
    """What the practice's callers are told now. team: somebody can be woken."""
    took, oldest = _urgent_spans(practice, now)
    return Promise(
        urgent(team, team and standing_still(now, practice.id) > 0, plan.promise, took, oldest),
        routine(calendar(practice, plan, now, BACK), _routine_spans(practice, now), now),
        team,
    )


def _urgent_spans(practice: Practice, now: datetime) -> tuple[list[timedelta], timedelta | None]:
    """How long the last urgent callers waited for a call, and how long the oldest without one has waited."""
    pressing = Message.objects.filter(practice=practice, urgency=Urgency.URGENT, joins=None)
    pressing = pressing.exclude(kind=Kind.STATUS)
    called = pressing.filter(Q(closed_at__isnull=False) | LEFT, outcome__in=CALLS).order_by(
        "-received_at", "-id"
    )
    last = sorted(_waits(practice, called), reverse=True)[:LAST]
    took = [max(closed - since, timedelta()) for since, closed in last if closed]
    waiting = pressing.filter(state__in=(State.NEW, State.OWNED)).exclude(LEFT).order_by("received_at", "id")
    oldest = min((since for since, _ in _waits(practice, waiting)), default=None)
    return took, None if oldest is None else max(now - oldest, timedelta())


def _routine_spans(practice: Practice, now: datetime) -> list[Span]:
    """The last routine messages, newest first, with some to spare for those that cannot be judged yet."""
    plain = Message.objects.filter(practice=practice, kind=Kind.MESSAGE, received_at__gt=now - BACK)
    found = plain.exclude(urgency=Urgency.URGENT).exclude(closed_at=None, state=State.DISPOSED)
    return _waits(practice, found.order_by("-received_at", "-id"))


def _waits(practice: Practice, found: QuerySet[Message]) -> list[Span]:
    """Of first messages, in their order, without calls that tried the line out: nobody waits for an answer to those.

    What was closed is answered: a wait begins anew with the reopening, or with the first addition after it. One that
    became urgent by an addition waits since that; a second addition makes nobody's wait shorter.
    """
    answered = Case(When(LEFT, then=F("tried_at")), default=F("closed_at"))
    rows = found.annotate(answered=answered).values_list(
        "id", "received_at", "answered", "tags", "pressed_urgent", "alert__started_at"
    )[:MOST]
    kept = [row for row in rows if TEST not in row[3]]
    calls, turns = _later(practice, [row[0] for row in kept])
    spans = []
    for pk, came, closed, tags, pressed, rang in kept:
        added = calls.get(pk, [])
        own = not added or pressed or THIRD in tags or (rang is not None and rang < added[0])
        before = [turn for turn in turns.get(pk, []) if closed is None or turn[1] < closed]
        spans.append((_since([came, *added] if own else added, before, came), closed))
    return spans


def _later(
    practice: Practice, ids: list[str]
) -> tuple[dict[str, list[datetime]], dict[str, list[tuple[str, datetime]]]]:
    """By message, each oldest first: when additions came, and when it was closed and reopened."""
    calls: dict[str, list[datetime]] = {}
    turns: dict[str, list[tuple[str, datetime]]] = {}
    added = Message.objects.filter(joins_id__in=ids).order_by("received_at")
    for pk, came in added.values_list("joins_id", "received_at"):
        calls.setdefault(str(pk), []).append(came)
    done = Event.objects.filter(log_id=practice.id, message__in=ids, outcome="ok")
    done = done.filter(Q(action=REOPEN) | Q(action=Act.CLOSE.value, message__in=list(calls)))
    for pk, action, at in done.order_by("seq").values_list("message", "action", "at"):
        turns.setdefault(pk, []).append((action, at))
    return calls, turns


def _since(calls: Sequence[datetime], turns: Sequence[tuple[str, datetime]], came: datetime) -> datetime:
    """When the wait began that is not answered yet. calls: oldest first; turns: what was done with the message."""
    if not turns:
        return calls[0]
    action, at = turns[-1]
    if action == REOPEN:
        return at
    return next((call for call in calls if call > at), came)
