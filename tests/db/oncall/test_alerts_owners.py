"""Whose a message is: handed over, back when nobody opened it, and back until the patient was reached."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F
from tests.db.oncall.test_alerts import Phones, contact, route
from tests.factories import House, make_message

from nightbell.audit.models import Event
from nightbell.core.ids import new_token
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.models import Message, State
from nightbell.oncall import auditor, outcomes, owners, start
from nightbell.oncall import service as oncall
from nightbell.oncall.models import Alert, AlertState, Attempt, CallBack, LineTest, Reach
from nightbell.people.models import Contact, User
from nightbell.people.roles import Role

MINUTES = timedelta(minutes=1)
LATER_S = 15 * 60


@pytest.fixture
def night(house: House) -> Phones:
    return Phones()


def owned(house: House, night: Phones, urgent: bool = True) -> Message:
    """A message that the clinician has."""
    message = make_message(house.mailbox, urgent=urgent)
    Message.objects.update(words="ready", stored_at=night.now)
    night.tick()
    mailbox.acknowledge(house.actor(Role.CLINICIAN, night.now), message.id)
    night.tick(1)
    night.pager.told.clear()
    return message


def now_of(message: Message) -> Message:
    return Message.objects.select_related("owner").get(pk=message.pk)


def hand(house: House, night: Phones, message: Message, to: Role = Role.FRONT_DESK) -> None:
    oncall.hand_over(house.actor(Role.CLINICIAN, night.now), message.id, house.people[to].id)


@pytest.mark.parametrize("urgent", [True, False])
def test_whoever_is_handed_a_message_is_told_alone(house: House, night: Phones, urgent: bool) -> None:
    message = owned(house, night, urgent)
    desk = house.people[Role.FRONT_DESK]
    contact(desk, "sms", "+15035550172")
    hand(house, night, message)
    assert now_of(message).owner == desk
    night.tick(1)
    assert (night.told("email"), night.told("sms")) == (["front_desk@ab12.example"], ["+15035550172"])
    alert = Alert.objects.get()
    assert (alert.owner, alert.handed_by, alert.state) == (
        desk,
        house.people[Role.CLINICIAN],
        AlertState.OWNED,
    )


Opens = Callable[[House, Phones, Message], object]
OPENINGS: list[Opens] = [
    lambda house, night, message: mailbox.message(house.actor(Role.FRONT_DESK, night.now), message.id),
    lambda house, night, message: oncall.take_by_pin(
        message.id, house.people[Role.FRONT_DESK], night.now, "call"
    ),
]


@pytest.mark.parametrize("opens", OPENINGS)
def test_one_that_was_opened_stays(house: House, night: Phones, opens: Opens) -> None:
    message = owned(house, night)
    hand(house, night, message)
    night.tick(60)
    opens(house, night, message)
    night.tick(600)
    assert now_of(message).owner == house.people[Role.FRONT_DESK]
    assert len(night.told("email")) == 1
    assert Alert.objects.get().handed_until is None


def test_one_that_nobody_opens_comes_back_and_then_rings_for_all(house: House, night: Phones) -> None:
    message = owned(house, night)
    mailbox.message(house.actor(Role.CLINICIAN, night.now), message.id)  # before: that counts for nothing
    hand(house, night, message)
    night.tick(1)
    night.tick(299)
    assert now_of(message).owner == house.people[Role.CLINICIAN]
    assert night.told("email") == ["front_desk@ab12.example", "clinician@ab12.example"]
    night.tick(300)
    assert (now_of(message).state, now_of(message).owner) == (State.NEW, None)
    assert night.told("email")[2:] == ["clinician@ab12.example"], "the first step of the policy"
    assert Alert.objects.get().owner == house.people[Role.CLINICIAN], "the record keeps who had it"
    actions = set(Event.objects.filter(message=message.id).values_list("action", flat=True))
    assert {"message:hand_over", "message:returned", "message:taken_back", "alert:restart"} <= actions


def test_it_does_not_go_back_to_somebody_who_cannot_be_told(house: House, night: Phones) -> None:
    message = owned(house, night)
    hand(house, night, message)
    night.tick(1)
    Contact.objects.filter(user=house.people[Role.CLINICIAN]).update(ended_at=night.now)
    night.tick(299)
    assert (now_of(message).state, now_of(message).owner) == (State.NEW, None)
    assert Alert.objects.get().state == AlertState.OPEN, "it rings for others"


def test_what_was_left_of_before_it_was_given_back_is_not_sent(house: House, night: Phones) -> None:
    """Who is told now is told by the first step anew, and nobody by a letter of last shift's."""
    message = owned(house, night)
    old = Attempt.objects.filter(alert__message=message, step=0).earliest("id")
    Attempt.objects.filter(pk=old.pk).update(state="pending", retry_at=night.now + 2 * MINUTES)
    oncall.release(house.actor(Role.CLINICIAN, night.now), message.id)
    night.tick(1)
    sent = len(night.told("email"))
    assert sent > 0
    Attempt.objects.exclude(pk=old.pk).filter(state="pending").update(state="failed")
    Alert.objects.update(next_at=night.now + 20 * MINUTES)
    night.tick(130)
    old.refresh_from_db()
    assert (old.state, old.answer) == ("failed", "not needed: somebody has it")
    assert len(night.told("email")) == sent


def test_an_alert_ends_with_the_owner_of_that_moment(
    house: House, night: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given back and taken by another between the look and the writing."""
    message = owned(house, night)
    desk = house.people[Role.FRONT_DESK]
    Alert.objects.update(state=AlertState.OPEN, owner=None)
    plain = start.each

    def slow(rows: list[Alert], *given: object) -> int:
        read = list(rows)
        Message.objects.filter(pk=message.pk).update(owner=desk)
        return plain(read, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(start, "each", slow)
    start.settle_owned(night.now)
    assert Alert.objects.get().owner == desk


def test_a_colleague_whose_every_way_fails_does_not_keep_it(house: House, night: Phones) -> None:
    message = owned(house, night)
    hand(house, night, message)
    Contact.objects.filter(user=house.people[Role.FRONT_DESK]).update(ended_at=night.now)
    night.tick(1)
    assert now_of(message).owner == house.people[Role.CLINICIAN]
    assert night.told("email") == ["clinician@ab12.example"]


def test_it_goes_to_nobody_who_cannot_be_told_or_takes_no_messages(
    house: House, other: House, night: Phones
) -> None:
    message = owned(house, night)
    Contact.objects.filter(user=house.people[Role.FRONT_DESK]).update(verified_at=None)
    others = [house.people[r] for r in (Role.FRONT_DESK, Role.COMPLIANCE, Role.CLINICIAN)]
    for user in [*others, other.people[Role.CLINICIAN]]:
        with pytest.raises(NotNow):
            oncall.hand_over(house.actor(Role.CLINICIAN, night.now), message.id, user.id)
    with pytest.raises(NotNow):  # nor by somebody who has it not
        oncall.hand_over(house.actor(Role.MANAGER, night.now), message.id, house.people[Role.CLINICIAN].id)
    assert now_of(message).owner == house.people[Role.CLINICIAN]


def test_a_step_that_is_taken_in_the_same_moment_hides_nobody_from_being_told(
    house: House, night: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told is once per step and way: under an old step's number it would pass for told already."""
    message, real = owned(house, night), owners._alert

    def alert(message: Message, now: datetime) -> Alert:
        found = real(message, now)
        Alert.objects.filter(pk=found.pk).update(step=F("step") + 1)  # by the loop, after it was read
        return found

    monkeypatch.setattr(owners, "_alert", alert)
    hand(house, night, message)
    step = Alert.objects.get().step
    assert Attempt.objects.get(alone=True).step == step - 1


def test_what_was_given_back_meanwhile_is_not_put_on_the_old_owner(house: House, night: Phones) -> None:
    message = owned(house, night)
    hand(house, night, message)
    oncall.release(house.actor(Role.FRONT_DESK, night.now + MINUTES), message.id)
    night.tick(61)
    night.tick(300)
    assert now_of(message).state == State.NEW
    assert Alert.objects.get().state == AlertState.OPEN


def test_an_unreached_patient_comes_back_thrice_and_then_to_all(house: House, night: Phones) -> None:
    message = owned(house, night)
    contact(house.people[Role.CLINICIAN], "sms", "+15035550171")
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "no_answer")
    night.tick(299)
    assert night.told("email") == []
    for count in (1, 2, 3):
        night.tick(301)
        assert night.told("sms") == ["+15035550171"] * count, "by all ways"
    assert Attempt.objects.filter(kind="unreached").count() == 6
    assert now_of(message).owner == house.people[Role.CLINICIAN]
    night.pager.told.clear()
    night.tick(301)
    assert now_of(message).state == State.NEW
    assert night.told("email") == ["clinician@ab12.example"]
    alert = Alert.objects.get()
    assert (alert.state, alert.owner) == (AlertState.OPEN, house.people[Role.CLINICIAN])
    night.tick(121)
    assert len(night.told("email")) == 2, "and the policy goes on from its first step"


def test_a_patient_who_was_reached_meanwhile_does_not_come_back(house: House, night: Phones) -> None:
    message = owned(house, night)
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "no_answer")
    outcomes.record(house.actor(Role.CLINICIAN, night.now + MINUTES), message.id, "reached")
    night.tick(1000)
    assert night.told("email") == []
    assert not Reach.objects.exclude(back_at=None).exists()


def test_a_later_try_counts_and_not_the_earlier(house: House, night: Phones) -> None:
    message = owned(house, night)
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "no_answer")  # back in 5 minutes
    night.now += 4 * MINUTES
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "left_word")  # back in 15
    night.tick(60)
    assert night.told("email") == []
    night.tick(15 * 60)
    assert night.told("email") == ["clinician@ab12.example"]


def test_the_third_try_in_vain_rings_for_all_at_once(house: House, night: Phones) -> None:
    message = owned(house, night)
    for _ in range(3):
        night.now += MINUTES
        outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "no_answer")
    night.tick(1)
    assert now_of(message).state == State.NEW
    assert night.told("email") == ["clinician@ab12.example"]


def test_an_owner_who_cannot_be_told_does_not_keep_an_unreached_patient(house: House, night: Phones) -> None:
    message = owned(house, night)
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "no_answer")
    Contact.objects.filter(user=house.people[Role.CLINICIAN]).update(ended_at=night.now)
    night.tick(301)
    assert now_of(message).state == State.NEW
    night.tick(1)
    assert night.told("email") == ["manager@ab12.example"]


NOON = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)  # in New York
MIDNIGHT = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize("routed", [False, True])
def test_a_routine_patient_who_is_not_reached_is_told_of_too_and_then_anybodys(
    house: House, night: Phones, routed: bool
) -> None:
    night.now = NOON
    route(house, {"who": "all", "wait_s": 60}, urgency="" if routed else "urgent")
    message = owned(house, night, urgent=False)
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "no_answer")
    for _ in range(3):
        night.tick(301)
    assert night.told("email") == ["clinician@ab12.example"] * 3
    night.pager.told.clear()
    night.tick(301)
    alert = Alert.objects.get(message=message)
    assert (now_of(message).state, now_of(message).owner, alert.urgency) == (State.NEW, None, "routine")
    assert (bool(night.told("email")), alert.state == AlertState.OPEN) == (routed, routed), "as a route says"
    assert Event.objects.filter(message=message.id, action="message:taken_back").exists()


def test_a_routine_patient_who_is_not_reached_wakes_nobody_at_night(house: House, night: Phones) -> None:
    night.now = MIDNIGHT
    message = owned(house, night, urgent=False)
    actor = house.actor(Role.CLINICIAN, night.now)
    noted = outcomes.record(actor, message.id, "no_answer")
    assert noted.back_at == MIDNIGHT + timedelta(hours=7), "as the page says"
    for _ in range(10):
        night.tick(1800)
    assert (night.told("email"), now_of(message).state) == ([], State.OWNED)
    contact(house.people[Role.CLINICIAN], "sms", "+15035550171", quiet_from=0, quiet_until=600)
    night.tick(2 * 3600 + LATER_S)
    assert (night.told("email"), night.told("sms")) == (["clinician@ab12.example"], []), "silent hours"
    Message.objects.filter(pk=message.pk).update(urgency="urgent")  # its words had a red flag
    night.tick(301)
    assert night.told("sms") == ["+15035550171"]


@pytest.mark.parametrize("locked", [True, False])
def test_the_auditor_lets_nobody_be_owned_by_who_is_gone(house: House, night: Phones, locked: bool) -> None:
    message = owned(house, night)
    if locked:
        User.objects.filter(pk=house.people[Role.CLINICIAN].pk).update(is_active=False)
    watch = auditor.Watch()
    for _ in range(2):
        night.now += timedelta(seconds=31)
        found = watch.look(night.now)
    assert [one.why for one in found] == (["owner gone"] if locked else [])
    night.tick(1)
    assert bool(night.told("email")) is locked
    assert now_of(message).state == (State.NEW if locked else State.OWNED)


def test_two_workers_bring_it_back_once(house: House, night: Phones, monkeypatch: pytest.MonkeyPatch) -> None:
    message = owned(house, night)
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "no_answer")
    night.now += 6 * MINUTES
    locked = owners._locked

    def meanwhile(message_id: str) -> Message:
        monkeypatch.undo()
        owners.come_back(night.now)
        return locked(message_id)

    monkeypatch.setattr(owners, "_locked", meanwhile)
    owners.come_back(night.now)
    night.tick()
    assert Reach.objects.get().told == 1
    assert night.told("email") == ["clinician@ab12.example"]


def test_what_may_not_be_told_of_now_hides_nothing_that_may(
    house: House, night: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "AT_ONCE", 2)
    urgent, night.now = owned(house, night), datetime(2026, 11, 24, 7, 0, tzinfo=UTC)  # 02:00 in New York
    user = house.people[Role.CLINICIAN]
    for number in range(6):
        drill = number >= 3
        calm = make_message(house.mailbox, urgent=drill, caller=f"+1503555020{number}")
        Alert.objects.create(
            message=calm, practice=house.practice, token=new_token(), state="owned", urgency="routine",
            started_at=night.now, next_at=night.now,
        )  # fmt: skip
        if drill:
            LineTest.objects.create(id=calm.id, practice=house.practice, kind="drill", began_at=night.now)
    Message.objects.update(
        state=State.OWNED, owner=user, owned_at=night.now - 70 * MINUTES, needs_alert=False
    )
    Message.objects.filter(pk=urgent.pk).update(owned_at=night.now - 16 * MINUTES)
    assert [one.id for one in owners._lying(night.now)] == [urgent.id]
    assert len(owners._lying(night.now + timedelta(hours=8))) == 3, "by day the calm ones are told of"


def test_what_is_owned_and_never_tried_comes_back_thrice_and_then_to_all(house: House, night: Phones) -> None:
    message = owned(house, night)
    night.tick(14 * 60)
    assert night.told("email") == []
    for count in (1, 2, 3):
        night.tick(301)
        assert night.told("email") == ["clinician@ab12.example"] * count
    assert set(Attempt.objects.filter(alone=True).values_list("kind", flat=True)) == {"unreached"}
    assert (now_of(message).state, outcomes.history(message.id)) == (State.OWNED, ()), "it is no try"
    night.tick(301)
    assert now_of(message).state == State.NEW
    assert Alert.objects.get().state == AlertState.OPEN


def test_a_try_is_worth_its_own_time_and_nobody_is_rung_while_they_speak_with_the_patient(
    house: House, night: Phones
) -> None:
    message = owned(house, night)
    call = CallBack.objects.create(
        message=message, user=house.people[Role.CLINICIAN], asked_at=night.now + 14 * MINUTES
    )
    night.tick(25 * 60)
    assert night.told("email") == []
    CallBack.objects.filter(pk=call.pk).update(ended_at=night.now)
    night.tick(1)
    assert night.told("email") == ["clinician@ab12.example"]
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "left_word", call=call, after=0)
    night.tick(14 * 60)
    assert len(night.told("email")) == 1, "the newest word counts"
    night.tick(61)
    assert len(night.told("email")) == 2


def test_the_next_owner_has_their_own_quarter_of_an_hour(house: House, night: Phones) -> None:
    message = owned(house, night)
    outcomes.record(house.actor(Role.CLINICIAN, night.now), message.id, "no_answer")
    for _ in range(5):
        night.tick(301)
    assert now_of(message).state == State.NEW
    mailbox.acknowledge(house.actor(Role.MANAGER, night.now), message.id)
    night.pager.told.clear()
    night.tick(14 * 60)
    assert night.told("email") == []
    night.tick(61)
    assert night.told("email") == ["manager@ab12.example"]


def test_what_is_not_urgent_comes_back_by_day_alone(
    house: House, night: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    route(house, {"who": "all", "wait_s": 60})
    night.now = night.now.replace(hour=2, minute=0) + timedelta(days=1)  # evening in New York
    message = owned(house, night, urgent=False)
    for hours in range(1, 9):
        night.tick(3600)
        assert night.told("email") == [], hours
    night.tick(3 * 3600)
    assert night.told("email") == ["clinician@ab12.example"]
    assert now_of(message).state == State.OWNED


def test_a_clock_that_was_set_back_does_not_make_an_older_try_the_newest(house: House, night: Phones) -> None:
    message = owned(house, night)
    actor = house.actor(Role.CLINICIAN, night.now)
    outcomes.record(actor, message.id, "left_word")
    back = house.actor(Role.CLINICIAN, night.now - 10 * MINUTES)
    outcomes.record(back, message.id, "no_answer")  # back in five minutes, by a clock ten minutes behind
    assert [one.outcome for one in outcomes.history(message.id)] == ["left_word", "no_answer"]
    night.tick(1)
    assert night.told("email") == ["clinician@ab12.example"]
    assert Reach.objects.exclude(back_at=None).count() == 1


def test_a_drill_that_was_handed_over_says_so_and_is_not_asked_for_again(house: House, night: Phones) -> None:
    message = owned(house, night)
    Message.objects.update(tags=["drill"])
    hand(house, night, message)
    assert Attempt.objects.get(alone=True).kind == "drill"
    mailbox.message(house.actor(Role.FRONT_DESK, night.now), message.id)
    night.tick(1)
    night.pager.told.clear()
    night.tick(20 * 60)
    assert night.told("email") == []


def test_an_unrouted_message_goes_to_nobody_who_cannot_open_it(house: House, night: Phones) -> None:
    message = make_message(None, urgent=True)
    manager = house.actor(Role.MANAGER, night.now)
    mailbox.acknowledge(manager, message.id)
    with pytest.raises(NotNow, match="cannot open"):
        oncall.hand_over(manager, message.id, house.people[Role.CLINICIAN].id)
    User.objects.filter(pk=house.people[Role.CLINICIAN].pk).update(role=Role.MANAGER)
    oncall.hand_over(manager, message.id, house.people[Role.CLINICIAN].id)
    assert now_of(message).owner == house.people[Role.CLINICIAN]


def test_who_followed_the_link_and_saw_nothing_has_not_opened_it(house: House, night: Phones) -> None:
    message = owned(house, night)
    hand(house, night, message)
    desk = house.actor(Role.FRONT_DESK, night.now + MINUTES)
    oncall.alert_for_token(desk, Alert.objects.get().token)
    night.tick(1)
    night.tick(300)
    assert now_of(message).owner == house.people[Role.CLINICIAN]
