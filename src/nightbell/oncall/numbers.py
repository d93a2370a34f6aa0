"""The practice's numbers: how long patients waited, who answered, who was woken. Times and names of staff, no PHI.

`count` is pure; `gather` reads the rows for it. Spans are from the end of the patient's call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Q

from nightbell.audit.models import Event
from nightbell.mailbox.models import Hearing, Kind, Message, State
from nightbell.oncall import kept
from nightbell.oncall.measures import (
    WAKING,
    Nights,
    ShiftNumbers,
    Spans,
    Told,
    Turn,
    by_shift,
    mails,
    spans,
    wakings,
)
from nightbell.oncall.models import Attempt, AttemptState, Change, Reach, Schedule
from nightbell.oncall.roster import rota_of
from nightbell.oncall.rotation import Span, union
from nightbell.people.access import Actor, demand, write
from nightbell.people.models import Practice, User
from nightbell.people.roles import Act

URGENCIES = ("urgent", "review", "routine")
LONGEST = timedelta(days=366)
SPOKEN = ("reached", "emergency")


@dataclass(frozen=True, slots=True)
class Case:
    """One message. The spans are None where it has not happened. taken_by, reached_by: user ids or ''."""

    received_at: datetime
    urgency: str
    heard: timedelta | None = None
    taken: timedelta | None = None
    reached: timedelta | None = None
    taken_by: str = ""
    reached_by: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """The three spans of a group of messages. messages: all of them, whatever has happened."""

    messages: int
    heard: Spans
    taken: Spans
    reached: Spans


@dataclass(frozen=True, slots=True)
class Numbers:
    """All of it. by_person: of who took or reached (the spans of each that are theirs); by_hour: 24, local hours;
    shifts: newest first, those of schedules as they stand now; mails: at night, by user, which are no wakings."""

    all: Times
    by_urgency: tuple[tuple[str, Times], ...]
    by_person: tuple[tuple[str, Spans, Spans], ...]
    by_hour: tuple[Times, ...]
    nights: tuple[Nights, ...]
    shifts: tuple[ShiftNumbers, ...] = ()
    mails: tuple[tuple[str, int], ...] = ()


def _times(cases: Sequence[Case]) -> Times:
    return Times(
        len(cases),
        spans(c.heard for c in cases),
        spans(c.taken for c in cases),
        spans(c.reached for c in cases),
    )


def count(cases: Sequence[Case], told: Iterable[tuple[str, datetime]], zone: ZoneInfo) -> Numbers:
    """Pure."""
    people = sorted({c.taken_by for c in cases} | {c.reached_by for c in cases})
    return Numbers(
        _times(cases),
        tuple((urgency, _times([c for c in cases if c.urgency == urgency])) for urgency in URGENCIES),
        tuple(
            (
                user,
                spans(c.taken for c in cases if c.taken_by == user),
                spans(c.reached for c in cases if c.reached_by == user),
            )
            for user in people
            if user
        ),
        tuple(
            _times([c for c in cases if c.received_at.astimezone(zone).hour == hour]) for hour in range(24)
        ),
        wakings(told, zone),
    )


def period(practice: Practice, first: date, last: date) -> tuple[datetime, datetime]:
    """Both days whole, on the practice's clock, in UTC."""
    zone = ZoneInfo(practice.zone)
    start = datetime.combine(first, time(), zone).astimezone(UTC)
    return start, datetime.combine(last + timedelta(days=1), time(), zone).astimezone(UTC)


def gather(actor: Actor, first: date, last: date) -> Numbers:
    """The numbers of the days from `first` to `last`, both included, at most 366. Raises Forbidden, ValueError."""
    demand(actor, Act.NUMBERS)
    if not timedelta() <= last - first < LONGEST:
        raise ValueError("days")
    start, end = period(actor.user.practice, first, last)
    write(actor, Act.NUMBERS, detail={"from": first.isoformat(), "to": last.isoformat()})
    return of(actor.user.practice, start, end)


def of(practice: Practice, start: datetime, end: datetime) -> Numbers:
    """The numbers of messages that came in [start, end). For who may have them."""
    zone, told = ZoneInfo(practice.zone), _told(practice, start, end)
    taken = _first_taken(practice, {one.alert for one in told}, start)
    logins = _logins(practice)
    known = {message: (logins.get(actor, ""), at) for message, (actor, at) in taken.items()}
    rewritten = _rewritten(practice, start, end)
    shifts = by_shift(_turns(practice, start, end), told, known, zone, rewritten)
    pairs = ((one.user, one.at) for one in told if one.wakes)
    return replace(count(cases(practice, start, end), pairs, zone), shifts=shifts, mails=mails(told, zone))


def _told(practice: Practice, start: datetime, end: datetime) -> list[Told]:
    """Notifications of alerts that left to people. `alert` is the message's id: that is what is taken."""
    rows = Attempt.objects.filter(
        alert__practice=practice, state=AttemptState.SENT, user__isnull=False, sent_at__gte=start, sent_at__lt=end
    )  # fmt: skip
    columns = ("user_id", "alert__schedule_id", "sent_at", "alert__message_id", "alert__urgency", "channel")
    return [
        Told(
            str(user),
            schedule or "",
            at,
            str(message),
            urgency == "urgent",
            channel in WAKING,
            channel == "email",
        )
        for user, schedule, at, message, urgency, channel in rows.values_list(*columns)
        if at is not None
    ]


def _turns(practice: Practice, start: datetime, end: datetime) -> list[Turn]:
    """Shifts that touch [start, end), in every schedule: overrides and swaps as they were made, all else by the plan as
    it stands now. One schedule that cannot be read leaves out its own."""
    found: list[Turn] = []
    for schedule in Schedule.objects.filter(practice=practice).order_by("-main", "id"):
        try:
            duties = rota_of(practice, schedule, start).duties(start, end)
        except (ValueError, LookupError):
            continue
        found += [Turn(d.user, schedule.id, d.starts_at, d.ends_at, d.rank > 0) for d in duties]
    return found


def _rewritten(practice: Practice, start: datetime, end: datetime) -> dict[str, list[Span]]:
    """By schedule ('' for the main one, as older alerts have it): the stretches of [start, end) of which its plan of now
    cannot say who was on call, since it was changed after them."""
    found: dict[str, list[Span]] = {}
    rows = Change.objects.filter(Q(at__gt=start) | Q(undone_at__gt=start), schedule__practice=practice)
    for row in rows.select_related("schedule").order_by("number"):
        since, until = start, max(row.at, row.undone_at or row.at)
        if row.kind == "override":  # it says nothing of the time around it
            was = kept.values(row.kind, row.after or row.before or {})
            since, until = max(start, was["starts_at"]), min(until, was["ends_at"])
        if since < min(until, end):
            for key in (row.schedule_id, *([""] if row.schedule.main else [])):
                found.setdefault(key, []).append((since, until))
    return {key: union(spans) for key, spans in found.items()}


def cases(practice: Practice, start: datetime, end: datetime) -> list[Case]:
    """Messages in their order: without tests, questions to the status line and additions, which are worked on with
    their first message. Destroyed ones count: their times are no PHI."""
    rows = Message.objects.filter(
        practice=practice, received_at__gte=start, received_at__lt=end, joins=None
    ).exclude(kind=Kind.STATUS)
    found = [
        row
        for row in rows.order_by("received_at", "id").only(*_COLUMNS)
        if not {"test", "drill"} & set(row.tags)
    ]
    ids = [row.id for row in found]
    heard, taken = _first_heard(ids), _first_taken(practice, set(ids), start)
    reached = _reached(ids)
    logins = _logins(practice)
    return [_case(row, heard.get(row.id), taken.get(row.id), reached.get(row.id), logins) for row in found]


def _logins(practice: Practice) -> dict[str, str]:
    """User ids by how the log names them."""
    rows = User.objects.filter(practice=practice).values_list("pk", "login")
    return {f"user:{login}": str(pk) for pk, login in rows}


_COLUMNS = ("id", "received_at", "urgency", "tags", "state", "owner_id", "owned_at", "closed_at", "outcome")


def _case(
    row: Message,
    heard: datetime | None,
    taken: tuple[str, datetime] | None,
    reached: tuple[str, datetime] | None,
    logins: Mapping[str, str],
) -> Case:
    if taken is not None:
        taken = (logins.get(taken[0], ""), taken[1])
    elif row.owned_at is not None:
        taken = (row.owner_id or "", row.owned_at)  # closed at once, without being taken first
    if reached is None and row.outcome in SPOKEN and row.closed_at is not None:
        reached = (row.owner_id or "", row.closed_at)  # closed before each try had a row of its own
    # A close that was taken back reached nobody.
    settled = reached if row.state in (State.CLOSED, State.DISPOSED) else None
    return Case(
        row.received_at, row.urgency,
        heard - row.received_at if heard else None,
        taken[1] - row.received_at if taken else None,
        settled[1] - row.received_at if settled else None,
        taken[0] if taken else "", settled[0] if settled else "",
    )  # fmt: skip


def _first_heard(ids: Sequence[str]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for pk, at in (
        Hearing.objects.filter(message_id__in=ids).order_by("-first_at").values_list("message_id", "first_at")
    ):
        found[pk] = at
    return found


def _first_taken(practice: Practice, ids: set[str], start: datetime) -> dict[str, tuple[str, datetime]]:
    """From the log: the row of the message names only who has it now."""
    taken: dict[str, tuple[str, datetime]] = {}
    rows = Event.objects.filter(log_id=practice.id, action=Act.TAKE.value, outcome="ok", at__gte=start)
    for pk, actor, at in rows.order_by("-seq").values_list("message", "actor", "at"):
        if pk in ids:
            taken[pk] = (actor, at)
    return taken


def _reached(ids: Sequence[str]) -> dict[str, tuple[str, datetime]]:
    rows = Reach.objects.filter(message_id__in=ids, outcome__in=SPOKEN).order_by("at", "id")
    return {str(pk): (user, at) for pk, user, at in rows.values_list("message_id", "user_id", "at")}
