"""What the phone is given: the version in force, a draft under a number of its own, and nothing late."""

from __future__ import annotations

import base64
import json
import os
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.factories import House, make_capture

from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.flow.hours import Kind
from nightbell.flow.line import Line
from nightbell.flow.plan import Plan
from nightbell.line import service
from nightbell.line.phones import on_phone
from nightbell.line.state import touch
from nightbell.mailbox import epochs
from nightbell.mailbox.models import Number
from nightbell.people.roles import Role
from nightbell.server import home, line_status, routing
from nightbell.server.worker import Worker


@pytest.fixture(autouse=True)
def _epoch(house: House) -> None:
    epochs.begin(utc_now(), "system:test")


def payload(now: datetime | None = None) -> dict[str, Any]:
    """As the phone reads it: through JSON."""
    return dict(json.loads(json.dumps(routing.payload(now or utc_now()))))


def test_every_number_leads_to_the_line_of_its_practice(house: House, other: House) -> None:
    Number.objects.create(dialled="5035550101", mailbox=house.second)
    given = payload()
    assert given["numbers"] == {
        "5035550100": {"practice": house.practice.id, "mailbox": house.mailbox.id, "line": house.practice.id},
        "5035550101": {"practice": house.practice.id, "mailbox": house.second.id, "line": house.practice.id},
        "5035550190": {"practice": other.practice.id, "mailbox": other.mailbox.id, "line": other.practice.id},
    }
    assert sorted(given["lines"]) == sorted([house.practice.id, other.practice.id])


def test_the_phone_reads_the_line_as_it_was_meant(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    plan = replace(Plan(), state="NY", clips={"en/practice-name": "builtin:demo-practice-1"})
    service.publish(actor, service.save(actor, 0, plan))
    service.close_now(actor, visits=True)
    line = Line.from_dict(payload()["lines"][house.practice.id])
    assert (line.plan, line.flow, line.number, line.team, line.test) == (plan, 2, "5035550100", True, False)
    assert (line.promise.urgent, line.promise.routine) == ("within-30-min", "")
    situation = line.situation(utc_now())
    assert (situation.kind, situation.visits) == (Kind.CLOSURE, True)
    assert "Thanksgiving Day" in line.calendar.holidays.values()


def test_a_draft_is_heard_under_the_try_number_alone(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    service.save(actor, 0, Plan(max_seconds=90))
    assert f"{house.practice.id}:draft" not in payload()["lines"]
    number = service.try_number(actor)
    assert re.fullmatch(r"try-[0-9]{6}", number.dialled)
    given = payload()
    draft = given["lines"][f"{house.practice.id}:draft"]
    assert (draft["plan"]["max_seconds"], draft["flow"], draft["test"]) == (90, 0, True)
    assert given["lines"][house.practice.id]["plan"]["max_seconds"] == 180
    assert given["numbers"][number.dialled] == {
        "practice": house.practice.id, "mailbox": house.mailbox.id, "line": f"{house.practice.id}:draft",
    }  # fmt: skip


def test_a_try_number_ends_after_a_quarter_of_an_hour_or_with_the_next(house: House) -> None:
    actor = house.actor(Role.MANAGER)
    first = service.try_number(actor)
    assert first.expires_at == actor.now + timedelta(minutes=15)
    assert first.dialled in payload(actor.now + timedelta(minutes=14, seconds=59))["numbers"]
    late = payload(actor.now + timedelta(minutes=15))
    assert first.dialled not in late["numbers"]
    assert list(late["lines"]) == [house.practice.id]
    second = service.try_number(actor)
    assert first.dialled not in payload()["numbers"]
    assert second.dialled in payload()["numbers"]


def working() -> Worker:
    """A worker on this home, its loops not begun."""
    config, now = load(), utc_now()
    home.prepare_database(config, now)
    if home.stamp(config) is None:
        home.write_stamp(config, home.DEMO, now)
    return Worker(config, lambda *_, **__: None)  # type: ignore[arg-type]


def test_a_change_is_on_the_phones_with_the_next_look_and_only_then(house: House) -> None:
    worker = working()
    touch()
    worker.publish_changed()
    before = worker.control._snapshot
    assert before
    actor = house.actor(Role.MANAGER)
    service.publish(actor, service.save(actor, 0, Plan(max_seconds=90)))
    worker.publish_changed()  # nothing was touched: the test's transaction is not committed
    assert worker.control._snapshot == before
    touch()
    worker.publish_changed()
    assert worker.control._snapshot != before


def test_the_status_tells_what_the_phone_really_has(house: House) -> None:
    config, now = load(), utc_now()
    home.prepare_database(config, now)
    (config.home / "phone" / "snapshot.json").unlink(missing_ok=True)
    (line,) = line_status.read(config, now)
    assert (line["live"], line["phone"], line["in_force"], line["draft"]) == (1, 0, False, None)
    signed = routing.publish(config, now)
    assert on_phone(config.home).flows == {house.practice.id: 1}
    assert line_status.read(config, now)[0]["in_force"]
    actor = house.actor(Role.MANAGER)
    service.publish(actor, service.save(actor, 0, Plan(max_seconds=90)))
    service.save(actor, service.draft(actor).revision, Plan(max_seconds=60))
    (line,) = line_status.read(config, now)
    assert (line["live"], line["phone"], line["in_force"], line["draft"]["base"]) == (2, 1, False, 2)
    assert "LOOK: the phone has 1" in next(iter(line_status.told([line])))
    (config.home / "phone" / "snapshot.json").write_bytes(signed.replace(b"A", b"B", 1))
    assert on_phone(config.home).snapshot == 0
    (config.home / "phone" / "snapshot.json").unlink()  # the next test begins without one


def told(worker: Worker) -> dict[str, Any]:
    """The practice's line as the phones have it."""
    worker._snapshot()
    [line] = json.loads(base64.b64decode(json.loads(worker.control._snapshot)["payload"]))["lines"].values()
    return dict(line)


def test_nobody_is_promised_a_time_while_captures_lie_about(house: House) -> None:
    worker = working()
    assert told(worker)["team"]
    path = make_capture(house.mailbox, urgent=True)
    assert told(worker)["team"]  # it has just come in
    earlier = utc_now().timestamp() - 90
    os.utime(path, (earlier, earlier))
    line = told(worker)
    path.unlink()
    assert (line["team"], line["promise"]["urgent"]) == (False, "")


def test_the_phones_hear_nothing_while_the_keys_are_away(house: House) -> None:
    worker = working()
    kek = load().keys / "kek.key"
    away = kek.rename(kek.with_suffix(".away"))
    try:
        worker._snapshot()
        assert not worker.control._snapshot
    finally:
        away.rename(kek)
    worker._snapshot()
    assert worker.control._snapshot
