"""Over some weeks of fast-forward time no caller is told a time that the system at that moment knew to be false.

Rows → routing payload → flow.line.Line → the machine → the clips that are heard, for each call; and an oracle (truth.py) that
reads the same rows and counts in another way.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime, timedelta

from django.db.models import Q
from tests.db.line.truth import (
    MINUTE,
    PLAN,
    START,
    ZONE,
    Truth,
    at,
    minutes_of,
    opens,
    soon,
    story,
    truth,
)
from tests.factories import House
from tests.unit.flow.driver import CALLER, DISK_MS, Caller

from nightbell.audit.models import Event
from nightbell.core.log import Log
from nightbell.core.notice import Receipt, Rendered
from nightbell.flow.line import Line
from nightbell.flow.model import Action, CallConfig, Promise, Save, Saved
from nightbell.flow.turn import Phase
from nightbell.line.closures import add_closure, close_now, reopen_now
from nightbell.line.models import Closure
from nightbell.line.state import first_version
from nightbell.mailbox import epochs, joining, late, service
from nightbell.mailbox.models import Kind, Message, Outcome, State, Urgency
from nightbell.oncall import escalation
from nightbell.oncall.models import Schedule, Shift
from nightbell.people.models import Contact, User
from nightbell.people.roles import Role
from nightbell.server import routing

CALLS = 170
AGES = (0.3, 2.0, 1.1, 14.9, 0.7, 15.0, 3.0, 0.2, 40.0, 1.0, 600.0, 2.0, 3599.0, 0.5, 3600.0, 1.4, 9000.0)
HUNG, LOCKED, NO_FALLBACK, BAD_DAYS = range(124, 138), range(90, 99), range(80, 120), range(6, 13)


def chance(*of: object) -> int:
    """0 to 99, always the same for the same words."""
    return hashlib.sha256(repr(of).encode()).digest()[0] * 100 // 256


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
