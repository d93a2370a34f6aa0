"""bench/calls: the most calls that go through without a loss, and what a second engine brings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bench.calls_run import clean, phone_run

ENOUGH = 4  # cores: two for the engines, two for the callers' signalling and their sound
STEP, MOST = 200, 2000  # the phone takes no more at once, whatever its line says

Run = dict[str, Any]


def climb(
    calls: int, least: int, run: Callable[[int], Run], may: Callable[[int], bool]
) -> tuple[list[Run], bool]:
    """More and more calls until one run is not clean (see `clean`, most=least). True: the time was over before that."""
    runs: list[Run] = []
    while calls <= MOST:
        if not may(calls):
            return runs, True
        runs.append(run(calls))
        if not clean(runs[-1], least):
            break
        calls += STEP
    return runs, False


def most_of(runs: list[Run], least: int) -> int:
    """The highest number of calls of which nothing was lost, 0 for none."""
    return max((run["calls"] for run in runs if clean(run, least)), default=0)


def scaling(calls: int, seconds: float, cores: list[int], one: Run | None) -> Run:
    """So many calls with one process, and as many on each of two engines with SIP in front of them, all on the same core.
    one: the first of these runs, if there was one."""
    one = one or phone_run(calls, seconds, True, cores)
    two = phone_run(2 * calls, seconds, True, cores, 2)
    return {
        "calls": calls,
        "cores_of_this_machine": os.cpu_count(),
        "one_engine": _carried(one),
        "two_engines": _carried(two),
        "two_cores_carry_times_one": round(2 * one["cpu_s_per_60_s_call"] / two["cpu_s_per_60_s_call"], 2),
    }


def _carried(run: Run) -> Run:
    return {
        "calls_of_60_s_per_cpu_second": round(1 / run["cpu_s_per_60_s_call"], 1),
        "cpu_s_per_60_s_call": round(run["cpu_s_per_60_s_call"], 4),
        "clean": clean(run, run["calls"]),
    }


def _unmeasured(out: Run) -> str:
    """Why there is no figure for two cores."""
    cores = out["cores_of_this_machine"] or 1
    if cores >= ENOUGH:
        return "what two cores carry was not measured: with --scale it is not asked for"
    return f"this machine has {cores} cores and the callers need one of them, so what two cores carry was not measured"


def show_scaling(out: Run, most: int) -> None:
    """In words. most: the most calls that one process carried on one core."""
    one, two = (out[name]["calls_of_60_s_per_cpu_second"] for name in ("one_engine", "two_engines"))
    print(
        f"{out['calls']} calls at once on each engine, of 60 s, for each CPU-second of the phone: {one} with one engine, {two} with two "
        "(their processes and the one in front that has SIP counted together)"
    )
    measured = out.get("calls_of_two_engines_on_two_cores")
    if measured is None:
        print(
            f"{_unmeasured(out)}: it follows from the CPU that a call costs, and holds while SIP does not fill a core"
        )
    else:
        more = ", and more were not tried" if out["cut_short"] else ""
        print(
            f"measured, nothing lost: two engines on two cores {measured} calls{more}, one on one core {most}"
        )
    print(
        f"two cores carry {out['two_cores_carry_times_one']} x one (2 x CPU per call with one / with two engines)"
    )
