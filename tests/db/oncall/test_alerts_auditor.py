"""The auditor: each alert that somebody killed on purpose is found, made due again, put on record and rings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from tests.db.oncall.test_alerts import Phones
from tests.factories import House, make_message

from nightbell.audit.models import Event
from nightbell.core.log import Log
from nightbell.mailbox.models import Message
from nightbell.oncall import auditor, escalation
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState

YEAR = timedelta(days=365)
Kill = Callable[[datetime], object]
RAISED: dict[str, Kill] = {
    "ahead": lambda now: Alert.objects.update(next_at=now + timedelta(minutes=20)),
    "lost": lambda now: Attempt.objects.all().delete(),
    "unsent": lambda now: Attempt.objects.update(state=AttemptState.PENDING, retry_at=now + YEAR),
    "forgotten": lambda now: Alert.objects.update(state=AlertState.OWNED),
}


@pytest.fixture
def night(house: House) -> Phones:
    made = Phones()
    make_message(house.mailbox, urgent=True)
    Message.objects.update(stored_at=made.now)
    made.tick()
    made.pager.told.clear()
    return made


def first_found(watch: auditor.Watch, night: Phones, seconds: int) -> list[str]:
    """What it finds first, within so many seconds, without any loop that works."""
    for _ in range(seconds // 5):
        if found := looks(watch, night, 5):
            return found
    return []


def looks(watch: auditor.Watch, night: Phones, seconds: int) -> list[str]:
    """What it finds in so many seconds, without any loop that works."""
    found: set[str] = set()
    for _ in range(seconds // 5):
        night.now += timedelta(seconds=5)
        found |= {one.why for one in watch.look(night.now)}
    return sorted(found)


@pytest.mark.parametrize("why", RAISED)
def test_what_was_killed_is_found_within_a_minute_and_rings(night: Phones, why: str) -> None:
    RAISED[why](night.now)
    assert first_found(auditor.Watch(), night, 60) == [why]
    stuck = Event.objects.get(action="alert:stuck")
    assert (stuck.actor, stuck.outcome) == ("system:auditor", "failed")
    night.tick(1)
    assert night.told("email"), why
    assert auditor.search(night.now) == []


@pytest.mark.parametrize(
    ("why", "kill"),
    [
        ("late", lambda now: Alert.objects.update(next_at=now)),
        ("unsent", lambda now: Attempt.objects.update(state=AttemptState.PENDING, retry_at=now)),
        ("unstarted", lambda now: (Alert.objects.all().delete(), Message.objects.update(needs_alert=True))),
    ],
)
def test_a_loop_that_is_dead_is_found_and_told_once(night: Phones, why: str, kill: Kill) -> None:
    kill(night.now)
    watch = auditor.Watch()
    assert looks(watch, night, 25) == [], "a moment is no standstill"
    assert looks(watch, night, 35) == [why]
    looks(watch, night, 25)
    assert Event.objects.filter(action="alert:stuck").count() == 1
    night.tick()
    assert watch.look(night.now) == [], "when the loop lives again, all is well"
    assert night.told("email")


def test_one_that_cannot_be_made_due_holds_up_no_other(
    house: House, night: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Alert.objects.get()
    make_message(house.second, urgent=True)
    night.tick()
    Alert.objects.update(state=AlertState.OWNED)
    watch, due_again = auditor.Watch(), auditor._due_again
    monkeypatch.setattr(Message._meta, "ordering", ["id"])

    def broken(finding: auditor.Finding, now: datetime) -> bool:
        if finding.message == bad.message_id:
            raise ValueError("bad")
        return due_again(finding, now)

    night.now += timedelta(seconds=40)
    watch.look(night.now)
    monkeypatch.setattr(auditor, "_due_again", broken)
    with pytest.raises(ValueError, match="bad"):
        watch.look(night.now)
    assert Message.objects.get(needs_alert=True).pk != bad.message_id
    monkeypatch.setattr(auditor, "_due_again", due_again)
    watch.look(night.now)
    assert Message.objects.filter(needs_alert=True).count() == 2
    assert Event.objects.filter(action="alert:stuck").count() == 2


def test_it_finds_nothing_where_all_goes_on(night: Phones) -> None:
    watch = auditor.Watch()
    for _ in range(60):
        night.now += timedelta(seconds=5)
        escalation.tick(night.sender, night.now, Log("test"))
        assert watch.look(night.now) == []
    assert not Event.objects.filter(action="alert:stuck").exists()


@pytest.mark.parametrize("jump", [timedelta(hours=1), YEAR])
def test_a_clock_that_is_set_is_no_standstill(night: Phones, jump: timedelta) -> None:
    watch = auditor.Watch()
    watch.look(night.now)
    night.now += jump
    assert watch.look(night.now) == [], "seen once, it may be the clock"
    night.tick()
    assert watch.look(night.now) == []
    night.now -= jump
    watch.look(night.now)
    escalation.pull_back(night.now)
    assert watch.look(night.now) == []


def test_it_sends_nothing_and_takes_no_step(night: Phones) -> None:
    Alert.objects.update(next_at=night.now)
    looks(auditor.Watch(), night, 120)
    assert night.told("email") == []
    assert Alert.objects.get().step == 1
