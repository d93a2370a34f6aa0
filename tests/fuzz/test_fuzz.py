"""The short form of tests/fuzz/run.py: the same mutations each time, then a few seconds that are guided by coverage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import TARGETS

RUN = Path(__file__).with_name("run.py")
RUNS = {
    "stream": 500,
    "snapshot": 400,
    "headers": 800,
    "sound": 800,
    "sip": 6000,
}  # the costly ones less often
OTHERS = 2000


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_mutation_is_a_fault(name: str) -> None:
    target, seeds = TARGETS[name]
    for data in seeds():
        target(data)
    mutator = Mutator(list(seeds()), 4475)
    for _ in range(RUNS.get(name, OTHERS)):
        target(mutator.one())


def test_the_guided_fuzzer_runs_and_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "--target", "sip", "--seconds", "5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "executions by atheris, 0 crashes" in done.stdout
