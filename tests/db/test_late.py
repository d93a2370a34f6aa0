"""A promise that ran out: noted once, and a routine message that nobody has stands above."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from tests.factories import House, make_message

from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event
from nightbell.core.clock import iso, utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.mailbox import late, service
from nightbell.mailbox.models import Message, State, Urgency
from nightbell.oncall import escalation
from nightbell.people.roles import Role
from nightbell.server import worker
from nightbell.server.loop import Told

NOW = utc_now()
UNTIL = NOW + timedelta(minutes=30)
PAST = UNTIL + timedelta(seconds=1)


def promised(house: House, urgent: bool = False, **more: Any) -> Message:
    clip = "within-30-min" if urgent else "promise-open-day"
    marks = ((0, f"promise:{clip}:{iso(UNTIL)}"), *more.pop("marks", ()))
    message = make_message(house.mailbox, urgent=urgent, marks=marks, **more)
    assert message.promised_by is not None
    return message


def rows() -> list[tuple[str, str]]:
    found = Event.objects.filter(action="promise:broken").order_by("seq")
    return [(event.message, event.actor) for event in found]


def test_a_routine_message_that_nobody_has_is_for_review_once(house: House) -> None:
    message = promised(house)
    assert late.find_broken(UNTIL - timedelta(seconds=1)) == 0
    assert [late.find_broken(PAST), late.find_broken(PAST), late.find_broken(PAST)] == [1, 0, 0]
    message.refresh_from_db()
    assert (message.urgency, message.state, message.late_at) == (Urgency.REVIEW, State.NEW, PAST)
    assert not message.needs_alert
    assert rows() == [(message.id, "system:worker")]


def test_it_stands_above_what_is_older_and_in_time(house: House) -> None:
    older = make_message(house.mailbox, answered_at=NOW - timedelta(hours=9))
    broken = promised(house, answered_at=NOW - timedelta(hours=3))
    urgent = make_message(house.mailbox, urgent=True)
    actor = house.actor(Role.CLINICIAN, PAST)
    assert [row.id for row in service.inbox(actor).rows] == [urgent.id, older.id, broken.id]
    late.find_broken(PAST)
    assert [row.id for row in service.inbox(actor).rows] == [urgent.id, broken.id, older.id]
    page = service.inbox(actor, limit=2)
    assert [row.id for row in service.inbox(actor, cursor=page.next or "", limit=2).rows] == [older.id]


def test_what_somebody_has_is_noted_and_nothing_else(house: House) -> None:
    messages = [promised(house), promised(house, urgent=True)]
    for message in messages:
        service.acknowledge(house.actor(Role.CLINICIAN), message.id)
    before = list(Message.objects.order_by("id").values("state", "urgency", "needs_alert", "owner"))
    assert late.find_broken(PAST) == 2
    assert list(Message.objects.order_by("id").values("state", "urgency", "needs_alert", "owner")) == before
    assert sorted(rows()) == sorted((message.id, "system:worker") for message in messages)


def test_what_is_urgent_and_nobodys_goes_on_ringing(house: House) -> None:
    message = promised(house, urgent=True)
    escalation.start_due(NOW)
    assert late.find_broken(PAST) == 1
    message.refresh_from_db()
    assert (message.urgency, message.state) == (Urgency.URGENT, State.NEW)
    assert message.alert.state == "open"
    assert rows() == [(message.id, "system:worker")]


def test_what_was_closed_in_time_or_tried_the_line_out_is_no_broken_promise(house: House) -> None:
    closed = promised(house)
    service.close(house.actor(Role.CLINICIAN), closed.id, "reached")
    promised(house, marks=((0, "test"),))
    make_message(house.mailbox)
    assert late.find_broken(PAST) == 0
    assert rows() == []
    service.reopen(house.actor(Role.CLINICIAN), closed.id)
    assert late.find_broken(PAST) == 1


def test_an_addition_counts_for_the_message_that_it_joins(house: House) -> None:
    first = make_message(house.mailbox)
    promised(house, urgent=True, marks=((0, f"joins:{first.id}"),))
    assert late.find_broken(PAST) == 1
    assert rows() == [(first.id, "system:worker")]


def test_without_its_row_in_the_log_nothing_is_changed_and_the_next_has_its_turn(house: House) -> None:
    first, second = promised(house), promised(house)
    record = late.audit.record

    def closed_for_one(*args: Any, **fields: Any) -> str:
        if fields["message"] == first.id:
            raise AuditClosed("x")
        return record(*args, **fields)

    with (
        mock.patch.object(late.audit, "record", side_effect=closed_for_one),
        pytest.raises(AuditClosed),
    ):
        late.find_broken(PAST)
    assert [message for message, _ in rows()] == [second.id]
    first.refresh_from_db()
    assert (first.urgency, first.late_at) == (Urgency.ROUTINE, None)
    assert late.find_broken(PAST) == 1
    assert [message for message, _ in rows()] == [second.id, first.id]


def test_closed_messages_are_not_read_each_time(house: House) -> None:
    with connection.execute_wrapper(lambda run, sql, *rest: seen.append((sql, rest[0])) or run(sql, *rest)):
        seen: list[tuple[str, Any]] = []
        late.find_broken(PAST)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + seen[0][0], seen[0][1])
            plan = " ".join(str(row[-1]) for row in cursor.fetchall())
        assert "message_inbox (practice_id=? AND state=?" in plan


def test_the_worker_looks_for_them(house: House) -> None:
    message = promised(house, answered_at=NOW - timedelta(hours=2))
    Message.objects.update(promised_by=NOW - timedelta(minutes=1))
    one = worker.Worker.__new__(worker.Worker)
    one.config, one.log, one.loops, one.publishing = load(), Log("worker"), [], threading.Lock()
    one.told = Told(one.log)
    for name in ("_snapshot", "_epochs", "_checkpoint", "_sweep"):
        setattr(one, name, lambda: None)
    with (
        mock.patch.object(worker.health, "write"),
        mock.patch.object(worker.health, "read", return_value={}),
        mock.patch.object(worker.metrics, "update"),
        mock.patch.object(worker.Worker, "report", return_value={}),
    ):
        one.keep_up()
    assert rows() == [(message.id, "system:worker")]
