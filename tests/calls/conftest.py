"""One evening: sixty callers on a whole installation, and a phone on which somebody hangs up at every node."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.calls import people
from tests.calls.people import Person
from tests.calls.street import Patient, Street
from tests.calls.walker import Walker, live
from tests.calls.ways import WAYS, lines, walk
from tests.calls.worker import Worker
from tests.phone.house import DIALLED, PRACTICE, House
from tests.stack import Stack, running, wait_for

from nightbell.core import clock

APART = 0.05  # seconds between two beginnings
INTO_S = 0.6  # seconds after coming to a node at which its caller hangs up
THRICE, LIMITED = "2125559133", "5552014568"
FULL = 2  # calls that the small phone takes at once
COLUMNS = (
    "id, practice_id, kind, state, urgency, duration_ms, audio_bytes, tags, reached, end_reason, joins_id"
)


@dataclass
class Evening:
    """What was done and what is left of it. rows: of the database, each with `number`, as its clinician sees it;
    spool: files left; active: calls that the phone still counts; nodes: name of a node to its call; full: the calls on
    the small phone, in the order in which they came."""

    seed: int
    people: list[Person] = field(default_factory=list)
    thrice: list[Patient] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    spool: list[str] = field(default_factory=list)
    active: float = -1.0
    nodes: dict[str, Patient] = field(default_factory=dict)
    full: list[Patient] = field(default_factory=list)

    @property
    def calls(self) -> list[Patient]:
        """All that were answered by the installation."""
        return [call for who in self.people for call in who.calls] + self.thrice


def _seed() -> int:
    return int(os.environ.get("NIGHTBELL_TEST_SEED") or secrets.randbelow(1_000_000))


async def _sixty(evening: Evening, street: Street, stack: Stack) -> None:
    evening.people = people.cast(evening.seed, [stack.uri(0), stack.uri(0), stack.uri(1)])
    jobs = []
    for who in evening.people:
        jobs.append(asyncio.create_task(people.live(street, who)))
        await asyncio.sleep(APART)
    await asyncio.gather(*jobs)


async def _three_times(evening: Evening, street: Street, stack: Stack) -> None:
    """Gone at once, then a message that is not urgent, then gone at once."""

    async def gone(call: Patient) -> None:
        await call.until(2)

    async def message(call: Patient) -> None:
        await call.press("0")
        await call.tone()
        await call.speak(3)

    for script in (gone, message, gone):
        evening.thrice.append(await street.call(stack.uri(0), THRICE, script, random.Random(THRICE)))


def _shortest(house: House, now: datetime) -> dict[str, tuple[str, Walker]]:
    """For each node of the default flow the way that comes there first, and the line that it is on."""
    found: dict[str, tuple[str, Walker]] = {}
    for line, dialled in (("default", DIALLED), ("limit", LIMITED)):
        for way in WAYS[line].values():
            walker = walk(house.lines[line], way, "5035560000", now)
            for node, came in walker.came.items():
                if node and (node not in found or came < found[node][1].came[node]):
                    found[node] = (dialled, walker)
    return found


async def _every_node(evening: Evening, street: Street, house: House, now: datetime) -> None:
    jobs = {}
    for at, (node, (dialled, walker)) in enumerate(_shortest(house, now).items()):
        ends = walker.came[node] / 1000 + INTO_S

        async def script(call: Patient, walker: Walker = walker, ends: float = ends) -> None:
            await live(call, walker, ends)

        uri, number = f"sip:{dialled}@127.0.0.1:{house.port}", f"503556{at:04d}"
        job = street.call(uri, number, script, random.Random(number), keep=True)
        jobs[node] = asyncio.create_task(job)
        await asyncio.sleep(APART)
    evening.nodes = {node: await job for node, job in jobs.items()}


async def _full(evening: Evening, street: Street, small: House) -> None:
    """Two talk for long, one more comes at once, and one too many."""

    async def talk(call: Patient) -> None:
        await call.press("0")
        await call.tone()
        await call.speak(15)

    async def short(call: Patient) -> None:
        await call.tone()
        await call.speak(2.5)
        await call.press("#")
        await call.wait(10)

    jobs = []
    for at, script in enumerate((talk, talk, short, talk)):
        call = street.call(small.uri, f"503557000{at}", script, random.Random(at), keep=True)
        jobs.append(asyncio.create_task(call))
        await asyncio.sleep(0.5)
    evening.full = [await job for job in jobs]


async def _spend(evening: Evening, stack: Stack, house: House, small: House) -> None:
    now, snapshot = clock.utc_now(), house.signed(1)
    worker = Worker(house.home / "run" / "control.sock", now, lambda: snapshot)
    async with Street() as street, worker:
        house.start()
        small.start()
        await asyncio.gather(
            _sixty(evening, street, stack),
            _three_times(evening, street, stack),
            _every_node(evening, street, house, now),
            _full(evening, street, small),
        )


def rows(stack: Stack) -> list[dict[str, Any]]:
    """All rows of the database, as they are now."""
    path = stack.home / "db" / "nightbell.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT {COLUMNS} FROM mailbox_message")]


def _spool(stack: Stack) -> list[str]:
    return sorted(path.name for path in (stack.home / "phone" / "spool").glob("[!.]*"))


def _active(stack: Stack) -> float:
    """What the installation's health says of calls that are up."""
    text = httpx.get(f"http://127.0.0.1:{stack.environment['NIGHTBELL_METRICS_PORT']}/metrics").text
    found = [line for line in text.splitlines() if line.startswith("nightbell_calls ")]
    return float(found[0].split()[1])


def _look(evening: Evening, stack: Stack) -> None:
    """Wait until all is taken in, then note what there is."""
    answered = sum(call.code == 200 for call in evening.calls)
    ends = time.monotonic() + 20
    while time.monotonic() < ends and (len(rows(stack)) < answered or _spool(stack)):
        time.sleep(0.2)
    evening.rows, evening.spool = rows(stack), _spool(stack)
    wait_for("no call to be up", lambda: _active(stack) == 0 or None, 15, every=0.5)
    evening.active = _active(stack)
    for at, practice in enumerate(stack.demo["practices"]):
        with stack.client("clinician", at) as client:
            for row in evening.rows:
                if row["practice_id"] == practice["id"]:
                    answer = client.get(f"/messages/{row['id']}")
                    assert answer.status_code == 200, (evening.seed, row, stack.log.read_text()[-3000:])
                    row["number"] = answer.json()["callback_number"]


def _houses(root: Path) -> tuple[House, House]:
    house, small = House(root / "house"), House(root / "small")
    made = lines("en", clock.utc_now())
    house.lines = {name: made[name] for name in ("default", "limit")}
    for dialled, line in ((DIALLED, "default"), (LIMITED, "limit")):
        house.numbers[dialled] = {"practice": PRACTICE, "mailbox": PRACTICE, "line": line}
    (house.folder / "snapshot.json").write_bytes(house.signed(1))
    (small.folder / "snapshot.json").write_bytes(
        small.signed(1, limits={"max_calls": FULL, "drain_seconds": 3})
    )
    return house, small


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, House]]:
    both = _houses(tmp_path_factory.mktemp("phones"))
    yield both
    for house in both:
        house.stop()


@pytest.fixture(scope="session")
def evening(tmp_path_factory: pytest.TempPathFactory, houses: tuple[House, House]) -> Iterator[Evening]:
    """Everything at once, so that a minute and a half is enough for it."""
    root = tmp_path_factory.mktemp("evening")
    (root / "no-models").mkdir()
    seed, began = _seed(), time.monotonic()
    print(f"NIGHTBELL_TEST_SEED={seed}")
    evening = Evening(seed)
    with running(root, NIGHTBELL_MODELS=str(root / "no-models")) as stack:
        asyncio.run(_spend(evening, stack, *houses))
        _look(evening, stack)
    used = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    print(f"{time.monotonic() - began:.0f} s, CPU {cpu:.0f} s")
    yield evening
