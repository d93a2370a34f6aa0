"""Over some weeks of fast-forward time no caller is told a time that the system at that moment knew to be false.

Rows → routing payload → flow.line.Line → the machine → the clips that are heard, for each call; and an oracle that
reads the same rows and counts in another way.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Q
from tests.factories import House
from tests.unit.flow.driver import CALLER, DISK_MS, Caller

from nightbell.audit.models import Event
from nightbell.core.log import Log
from nightbell.core.notice import Receipt, Rendered
from nightbell.flow.line import Line
from nightbell.flow.model import Action, CallConfig, Promise, Save, Saved
from nightbell.flow.plan import OwnDay, Plan
from nightbell.flow.turn import Phase
from nightbell.line.closures import add_closure, close_now, reopen_now
from nightbell.line.models import Closure
from nightbell.line.state import first_version
from nightbell.mailbox import epochs, joining, late, service
from nightbell.mailbox.models import Kind, Message, Outcome, State, Urgency
from nightbell.oncall import escalation
from nightbell.oncall.models import Alert, Attempt, Schedule, Shift
from nightbell.people.models import Contact, User
from nightbell.people.roles import Role
from nightbell.server import routing

ZONE = ZoneInfo("America/New_York")
START = date(2026, 10, 26)  # the clock goes back on 1 November
SHUT = {date(2026, 11, 3), date(2026, 11, 13)}  # Election Day, and a day of the practice's own
PLAN = Plan(
    state="NY", observed=("Election Day",), own_days=(OwnDay(date(2026, 11, 13), "Retreat"),), promise=20,
    review=False,
)  # fmt: skip
SAID = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 90, 120, 180, 240, 360, 480, 720, 1440)
CALLS = 170
AGES = (0.3, 2.0, 1.1, 14.9, 0.7, 15.0, 3.0, 0.2, 40.0, 1.0, 600.0, 2.0, 3599.0, 0.5, 3600.0, 1.4, 9000.0)
HUNG, LOCKED, NO_FALLBACK, BAD_DAYS = range(124, 138), range(90, 99), range(80, 120), range(6, 13)
MINUTE, A_WHILE = timedelta(minutes=1), timedelta(seconds=60)


def chance(*of: object) -> int:
    """0 to 99, always the same for the same words."""
    return hashlib.sha256(repr(of).encode()).digest()[0] * 100 // 256


def at(day: date, minutes: int) -> datetime:
    return datetime.combine(day, time(minutes // 60, minutes % 60), ZONE).astimezone(UTC)


def minutes_of(clip: str) -> int:
    number, unit = clip.removeprefix("within-").split("-")
    return int(number) * (60 if unit == "h" else 1)


# The oracle: what the rows say at a moment.


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


# The world.


class Pager:
    name = "pager"

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        return Receipt(rendered.body.encode(), "taken")


class Live(Caller):
    """A call whose end the phone decides as `phone.call` does: from its line and the age of what it knows."""

    def __init__(self, config: CallConfig, line: Line, moment: datetime, age: float) -> None:
        super().__init__(config)
        self.line, self.moment, self.age = line, moment, age
        self.given, self.until = Promise(), None
        self.urgent = False

    def _ask(self, action: Action) -> None:
        if not isinstance(action, Save):
            super()._ask(action)
            return
        self.urgent = action.urgent
        self.given, self.until = self.line.promise_at(action.urgent, self.moment, self.age)
        self._answers.append((self.now + DISK_MS, Saved(self.given)))

    def times(self) -> list[str]:
        clips = [clip.partition("/")[2] for clip in self.heard]
        return [clip for clip in clips if clip.startswith("within-") or clip == "promise-open-day"]


class World:
    def __init__(self, house: House) -> None:
        self.house, self.sender, self.log = (
            house,
            escalation.Sender({"email": Pager()}, "https://n.test"),
            Log("t"),
        )
        begin = at(START, 0)
        epochs.begin(begin, "system:test")
        first_version(house.practice, begin, plan=PLAN)
        Shift.objects.all().delete()
        for weekday in range(5):  # nights of weekdays; at weekends nobody but the fallback
            Shift.objects.create(
                schedule=Schedule.objects.get(), user=house.people[Role.CLINICIAN], weekday=weekday, start=1020,
                minutes=900,
            )  # fmt: skip
        manager = house.actor(Role.MANAGER, begin)
        add_closure(manager, at(date(2026, 11, 6), 0), at(date(2026, 11, 7), 0), visits=False)
        add_closure(manager, at(date(2026, 11, 18), 720), at(date(2026, 11, 19), 720), visits=True)

    def people(self, number: int, now: datetime) -> None:
        """Who can be told: the clinician is locked out for some days, the manager has no way to be told for more."""
        clinician, locked = self.house.people[Role.CLINICIAN], number in LOCKED
        User.objects.filter(pk=clinician.pk).update(is_active=not locked)
        if locked:
            service.give_back_all(clinician, "system:test", now)
        manager, missing = self.house.people[Role.MANAGER], number in NO_FALLBACK
        boss = None if missing else manager
        Contact.objects.filter(user=manager).update(ended_at=now if missing else None)
        Schedule.objects.update(fallback=boss, fallback_email="")

    def staff(self, number: int, now: datetime) -> None:
        """Calls back, takes and leaves lying, reopens; slowly in the bad days."""
        day = now.astimezone(ZONE).date()
        bad, open_now = (day - START).days in BAD_DAYS, opens(day, list(Closure.objects.all()))
        stories = story()
        lately = Q(closed_at=None) | Q(closed_at__gt=now - timedelta(days=2))
        for one in Message.objects.filter(lately, joins=None).order_by("received_at"):
            luck = chance(number, one.received_at)
            if one.state == State.CLOSED:
                if luck < 2:
                    service.reopen(self.house.actor(Role.MANAGER, now), one.id)
                continue
            if one.state == State.NEW and luck > 90 and number not in LOCKED:
                service.acknowledge(self.house.actor(Role.CLINICIAN, now), one.id)
            if luck < (
                (20 if bad else 75) if one.urgency == Urgency.URGENT else (15 if bad else 45) * open_now
            ):
                # Most are called back soon after they came, and not only at this moment.
                newest = max(when for when, _ in stories[one.id])
                soon_after = (
                    newest + (3 + chance("soon", number, one.received_at) * (2 if bad else 1) // 2) * MINUTE
                )
                self.close(one, number, min(now, soon_after) if luck < 60 else now)

    def close(self, one: Message, number: int, now: datetime) -> None:
        outcome = (Outcome.REACHED, Outcome.EMERGENCY, Outcome.NO_CALL_NEEDED, Outcome.EMERGENCY)[number % 4]
        actor = self.house.actor(Role.MANAGER, now)
        seen = list(one.additions.values_list("pk", flat=True))
        service.close(actor, one.id, outcome, seen)

    def worse(self, number: int, now: datetime) -> None:
        """Some caller of the last two days says that it got worse."""
        if chance("worse", number) >= 12:
            return
        lately = Message.objects.filter(joins=None, received_at__gt=now - timedelta(days=2))
        first = lately.order_by("received_at").first()
        if first is not None:
            joining.worsen(first, self.arrives(True, now, joins=first), now)

    def arrives(self, urgent: bool, now: datetime, **more: object) -> Message:
        """A row as intake stores it."""
        return Message.objects.create(
            practice=self.house.practice, mailbox=self.house.mailbox, kind=Kind.MESSAGE, answered_at=now,
            received_at=now, stored_at=now, end_reason="hang_up", pressed_urgent=urgent,
            urgency=Urgency.URGENT if urgent else Urgency.ROUTINE, needs_alert=urgent and not more.get("joins"), **more,
        )  # fmt: skip

    def worker(self, number: int, now: datetime) -> Line:
        """Its round, and what it gives to the phone. Its alerts hang for some time."""
        if number not in HUNG:
            escalation.tick(self.sender, now, self.log)
        late.find_broken(now)
        given = json.loads(json.dumps(routing.payload(now)))
        return Line.from_dict(given["lines"][self.house.practice.id])

    def falls_silent(self, age: float, now: datetime) -> None:
        """What the phone cannot know any more: nobody is left to be told, and then the door is shut."""
        User.objects.update(is_active=False)
        if age >= 3600:
            close_now(self.house.actor(Role.MANAGER, now + MINUTE), visits=False)

    def speaks_again(self, now: datetime) -> None:
        User.objects.update(is_active=True)
        if Closure.objects.filter(ends_at=None).exists():
            reopen_now(self.house.actor(Role.MANAGER, now))


def rings(line: Line, urgent: bool, moment: datetime, age: float) -> Live:
    config = line.config(CALLER, moment - timedelta(seconds=40))
    call = Live(config, line, moment, age).answered()
    call.wait(2_000)
    call.press("1" if urgent else "2")
    while call.state.phase != Phase.RECORDING:
        assert call._next(call.now + 600_000), f"never came to the tone: {call.at}"
    call.speak(5_000).press("#").over()
    assert call.saves()
    assert call.urgent == urgent
    return call


def expected(urgent: bool, known: Truth, moment: datetime, age: float) -> list[str]:
    if urgent and known.team:
        return known.urgent if age < 15 else []
    return ["promise-open-day"] if age < 3600 and known.routine and soon(moment) else []


def kept_until(clip: str, moment: datetime) -> datetime | None:
    """The instant that the words mean: so many minutes on, or the midnight after the next open day."""
    if clip != "promise-open-day":
        return moment + minutes_of(clip) * MINUTE
    day = soon(moment)
    return day and at(day + timedelta(days=1), 0)


def lie(clip: str, house: House, moment: datetime) -> str:
    """Why what was said is known to be false at that moment; ''."""
    now = truth(house, moment)
    if clip == "promise-open-day":
        return "" if soon(moment) else "no day opens"
    return (
        "" if now.true_for(minutes_of(clip), timedelta(seconds=15)) else f"{now.team} {now.waits} {now.took}"
    )


def test_no_caller_is_told_a_time_that_was_known_to_be_false(house: House) -> None:
    world, now = World(house), at(START, 300)
    told: list[tuple[bool, tuple[str, ...]]] = []
    silent = broken = 0
    for number in range(CALLS):
        now += timedelta(minutes=11 + chance("jump", number) * 5, seconds=number % 60)
        world.speaks_again(now)
        world.people(number, now)
        world.staff(number, now)
        world.worse(number, now)
        line, known = world.worker(number, now), truth(house, now)
        urgent, age = chance("urgent", number) < 60, AGES[number % len(AGES)]
        if age >= 15:
            world.falls_silent(age, now)
            silent += 1
        moment = now + timedelta(seconds=age)
        call = rings(line, urgent, moment, age)
        where = f"call {number} at {moment}, urgent {urgent}, {age} s"
        assert call.times() == expected(urgent, known, moment, age), where
        for clip in call.times():
            assert not lie(clip, house, moment), f"{where}: {clip}"
            assert call.until == kept_until(clip, moment), where
        world.arrives(urgent, moment, promise="".join(call.times()), promised_by=call.until)
        told.append((urgent, tuple(call.times())))
        now = moment
    broken = Message.objects.exclude(late_at=None).count()
    check_that_it_was_worth_the_walk(told, silent, broken)


def check_that_it_was_worth_the_walk(
    told: list[tuple[bool, tuple[str, ...]]], silent: int, broken: int
) -> None:
    assert len(told) >= 150
    urgent = [clips for is_urgent, clips in told if is_urgent]
    assert len(set(urgent)) >= 8, (
        "short times, long times, none, and the open day of those whom nobody can hear"
    )
    assert ("promise-open-day",) in urgent
    assert {clips for is_urgent, clips in told if not is_urgent} == {(), ("promise-open-day",)}
    assert silent >= 50
    assert broken >= 10
    joined = Message.objects.exclude(joins=None).count()
    assert joined >= 8
    assert Event.objects.filter(action="message:reopen").count() >= 5
