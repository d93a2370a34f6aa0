"""Ten thousand random schedules in all time zones, over changes of the clock: the product and an oracle agree."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tests.unit.oncall import oracle

from nightbell.oncall.rules import Duty

SCHEDULES = 10_000
SECOND = timedelta(seconds=1)


def _moments(dice: random.Random, case: oracle.Case, found: list[Duty]) -> Iterator[datetime]:
    """Anywhere, and just before, at and after edges, within what was asked for."""
    length = int((case.end - case.start).total_seconds())
    yield from (case.start + timedelta(seconds=dice.randrange(length)) for _ in range(3))
    edges = [edge for duty in found for edge in (duty.starts_at, duty.ends_at)]
    for edge in dice.sample(edges, min(2, len(edges))):
        yield from (at for at in (edge - SECOND, edge) if case.start <= at < case.end)


def _there(found: list[Duty], at: datetime) -> dict[int, set[str]]:
    people: dict[int, set[str]] = {}
    for duty in found:
        if duty.starts_at <= at < duty.ends_at:
            people.setdefault(max(duty.rank, 0), set()).add(duty.user)
    return people


def test_ten_thousand_schedules_are_as_the_oracle_has_them() -> None:
    seed = int(os.environ.get("NIGHTBELL_TEST_SEED") or random.SystemRandom().getrandbits(32))
    print(f"NIGHTBELL_TEST_SEED={seed}")
    dice = random.Random(seed)
    zones = dice.sample(oracle.ZONES, len(oracle.ZONES))
    asked = busy = 0
    for number in range(SCHEDULES):
        case = oracle.random_case(dice, ZoneInfo(zones[number % len(zones)]))
        found = case.rota.duties(case.start, case.end)
        for at in _moments(dice, case, found):
            expected = oracle.who(case.rota, at)
            assert _there(found, at) == expected, (seed, number, at, case)
            asked, busy = asked + 1, busy + bool(expected)
        if number % 4 == 0:
            at = case.start
            order = [duty.user for duty in case.rota.on_duty(at)]
            there = oracle.who(case.rota, at)
            ranks = {
                user: min(rank for rank in there if user in there[rank])
                for users in there.values()
                for user in users
            }
            assert set(order) == set(ranks), (seed, number, at, case)
            assert len(order) == len(set(order))
            assert [ranks[user] for user in order] == sorted(ranks.values()), "who is told first"
    assert len(zones) <= SCHEDULES  # each zone had its turn
    assert busy > asked / 4  # and most of what was asked was about somebody
