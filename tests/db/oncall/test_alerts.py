"""Whom an alert tells by which ways, what follows when a way fails, and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.db.test_escalation import Night, Pager
from tests.factories import House, make_message

from nightbell.core.clock import utc_now
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message, Number, State
from nightbell.oncall import auditor, escalation, policies, receipts, routes, start, whom
from nightbell.oncall import service as oncall
from nightbell.oncall.models import (
    Alert,
    Attempt,
    AttemptState,
    EscalationPolicy,
    Group,
    Route,
    Schedule,
    Shift,
)
from nightbell.people.models import Contact, User
from nightbell.people.practices import lock_out
from nightbell.people.roles import Role

GONE = ChannelError("550 no such user", permanent=True)


def contact(user: User, kind: str, address: str, **more: Any) -> Contact:
    made = {"created_at": utc_now(), "verified_at": utc_now(), "position": 5} | more
    return Contact.objects.create(user=user, kind=kind, address=address, **made)


def route(house: House, *steps: dict[str, object], **more: Any) -> Route:
    policy = EscalationPolicy.objects.create(practice=house.practice, name="p", steps=list(steps))
    return Route.objects.create(practice=house.practice, policy=policy, **more)


class Phones(Night):
    """A pager for each kind of contact."""

    def __init__(self, *kinds: str) -> None:
        self.pagers = {kind: Pager(name=kind) for kind in ("email", "sms", "voice", *kinds)}
        super().__init__(*self.pagers.values())

    def told(self, kind: str) -> list[str]:
        return [address for address, _, _ in self.pagers[kind].told]


def test_a_step_names_its_people_and_ways(house: House) -> None:
    nurse, desk = house.people[Role.CLINICIAN], house.people[Role.FRONT_DESK]
    group = Group.objects.create(practice=house.practice, name="nurses")
    group.members.set([nurse, desk])
    contact(nurse, "sms", "+15035550171")
    contact(desk, "sms", "+15035550172")
    contact(desk, "voice", "+15035550172")
    route(
        house,
        {"who": "group", "id": group.id, "how": ["sms"], "wait_s": 60},
        {"who": "user", "id": desk.id, "how": ["voice"], "wait_s": 60},
        {"who": "user", "id": nurse.id, "how": ["voice"], "wait_s": 60},
    )
    make_message(house.mailbox, urgent=True)
    night = Phones()
    night.tick()
    assert sorted(night.told("sms")) == ["+15035550171", "+15035550172"]
    night.tick(60)
    assert night.told("voice") == ["+15035550172"]
    assert night.told("email") == []
    night.tick(60)  # the nurse has no telephone: every way that they have, and not nobody
    assert night.told("email") == ["clinician@ab12.example"]
    assert len(night.told("sms")) == 3
    night.tick(60)
    assert night.told("email")[1:] == ["manager@ab12.example"], "the last resort that was appended"
    night.tick(policies.LAST_WAIT_S)
    assert night.told("email")[2:] == ["manager@ab12.example"], "and it repeats"


def test_nobody_on_call_is_the_last_resort_at_once(house: House) -> None:
    Shift.objects.all().delete()
    make_message(house.mailbox, urgent=True)
    night = Phones()
    night.tick()
    assert night.told("email") == ["manager@ab12.example"]


def test_a_person_without_a_proved_way_holds_nobody_up(house: House) -> None:
    Contact.objects.filter(user=house.people[Role.CLINICIAN]).update(verified_at=None)
    message = make_message(house.mailbox, urgent=True)
    night = Phones()
    night.tick()
    assert night.told("email") == ["manager@ab12.example"], (
        "two steps in vain, and the third has nobody second"
    )
    rungs = oncall.ladder(message.id)
    assert [(r.name, r.state) for r in rungs[:2]] == [("Clinician Núñez", "failed")] * 2
    assert "no proved way" in rungs[0].answer


def test_a_practice_without_a_last_resort_has_its_managers(house: House) -> None:
    Shift.objects.all().delete()
    Schedule.objects.update(fallback=None)
    contact(house.people[Role.MANAGER], "sms", "+15035550173")
    make_message(house.mailbox, urgent=True)
    night = Phones()
    night.tick()
    assert (night.told("email"), night.told("sms")) == (["manager@ab12.example"], ["+15035550173"])


def test_a_last_resort_who_cannot_be_told_is_replaced(house: House) -> None:
    Shift.objects.all().delete()
    Schedule.objects.update(fallback=house.people[Role.DISPATCHER])
    Contact.objects.filter(user=house.people[Role.DISPATCHER]).update(ended_at=utc_now())
    make_message(house.mailbox, urgent=True)
    night = Phones()
    night.tick()
    assert night.told("email") == ["manager@ab12.example"]


def test_all_ways_in_vain_and_the_next_step_comes_at_once(house: House) -> None:
    contact(house.people[Role.CLINICIAN], "sms", "+15035550171")
    make_message(house.mailbox, urgent=True)
    night = Phones()
    night.pagers["email"].problem = GONE
    night.tick()
    assert Alert.objects.get().step == 1, "one way is out still"
    first = Attempt.objects.get(channel="sms")
    assert first.state == AttemptState.SENT
    receipts.note(first.reference or "none", False, night.now, attempt=first.id)
    night.tick(1)
    assert Alert.objects.get().step == 2, "the provider says that it did not arrive"


def test_a_way_that_often_fails_is_not_waited_for(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Phones()
    night.pagers["email"].problem = ChannelError("451 later")
    night.tick()
    night.tick(2)
    assert Alert.objects.get().step == 1
    night.tick(5)
    assert Alert.objects.get().step == 2
    night.pagers["email"].problem = None
    night.tick(60)
    assert len(night.told("email")) == len(set(r for _, _, r in night.pagers["email"].told)) > 1


def test_an_address_that_is_gone_ends_its_contact(house: House) -> None:
    made = contact(house.people[Role.CLINICIAN], "push", "https://push.example/x")
    make_message(house.mailbox, urgent=True)
    night = Phones("push")
    night.pagers["push"].problem = ChannelError("410", gone=True)
    night.tick()
    made.refresh_from_db()
    assert made.ended_at is not None


def test_what_was_taken_away_meanwhile_is_not_used(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Phones()
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    Contact.objects.filter(user=house.people[Role.CLINICIAN]).update(ended_at=night.now)
    escalation.send_due(night.sender, night.now, Log("test"))
    assert night.told("email") == []
    assert Attempt.objects.get().answer == "this way was taken away"


def test_who_is_locked_out_meanwhile_is_told_no_more(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Phones()
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    night.pager.problem = ChannelError("451 later")
    escalation.send_due(night.sender, night.now, Log("test"))
    lock_out(house.people[Role.CLINICIAN], "os:test", night.now)
    night.pager.problem = None
    escalation.send_due(night.sender, night.now + timedelta(minutes=2), Log("test"))
    assert night.told("email") == []
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.answer) == ("failed", "this person is told no more")


def test_what_may_have_left_twice_is_marked(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Phones()
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    Attempt.objects.update(retry_at=night.now + escalation.SEND_LEASE, tries=1)  # a sender died here
    night.tick(31)
    assert night.told("email") == ["clinician@ab12.example"]
    assert Attempt.objects.get().twice
    assert "perhaps twice" in oncall.ladder(Alert.objects.get().message_id)[0].answer


def test_an_attempt_that_no_sender_outlives_is_given_up(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Phones()
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    Attempt.objects.update(tries=escalation.MAX_TRIES)
    night.tick()
    assert Attempt.objects.get(step=0).state == AttemptState.FAILED
    assert Alert.objects.get().step == 2


def test_the_first_route_that_fits_serves(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "is_open", lambda practice, at: False)
    desk = house.people[Role.FRONT_DESK]
    night_desk = Schedule.objects.create(practice=house.practice, name="Night", main=False, fallback=desk)
    step = {"who": "on_call", "wait_s": 60}
    route(house, step, position=0, mailbox=house.second)
    route(house, step, position=1, hours="open")
    route(house, step, position=2, urgency="routine")
    route(house, step, position=3, number=Number.objects.get(), hours="closed", schedule=night_desk)
    message = make_message(house.mailbox, urgent=True)
    assert message.dialled == "5035550100"
    night = Phones()
    night.tick()
    assert Alert.objects.get().schedule == night_desk
    assert night.told("email") == ["front_desk@ab12.example"], "nobody is on that schedule: its last resort"


def test_routine_messages_wake_nobody_unless_a_route_says_so(house: House) -> None:
    message = make_message(house.mailbox)
    old = make_message(house.second)
    Message.objects.update(words="ready")
    Message.objects.filter(pk=old.pk).update(stored_at=utc_now() - timedelta(days=2))
    night = Phones()
    Route.objects.create(practice=house.practice)  # fits, and has no policy
    night.tick()
    assert not Alert.objects.exists()
    Route.objects.all().delete()
    route(house, {"who": "on_call", "wait_s": 60})
    night.tick()
    alert = Alert.objects.get()
    assert (alert.message_id, alert.urgency) == (message.id, "routine")
    assert "new message" in night.pagers["email"].told[0][1]


def test_a_ladder_whose_schedule_cannot_be_read_is_shown_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, night = make_message(house.mailbox, urgent=True), Phones()
    night.tick()

    def broken(*_: object) -> list[str]:
        raise TypeError("a hand in the tables")

    monkeypatch.setattr(whom, "next_names", broken)
    assert oncall.ladder(message.id)[-1].name == oncall.FALLBACK


def test_what_is_quiet_waits_for_the_morning_and_what_is_urgent_does_not(house: House) -> None:
    route(house, {"who": "on_call", "wait_s": 60}, quiet_until_morning=True)
    calm = make_message(house.mailbox)
    night = Phones()
    night.now = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)  # 22:00 in New York
    Message.objects.update(words="ready", stored_at=night.now)
    night.tick()
    assert night.told("email") == []
    assert auditor.search(night.now) == []
    morning = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert Alert.objects.get().next_at == morning
    Message.objects.filter(pk=calm.pk).update(urgency="urgent", needs_alert=True)  # its words said so
    escalation.start_due(night.now)
    assert Alert.objects.get().next_at == night.now
    night.tick(1)
    assert night.told("email") == ["clinician@ab12.example"]
    assert Alert.objects.get().urgency == "urgent"


def test_what_is_quiet_at_night_is_told_at_once_by_day(house: House) -> None:
    route(house, {"who": "on_call", "wait_s": 60}, quiet_until_morning=True)
    make_message(house.mailbox)
    night = Phones()
    night.now = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)  # 10:00 in New York
    Message.objects.update(words="ready", stored_at=night.now)
    night.tick()
    assert night.told("email") == ["clinician@ab12.example"]


def test_messages_that_no_route_tells_of_hide_none_behind_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "PAGE", 2)
    route(house, {"who": "on_call", "wait_s": 60}, mailbox=house.second)
    for number in range(4):
        make_message(house.mailbox, caller=f"503555010{number}")  # nobody who calls again and again
    told = make_message(house.second, caller="5035550105")
    Message.objects.update(words="ready")
    Phones().tick()
    assert Alert.objects.get().message == told


def test_silent_hours_hold_up_routine_and_nothing_else(house: House) -> None:
    Contact.objects.filter(user=house.people[Role.CLINICIAN]).update(quiet_from=0, quiet_until=1439)
    route(house, {"who": "on_call", "wait_s": 60})
    make_message(house.mailbox)
    Message.objects.update(words="ready")
    night = Phones()
    night.now = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
    Message.objects.update(stored_at=night.now)
    night.tick()
    assert night.told("email") == []
    assert Attempt.objects.get().answer == "not told: silent hours"
    make_message(house.mailbox, urgent=True)
    night.tick(1)
    assert night.told("email") == ["clinician@ab12.example"]


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(days=365)])
def test_a_clock_that_jumps_ahead_rings_one_step_and_not_all(house: House, jump: timedelta) -> None:
    for _ in range(3):
        make_message(house.mailbox, urgent=True)
    night = Phones()
    night.tick()
    assert len(night.told("email")) == 3
    night.now += jump
    night.tick()
    assert len(night.told("email")) == 6
    night.tick(60)
    assert len(night.told("email")) == 6


@pytest.mark.parametrize("jump", [timedelta(minutes=40), timedelta(hours=1), timedelta(days=365)])
def test_a_clock_that_is_set_back_waits_no_longer_than_the_policy(house: House, jump: timedelta) -> None:
    make_message(house.mailbox, urgent=True)
    night = Phones()
    night.now += jump
    night.tick()
    night.now -= jump
    night.tick()
    night.tick(121)
    assert 2 <= len(night.told("email")) <= 3
    Attempt.objects.update(state="pending", retry_at=night.now + jump)
    if jump < timedelta(minutes=11):
        return
    before = len(night.told("email"))
    night.tick(1)
    assert len(night.told("email")) > before, "and no attempt waits for the time of that clock"


def test_two_take_it_in_the_same_second_by_page_and_by_telephone(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    night = Phones()
    night.tick()
    by_page = mailbox.acknowledge(house.actor(Role.MANAGER, night.now), message.id)
    by_phone = oncall.take_by_pin(message.id, house.people[Role.CLINICIAN], night.now, "call-1")
    assert by_page.mine
    assert not by_phone.mine
    assert by_phone.owner.id == house.people[Role.MANAGER].id
    night.tick(500)
    assert len(night.told("email")) == 1


def test_the_log_says_that_it_was_taken_by_telephone(house: House) -> None:
    from nightbell.audit.models import Event

    message = make_message(house.mailbox, urgent=True)
    taken = oncall.take_by_pin(message.id, house.people[Role.CLINICIAN], utc_now(), "call-1")
    assert taken.mine
    event = Event.objects.get(action="message:acknowledge")
    assert (event.actor, event.source) == (f"user:{house.people[Role.CLINICIAN].login}", "telephone")
    assert Message.objects.get(pk=message.pk).state == State.OWNED
