"""A stored plan that cannot be read: its practice hears an older one, the others notice nothing, and it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.factories import House

from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.flow.line import Line
from nightbell.flow.plan import Plan
from nightbell.line import service
from nightbell.line.models import Draft, Version
from nightbell.line.state import first_version
from nightbell.mailbox import epochs
from nightbell.people.access import NotFound
from nightbell.people.models import Practice
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
    trouble = routing.Trouble()
    given = dict(json.loads(json.dumps(routing.payload(utc_now(), True, trouble))))
    assert trouble.kept == {}
    return given, trouble.damaged


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


def test_a_damaged_draft_under_trial_is_nobody_elses_trouble(three: House) -> None:
    actor = three.actor(Role.MANAGER)
    service.save(actor, service.draft(actor).revision, Plan(max_seconds=30))
    number = service.try_number(actor)
    Draft.objects.update(plan="{")
    given, damaged = published()
    assert given["lines"][given["numbers"][number.dialled]["line"]]["plan"]["max_seconds"] == 60
    assert damaged == [], "callers hear what is in force"


def test_an_older_version_is_brought_back(three: House) -> None:
    damage(3)
    actor = three.actor(Role.MANAGER)
    assert service.versions(actor)[0].changes == ["This version is damaged and cannot be read"]
    service.bring_back(actor, 2)
    assert published()[1] == []
    assert published()[0]["lines"][three.practice.id]["flow"] == 4


def test_with_no_version_left_it_is_begun_anew(three: House) -> None:
    actor = three.actor(Role.MANAGER)
    with pytest.raises(NotFound):
        service.bring_back(actor, 0)
    revision = service.save(actor, service.draft(actor).revision, Plan(max_seconds=120))
    Version.objects.update(plan="{")
    made = service.bring_back(actor, 0)
    assert (made.number, made.brought_back, service.plan_of(made)) == (4, None, Plan())
    assert published()[1] == []
    drafted = service.draft(actor)
    assert (drafted.plan.max_seconds, drafted.there, drafted.revision > revision) == (120, True, True)


def test_with_no_version_left_the_draft_is_published(three: House) -> None:
    actor = three.actor(Role.MANAGER)
    assert service.draft_problems(actor) is None
    service.save(actor, service.draft(actor).revision, Plan(max_seconds=120))
    Version.objects.update(plan="{")
    assert service.draft_problems(actor) == ()
    service.publish(actor, service.revision(actor))
    assert published()[0]["lines"][three.practice.id]["plan"]["max_seconds"] == 120


# One practice's trouble is no other's.


def spoil_zone(house: House) -> None:
    Practice.objects.filter(pk=house.practice.pk).update(zone="America/Nowhere")


@pytest.mark.parametrize("known", [True, False])
def test_a_bad_zone_of_one_keeps_its_last_line_and_the_others_go_out(
    house: House, other: House, known: bool, worker: tuple[Worker, Told]
) -> None:
    process, log = worker
    (load().home / "phone" / "issued.json").unlink(missing_ok=True)
    actor = house.actor(Role.MANAGER)
    service.publish(actor, service.save(actor, service.draft(actor).revision, Plan(max_seconds=90)))
    if known:
        process._snapshot()
    number = service.try_number(actor)
    spoil_zone(house)
    theirs = other.actor(Role.MANAGER)
    service.publish(theirs, service.save(theirs, service.draft(theirs).revision, Plan(max_seconds=60)))
    process._snapshot()
    process._snapshot()
    given = json.loads(json.loads((load().home / "phone" / "issued.json").read_text())["text"])
    assert given["lines"][other.practice.id]["plan"]["max_seconds"] == 60
    line = given["lines"][house.practice.id]
    assert (line["plan"]["max_seconds"], line["zone"]) == (90 if known else 180, "America/New_York")
    assert line["promise"] == {"urgent": "", "routine": ""}, "nothing is known of it now"
    assert number.dialled not in given["numbers"]
    assert "5035550100" in given["numbers"]
    for one in given["lines"].values():
        Line.from_dict(one)
    assert log.events.count(("line.kept", house.practice.code)) == 1
    config, now = load(), utc_now()
    health.write(config, process.report({}), now)
    check = health.read(config, now)["checks"]["lines"]
    assert check["ok"] is False
    assert f"{house.practice.code} (ZoneInfoNotFoundError): the line cannot be made" in check["says"]
    assert other.practice.code not in check["says"]
    Practice.objects.update(zone="America/New_York")
    process._snapshot()
    health.write(config, process.report({}), now)
    assert health.read(config, now)["checks"]["lines"]["ok"] is True


def test_a_line_that_the_phone_would_refuse_does_not_go_out(
    house: House, other: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = routing._line

    def odd(practice: Practice, *given: Any) -> dict[str, Any]:
        made = plain(practice, *given)
        return made | {"known_until": "soon"} if practice == house.practice else made

    monkeypatch.setattr(routing, "_line", odd)
    trouble = routing.Trouble()
    given = routing.payload(utc_now(), True, trouble)
    assert trouble.kept == {house.practice.code: "ValueError"}
    assert [Line.from_dict(one).practice for one in given["lines"].values()] == list(given["lines"])


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


def test_a_damaged_draft_under_trial_makes_nothing_red(three: House, worker: tuple[Worker, Told]) -> None:
    process, log = worker
    actor = three.actor(Role.MANAGER)
    service.save(actor, service.draft(actor).revision, Plan(max_seconds=30))
    service.try_number(actor)
    Draft.objects.update(plan="{")
    process._snapshot()
    config, now = load(), utc_now()
    health.write(config, process.report({}), now)
    assert health.read(config, now)["checks"]["lines"] == {"ok": True, "says": "all can be read"}
    assert log.events == []
