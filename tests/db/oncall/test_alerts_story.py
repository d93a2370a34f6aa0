"""Three days and nights on fast-forward: 200 messages, channels and people that fail, alerts killed on purpose.

Time goes from event to event: a message, a step, a retry, a person who answers, a receipt. The carrier is a fake that
fails as real ones do: outages, refusals, silence after it has taken a message, receipts that say it never arrived.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

from django.db.models import Min
from tests.db.oncall.test_alerts import contact, route
from tests.factories import House

from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, Receipt, Rendered
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Kind, Message, State, Urgency, Words
from nightbell.oncall import auditor, escalation, outcomes, policies, receipts
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState, Shift
from nightbell.people.access import Actor
from nightbell.people.models import User
from nightbell.people.roles import Role

START = datetime(2026, 11, 27, 17, 0, tzinfo=UTC)
HOURS, MESSAGES, KILLED = 72, 200, 16
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
STEPS = (
    {"who": "on_call", "how": ["sms", "email"], "wait_s": 120},
    {"who": "on_call", "how": ["voice"], "wait_s": 120},
    {"who": "next", "wait_s": 120},
    {"who": "last_resort", "wait_s": 300},
)
WITHIN = timedelta(seconds=360)  # what the policy promises: then the last resort rings


@dataclass
class FakeCarrier:
    """One fake_ channel a kind, all on one clock."""

    story: Story
    name: str
    down: list[tuple[datetime, datetime]] = field(default_factory=list)
    took: list[tuple[str, datetime]] = field(default_factory=list)  # attempt, when

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        story, luck = self.story, self.story.dice.random()
        if any(since <= story.now < until for since, until in self.down):
            raise ChannelError("503 down")
        if luck < 0.06:
            raise ChannelError("451 not now", after_s=story.dice.choice((0, 0, 5, 40)))
        if luck < 0.09:
            raise ChannelError("550 refused", permanent=True)
        self.took.append((reference, story.now))
        if luck < 0.11:
            raise ChannelError("no answer: it may have left", unsure=True)
        story.arrived(reference, address, self.name)
        return Receipt(rendered.body.encode(), "taken", f"{self.name}-{reference}")


class Story:
    def __init__(self, house: House, seed: int) -> None:
        self.house, self.dice, self.now = house, random.Random(seed), START
        self.soon: list[tuple[datetime, int, Callable[[], object]]] = []
        self.order = count()
        self.channels = {kind: FakeCarrier(self, kind) for kind in ("email", "sms", "voice")}
        self.sender = escalation.Sender(self.channels, "https://bell.example")
        self.watch, self.log = auditor.Watch(), Log("story", _Nowhere())
        self.killed: list[str] = []
        self.found: dict[str, float] = {}  # message: seconds from its end to the finding
        self.stops: list[tuple[datetime, timedelta]] = []
        self.lost: set[str] = set()  # attempts that were deleted
        self.anew: dict[str, datetime] = {}
        self.acks = 0
        self._people()
        for channel in self.channels.values():
            for _ in range(6):
                since = START + self.dice.random() * HOURS * HOUR
                channel.down.append((since, since + self.dice.choice((20, 90, 600, 2400)) * SECOND))
        for number in range(MESSAGES):
            self.at(START + self.dice.random() * (HOURS - 1) * HOUR, lambda n=number: self.rings(n))
        for _ in range(KILLED):
            self.at(START + self.dice.random() * (HOURS - 1) * HOUR, self.kill)

    def _people(self) -> None:
        clinician, desk, boss = (
            self.house.people[role] for role in (Role.CLINICIAN, Role.FRONT_DESK, Role.MANAGER)
        )
        schedule = Shift.objects.first().schedule  # type: ignore[union-attr]
        for weekday in range(7):
            Shift.objects.create(schedule=schedule, user=desk, weekday=weekday, start=0, minutes=1440, rank=1)
        for number, user in enumerate((clinician, desk, boss)):
            for kind in ("sms", "voice"):
                contact(user, kind, f"+1503555018{number}", created_at=START, verified_at=START)
        route(self.house, *STEPS, urgency="urgent")
        self.minds = {clinician.id: 0.5, desk.id: 0.4, boss.id: 0.7}  # how often one of these wakes them

    def stood_still(self, since: datetime) -> timedelta:
        """How long nothing worked while an alert of that time could ring."""
        return sum(
            (span for begin, span in self.stops if since - 2 * MINUTE <= begin <= since + 10 * MINUTE),
            timedelta(),
        )

    def at(self, when: datetime, what: Callable[[], object]) -> None:
        heappush(self.soon, (when, next(self.order), what))

    def rings(self, number: int) -> None:
        urgent = self.dice.random() < 0.4
        Message.objects.create(
            practice=self.house.practice, mailbox=self.house.mailbox, kind=Kind.MESSAGE, answered_at=self.now,
            received_at=self.now, stored_at=self.now, end_reason="hang_up", words=Words.READY, pressed_urgent=urgent,
            urgency=Urgency.URGENT if urgent else Urgency.ROUTINE, needs_alert=urgent, dialled="5035550100",
        )  # fmt: skip

    def arrived(self, reference: str, address: str, kind: str) -> None:
        """On a device; its owner may wake, or the carrier says later that it never came."""
        if kind == "sms" and self.dice.random() < 0.08:
            after = self.dice.choice((1, 10, 100)) * SECOND
            self.at(self.now + after, lambda: receipts.note(f"{kind}-{reference}", False, self.now))
            return
        attempt = Attempt.objects.select_related("alert", "user").get(pk=reference)
        user = attempt.user
        if user is not None and self.dice.random() < self.minds[user.id]:
            after = (5 + self.dice.random() * 400) * SECOND
            self.at(self.now + after, lambda: self.takes(user, attempt.alert.message_id))

    def takes(self, user: User, message_id: str) -> None:
        if Message.objects.get(pk=message_id).state == State.NEW:
            mine = mailbox.acknowledge(Actor(user, "192.0.2.7", "s", self.now), message_id).mine
            self.acks += mine
            if mine:  # and the patient is called before it rings again
                self.at(self.now + 5 * MINUTE, lambda: self.reaches(user, message_id))

    def reaches(self, user: User, message_id: str) -> None:
        outcomes.record(Actor(user, "192.0.2.7", "s", self.now), message_id, "reached")

    def kill(self) -> None:
        """An alert is made to stand still: by a hand in the tables, or by loops that are dead for a while."""
        open_one = Alert.objects.filter(state=AlertState.OPEN, message__state=State.NEW, step__gt=0).first()
        if open_one is None:
            return self.at(self.now + 5 * MINUTE, self.kill) if self.now < START + HOURS * HOUR else None
        way = self.dice.choice(("lost", "forgotten", "late"))
        newest = Attempt.objects.filter(alert=open_one, step=open_one.step - 1)
        if way == "lost" and not newest.filter(user=self.house.people[Role.MANAGER]).exists():
            self.lost |= set(newest.values_list("pk", flat=True))
            newest.delete()
        elif way == "forgotten":
            Alert.objects.filter(pk=open_one.pk).update(state=AlertState.OWNED)
        else:
            Alert.objects.filter(pk=open_one.pk).update(next_at=self.now)
        self.killed.append(open_one.message_id)
        since = self.now
        while self.now - since <= MINUTE:  # nothing works but the auditor
            self.now += 5 * SECOND
            if any(one.message == open_one.message_id for one in self.watch.look(self.now)):
                self.found[f"{open_one.message_id} {len(self.killed)}"] = (self.now - since) / SECOND
                break
        self.stops.append((since, self.now - since))
        if way == "forgotten":
            self.anew[open_one.message_id] = self.now  # it begins with its first step
        return None

    def run(self) -> None:
        while True:
            step, attempt = self._next_step(), self._next_try()
            times = [when for when in (step, attempt, self.soon[0][0] if self.soon else None) if when]
            if not times or self.now > START + (HOURS + 24) * HOUR:
                break
            self.now = max(self.now, min(times) + SECOND)  # what comes within a second is done together
            happened = bool(self.soon) and self.soon[0][0] <= self.now
            while self.soon and self.soon[0][0] <= self.now:
                heappop(self.soon)[2]()
            self.works(happened)

    def works(self, happened: bool) -> None:
        """A round of each loop that has anything to do: idle ones would only take time."""
        if happened:
            escalation.start_due(self.now)
            escalation.start_calm(self.now)
            escalation.settle_owned(self.now)
        escalation.advance_due(self.now)
        escalation.send_due(self.sender, self.now, self.log)

    def _next_step(self) -> datetime | None:
        ringing = Alert.objects.filter(state=AlertState.OPEN, message__state=State.NEW)
        return ringing.aggregate(at=Min("next_at"))["at"]

    def _next_try(self) -> datetime | None:
        return Attempt.objects.filter(state=AttemptState.PENDING).aggregate(at=Min("retry_at"))["at"]


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def test_every_urgent_message_is_taken_or_rings_the_last_resort_in_time(house: House) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    story = Story(house, seed)
    story.run()
    _all_are_owned_in_time(story)
    _none_is_told_twice_or_for_nothing(story)
    assert policies.longest_round(policies.freeze(policies.read_steps(list(STEPS)))) == WITHIN
    assert not Attempt.objects.filter(alert__message__urgency=Urgency.ROUTINE).exists()
    assert len(story.killed) >= KILLED / 2
    assert len(story.found) == len(story.killed), "each alert that was killed is found"
    assert max(story.found.values()) <= 60


def _all_are_owned_in_time(story: Story) -> None:
    urgent = Message.objects.filter(urgency=Urgency.URGENT)
    assert urgent.count() > MESSAGES / 4
    assert not urgent.filter(state=State.NEW).exists(), "everybody was woken in the end"
    assert story.acks == urgent.count(), "each is owned by one"
    boss = story.house.people[Role.MANAGER]
    for alert in Alert.objects.select_related("message"):
        taken = alert.message.owned_at
        began = story.anew.get(alert.message_id, alert.started_at)
        limit = began + WITHIN + 10 * SECOND + story.stood_still(began)
        last = Attempt.objects.filter(alert=alert, user=boss)
        assert (taken and taken <= limit) or last.filter(recorded_at__lte=limit).exists(), alert.message_id


def _none_is_told_twice_or_for_nothing(story: Story) -> None:
    marked = set(Attempt.objects.filter(twice=True).values_list("pk", flat=True))
    owned = dict(Attempt.objects.values_list("pk", "alert__message__owned_at"))
    for channel in story.channels.values():
        references = Counter(reference for reference, _ in channel.took)
        assert references
        assert {one for one, times in references.items() if times > 1} <= marked | story.lost
        assert all(at <= owned[one] for one, at in channel.took if one in owned), (
            "told though somebody had it"
        )
