"""The worker dies at each of its durable steps, and just before each commit; the next one goes on where it was.

One night from the first ring to the patient who was reached, played anew for each step to die at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.db.oncall.test_alerts import Phones, contact
from tests.factories import House

from nightbell.audit import service as audit
from nightbell.audit.models import Event
from nightbell.core import faults
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Kind, Message, State, Urgency, Words
from nightbell.oncall import escalation, outcomes, posting
from nightbell.oncall import service as oncall
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState, Notice, Reach
from nightbell.people import contacts
from nightbell.people.models import Contact
from nightbell.people.roles import Role

POINTS = (
    "alert.started", "alert.recorded", "alert.leased", "alert.sent", "alert.failed", "alert.settled",
    "handed.returned", "reach.told", "notice.leased", "notice.sent", "code.leased", "code.sent",
)  # fmt: skip
ONCE = (
    "alert:start",
    "alert:owned",
    "message:hand_over",
    "message:returned",
    "message:unreached",
    "notice:sent",
)
ACTS = (*ONCE, "alert:step", "contact:sent", "notification:sent", "notification:failed")


class Died(BaseException):
    """As `kill -9` would: nothing of ours catches it."""


class Reaper:
    """Ends the worker at one moment, once: `point` at its n-th passing, or the commit after that action's leaf."""

    def __init__(self, patch: pytest.MonkeyPatch, where: str, nth: int) -> None:
        self.where, self.left, self.working = where, nth, False
        record, record_all = audit.record, audit.record_all

        def recorded(*given: Any, **named: Any) -> str:
            event = record(*given, **named)
            self.passed(str(named.get("action")))
            return event

        def recorded_all(log: str, entries: Sequence[audit.Entry], now: datetime) -> list[str]:
            events = record_all(log, entries, now)
            for entry in entries:
                self.passed(entry.action)
            return events

        patch.setattr(faults, "point", self.passed)
        patch.setattr(audit, "record_all", recorded_all)
        patch.setattr(audit, "record", recorded)

    def passed(self, name: str) -> None:
        if self.working and name == self.where:
            self.left -= 1
            if self.left == 0:
                raise Died


class Night:
    def __init__(self, house: House, reaper: Reaper) -> None:
        self.house, self.reaper, self.phones = house, reaper, Phones()
        self.deaths = 0
        self.clinician, self.desk = house.people[Role.CLINICIAN], house.people[Role.FRONT_DESK]
        contact(self.clinician, "sms", "+15035550171")
        self.phones.pagers["sms"].problem = ChannelError("refused", permanent=True)

    def works(self, seconds: float) -> None:
        """The worker's rounds, by a new worker after a death."""
        self.phones.now += timedelta(seconds=seconds)
        for pause in (0, 1, 31, 100, 1):
            if pause > 1 and not self.deaths:
                break
            self.phones.now += timedelta(seconds=pause)
            self.reaper.working = True
            try:
                self.round()
            except Died:
                self.deaths += 1
            finally:
                self.reaper.working = False

    def round(self) -> None:
        sender, now, log = self.phones.sender, self.phones.now, Log("test")
        escalation.tick(sender, now, log)
        posting.send_codes(sender, now, log)
        posting.send_notices(sender, now, log)
        escalation.settle_owned(now)

    def actor(self, role: Role) -> Any:
        return self.house.actor(role, self.phones.now)

    def plays(self) -> Message:
        now, house = self.phones.now, self.house
        message = Message.objects.create(
            practice=house.practice, mailbox=house.mailbox, kind=Kind.MESSAGE, answered_at=now, received_at=now,
            stored_at=now, end_reason="hang_up", words=Words.READY, urgency=Urgency.URGENT, needs_alert=True,
        )  # fmt: skip
        proved = contacts.add(self.actor(Role.MANAGER), "voice", "+15035550173")  # a notice tells them of it
        contacts.send_code(self.actor(Role.MANAGER), proved.id)
        self.works(0)
        self.works(120)
        mailbox.acknowledge(self.actor(Role.CLINICIAN), message.id)
        self.works(1)
        oncall.hand_over(self.actor(Role.CLINICIAN), message.id, self.desk.id)
        self.works(1)
        self.works(300)
        self.phones.now += timedelta(seconds=1)
        outcomes.record(self.actor(Role.CLINICIAN), message.id, "no_answer")
        self.works(1)
        self.works(300)
        outcomes.record(self.actor(Role.CLINICIAN), message.id, "reached")
        self.works(1)
        self.works(1)
        return message


def _cases() -> list[tuple[str, int]]:
    several = {"alert.leased": 2, "alert.recorded": 2}
    return [
        (name, nth)
        for name in (*POINTS, *ACTS)
        if name != "message:hand_over"
        for nth in range(1, several.get(name, 1) + 1)
    ]


@pytest.mark.parametrize(("where", "nth"), _cases())
def test_nothing_is_lost_and_what_is_doubled_is_marked(
    house: House, monkeypatch: pytest.MonkeyPatch, where: str, nth: int
) -> None:
    night = Night(house, Reaper(monkeypatch, where, nth))
    message = night.plays()
    assert night.deaths == 1, "it was died at"
    message.refresh_from_db()
    assert (message.state, message.outcome) == (State.CLOSED, "reached")
    assert Alert.objects.get().state == AlertState.OWNED
    assert not Attempt.objects.filter(state=AttemptState.PENDING).exists()
    assert not Reach.objects.exclude(back_at=None).exists()
    told = {(a.user_id, a.kind) for a in Attempt.objects.filter(state=AttemptState.SENT)}
    clinician, desk = night.clinician.id, night.desk.id
    assert {(clinician, "urgent"), (clinician, "again"), (desk, "urgent"), (clinician, "unreached")} <= told
    done = Counter(Event.objects.values_list("action", flat=True))
    assert {name: done[name] for name in ONCE} == dict.fromkeys(ONCE, 1)
    assert Notice.objects.get().state == "sent"
    assert Contact.objects.get(kind="voice").code_sealed == ""
    _doubled_only_if_marked(night, where)


def _doubled_only_if_marked(night: Night, where: str) -> None:
    marked = set(Attempt.objects.filter(twice=True).values_list("pk", flat=True))
    attempts = set(Attempt.objects.values_list("pk", flat=True))
    sent = Counter(reference for pager in night.phones.pagers.values() for _, _, reference in pager.told)
    doubled = {reference for reference, times in sent.items() if times > 1}
    assert doubled & attempts <= marked
    if where in ("alert.sent", "alert.leased", "notification:sent"):
        in_hand = 1 if where == "notification:sent" else 2  # of the other way it was noted that it failed
        assert len(marked) == in_hand, "who was killed cannot know of what was in hand"
    if where == "notice.sent":
        assert "perhaps twice" in Notice.objects.get().answer


def test_a_hand_over_that_dies_before_its_commit_was_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[Callable[..., object]] = []
    with monkeypatch.context() as patch:
        reaper = Reaper(patch, "message:hand_over", 1)
        night = Night(house, reaper)
        hand_over = oncall.hand_over

        def dies(*given: Any) -> Any:
            reaper.working = True
            try:
                return hand_over(*given)
            except Died:
                died.append(hand_over)
                reaper.working = False
                return hand_over(*given)
            finally:
                reaper.working = False

        patch.setattr(oncall, "hand_over", dies)
        message = night.plays()
    assert died
    message.refresh_from_db()
    assert message.state == State.CLOSED
    assert Event.objects.filter(action="message:hand_over").count() == 1
    assert Attempt.objects.filter(alone=True, user=night.desk).count() == 1
