"""bench/growth: samples of a phone under calls that never stop, their slope, and what was left behind."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from bench.calls_run import family, memory_kb
from bench.growth_run import NO_PATIENTS, Callers, Pace, Worker
from tests.phone.certs import Authority
from tests.phone.house import House

EVERY = 5.0
SETTLE = 40.0  # seconds: who never acknowledges holds a line for 32, who vanishes for 31
LIMIT_MIB_HOUR = 6.0
LEFT_FILES = 2  # between the count before and after
CALL = 75.0  # seconds that a call of a patient takes
AT_ONCE = 100
NIGHT = round(8 * 3600 / CALL * AT_ONCE)  # calls that are answered
BRIEF = Pace(tone=7.6, words=1.5, wait=0.3)
# Said before the tone, in the shortest words that there are.
CLIPS = {f"en/{clip}": "builtin:digit-1" for clip in ("notice-recorded", "record-short", "record-number")}


class Sample(NamedTuple):
    """seconds since the first call; memory in KiB; sockets and files are counts."""

    at: float
    memory: int
    files: int
    sockets: int


def sample(pid: int, began: float) -> Sample:
    """The process and its children as they are now."""
    files = sockets = 0
    for one in family(pid):
        for link in Path(f"/proc/{one}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue
            files += 1
            sockets += target.startswith("socket:")
    return Sample(time.monotonic() - began, memory_kb(pid), files, sockets)


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: growth a unit of the first coordinate, and its standard error."""
    count = len(points)
    if count < 3:
        return 0.0, 0.0
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    steep = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = sum((y - mean_y - steep * (x - mean_x)) ** 2 for x, y in points)
    return steep, (left / (count - 2) / spread) ** 0.5


def answered(kinds: Counter[str]) -> int:
    """Calls that a patient could have made: those of every kind that is answered and acknowledged."""
    return sum(count for name, count in kinds.items() if name not in NO_PATIENTS)


def simulated(calls: int) -> float:
    """Hours in which so many patients call, 100 at once."""
    return calls * CALL / AT_ONCE / 3600


async def drive(
    house: House, authority: Authority, calls: int, seconds: float, most: int, pace: Pace
) -> dict[str, Any]:
    """Calls for so long, or until `most` were answered, then quiet; the samples and what was counted."""
    pid = house.process.pid if house.process else 0
    worker = Worker(house)
    await worker.start()
    callers = Callers(house, authority, calls, pace)
    await callers.start()
    await callers.practise()
    before = sample(pid, time.monotonic())
    began, samples = time.monotonic(), [before]
    work = asyncio.create_task(callers.keep_calling())
    while time.monotonic() - began < seconds and answered(callers.kinds) < most:
        await asyncio.sleep(EVERY)
        samples.append(sample(pid, began))
        worker.clear()
    callers.stopping, lasted = True, time.monotonic() - began
    await work
    busiest = worker.most
    await asyncio.sleep(SETTLE)
    worker.clear()
    after = sample(pid, began)
    await callers.close()
    await worker.close()
    return {
        "before": before, "after": after, "samples": samples, "kinds": callers.kinds, "failed": callers.failed,
        "seconds": lasted, "captures": worker.captures, "unread": worker.unread, "most_calls": busiest, "health": worker.health,
    }  # fmt: skip


def figures(out: dict[str, Any], short: bool, log: str) -> dict[str, Any]:
    """What was found, beside its limits. short: an hour is one of the night that the calls stand for."""
    samples: list[Sample] = out["samples"]
    seconds: float = out["seconds"]
    warm = [one for one in samples if one.at > max(seconds / 4, 45)]
    a_minute, error = slope([(one.at / 60, float(one.memory)) for one in warm])
    kinds: Counter[str] = out["kinds"]
    patients = answered(kinds)
    hours = simulated(patients)
    an_hour = seconds / 60 / max(hours, 1e-9) if short else 60  # minutes
    hour = a_minute * an_hour / 1024
    health = out["health"]
    traces = [line for line in log.splitlines() if '"level":"error"' in line or "Traceback" in line]
    left = {
        "files": out["after"].files - out["before"].files, "sockets": out["after"].sockets - out["before"].sockets,
        "calls": health.get("active_calls"), "captures": health.get("open_captures"),
    }  # fmt: skip
    return {
        "minutes": round(seconds / 60, 1), "calls": kinds.total(), "calls_answered": patients,
        "hours_simulated": round(hours, 2), "packets_received": health.get("rtp", {}).get("received"),
        "packets_of_so_many_real_calls": round(patients * CALL * 50), "kinds": dict(kinds),
        "calls_at_once": out["most_calls"], "captures": out["captures"], "captures_unread": out["unread"],
        "failed": dict(out["failed"]),
        "memory_mib": {
            "before": _mib(out["before"]), "warm": _mib(warm[0]) if warm else None, "end": _mib(samples[-1]),
            "most": round(max(one.memory for one in samples) / 1024, 1), "after": _mib(out["after"]),
        },
        "memory_mib_hour": round(hour, 2), "memory_mib_hour_error": round(error * an_hour / 1024, 2),
        "bytes_a_call": round(a_minute * 1024 / max(1e-9, kinds.total() / (seconds / 60)), 1),
        "files": {"before": out["before"].files, "most": max(one.files for one in samples), "after": out["after"].files},
        "left": left, "error_lines": len(traces), "errors": traces[:3],
        "worst_lag_ms": health.get("worst_lag_ms"), "sip": health.get("sip"),
        "aims": {
            "memory_mib_hour": {"aim": LIMIT_MIB_HOUR, "got": round(hour, 2), "met": hour <= LIMIT_MIB_HOUR},
            "files_left": {"aim": LEFT_FILES, "got": left["files"], "met": left["files"] <= LEFT_FILES},
            "calls_left": {"aim": 0, "got": left["calls"], "met": left["calls"] == 0},
            "error_lines": {"aim": 0, "got": len(traces), "met": not traces},
            "captures_unread": {"aim": 0, "got": out["unread"], "met": not out["unread"]},
        },
    }  # fmt: skip


def _mib(one: Sample) -> float:
    return round(one.memory / 1024, 1)


def measure(calls: int, seconds: float, short: bool) -> dict[str, Any]:
    """One phone, its calls, and the figures."""
    root = Path(tempfile.mkdtemp(prefix="nightbell-bench-"))
    house = House(root, max_seconds=60, clips=CLIPS if short else {})
    (house.folder / "snapshot.json").write_bytes(
        house.signed(1, limits={"max_calls": 1000 if short else 400, "drain_seconds": 1})
    )
    (house.folder / "tls").mkdir()
    (root / "ca").mkdir()
    authority = Authority(root / "ca")
    pair = authority.issue("127.0.0.1")
    shutil.copy(pair.certificate, house.folder / "tls" / "sip.pem")
    shutil.copy(pair.key, house.folder / "tls" / "sip.key")
    try:
        house.start()
        most, pace = (NIGHT, BRIEF) if short else (10**9, Pace())
        out = asyncio.run(drive(house, authority, calls, seconds, most, pace))
        return figures(out, short, (house.home / "phone.log").read_text())
    finally:
        if house.process is not None:
            house.stop(signal.SIGTERM)
        shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    """Exit codes: 0 within the limits, 1 not."""
    parser = argparse.ArgumentParser(prog="bench/growth", description="Whether the phone grows under calls.")
    parser.add_argument("--quick", action="store_true", help="one and a quarter minutes, 30 calls at once")
    parser.add_argument(
        "--short",
        action="store_true",
        help=f"{NIGHT} answered calls, as in a night, each as short as can be: what a call leaves behind shows, not what its sound does. "
        f"hours_simulated counts calls that are answered, of {CALL:.0f} s each; packets_received stands beside the packets that so many "
        "such calls would send",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--minutes", type=float, default=0, help="20 unless told, at most 60 with --short")
    parser.add_argument("--calls", type=int, default=0, help="callers at once, 100 unless told")
    options = parser.parse_args()
    minutes = options.minutes or (60.0 if options.short else 1.25 if options.quick else 20.0)
    out = measure(options.calls or (30 if options.quick else AT_ONCE), minutes * 60, options.short)
    if options.json:
        print(json.dumps(out))
    else:
        for name, value in out.items():
            if name != "aims":
                print(f"{name}: {value}")
        for name, aim in out["aims"].items():
            print(f"{name}: {aim['got']} (at most {aim['aim']}): {'met' if aim['met'] else 'NOT met'}")
    return 0 if all(aim["met"] for aim in out["aims"].values()) else 1
