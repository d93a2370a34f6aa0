"""Many alerts at once: a few begin, step and leave together, and what is wrong with one holds up none of the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from tests.db.test_escalation import Night, Pager
from tests.factories import House, make_message

from nightbell.audit import service as audit
from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event
from nightbell.core import clock, faults
from nightbell.core.clock import utc_now
from nightbell.core.log import Log as Journal
from nightbell.core.notice import ChannelError, Receipt, Rendered
from nightbell.mailbox.models import Kind, Mailbox, Message, State, Urgency, Words
from nightbell.oncall import escalation, sending, start
from nightbell.oncall.models import Alert, Attempt, AttemptState, Schedule
from nightbell.people.models import Practice
from nightbell.people.roles import Role


class Died(BaseException):
    """As `kill -9` would: nothing of ours catches it."""


def urgent(house: House, count: int) -> list[Message]:
    now = utc_now()
    return [
        Message.objects.create(
            practice=house.practice, mailbox=house.mailbox, kind=Kind.MESSAGE, answered_at=now, received_at=now,
            stored_at=now + timedelta(milliseconds=n), end_reason="hang_up", words=Words.READY, urgency=Urgency.URGENT,
            needs_alert=True,
        )
        for n in range(count)
    ]  # fmt: skip


def round_of(night: Night, problems: list[Exception]) -> None:
    """As the worker's loops have it."""
    escalation.start_due(night.now, escalation.TOGETHER, problems)
    escalation.step_due(night.now, problems, escalation.TOGETHER)
    while escalation.send_due(night.sender, night.now, Journal("test"), escalation.SEND_TOGETHER):
        pass


def told(night: Night) -> Counter[str]:
    return Counter(reference for _, _, reference in night.pager.told)


def test_each_of_many_is_an_alert_with_an_attempt_of_its_own(house: House) -> None:
    messages = urgent(house, start.TOGETHER + 3)
    night = Night(Pager())
    problems: list[Exception] = []
    round_of(night, problems)
    assert Alert.objects.count() == start.TOGETHER, "the oldest first"
    assert set(Alert.objects.values_list("message_id", flat=True)) == {
        m.id for m in messages[: start.TOGETHER]
    }
    round_of(night, problems)
    assert problems == []
    assert Alert.objects.filter(step=1).count() == len(messages)
    attempts = {one.id for one in Attempt.objects.filter(state=AttemptState.SENT)}
    assert told(night) == Counter(attempts)
    assert len(attempts) == len(messages)
    actions = Counter(Event.objects.values_list("action", flat=True))
    assert {
        name: actions[name] for name in ("alert:start", "alert:step", "notification:sent")
    } == dict.fromkeys(("alert:start", "alert:step", "notification:sent"), len(messages))
    assert len(set(Alert.objects.values_list("token", flat=True))) == len(messages)


def test_a_practice_whose_log_cannot_be_written_holds_up_no_other(house: House) -> None:
    practice = Practice.objects.create(
        code="ZZ99", name="Without a log", zone="America/New_York", number="5035550999", created_at=utc_now()
    )
    Schedule.objects.create(practice=practice, fallback_email="office@zz99.example")
    other = replace(house, practice=practice, mailbox=Mailbox.objects.create(practice=practice, name="Line"))
    urgent(house, 3)
    urgent(other, 2)
    urgent(house, 2)
    night = Night(Pager())
    problems: list[Exception] = []
    round_of(night, problems)
    assert {type(error) for error in problems} == {AuditClosed}
    assert len(night.pager.told) == 5
    assert Message.objects.filter(needs_alert=True, practice=practice).count() == 2, "still due"
    audit.open_log(practice.id)
    problems.clear()
    round_of(night, problems)
    assert (problems, len(night.pager.told)) == ([], 7)


def test_a_schedule_that_cannot_be_read_is_told_of_and_moves_no_other(house: House, other: House) -> None:
    urgent(house, 2), urgent(other, 2)
    house.practice.zone = "Mars/North"
    house.practice.save()
    night = Night(Pager())
    problems: list[Exception] = []
    round_of(night, problems)
    assert len(problems) == 2
    assert Counter(night.addresses) == {"manager": 2, "clinician": 2}
    round_of(night, problems)
    assert len(night.pager.told) == 4, "no step was taken twice"


def test_a_message_that_rang_before_begins_anew_beside_others(house: House) -> None:
    old, *_ = urgent(house, 1)
    night = Night(Pager())
    round_of(night, [])
    Alert.objects.update(state="owned", owner=house.people[Role.CLINICIAN])
    Message.objects.filter(pk=old.pk).update(needs_alert=True)
    urgent(house, 2)
    round_of(night, [])
    alert = Alert.objects.get(message=old)
    assert (alert.state, alert.owner, alert.began, alert.step) == ("open", None, 1, 2)
    assert Event.objects.filter(action="alert:restart").count() == 1
    assert len(night.pager.told) == 4


def test_what_is_owned_meanwhile_is_not_told_with_the_others(house: House) -> None:
    messages = urgent(house, 3)
    night = Night(Pager())
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    Message.objects.filter(pk=messages[1].pk).update(state=State.OWNED, owner=house.people[Role.CLINICIAN])
    escalation.send_due(night.sender, night.now, Journal("test"))
    assert len(night.pager.told) == 2
    assert Attempt.objects.get(state=AttemptState.FAILED).alert.message_id == messages[1].id


@pytest.mark.parametrize(
    ("point", "nth"),
    [("alert.started", 1), ("alert.recorded", 1), ("alert.leased", 1), ("alert.sent", 1), ("alert.sent", 2)],
)
def test_whoever_dies_with_several_in_hand_loses_none_and_marks_what_left_twice(
    house: House, monkeypatch: pytest.MonkeyPatch, point: str, nth: int
) -> None:
    messages = urgent(house, 3)
    night, left = Night(Pager()), [nth]

    def dies(name: str) -> None:
        left[0] -= name == point
        if left[0] == 0 and name == point:
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(faults, "point", dies)
        with pytest.raises(Died):
            round_of(night, [])
    night.now += sending.SEND_LEASE + timedelta(seconds=1)
    problems: list[Exception] = []
    round_of(night, problems)
    assert problems == []
    assert Alert.objects.filter(step=1).count() == Attempt.objects.count() == len(messages)
    assert set(Attempt.objects.values_list("state", flat=True)) == {AttemptState.SENT}
    times = told(night)
    assert set(times) == set(Attempt.objects.values_list("pk", flat=True))
    doubled = {reference for reference, count in times.items() if count > 1}
    assert len(doubled) == (nth if point == "alert.sent" else 0)
    assert doubled <= set(Attempt.objects.filter(twice=True).values_list("pk", flat=True))
    actions = Counter(Event.objects.values_list("action", flat=True))
    assert actions["alert:start"] == actions["notification:sent"] == len(messages)


class Slow(Pager):
    """A server that takes its time, of a clock that is moved by hand."""

    def __init__(self, patch: pytest.MonkeyPatch, seconds: float) -> None:
        super().__init__()
        self.at, self.takes = 100.0, seconds
        patch.setattr(clock, "monotonic", lambda: self.at)

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        self.at += self.takes
        return super().send(rendered, address, reference)


def test_a_slow_server_keeps_no_letter_from_another_sender(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    urgent(house, 4)
    night = Night(Slow(monkeypatch, 2 * sending.SLOW_S))
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    assert escalation.send_due(night.sender, night.now, Journal("test"), limit=4) == 1
    rest = Attempt.objects.filter(state=AttemptState.PENDING)
    assert {(one.tries, one.answer, one.twice) for one in rest} == {(0, "", False)}
    assert sending.due_attempts(night.now).count() == 3, "at once, and not when the lease ends"
    while escalation.send_due(night.sender, night.now, Journal("test"), limit=4):
        pass
    assert len(night.pager.told) == 4
    assert not Attempt.objects.filter(twice=True).exists()


def test_what_left_is_noted_before_a_slow_server_takes_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    urgent(house, 3)
    noted: list[int] = []

    class Watched(Slow):
        def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
            noted.append(Attempt.objects.filter(state=AttemptState.SENT).count())
            return super().send(rendered, address, reference)

    night = Night(Watched(monkeypatch, sending.NOTE_S + 0.05))
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    escalation.send_due(night.sender, night.now, Journal("test"))
    assert noted == [0, 1, 2]


def test_one_that_cannot_be_noted_costs_no_other_a_second_letter(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = urgent(house, 3)
    night, real = Night(Pager()), sending._leaf

    def leaf(attempt: Attempt) -> audit.Entry:
        if attempt.alert.message_id == messages[1].id:
            raise ValueError("this one")
        return real(attempt)

    monkeypatch.setattr(sending, "_leaf", leaf)
    escalation.start_due(night.now)
    escalation.advance_due(night.now)
    with pytest.raises(ValueError, match="this one"):
        escalation.send_due(night.sender, night.now, Journal("test"))
    assert Attempt.objects.get(state=AttemptState.PENDING).alert.message_id == messages[1].id
    monkeypatch.setattr(sending, "_leaf", real)
    escalation.send_due(night.sender, night.now + 2 * escalation.SEND_LEASE, Journal("test"))
    assert sorted(told(night).values()) == [1, 1, 2]
    assert Attempt.objects.get(twice=True).alert.message_id == messages[1].id
    assert Event.objects.filter(action="notification:sent").count() == 3


def test_one_letter_that_is_refused_leaves_those_beside_it_alone(house: House) -> None:
    urgent(house, 3)

    class Picky(Pager):
        def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
            if len(self.told) == 1 and self.problem is None:
                self.problem = ChannelError("451 later")
                raise self.problem
            problem, self.problem = self.problem, None
            receipt = super().send(rendered, address, reference)
            self.problem = problem
            return receipt

    night = Night(Picky())
    round_of(night, [])
    assert Counter(Attempt.objects.values_list("state", flat=True)) == {"sent": 2, "pending": 1}
    assert Attempt.objects.get(state="pending").answer == "451 later"


def test_many_ask_the_database_little_more_than_a_few(house: House) -> None:
    def asked(count: int) -> int:
        urgent(house, count)
        night = Night(Pager())
        with CaptureQueriesContext(connection) as queries:
            round_of(night, [])
        assert len(night.pager.told) == count
        return len(queries)

    few, many = asked(2), asked(escalation.SEND_TOGETHER)
    # Three leaves each, with the log that grows by them, and that it was sent.
    assert many - few <= 7 * (escalation.SEND_TOGETHER - 2)


def test_what_is_urgent_leaves_before_what_was_recorded_earlier(house: House) -> None:
    calm, late = urgent(house, 2)
    Message.objects.filter(pk=calm.pk).update(urgency=Urgency.REVIEW)
    night = Night(Pager())
    for message in (calm, late):
        Message.objects.exclude(pk=message.pk).update(needs_alert=False)
        Message.objects.filter(pk=message.pk).update(needs_alert=True)
        escalation.start_due(night.now)
        escalation.advance_due(night.now)
        night.now += timedelta(seconds=1)
    escalation.send_due(night.sender, night.now, Journal("test"))
    first, second = (reference for _, _, reference in night.pager.told)
    assert Attempt.objects.get(pk=first).alert.message_id == late.id
    assert Attempt.objects.get(pk=second).alert.message_id == calm.id


def test_a_step_locks_messages_before_alerts_as_whoever_hands_one_over_does(house: House) -> None:
    """Each waiting for what the other holds, they would wait until the database kills one of them."""
    make_message(house.mailbox, urgent=True)
    now = utc_now()
    start.start_due(now)
    with CaptureQueriesContext(connection) as asked:
        assert escalation.step_due(now) == 1
    texts = [one["sql"] for one in asked.captured_queries]
    begun = next(i for i, text in enumerate(texts) if text.startswith(("BEGIN", "SAVEPOINT")))
    tables = [text.split('FROM "')[1].split('"')[0] for text in texts[begun:] if 'FROM "' in text]
    assert tables[:2] == ["mailbox_message", "oncall_alert"]
