"""Minutes in which nobody is on call: before and after each change, and for the manager to be told of in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from nightbell.audit import service as audit
from nightbell.core.clock import iso
from nightbell.core.notice import NoticeKind
from nightbell.oncall import notices
from nightbell.oncall.models import Override, Rotation, Schedule, Shift
from nightbell.oncall.roster import main_schedule, rota_of
from nightbell.oncall.rotation import Span, union, without
from nightbell.people.models import Practice, User
from nightbell.people.roles import Act, Role, may

AHEAD_DAYS = 60
WEEK, DAY = timedelta(days=7), timedelta(days=1)
SINCE_LONG = timedelta(days=31)
KEPT_GAPS = 20  # of one change, in the log


def nobody_in_house(_practice: Practice, _start: datetime, _end: datetime) -> Iterable[Span]:
    """Without opening hours nobody is known to be there."""
    return ()


# Set by server.wiring: when a practice is open is known to the line, a room above this one.
staffed: Callable[[Practice, datetime, datetime], Iterable[Span]] = nobody_in_house


def uncovered(schedule: Schedule, now: datetime, days: int = AHEAD_DAYS) -> list[Span]:
    """Stretches of the coming days (UTC) in which nobody of this schedule is on call, in no rank."""
    return rota_of(schedule.practice, schedule, now).gaps(now, now + timedelta(days=days))


def gaps_ahead(
    practice: Practice, now: datetime, days: int = AHEAD_DAYS, schedule: Schedule | None = None
) -> list[Span]:
    """The same of a practice's main schedule, or of the one given. All of it for a practice without any."""
    schedule = schedule or main_schedule(practice)
    return uncovered(schedule, now, days) if schedule else [(now, now + timedelta(days=days))]


def opened(before: Iterable[Span], after: Iterable[Span]) -> list[Span]:
    """What is uncovered after a change and was not before."""
    return without(union(after), union(before))


def left_by(user: User, now: datetime) -> list[Span]:
    """What nobody covers in the next 60 days since this person was locked out: what they would have."""
    found: list[Span] = []
    for schedule in Schedule.objects.filter(practice_id=user.practice_id).select_related("practice"):
        there = _with(user, schedule, now)
        found += opened(there, uncovered(schedule, now))
    return union(found)


def person_left(user: User, by: str, now: datetime) -> list[Span]:
    """Write down what `left_by` says, in the transaction that locked somebody out. by: as in the log.

    A lock is never held up by a schedule: whoever must not get in must not wait. Managers are told of what is near.
    """
    left = left_by(user, now)
    if left:
        shown = [[iso(start), iso(end)] for start, end in left[:KEPT_GAPS]]
        detail = {"user": user.login, "uncovered": shown, "uncovered_count": len(left)}
        audit.record(user.practice_id, actor=by, action="schedule:left", now=now, detail=detail)
    return left


def _with(user: User, schedule: Schedule, now: datetime) -> list[Span]:
    """The gaps as they would be with this person there."""
    rota = rota_of(schedule.practice, schedule, now, also=user.id)
    return rota.gaps(now, now + timedelta(days=AHEAD_DAYS))


def find_gaps(now: datetime) -> int:
    """Have managers told of each empty stretch: a week and a day before it begins, or at once if that is over.

    What a practice covers by being open is none. A schedule with nobody in it at all was not begun: the page is
    red, and no letter is of use. Each stretch is told once at each time. Returns how many notices were planned. A
    schedule that cannot be read holds up no other: its error is raised when all had their turn.
    """
    planned, problems = 0, list[Exception]()
    for schedule in Schedule.objects.select_related("practice").order_by("id"):
        try:
            planned += _tell(schedule, now)
        except Exception as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return planned


def _tell(schedule: Schedule, now: datetime) -> int:
    if not _begun(schedule):
        return 0
    keys = [_key(schedule, start, now) for start, _ in _soon(schedule, now)]
    told = _leading(schedule.practice) if keys else ()
    return sum(
        notices.plan_one(user, NoticeKind.GAP, [f"{key}:{user.id}" for key in keys], now) for user in told
    )


def _begun(schedule: Schedule) -> bool:
    return any(model.objects.filter(schedule=schedule).exists() for model in (Shift, Rotation, Override))


def _soon(schedule: Schedule, now: datetime) -> list[Span]:
    """Empty stretches that begin within a week, or have begun, each from its true beginning."""
    since, until = now - SINCE_LONG, now + WEEK + DAY
    empty = rota_of(schedule.practice, schedule, since).gaps(since, until)
    left = without(empty, union(staffed(schedule.practice, since, until)))
    return [(start, end) for start, end in left if end > now and start <= now + WEEK]


def _key(schedule: Schedule, start: datetime, now: datetime) -> str:
    if start <= now - SINCE_LONG:
        return f"gap:{schedule.id}:{now:%Y-%m}"  # it lasts and lasts: once a month is enough
    when = "day" if start - now <= DAY else "week"
    return f"gap:{schedule.id}:{start:%Y%m%dT%H%M%S}:{when}"


def _leading(practice: Practice) -> list[User]:
    """Those who can mend it."""
    roles = [role.value for role in Role if may(role, Act.EDIT_SCHEDULE)]
    return list(User.objects.filter(practice=practice, is_active=True, role__in=roles).order_by("id"))
