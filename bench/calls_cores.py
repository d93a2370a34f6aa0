"""bench/calls --cores: what two cores carry against one, measured where the callers need a core of their own.

The phone gets the same small share of each core (CFS bandwidth control of Linux), so the callers keep the rest of both.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.calls_run import RATE, clean, phone_run

PART = 0.3  # of a core
PERIOD = 50_000  # microseconds in which it gets its part: a core takes 5,000 of it at a time
FIRST, STEP = 475, 25  # calls, of each core
AIM = 1.8
ROOTS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))  # version 1, version 2


def _limit(folder: Path, microseconds: int) -> None:
    if (folder / "cpu.cfs_quota_us").exists():
        (folder / "cpu.cfs_period_us").write_text(str(PERIOD))
        (folder / "cpu.cfs_quota_us").write_text(str(microseconds))
    else:
        (folder / "cpu.max").write_text(f"{microseconds} {PERIOD}")


@contextlib.contextmanager
def share(cores: int) -> Iterator[tuple[str, ...]]:
    """A command's prefix that gives it PART of so many cores, all its processes together. RuntimeError where we may not."""
    root = next((one for one in ROOTS if os.access(one / "cgroup.procs", os.W_OK)), None)
    if root is None:
        raise RuntimeError("bench/calls --cores needs root and the cpu controller of cgroups")
    folder = root / "nightbell-bench"
    folder.mkdir(exist_ok=True)
    try:
        _limit(folder, round(PART * cores * PERIOD))
        yield ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(folder / "cgroup.procs"))
    finally:
        folder.rmdir()


def most(calls: int, seconds: float, cores: list[int]) -> dict[str, Any]:
    """The most calls of which nothing is lost with one engine on each of the cores, and the runs that showed it."""
    runs: list[dict[str, Any]] = []
    step = STEP * len(cores)

    def holds(many: int) -> bool:
        runs.append(phone_run(many, seconds, True, cores, len(cores), prefix, PART * RATE * len(cores)))
        return clean(runs[-1], many)

    with share(len(cores)) as prefix:
        up = step if holds(calls) else -step
        while calls + up > 0:
            calls += up
            if holds(calls) != (up > 0):
                break
        holds(calls - up // 2)  # between the last that held and the first that did not
    carried = max((run["calls"] for run in runs if clean(run, run["calls"])), default=0)
    columns = ("calls", "lost_packets", "failed", "captures_missing", "core_percent", "cpu_s_per_60_s_call")
    return {"calls": carried, "runs": [{name: run[name] for name in columns} for run in runs]}


def two_against_one(seconds: float, cores: list[int]) -> dict[str, Any]:
    """Both figures and their ratio."""
    one = most(FIRST, seconds, cores[:1])
    two = most(round(AIM * one["calls"] / STEP / 2) * 2 * STEP, seconds, cores[:2])
    ratio = round(two["calls"] / max(1, one["calls"]), 2)
    return {"part_of_a_core": PART, "one": one, "two": two, "ratio": ratio, "step": STEP}


def show(out: dict[str, Any]) -> None:
    """In words, after the runs."""
    for name in ("one", "two"):
        for run in out[name]["runs"]:
            print(f"{name}: {run}")
    print(
        f"measured with {out['part_of_a_core']} of each core, encrypted and sealed, nothing lost, {out['step'] / 2} more on each lost some: "
        f"{out['one']['calls']} calls on one core, {out['two']['calls']} on two"
    )
    print(f"two cores carry {out['ratio']} x one (aim {AIM}): {'met' if out['ratio'] >= AIM else 'NOT met'}")
