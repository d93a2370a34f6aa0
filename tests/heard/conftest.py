"""Every way through the call flow, in both languages, as real calls whose sound is kept."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pytest
from tests.calls.street import Patient, Street
from tests.calls.walker import Walker, live
from tests.calls.ways import WAYS, lines, walk
from tests.calls.worker import Worker
from tests.heard.match import Heard, follow
from tests.phone.house import PRACTICE, House
from tests.sound import Samples

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.sip import g711

LANGUAGES = ("en", "es")
APART = 0.04  # seconds between two calls' beginnings


@dataclass
class Call:
    """One real call, and what it should be like. sound: 8000 samples a second, from the first packet on."""

    language: str
    line: str
    name: str
    walker: Walker
    patient: Patient
    sound: Samples

    def __str__(self) -> str:
        return f"{self.language}/{self.name}"


def _sound(patient: Patient) -> Samples:
    """The packets on their time line, whatever order they came in."""
    if not patient.heard:
        return np.zeros(0)
    first = patient.heard[0][0]
    placed = [((stamp - first) & 0xFFFFFFFF, payload) for stamp, payload in patient.heard]
    line = bytearray(b"\xff" * (max(at for at, _ in placed) + 160))
    for at, payload in placed:
        line[at : at + len(payload)] = payload
    return np.frombuffer(g711.decode(bytes(line), Codec.PCMU), "<i2").astype(np.float64)


@dataclass(frozen=True)
class Plan:
    """One call to make."""

    language: str
    line: str
    name: str
    dialled: str
    caller: str


def _plans() -> list[Plan]:
    """Each call with a caller of its own: a phone remembers whom it served."""
    plans: list[Plan] = []
    for at, language in enumerate(LANGUAGES):
        for number, (line, ways) in enumerate(WAYS.items()):
            for name in ways:
                caller = f"503556{len(plans):04d}"
                plans.append(Plan(language, line, name, f"55520{at}{number:04d}", caller))
    return plans


def _furnish(house: House, plans: list[Plan], now: datetime) -> None:
    made = {language: lines(language, now) for language in LANGUAGES}
    for plan in plans:
        key = f"{plan.language}.{plan.line}"
        house.lines[key] = made[plan.language][plan.line]
        house.numbers[plan.dialled] = {"practice": PRACTICE, "mailbox": PRACTICE, "line": key}
    (house.folder / "snapshot.json").write_bytes(house.signed(1))


async def _all(house: House, plans: list[Plan], now: datetime) -> list[Call]:
    snapshot = house.signed(1)
    worker = Worker(house.home / "run" / "control.sock", now, lambda: snapshot)
    async with Street(longest=110) as street, worker:
        house.start()
        jobs = []
        for plan in plans:
            walker = walk(
                house.lines[f"{plan.language}.{plan.line}"], WAYS[plan.line][plan.name], plan.caller, now
            )
            jobs.append(asyncio.create_task(_one(house, street, plan, walker)))
            await asyncio.sleep(APART)
        return list(await asyncio.gather(*jobs))


async def _one(house: House, street: Street, plan: Plan, walker: Walker) -> Call:
    async def script(patient: Patient) -> None:
        await live(patient, walker, walker.now / 1000 + 1.0)

    uri = f"sip:{plan.dialled}@127.0.0.1:{house.port}"
    patient = await street.call(uri, plan.caller, script, random.Random(plan.caller), keep=True)
    return Call(plan.language, plan.line, plan.name, walker, patient, _sound(patient))


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Call]]:
    """All at once, on one phone."""
    house, plans, now = House(tmp_path_factory.mktemp("heard")), _plans(), clock.utc_now()
    _furnish(house, plans, now)
    try:
        yield asyncio.run(_all(house, plans, now))
    finally:
        if house.process is not None:
            house.stop()


@pytest.fixture(scope="session")
def heard(calls: list[Call]) -> dict[str, list[Heard]]:
    """What each call heard, by its name."""
    return {str(call): follow(call.walker.sounded, call.sound, call.patient) for call in calls}
