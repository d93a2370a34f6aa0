"""Risk no. 3: twenty calls at once, speech busy, ten readers: the urgent notification leaves in time.

The only timed assertions of this tier; both bounds are the issue's: 2 s when nothing was killed, 60 s always.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.callers import Callers, plan
from tests.faults import ledger, readers
from tests.faults.fill import fill, offer
from tests.stack import Stack, running, wait_for

CALLS, READERS, URGENT = 20, 10, 8
UNDISTURBED_S, ALWAYS_S = 2.0, 60.0


@dataclass
class Wave:
    """What one wave of calls met."""

    verdict: ledger.Verdict
    reading: dict[str, Any]
    speech_jobs_left: int
    load: str
    killed: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"{self.verdict.line()}; readers {self.reading}; {self.speech_jobs_left} jobs left; {self.load}"
        )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("contention")) as stack:
        for capture in fill(stack, stack.root / "made", 20, 8.0):
            offer(stack, capture)
        wait_for("speech to be busy", lambda: stack.events("speech_started"), 60)
        yield stack


def _jobs_left(stack: Stack) -> int:
    return int(ledger.rows(stack, "SELECT COUNT(*) AS n FROM store_job WHERE ended_at IS NULL")[0]["n"])


def _wave(stack: Stack, first: int, kill: tuple[str, ...] = ()) -> Wave:
    """CALLS calls that end within a second or two of one another, with readers all along."""
    dice = random.Random(first)
    reading = readers.start(stack, 22.0, READERS)
    killed = []
    with Callers(stack.uri()) as callers:
        waiting = [
            callers.place(plan(first + n, dice.uniform(3.0, 5.0), urgent=n < URGENT)) for n in range(CALLS)
        ]
        for part in kill:
            wait_for("somebody to speak", lambda: callers.speaking(1.0), 60, 0.02)
            time.sleep(dice.uniform(0.3, 1.5))
            os.kill(stack.pid(part), 9)
            killed.append(part)
        for one in waiting:
            one.result(120)
        calls = list(callers.calls)
    answers = readers.result(reading)
    wait_for("captures and alerts to settle", lambda: ledger.settled(stack), 90)
    left, load = _jobs_left(stack), Path("/proc/loadavg").read_text().strip()
    return Wave(ledger.judge(stack, calls), answers, left, load, killed)


@pytest.fixture(scope="module")
def quiet(stack: Stack) -> Wave:
    wave = _wave(stack, 5000)
    print("nothing killed:", wave.line())
    return wave


@pytest.fixture(scope="module")
def stormy(stack: Stack, quiet: Wave) -> Wave:
    wave = _wave(stack, 6000, kill=("worker", "web"))
    print("worker and web killed:", wave.line())
    return wave


def test_it_notifies_within_two_seconds_of_hang_up_when_nothing_was_killed(quiet: Wave) -> None:
    assert quiet.verdict.alerted == URGENT
    assert max(quiet.verdict.notified_after_s) < UNDISTURBED_S


def test_it_notifies_within_a_minute_whatever_was_killed(stormy: Wave) -> None:
    assert stormy.killed == ["worker", "web"]
    assert stormy.verdict.alerted == URGENT
    assert max(stormy.verdict.notified_after_s) < ALWAYS_S


def test_speech_was_busy_all_along(quiet: Wave, stormy: Wave) -> None:
    assert quiet.speech_jobs_left > 0
    assert stormy.speech_jobs_left > 0


def test_readers_were_served_and_never_failed(quiet: Wave) -> None:
    assert set(quiet.reading["statuses"]) == {"200", "206"}


@pytest.mark.parametrize("wave", ["quiet", "stormy"])
def test_every_call_is_kept_whole_and_once(wave: str, request: pytest.FixtureRequest) -> None:
    verdict = request.getfixturevalue(wave).verdict
    assert verdict.good, verdict.line()
    assert verdict.heard == CALLS
    assert verdict.worst_missing_uncut_s == 0.0


def test_the_log_is_whole(stack: Stack, stormy: Wave) -> None:
    done = stack.command("audit", "verify", "--json", check=False)
    assert done.returncode == 0, done.stdout
    assert all(log["ok"] for log in json.loads(done.stdout))
