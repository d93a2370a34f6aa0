"""What the replay is played with: times and urgency of before, the schedule, and how people answered. No PHI is read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from nightbell.audit.models import Event
from nightbell.core.notice import NoticeKind
from nightbell.mailbox.models import Kind, Message, Urgency
from nightbell.oncall import roster, what_if
from nightbell.oncall.models import Attempt, AttemptState, EscalationPolicy, Group, Schedule
from nightbell.oncall.policies import Facts, Policy, Step, Who, freeze, read_steps
from nightbell.oncall.what_if import Change, Habit, Habits, Past, Replay
from nightbell.people.access import Actor, NotFound, demand, write
from nightbell.people.models import Practice, User
from nightbell.people.roles import Act, may

DAYS = (30, 90)
RINGING = (NoticeKind.URGENT, NoticeKind.AGAIN)  # what asks for somebody to take a message
MOST = 2000  # messages that are replayed, the newest


@dataclass(frozen=True, slots=True)
class Compared:
    """The same messages twice. measured: tellings that the likelihoods come from; policy: as it was played."""

    now: Replay
    then: Replay
    measured: int
    policy: Policy
    people: dict[str, str]  # names by id
    groups: dict[str, str]
    cut: bool  # there were more messages than MOST


def compare(actor: Actor, schedule_id: str, policy_id: str, days: int, change: Change) -> Compared:
    """Play the last `days` (30 or 90) against a schedule and a policy as they are, and changed.

    schedule_id, policy_id: '' for those in force. Raises Forbidden, NotFound, ValueError.
    """
    demand(actor, Act.NUMBERS)
    if days not in DAYS:
        raise ValueError("days")
    practice = actor.user.practice
    schedule, policy = _schedule(practice, schedule_id), _policy(practice, schedule_id, policy_id)
    write(actor, "numbers:what_if", detail={"days": days})
    since = actor.now - timedelta(days=days)
    past, cut = _past(practice, since, actor.now)
    habits = measured(practice, since)
    facts = _facts(practice, schedule, since, actor.now)
    zone = ZoneInfo(practice.zone)
    return Compared(
        what_if.replay(past, facts, policy, habits, zone),
        what_if.replay(past, facts, policy, habits, zone, change),
        habits.tellings,
        policy,
        names(practice),
        dict(Group.objects.filter(practice=practice).values_list("pk", "name")),
        cut,
    )


def names(practice: Practice) -> dict[str, str]:
    """Everybody of the practice, those who left too: the past names them."""
    return dict(User.objects.filter(practice=practice).order_by("name").values_list("pk", "name"))


def choices(practice: Practice) -> list[tuple[str, str]]:
    """Who can be put in somebody's place."""
    found = User.objects.filter(practice=practice, is_active=True).order_by("name")
    return [(user.id, user.name) for user in found if may(user.role, Act.TAKE)]


def plans(practice: Practice) -> tuple[list[Schedule], list[EscalationPolicy]]:
    """What can be chosen."""
    return (
        list(Schedule.objects.filter(practice=practice).order_by("-main", "name")),
        list(EscalationPolicy.objects.filter(practice=practice).order_by("name")),
    )


_WHO = {
    Who.ON_CALL: "Who is on call", Who.NEXT: "The second on call", Who.ALL: "Everybody", Who.LAST_RESORT: "The last resort",
}  # fmt: skip


def step_words(step: Step, people: Mapping[str, str], groups: Mapping[str, str]) -> str:
    """Whom a step tells."""
    if step.who == Who.USER:
        return people.get(step.id, "Somebody who left")
    return groups.get(step.id, "A group that is gone") if step.who == Who.GROUP else _WHO[step.who]


def _schedule(practice: Practice, schedule_id: str) -> Schedule:
    found = Schedule.objects.filter(practice=practice)
    chosen = found.filter(pk=schedule_id) if schedule_id else found.filter(main=True)
    schedule = chosen.first()
    if schedule is None:
        raise NotFound("There is no such schedule", "it was removed", "choose another")
    return schedule


def _past(practice: Practice, since: datetime, now: datetime) -> tuple[list[Past], bool]:
    """Urgent messages, oldest first: what is not urgent wakes nobody."""
    rows = Message.objects.filter(
        practice=practice, received_at__gte=since, received_at__lt=now, urgency=Urgency.URGENT, joins=None
    ).exclude(kind=Kind.STATUS)
    found = [
        Past(at, urgency, mailbox or "")
        for at, urgency, mailbox, tags in rows.order_by("-received_at", "-id").values_list(
            "received_at", "urgency", "mailbox_id", "tags"
        )
        if not {"test", "drill"} & set(tags)
    ]
    return found[:MOST][::-1], len(found) > MOST


def measured(practice: Practice, since: datetime) -> Habits:
    """How each person answered since then.

    A telling is a step of an alert to a person, however many ways it went. It was answered when that person took the
    message before being told again; it does not count where a colleague took it before that.
    """
    tellings: dict[tuple[str, str], list[datetime]] = {}
    messages: dict[str, str] = {}
    rows = Attempt.objects.filter(
        alert__practice=practice,
        state=AttemptState.SENT,
        user__isnull=False,
        sent_at__gte=since,
        kind__in=RINGING,
    ).order_by("sent_at", "id")
    seen: set[tuple[str, str, int]] = set()
    for alert, message, user, step, at in rows.values_list(
        "alert_id", "alert__message_id", "user_id", "step", "sent_at"
    ):
        if at is None or (alert, str(user), step) in seen:
            continue
        seen.add((alert, str(user), step))
        messages[alert] = message
        tellings.setdefault((alert, str(user)), []).append(at)
    taken = _taken(practice, set(messages.values()), since)
    return _habits(tellings, messages, taken)


def _habits(
    tellings: dict[tuple[str, str], list[datetime]],
    messages: dict[str, str],
    taken: dict[str, list[tuple[datetime, str]]],
) -> Habits:
    told: dict[str, int] = {}
    answers: dict[str, list[timedelta]] = {}
    for (alert, user), moments in tellings.items():
        takes = taken.get(messages[alert], [])
        for at, until in zip(moments, [*moments[1:], None], strict=True):
            first = next(
                ((when, who) for when, who in takes if when >= at and (until is None or when < until)), None
            )
            if first is not None and first[1] != user:
                continue
            told[user] = told.get(user, 0) + 1
            if first is not None:
                answers.setdefault(user, []).append(first[0] - at)
    return Habits({user: Habit(number, tuple(answers.get(user, ()))) for user, number in told.items()})


def _taken(practice: Practice, messages: set[str], since: datetime) -> dict[str, list[tuple[datetime, str]]]:
    """When each message was taken, and by whom, from the log; oldest first."""
    users = {
        f"user:{login}": pk for pk, login in User.objects.filter(practice=practice).values_list("pk", "login")
    }
    found: dict[str, list[tuple[datetime, str]]] = {}
    rows = Event.objects.filter(log_id=practice.id, action=Act.TAKE.value, outcome="ok", at__gte=since)
    for message, actor, at in rows.order_by("seq").values_list("message", "actor", "at"):
        if message in messages:
            found.setdefault(message, []).append((at, users.get(actor, "")))
    return found


def _policy(practice: Practice, schedule_id: str, policy_id: str) -> Policy:
    schedule = _schedule(practice, schedule_id)
    steps = read_steps(schedule.steps)
    if policy_id:
        chosen = practice.policies.filter(pk=policy_id).first()
        if chosen is None:
            raise NotFound("There is no such policy", "it was removed", "choose another")
        steps = read_steps(chosen.steps)
    last, address = roster.last_resort_of(schedule)
    return freeze(steps, last.id if last else "", address)


def _facts(
    practice: Practice, schedule: Schedule, since: datetime, until: datetime
) -> Callable[[datetime], Facts]:
    """Who is there at a moment, looked up and not reckoned anew for each step of each message."""
    rota = roster.rota_of(practice, schedule, since)
    duties = rota.duties(since, until + timedelta(days=2))
    edges = sorted({edge for duty in duties for edge in (duty.starts_at, duty.ends_at)})
    rows = Group.objects.filter(practice=practice).prefetch_related("members")
    groups = {g.id: tuple(sorted(m.id for m in g.members.all() if m.is_active)) for g in rows}
    guests = set(User.objects.filter(practice=practice).exclude(home=None).values_list("pk", flat=True))
    everybody = tuple(pk for pk, _ in choices(practice) if pk not in guests)
    covering = tuple(sorted(guests))
    known: dict[int, Facts] = {}

    def facts(at: datetime) -> Facts:
        place = bisect_right(edges, at)
        if place not in known:
            there = dict.fromkeys(duty.user for duty in duties if duty.starts_at <= at < duty.ends_at)
            known[place] = Facts(tuple(there), groups, everybody, covering)
        return known[place]

    return facts
