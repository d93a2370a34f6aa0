"""A caller asks how far the message is; a stranger learns nothing."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.db import connection
from tests.factories import CALLER, House, make_message

from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.ids import new_ulid
from nightbell.mailbox import playing, service, status
from nightbell.mailbox.models import Guess, Message
from nightbell.mailbox.status import NONE, StatusAnswer, ask
from nightbell.oncall import escalation, outcomes
from nightbell.oncall import service as oncall
from nightbell.oncall.models import Alert, Attempt
from nightbell.people.roles import Role

NUMBER = "5035550148"
LEFT = ((0, "callback:seen"), (0, "recording"), (0, "part:message"))


def asked(house: House, number: str = NUMBER, caller: str = CALLER, hours: float = 0) -> StatusAnswer:
    return ask(house.practice.id, number, caller, utc_now() + timedelta(hours=hours), oncall.rings)


def test_it_tells_how_far_a_message_is_from_left_to_done(house: House) -> None:
    message, actor = make_message(house.mailbox, urgent=True, marks=LEFT), house.actor(Role.CLINICIAN)
    assert asked(house) == StatusAnswer("waiting", message.received_at, message.id), "the alert is due"
    escalation.start_due(utc_now())
    assert asked(house).state == "waiting"
    playing.sound(actor, message.id, 0, 1000)
    heard = message.hearings.get().first_at
    assert asked(house) == StatusAnswer("heard", heard, message.id)
    service.acknowledge(actor, message.id)
    assert asked(house) == StatusAnswer("owned", heard, message.id)
    outcomes.record(actor, message.id, "left_word")
    message.refresh_from_db()
    assert asked(house) == StatusAnswer("tried", message.tried_at, message.id)
    service.close(actor, message.id, "no_call_needed")
    assert asked(house) == StatusAnswer("left", message.received_at, message.id), "nobody spoke with them"
    Message.objects.update(outcome="reached")
    assert asked(house) == StatusAnswer("done", None, message.id)


def test_what_got_worse_and_nobody_heard_is_waiting_again(house: House) -> None:
    first = make_message(house.mailbox, marks=LEFT)
    assert asked(house).state == "waiting_open"
    playing.sound(house.actor(Role.CLINICIAN), first.id, 0, 1000)
    assert asked(house).state == "heard"
    make_message(house.mailbox, urgent=True, marks=((0, f"joins:{first.id}"), *LEFT))
    assert (asked(house).state, asked(house).ref) == ("waiting", first.id)


def test_it_tells_of_the_newest_message(house: House) -> None:
    now = utc_now()
    new = make_message(house.mailbox, marks=LEFT, answered_at=now - timedelta(hours=1))
    make_message(house.mailbox, marks=LEFT, answered_at=now - timedelta(hours=9))
    assert asked(house).ref == new.id
    assert asked(house, hours=24 * 13).ref == new.id
    assert asked(house, hours=24 * 14) == NONE


def test_who_does_not_call_from_the_number_learns_nothing(house: House, other: House) -> None:
    make_message(house.mailbox, marks=LEFT)
    assert asked(house).ref
    for number, caller in (
        (NUMBER, "+12125550199"),
        (NUMBER, ""),
        ("2125550199", CALLER),
        ("", ""),
        ("", CALLER),
    ):
        assert asked(house, number, caller) == NONE
    assert asked(other) == NONE


@pytest.mark.parametrize(
    "marks",
    [
        ((0, "callback:2125550199"), *LEFT[1:]),
        ((0, "test"), *LEFT),
        ((0, "callback:seen"), (0, "recording"), (0, "part:message"), (0.5, "part-end")),
    ],
)
def test_a_message_that_is_none_or_not_theirs_is_not_told_of(
    house: House, marks: tuple[tuple[float, str], ...]
) -> None:
    make_message(house.mailbox, marks=marks)
    assert asked(house) == NONE


def test_it_opens_as_much_for_a_stranger_as_for_the_caller(house: House) -> None:
    for number in ("2125550101", "2125550102", NUMBER):
        make_message(house.mailbox, marks=((0, f"callback:{number}"), *LEFT[1:]))
    looked = []
    for number, caller in ((NUMBER, CALLER), ("2125550199", CALLER), (NUMBER, "+12125550199")):
        with mock.patch.object(status.vault, "message_keys", wraps=status.vault.message_keys) as key:
            asked(house, number, caller)
        looked.append(sum(len(call.args[0]) for call in key.call_args_list))
    assert looked == [3, 3, 3]


def test_each_question_is_a_row_and_no_number_is_written_down(house: House) -> None:
    message = make_message(house.mailbox, marks=LEFT)
    asked(house)
    asked(house, "2125550199")
    rows = Event.objects.filter(action="status:ask").order_by("seq")
    assert [(e.actor, e.outcome, e.message) for e in rows] == [
        ("caller", "ok", message.id), ("caller", "none", ""),
    ]  # fmt: skip
    leaves = b"".join(bytes(event.leaf) for event in Event.objects.all())
    keys = "".join(Guess.objects.values_list("key", flat=True))
    for number in (NUMBER, "2125550199"):
        assert number.encode() not in leaves
        assert number not in keys


def test_nothing_is_told_when_the_log_takes_no_row(house: House) -> None:
    make_message(house.mailbox, marks=LEFT)
    with mock.patch.object(status.audit, "record", side_effect=AuditClosed("x")), pytest.raises(AuditClosed):
        asked(house)
    with pytest.raises(AuditClosed):
        ask(new_ulid(), NUMBER, CALLER, utc_now(), oncall.rings)


def test_five_misses_an_hour_are_looked_at_and_then_nothing_is(house: House) -> None:
    make_message(house.mailbox, marks=LEFT)
    for _ in range(20):
        assert asked(house).ref, "who is told something may ask again"
    for n in range(5):
        assert asked(house, f"212555010{n}") == NONE
    assert asked(house) == NONE
    assert asked(house, hours=1.01).ref


def test_of_two_for_the_last_try_one_gets_it(house: House) -> None:
    now = utc_now()
    assert [status._spend("k", 3, now) for _ in range(5)] == [True, True, True, False, False]
    assert status._spend("k", 3, now + timedelta(hours=2))
    assert connection.vendor
    assert Guess.objects.get().count == 1


@pytest.mark.parametrize("marks", [LEFT[1:], ((0, "callback:skipped"), *LEFT[1:])])
def test_whoever_pressed_nothing_at_the_number_is_told_all_the_same(
    house: House, marks: tuple[tuple[float, str], ...]
) -> None:
    message = make_message(house.mailbox, marks=marks)  # called back where the call came from
    assert asked(house).ref == message.id


def test_who_is_told_that_people_are_told_is_told_the_truth(house: House) -> None:
    make_message(house.mailbox, urgent=True, marks=LEFT)
    now = utc_now()
    escalation.start_due(now)
    escalation.advance_due(now)
    assert Attempt.objects.get().state == "pending"
    assert asked(house).state == "waiting"
    Alert.objects.update(next_at=now + timedelta(hours=3))
    assert asked(house, hours=1).state == "left", "nothing could be sent"
    Attempt.objects.update(state="sent")
    assert asked(house, hours=1).state == "waiting"
    Attempt.objects.update(state="failed")
    assert asked(house).state == "left", "the newest step failed whole"
    Attempt.objects.update(state="sent")
    assert asked(house, hours=4).state == "left", "it stands still"


def test_it_asks_for_all_keys_at_once_and_one_that_is_damaged_silences_nobody(house: House) -> None:
    first = make_message(house.mailbox, marks=LEFT)
    for number in ("2125550101", "2125550102"):
        broken = make_message(house.mailbox, marks=((0, f"callback:{number}"), *LEFT[1:]))
    periods = status.vault.keyring().periods
    with mock.patch.object(periods, "open", wraps=periods.open) as unwrapped:
        assert asked(house).ref == first.id
    assert unwrapped.call_count == 1
    real = status.vault.keyring().get(broken.id, "message")
    entries = status.vault.keyring()._entries
    with entries.writing():
        entries.run("UPDATE entries SET wrapped = ? WHERE id = ?", (b"\x01" + bytes(60), broken.id))
    assert asked(house).ref == first.id
    status.vault.keyring().put(broken.id, "message", real)
