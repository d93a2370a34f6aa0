"""A stored plan that cannot be read: its practice hears an older one, the others notice nothing, and it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.factories import House

from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.flow.plan import Plan
from nightbell.line import service
from nightbell.line.models import Draft, Version
from nightbell.line.state import first_version
from nightbell.mailbox import epochs
from nightbell.people.roles import Role
from nightbell.server import health, home, routing
from nightbell.server.worker import Worker


@pytest.fixture(autouse=True)
def _epoch(house: House) -> None:
    epochs.begin(utc_now(), "system:test")


@pytest.fixture
def three(house: House) -> House:
    """A practice with versions of 180, 90 and 60 seconds."""
    actor = house.actor(Role.MANAGER)
    for seconds in (90, 60):
        service.publish(actor, service.save(actor, service.draft(actor).revision, Plan(max_seconds=seconds)))
    return house


def damage(number: int, text: str = "{", **where: Any) -> None:
    Version.objects.filter(number=number, **where).update(plan=text)


def published() -> tuple[dict[str, Any], list[str]]:
    damaged: list[str] = []
    return dict(json.loads(json.dumps(routing.payload(utc_now(), True, damaged)))), damaged


DAMAGES = ["{", "[]", '{"languages": []}', json.dumps(Plan(state="XX").to_dict())]


@pytest.mark.parametrize("text", DAMAGES)
def test_the_newest_that_can_be_read_answers(three: House, other: House, text: str) -> None:
    damage(3, text, practice=three.practice)
    given, damaged = published()
    line = given["lines"][three.practice.id]
    assert (line["flow"], line["plan"]["max_seconds"], line["test"]) == (2, 90, False)
    assert given["lines"][other.practice.id]["flow"] == 1
    assert damaged == [three.practice.code]
    damage(2, text, practice=three.practice)
    assert published()[0]["lines"][three.practice.id]["flow"] == 1


def test_with_none_left_patients_still_leave_messages(three: House) -> None:
    Version.objects.update(plan="{")
    line = published()[0]["lines"][three.practice.id]
    assert (line["flow"], line["plan"], line["test"]) == (0, Plan().to_dict(), False)


def test_a_damaged_draft_is_told_and_keeps_its_number(three: House) -> None:
    actor = three.actor(Role.MANAGER)
    service.save(actor, service.draft(actor).revision, Plan(max_seconds=30))
    number = service.try_number(actor)
    Draft.objects.update(plan="{")
    given, damaged = published()
    assert given["lines"][given["numbers"][number.dialled]["line"]]["plan"]["max_seconds"] == 60
    assert damaged == [three.practice.code]


def test_an_older_version_is_brought_back(three: House) -> None:
    damage(3)
    actor = three.actor(Role.MANAGER)
    assert service.versions(actor)[0].changes == ["This version is damaged and cannot be read"]
    service.bring_back(actor, 2)
    assert published()[1] == []
    assert published()[0]["lines"][three.practice.id]["flow"] == 4


class Told:
    """A log that is looked at."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def __call__(self, event: str, **fields: object) -> None:
        self.events.append((event, fields.get("code")))

    def failure(self, event: str, error: BaseException, **fields: object) -> None:
        self.events.append((event, type(error).__name__))


@pytest.fixture
def worker(house: House) -> Iterator[tuple[Worker, Told]]:
    config, now, log = load(), utc_now(), Told()
    home.prepare_database(config, now)
    if home.stamp(config) is None:
        home.write_stamp(config, home.DEMO, now)
    yield Worker(config, log), log  # type: ignore[arg-type]
    (config.home / "phone" / "snapshot.json").unlink(missing_ok=True)
    (config.home / "run" / "health.json").unlink(missing_ok=True)


def test_it_is_logged_once_and_health_is_red(three: House, worker: tuple[Worker, Told]) -> None:
    process, log = worker
    damage(3)
    process._snapshot()
    process._snapshot()
    assert log.events.count(("line.damaged", three.practice.code)) == 1
    config, now = load(), utc_now()
    health.write(config, process.report({}), now)
    judged = health.read(config, now)
    assert judged["ok"] is False
    assert judged["checks"]["lines"]["ok"] is False
    assert three.practice.code in judged["checks"]["lines"]["says"]
    service.bring_back(three.actor(Role.MANAGER), 2)
    process._snapshot()
    health.write(config, process.report({}), now)
    assert health.read(config, now)["checks"]["lines"]["ok"] is True
    assert first_version(three.practice, now).number == 4
