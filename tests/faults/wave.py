"""Calls that all end at about the same time, while speech is busy and people read."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.callers import Callers, plan
from tests.faults import ledger, readers
from tests.faults.fill import fill, offer
from tests.stack import Stack, wait_for


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


def keep_speech_busy(stack: Stack, messages: int = 20) -> None:
    """Give the speech process more than it can do in the time of a wave."""
    for capture in fill(stack, stack.root / "made", messages, 8.0):
        offer(stack, capture)
    wait_for("speech to be busy", lambda: stack.events("speech_started"), 60)


def _jobs_left(stack: Stack) -> int:
    return int(ledger.rows(stack, "SELECT COUNT(*) AS n FROM store_job WHERE ended_at IS NULL")[0]["n"])


def wave(
    stack: Stack,
    first: int,
    calls: int,
    urgent: int,
    clients: int,
    seconds: float = 22.0,
    kill: tuple[str, ...] = (),
) -> Wave:
    """`calls` calls that end within a second or two of one another, with `clients` readers all along."""
    dice = random.Random(first)
    reading = readers.start(stack, seconds, clients)
    killed = []
    with Callers(stack.uri()) as callers:
        waiting = [
            callers.place(plan(first + n, dice.uniform(3.0, 5.0), urgent=n < urgent)) for n in range(calls)
        ]
        for part in kill:
            wait_for("somebody to speak", lambda: callers.speaking(1.0), 60, 0.02)
            time.sleep(dice.uniform(0.3, 1.5))
            os.kill(stack.pid(part), 9)
            killed.append(part)
        for one in waiting:
            one.result(120)
        placed = list(callers.calls)
    answers = readers.result(reading)
    wait_for("captures and alerts to settle", lambda: ledger.settled(stack), 90)
    left, load = _jobs_left(stack), Path("/proc/loadavg").read_text().strip()
    return Wave(ledger.judge(stack, placed), answers, left, load, killed)
