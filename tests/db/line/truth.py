"""What the rows say at a moment: the plan of the walk, and an oracle that reads the rows and counts in another way."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tests.factories import House

from nightbell.audit.models import Event
from nightbell.flow.plan import OwnDay, Plan
from nightbell.line.models import Closure
from nightbell.mailbox.models import Kind, Message, Outcome, State, Urgency
from nightbell.oncall.models import Alert, Attempt, Schedule, Shift
from nightbell.people.models import Contact
from nightbell.people.roles import Role

ZONE = ZoneInfo("America/New_York")
START = date(2026, 10, 26)  # the clock goes back on 1 November
SHUT = {date(2026, 11, 3), date(2026, 11, 13)}  # Election Day, and a day of the practice's own
PLAN = Plan(
    state="NY", observed=("Election Day",), own_days=(OwnDay(date(2026, 11, 13), "Retreat"),), promise=20,
    review=False,
)  # fmt: skip
SAID = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 90, 120, 180, 240, 360, 480, 720, 1440)
MINUTE, A_WHILE = timedelta(minutes=1), timedelta(seconds=60)


def at(day: date, minutes: int) -> datetime:
    return datetime.combine(day, time(minutes // 60, minutes % 60), ZONE).astimezone(UTC)


def minutes_of(clip: str) -> int:
    number, unit = clip.removeprefix("within-").split("-")
    return int(number) * (60 if unit == "h" else 1)


@dataclass
class Truth:
    """team: somebody can be told; stuck: an alert stands still; took: the last waits for a call; waits: of those who
    wait; kept: of routine messages, whether the day was kept, newest first."""

    team: bool
    stuck: bool
    took: list[timedelta] = field(default_factory=list)
    waits: list[timedelta] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)

    def true_for(self, minutes: int, grace: timedelta = timedelta()) -> bool:
        """Whether 'within so many minutes' holds for nine of ten who were called, and for all who wait."""
        span = timedelta(minutes=minutes)
        held = sum(took <= span for took in self.took)
        return (
            self.team and not self.stuck and minutes >= PLAN.promise and 10 * held >= 9 * len(self.took)
            and all(wait <= span + grace for wait in self.waits)
        )  # fmt: skip

    @property
    def urgent(self) -> list[str]:
        said = next((minutes for minutes in SAID if self.true_for(minutes)), 0)
        return [f"within-{said}-min" if said <= 90 else f"within-{said // 60}-h"] if said else []

    @property
    def routine(self) -> bool:
        return len(self.kept) < 5 or sum(self.kept) * 10 >= len(self.kept) * 8


def opens(day: date, closures: list[Closure]) -> bool:
    """Whether the practice's door opens on that day."""
    hours = PLAN.week[day.weekday()].opens
    if hours is None or day in SHUT:
        return False
    door = at(day, hours)
    return not any(one.starts_at <= door and (not one.ends_at or door < one.ends_at) for one in closures)


def soon(moment: datetime) -> date | None:
    """The first day after today that opens, of two weeks."""
    today, closures = moment.astimezone(ZONE).date(), list(Closure.objects.all())
    return next((d for d in (today + timedelta(days=n) for n in range(1, 15)) if opens(d, closures)), None)


def truth(house: House, now: datetime) -> Truth:
    found = Truth(team(now), stuck(now))
    taken: list[tuple[datetime, timedelta]] = []
    routine: list[tuple[datetime, datetime | None]] = []
    stories = story()
    mine = Message.objects.filter(practice=house.practice, joins=None, kind=Kind.MESSAGE)
    for message in mine.only("id", "received_at", "urgency", "outcome", "pressed_urgent"):
        since, last = replay(message, stories[message.id])
        if message.urgency != Urgency.URGENT:
            routine.append((since or last[0], None if since else last[1]))
        elif since:
            found.waits.append(now - since)
        elif message.outcome != Outcome.NO_CALL_NEEDED:
            taken.append((last[0], last[1] - last[0]))
    found.took = [took for _, took in sorted(taken)[-20:]]
    closures = list(Closure.objects.all())
    for since, closed in sorted(routine, key=lambda one: one[0], reverse=True):
        # The second midnight after the first open day is too late.
        first = since.astimezone(ZONE).date()
        end = (closed or now).astimezone(ZONE).date()
        passed = sum(opens(first + timedelta(days=n), closures) for n in range(1, (end - first).days))
        if closed or passed:
            found.kept.append(passed == 0)
    found.kept = found.kept[:20]
    return found


Story = list[tuple[datetime, str]]


def story() -> dict[str, Story]:
    """Of each first message, when which calls came, and when it was closed and reopened."""
    found: dict[str, Story] = {}
    for pk, joins, came in Message.objects.values_list("id", "joins", "received_at"):
        found.setdefault(joins or pk, []).append((came, "addition" if joins else "call"))
    done = Event.objects.filter(action__in=["message:close", "message:reopen"])
    for pk, when, action in done.values_list("message", "at", "action"):
        found[pk].append((when, action))
    return found


def replay(message: Message, told: Story) -> tuple[datetime | None, tuple[datetime, datetime]]:
    """Since when its caller waits (None: answered), and the last wait that ended."""
    got_worse = any(what == "addition" for _, what in told)
    since, last = None, (message.received_at, message.received_at)
    for when, what in sorted(told):
        if what == "message:close":
            last, since = (since or message.received_at, when), None
        elif what == "message:reopen":
            since = when
        elif what == "addition" or message.pressed_urgent or not got_worse:
            since = since or when
    return since, last


def team(now: datetime) -> bool:
    schedule = Schedule.objects.get()
    ways = Contact.objects.filter(verified_at__isnull=False, ended_at=None, user__is_active=True)
    reachable = dict(ways.values_list("user_id", "user__role"))
    if schedule.fallback_email or schedule.fallback_id in reachable or Role.MANAGER in reachable.values():
        return True
    today = now.astimezone(ZONE).date()
    for shift in Shift.objects.filter(user_id__in=reachable):
        for day in (today, today - timedelta(days=1)):
            begins = at(day, shift.start)
            if day.weekday() == shift.weekday and begins <= now < begins + shift.minutes * MINUTE:
                return True
    return False


def stuck(now: datetime) -> bool:
    if Message.objects.filter(needs_alert=True, stored_at__lt=now - A_WHILE).exists():
        return True
    for alert in Alert.objects.filter(state="open", message__state=State.NEW):
        tried = [one for one in alert.attempts.all() if one.step >= alert.began]
        newest = [one.state for one in tried if one.step == alert.step - 1]
        if alert.next_at < now - A_WHILE or (newest and set(newest) == {"failed"}):
            return True
        if any(one.recorded_at < now - A_WHILE for one in tried) and not any(
            o.state == "sent" for o in tried
        ):
            return True
    return Attempt.objects.filter(state="pending", retry_at__lt=now - A_WHILE).exists()
