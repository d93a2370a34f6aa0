#!/usr/bin/env python3
"""Fuzz the parsers: with atheris, guided by what code is reached, or with our own mutator, the same each time.

    tests/fuzz/run.py [--target NAME] [--seconds S | --runs N] [--seed N] [--mutator]

Without --target all take turns. A line for each: executions, crashes, memory before and after. Inputs that crash are printed.
Exit codes: 0 none crashed, 1 some did.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
MANY = 1 << 31


def memory_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def mutated(name: str, runs: int, seconds: float, seed: int) -> int:
    """Our own mutator; how many crashed."""
    from tests.fuzz.mutate import Mutator
    from tests.fuzz.targets import TARGETS

    target, seeds = TARGETS[name]
    mutator, crashes, count, slowest = Mutator(list(seeds()), seed), 0, 0, 0.0
    for _ in range(min(2_000, runs)):  # what is made once is there before memory is looked at
        with contextlib.suppress(Exception):
            target(mutator.one())
    before, ends = memory_kb(), time.monotonic() + seconds
    while count < runs and time.monotonic() < ends:
        data = mutator.one()
        began = time.process_time()
        try:
            target(data)
        except Exception:
            crashes += 1
            if crashes < 4:
                print(f"{name}: {data[:1000]!r}\n{traceback.format_exc(limit=-4)}")
        slowest = max(slowest, time.process_time() - began)
        count += 1
    print(
        f"{name}: {count} executions, {crashes} crashes, memory {before} -> {memory_kb()} KiB, slowest {slowest * 1000:.1f} ms"
    )
    return crashes


def guided(name: str, runs: int, seconds: float, seed: int) -> int:
    """atheris in a child, since it ends its process; whether it crashed."""
    with tempfile.TemporaryDirectory(prefix="nightbell-fuzz-") as folder:
        command = [
            sys.executable,
            __file__,
            "--child",
            name,
            "--runs",
            str(runs),
            "--seconds",
            str(seconds),
            "--seed",
            str(seed),
        ]
        out = subprocess.run([*command, "--folder", folder], capture_output=True, text=True, check=False)
        told = out.stderr + out.stdout
        done = re.findall(r"^Done (\d+) runs in (\d+)", told, re.MULTILINE)
        memory = [int(one) for one in re.findall(r"rss: (\d+)Mb", told)]
        cover = re.findall(r"cov: (\d+)", told)
        if out.returncode:
            print(told[-4000:])
        print(
            f"{name}: {done[-1][0] if done else '?'} executions by atheris, {int(out.returncode != 0)} crashes,"
            f" coverage {cover[-1] if cover else '?'}, memory {memory[len(memory) // 2] if memory else '?'} ->"
            f" {memory[-1] if memory else '?'} MiB"
        )
        return int(out.returncode != 0)


def child(options: argparse.Namespace) -> None:
    """The process of `guided`."""
    import atheris

    with atheris.instrument_imports(
        include=["nightbell.sip", "nightbell.phone", "nightbell.adapters.carriers", "nightbell.core"]
    ):
        from tests.fuzz.targets import TARGETS
    target, seeds = TARGETS[options.child]
    corpus = Path(options.folder) / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds()):
        (corpus / str(number)).write_bytes(data)
    os.chdir(options.folder)
    limits = [f"-runs={options.runs}", f"-max_total_time={int(options.seconds)}"]
    atheris.Setup(
        ["fuzz", str(corpus), *limits, f"-seed={options.seed or 1}", "-max_len=8192", "-timeout=5", "-rss_limit_mb=1024",
         "-print_final_stats=1"], target,
    )  # fmt: skip
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/fuzz/run.py", description="Fuzz the parsers.")
    parser.add_argument("--target", action="append", help="one of them; may be given again")
    parser.add_argument("--runs", type=int, default=MANY, help="executions of each")
    parser.add_argument("--seconds", type=float, default=0, help="for each; 60 if nothing is said")
    parser.add_argument("--seed", type=int, default=4475)
    parser.add_argument("--mutator", action="store_true", help="our own mutator in place of atheris")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.seconds = options.seconds or (60.0 if options.runs == MANY else 86_400.0)
    if options.child:
        child(options)
        return 0
    from tests.fuzz.targets import TARGETS

    way = mutated if options.mutator else guided
    crashes = [way(name, options.runs, options.seconds, options.seed) for name in options.target or TARGETS]
    return int(any(crashes))


if __name__ == "__main__":
    raise SystemExit(main())
