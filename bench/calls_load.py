"""bench/calls: the runs side by side, their figures and their aims."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

from bench import calls_cores
from bench.calls_bare import bare_run
from bench.calls_peer import rtpengine_run
from bench.calls_run import RATE, WORDS, phone_run
from bench.calls_scale import ENOUGH, MOST, STEP, climb, most_of, scaling, show_scaling

PEERS = {
    "asterisk_22_voicemail_400_calls": 0.118,
    "asterisk_22_voicemail_50_calls": 0.148,
    "yate_6_record_400_calls": 0.275,
}
AIM_CALLS, AIM_CPU, AIM_MS, AIM_KIB = 1000, 0.06, 12.0, 100.0
BASE = 400  # calls of the runs that are compared
BUDGET = 690.0  # seconds for the whole: no run begins that would not end by then
COLUMNS = (
    ("calls", "calls", 6), ("sound", "sound", 6), ("steady", "CPU-s/call-min", 15),
    ("set_up", "set-up CPU-ms", 14), ("whole", "CPU-s/60 s call", 16), ("core", "core", 6), ("lost", "lost", 6), ("memory", "KiB/call", 9), ("invite", "INVITE-200 p50/p99 ms", 22),
    ("late", "late ticks", 11),
)  # fmt: skip


def pin() -> list[int]:
    """Keep this process to one core, or to two where there are four, and before others, where we may; the other cores."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    with contextlib.suppress(OSError):  # where Linux weighs whole sessions against each other
        Path("/proc/self/autogroup").write_text("-10")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[2:4] if len(cores) >= ENOUGH else cores[1:2])
    return cores[: 2 if len(cores) >= ENOUGH else 1]


class Clock:
    """What there is still time for. seconds: of recording in each run."""

    def __init__(self, seconds: float) -> None:
        self._began, self._seconds = time.monotonic(), seconds

    def may(self, calls: int) -> bool:
        """Whether a run with so many calls would end in time: placed, words, sound, hung up, every frame looked for."""
        lasts = 22 + WORDS + self._seconds + calls * (1.25 / RATE + 0.01)
        return time.monotonic() - self._began + lasts < BUDGET


def measure(options: argparse.Namespace, cores: list[int]) -> dict[str, Any]:
    """All runs, one after the other on the same core."""
    clock, one, calls, seconds = Clock(options.seconds), cores[:1], options.calls, options.seconds
    if options.scale:
        return {"scaling": scaling(calls, seconds, one, None)}
    engine = {"off": "not asked for"} if options.no_peer else rtpengine_run(min(calls, BASE), 8, cores[0])
    bare = {name: _bare(calls, cores[0], name == "srtp") for name in ("plain", "srtp")}
    runs = [phone_run(calls, seconds, True, one, options.processes)]
    if options.quick:
        return _figures(options, engine, bare, runs)
    runs.append(phone_run(calls, seconds, False, one, options.processes))
    scale = scaling(calls, seconds, one, runs[0] if options.processes == 1 else None)
    more, late = climb(
        max(AIM_CALLS, calls + STEP), AIM_CALLS,
        lambda many: phone_run(many, seconds, True, one, options.processes), clock.may,
    )  # fmt: skip
    if len(cores) > 1:
        both, cut = climb(calls, calls, lambda many: phone_run(many, seconds, True, cores, 2), clock.may)
        scale |= {
            "calls_of_two_engines_on_two_cores": most_of(both, calls),
            "cut_short": cut or most_of(both, calls) + STEP > MOST,
        }
    out = _figures(options, engine, bare, runs + more)
    return out | {"scaling": scale, "ended_by_the_clock": late}


def _bare(calls: int, core: int, encrypted: bool) -> dict[str, Any]:
    out = bare_run(calls, 4, encrypted, core)
    if out["packets"] < 0.95 * calls * 4 * 50:  # a starved sender would flatter the limit
        raise RuntimeError(
            f"the bare run got {out['packets']} of {calls * 200} packets: the machine is too busy"
        )
    return out


def _figures(
    options: argparse.Namespace, engine: dict[str, Any], bare: dict[str, Any], runs: list[dict[str, Any]]
) -> dict[str, Any]:
    first, encrypted = runs[0], [run for run in runs if run["encrypted"]]
    most = most_of(encrypted, AIM_CALLS)
    cost, p99 = round(first["cpu_s_per_60_s_call"], 4), first["invite_to_200_ms"]["p99"]
    memory = max(
        run["memory_kib_per_call"] for run in encrypted if run["calls"] <= max(AIM_CALLS, first["calls"])
    )
    aims = {
        "cpu_s_per_60_s_call": {"aim": AIM_CPU, "got": cost, "met": cost <= AIM_CPU},
        "invite_to_200_p99_ms": {"aim": AIM_MS, "got": p99, "met": p99 <= AIM_MS},
        "memory_kib_per_call": {"aim": AIM_KIB, "got": memory, "met": memory <= AIM_KIB},
    }
    if not options.quick:
        aims["srtp_calls_per_core"] = {"aim": AIM_CALLS, "got": most, "met": most >= AIM_CALLS}
    return {
        "cpu_s_per_60_s_call": cost,
        "set_up_cpu_ms_per_call": round(first["set_up_cpu_ms_per_call"], 1),
        "steady_cpu_s_per_call_minute": round(first["steady_cpu_s_per_call_minute"], 4),
        "limit_receive_decrypt_seal_cpu_s_per_call_minute": round(bare["srtp"]["cpu_s_per_call_minute"], 4),
        "limit_receive_seal_cpu_s_per_call_minute": round(bare["plain"]["cpu_s_per_call_minute"], 4),
        "rtpengine": engine,
        "peers_of_another_day_cpu_s_per_call_minute": PEERS,
        "srtp_calls_without_a_lost_packet": most,
        "memory_kib_per_call": memory,
        "invite_to_200_ms": first["invite_to_200_ms"],
        "processes": options.processes,
        "runs": [_rounded(run) for run in runs],
        "aims": aims,
    }  # fmt: skip


def _rounded(run: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in run.items()}


def show(out: dict[str, Any]) -> None:
    """The figures as a table."""
    if "runs" not in out:
        show_scaling(out["scaling"], 0)
        return
    print("20 ms G.711, every frame looked for; sound 'srtp': over TLS, SDES, AES-256-GCM")
    print(" ".join(f"{title:>{width}}" for _, title, width in COLUMNS))
    for run in out["runs"]:
        invite = run["invite_to_200_ms"]
        values = (
            run["calls"], "srtp" if run["encrypted"] else "plain", f"{run['steady_cpu_s_per_call_minute']:.4f}",
            f"{run['set_up_cpu_ms_per_call']:.1f}", f"{run['cpu_s_per_60_s_call']:.4f}", f"{run['core_percent']:.0f}%", run["lost_packets"],
            run["memory_kib_per_call"], f"{invite['p50']} / {invite['p99']}", run["late_ticks"],
        )  # fmt: skip
        print(" ".join(f"{value:>{width}}" for value, (_, _, width) in zip(values, COLUMNS, strict=True)))
    print(
        f"limit, bare receive, decrypt and seal: {out['limit_receive_decrypt_seal_cpu_s_per_call_minute']} CPU-s/call-min"
        f" ({out['limit_receive_seal_cpu_s_per_call_minute']} without decrypting)"
    )
    print(f"rtpengine, SRTP in, recording to pcap in clear, no SIP: {json.dumps(out['rtpengine'])}")
    if any(run["sender_starved"] for run in out["runs"]):
        print("a sender fell behind: the machine was too busy for the highest number of calls")
    if out.get("ended_by_the_clock"):
        print("more calls at once were not tried: the time was over")
    if "scaling" in out:
        show_scaling(out["scaling"], out["srtp_calls_without_a_lost_packet"])
    for name, aim in out["aims"].items():
        print(f"{name}: {aim['got']} (aim {aim['aim']}): {'met' if aim['met'] else 'NOT met'}")


ABOUT = """\
Cost of recorded and sealed calls on one core, in runs one after the other:
  rtpengine with the same packets; the bare cost of receiving and sealing them;
  400 encrypted calls, all up for 20 s; 400 plain ones; 800 encrypted ones with two engines;
  1,000 encrypted calls and 200 more in each run until packets are lost.
All of it ends within 12 minutes: no run begins that would not. --quick is the first encrypted run."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/calls", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one encrypted run, within 60 seconds")
    parser.add_argument("--scale", action="store_true", help="one engine and two, nothing else: two minutes")
    parser.add_argument(
        "--cores",
        action="store_true",
        help="what two cores carry against one, measured with a part of each (root, Linux): some fifteen minutes",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--calls", type=int, default=BASE, help="calls at once in the first run")
    parser.add_argument("--seconds", type=float, default=0, help="recording time with all calls up")
    parser.add_argument("--processes", type=int, default=1, help="processes of the phone")
    parser.add_argument("--no-peer", action="store_true", help="without rtpengine")
    options = parser.parse_args()
    options.seconds = options.seconds or (8.0 if options.quick else 20.0)
    return options


def main() -> int:
    """Exit codes: 0 measured, 1 could not be measured."""
    options = _options()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.disable()  # a look through the callers' objects would be measured as an answer that is late
    if options.cores:  # the callers need what the phone leaves of both: nothing is pinned but the phone
        out, words = (
            calls_cores.two_against_one(options.seconds, sorted(os.sched_getaffinity(0))),
            calls_cores.show,
        )
    else:
        out, words = measure(options, pin()), show
    if options.json:
        print(json.dumps(out))
    else:
        words(out)
    return 0
