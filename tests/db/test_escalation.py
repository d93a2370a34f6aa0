"""An alert goes on until a person owns it, whatever fails on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.db import transaction
from tests.factories import House, make_message

from nightbell.core.clock import utc_now
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, Receipt, Rendered
from nightbell.mailbox import service
from nightbell.oncall import escalation, whom
from nightbell.oncall import service as oncall
from nightbell.oncall.models import Alert, AlertState, Attempt, Schedule, Shift
from nightbell.people.access import Forbidden, NotFound
from nightbell.people.models import Contact
from nightbell.people.roles import Role


@dataclass
class Pager:
    """A channel that remembers what it was told; `problem` makes it fail."""

    name: str = "email"
    problem: ChannelError | None = None
    told: list[tuple[str, str, str]] = field(default_factory=list)

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        if self.problem:
            raise self.problem
        self.told.append((address, rendered.subject, reference))
        return Receipt((rendered.subject + rendered.body).encode(), "250 ok")


class Night:
    """Time that is moved by hand."""

    def __init__(self, *pagers: Pager) -> None:
        self.pager = pagers[0]
        self.sender = escalation.Sender({p.name: p for p in pagers}, "https://bell.example")
        self.now = utc_now()

    def tick(self, seconds: float = 0) -> None:
        self.now += timedelta(seconds=seconds)
        for _ in range(3):
            escalation.tick(self.sender, self.now, Log("test"))

    @property
    def addresses(self) -> list[str]:
        return [address.split("@")[0] for address, _, _ in self.pager.told]


def test_it_tells_first_again_then_the_fallback_until_someone_owns_it(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    night.tick()
    assert night.addresses == ["clinician"]
    night.tick(119)
    assert night.addresses == ["clinician"]
    night.tick(1)
    night.tick(180)  # nobody is second on call: the fallback is told in place of the next person
    night.tick(180)
    night.tick(300)
    assert night.addresses == ["clinician", "clinician", "manager", "manager", "manager"]
    assert len({reference for _, _, reference in night.pager.told}) == 5
    service.acknowledge(house.actor(Role.CLINICIAN, night.now), message.id)
    night.tick(301)
    night.tick(590)  # a minute before it would come back to its owner
    assert len(night.addresses) == 5
    alert = Alert.objects.get()
    assert (alert.state, alert.owner) == (AlertState.OWNED, house.people[Role.CLINICIAN])


def test_a_backup_on_call_is_the_next_person(house: House) -> None:
    schedule = Schedule.objects.get(practice=house.practice)
    for day in range(7):
        Shift.objects.create(
            schedule=schedule, user=house.people[Role.FRONT_DESK], weekday=day, start=0, minutes=1440, rank=1
        )
    make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    for wait in (0, 120, 180):
        night.tick(wait)
    assert night.addresses == ["clinician", "clinician", "front_desk"]


def test_a_routine_message_wakes_nobody(house: House) -> None:
    make_message(house.mailbox)
    night = Night(Pager())
    night.tick(1000)
    assert night.addresses == []


def test_a_channel_that_fails_is_tried_again_and_then_the_next_step_comes_at_once(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    pager = Pager(problem=ChannelError("451 later"))
    night = Night(pager)
    night.tick()
    pager.problem = None
    night.tick(3)
    assert night.addresses == ["clinician"]


def test_a_channel_that_never_works_does_not_hold_up_the_next_person(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    pager = Pager(problem=ChannelError("550 no such user", permanent=True))
    night = Night(pager)
    night.tick()
    pager.problem = None
    night.tick(0.1)
    assert night.addresses
    assert Attempt.objects.filter(state="failed").exists()


def test_a_channel_that_never_works_does_not_ring_hot(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Night(Pager(problem=ChannelError("550 no such user", permanent=True)))
    for _ in range(30):
        night.tick(0.1)
    assert Attempt.objects.count() <= 5
    assert escalation.standing_still(night.now) == 1


def test_an_alert_that_cannot_go_on_does_not_hold_up_another_practice(house: House, other: House) -> None:
    make_message(house.mailbox, urgent=True)
    make_message(other.mailbox, urgent=True)
    practice, house.practice.zone = house.practice, "Mars/North"  # its schedule cannot be read
    practice.save()
    night = Night(Pager())
    problems: list[Exception] = []
    escalation.start_due(night.now, 50, problems)
    escalation.advance_due(night.now, problems)
    escalation.send_due(night.sender, night.now, Log("test"))
    assert len(problems) == 1
    told = {address for address, _, _ in night.pager.told}
    assert told == {"manager@ab12.example", "clinician@cd34.example"}, "who cannot be found is not nobody"


def test_every_way_is_told_at_once_and_one_that_fails_holds_up_none(house: House) -> None:
    now, clinician = utc_now(), house.people[Role.CLINICIAN]
    Contact.objects.create(
        user=clinician, kind="sms", address="+15035550177", created_at=now, verified_at=now, position=1
    )
    make_message(house.mailbox, urgent=True)
    mail, text = Pager(problem=ChannelError("550 no", permanent=True)), Pager(name="sms")
    night = Night(mail, text)
    night.tick()
    assert [address for address, _, _ in text.told] == ["+15035550177"]
    assert Alert.objects.get().step == 1, "one of two ways works: the next step waits its time"
    assert dict(Attempt.objects.values_list("channel", "state")) == {"email": "failed", "sms": "sent"}


def test_nobody_on_call_and_no_fallback_is_a_failed_attempt_that_goes_on(house: House) -> None:
    Shift.objects.all().delete()
    Schedule.objects.update(fallback=None, fallback_email="")
    Contact.objects.update(ended_at=utc_now())  # not even the managers have a way
    make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    night.tick()
    first = Attempt.objects.filter(step=0).get()
    assert (first.state, first.answer) == ("failed", whom.NO_WAY)
    assert first.user == house.people[Role.MANAGER]
    assert night.addresses == []
    Schedule.objects.update(fallback_email="boss@ab12.example")
    Alert.objects.update(policy="rubbish")  # an unreadable policy falls back on what the schedule says now
    night.tick(300)
    assert night.addresses == ["boss"]


def test_an_attempt_recorded_by_a_killed_worker_is_sent_by_the_next(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    now = utc_now()
    escalation.start_due(now)
    escalation.advance_due(now)  # recorded, and then the power went
    night = Night(Pager())
    night.tick(1)
    assert night.addresses == ["clinician"]
    night.tick(60)
    assert night.addresses == ["clinician"]


def test_an_attempt_that_was_leased_by_a_killed_sender_is_sent_again(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    Attempt.objects.update(retry_at=night.now + escalation.SEND_LEASE, tries=1)
    night.tick(10)
    assert night.addresses == []
    night.tick(25)
    assert night.addresses == ["clinician"]


def test_the_auditor_sees_an_alert_that_stands_still(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    night.tick()
    assert escalation.standing_still(night.now) == 0
    assert escalation.standing_still(night.now + timedelta(seconds=200)) == 1


def test_giving_a_message_back_rings_anew(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    night.tick()
    service.acknowledge(house.actor(Role.CLINICIAN), message.id)
    night.tick(1)
    service.reopen(house.actor(Role.CLINICIAN), message.id)
    night.tick(1)
    assert len(night.addresses) == 2
    assert Alert.objects.get().state == AlertState.OPEN


def test_given_back_after_the_whole_ladder_it_begins_with_who_is_on_call(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    for _ in range(6):
        night.tick(300)
    last = night.addresses[-1]
    service.acknowledge(house.actor(Role.CLINICIAN), message.id)
    night.tick(1)
    service.reopen(house.actor(Role.CLINICIAN), message.id)
    night.tick(1)
    assert night.addresses[-1] == night.addresses[0] != last
    night.tick(121)
    assert night.addresses[-1] == night.addresses[1]


def test_an_alert_whose_message_was_given_back_meanwhile_is_not_settled(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    night.tick()
    service.acknowledge(house.actor(Role.CLINICIAN), message.id)
    atomic = transaction.atomic

    def between(*args: object, **kwargs: object) -> object:
        monkeypatch.undo()
        service.reopen(house.actor(Role.CLINICIAN), message.id)  # after the alert was read
        return atomic()

    monkeypatch.setattr(escalation.transaction, "atomic", between)
    escalation.settle_owned(night.now)
    assert Alert.objects.get().state == AlertState.OPEN


def test_what_should_ring_and_does_not_is_found(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    night.tick()
    Alert.objects.update(state=AlertState.OWNED)  # by no way that we know
    assert escalation.find_forgotten(night.now) == 0  # it may be on its way
    late = message.stored_at + timedelta(seconds=61)
    assert escalation.find_forgotten(late) == 1
    night.tick(1)
    assert Alert.objects.get().state == AlertState.OPEN
    assert len(night.addresses) == 2
    assert escalation.find_forgotten(late) == 0


def test_two_people_take_and_the_second_learns_who_was_first(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    first = service.acknowledge(house.actor(Role.CLINICIAN), message.id)
    second = service.acknowledge(house.actor(Role.FRONT_DESK), message.id)
    assert first.mine
    assert not second.mine
    assert second.owner.id == house.people[Role.CLINICIAN].id
    with pytest.raises(Forbidden):
        service.acknowledge(house.actor(Role.DISPATCHER), message.id)


def test_a_link_leads_to_its_message_for_its_practice_alone(house: House, other: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    Night(Pager()).tick()
    token = Alert.objects.get().token
    assert oncall.alert_for_token(house.actor(Role.CLINICIAN), token) == message.id
    for wrong in (token[:-1] + ("A" if token[-1] != "A" else "B"), "x", ""):
        with pytest.raises(NotFound):
            oncall.alert_for_token(house.actor(Role.CLINICIAN), wrong)
    with pytest.raises(NotFound):
        oncall.alert_for_token(other.actor(Role.CLINICIAN), token)
