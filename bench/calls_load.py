"""bench/calls: the runs side by side, their figures and their aims."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
from pathlib import Path
from typing import Any

from bench.calls_bare import bare_run
from bench.calls_peer import rtpengine_run
from bench.calls_run import clean, phone_run

PEERS = {
    "asterisk_22_voicemail_400_calls": 0.118,
    "asterisk_22_voicemail_50_calls": 0.148,
    "yate_6_record_400_calls": 0.275,
}
AIM_CALLS, AIM_CPU, AIM_MS, AIM_KIB = 1000, 0.06, 12.0, 100.0
BASE = 400  # calls of the runs that are compared
STEP = 100
MOST = 2000  # calls that the phone takes at once, whatever its line says
COLUMNS = (
    ("calls", "calls", 6), ("sound", "sound", 6), ("steady", "CPU-s/call-min", 15), ("whole", "with set-up", 12),
    ("core", "core", 6), ("lost", "lost", 6), ("memory", "KiB/call", 9), ("invite", "INVITE-200 p50/p99 ms", 22),
    ("late", "late ticks", 11),
)  # fmt: skip


def pin(core: int) -> list[int]:
    """Keep this process to one core, where there are two, and before others, where we may; the other cores."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    with contextlib.suppress(OSError):  # where Linux weighs whole sessions against each other
        Path("/proc/self/autogroup").write_text("-10")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core]})
        return [cores[0]]
    return cores


def measure(options: argparse.Namespace, cores: list[int]) -> dict[str, Any]:
    """All runs, one after the other on the same core."""
    engine = (
        {"off": "not asked for"} if options.no_peer else rtpengine_run(min(options.calls, BASE), 8, cores[0])
    )
    bare = {name: _bare(options.calls, cores[0], name == "srtp") for name in ("plain", "srtp")}
    many = (options.processes,)
    plain = None if options.quick else phone_run(options.calls, options.seconds, False, cores, *many)
    runs = [phone_run(options.calls, options.seconds, True, cores, *many)]
    if not options.quick:
        calls = max(AIM_CALLS, options.calls + STEP)
        while clean(runs[-1], AIM_CALLS) and calls <= MOST:
            runs.append(phone_run(calls, options.seconds, True, cores, *many))
            calls += STEP
    return _figures(options, engine, bare, plain, runs)


def _bare(calls: int, core: int, encrypted: bool) -> dict[str, Any]:
    out = bare_run(calls, 4, encrypted, core)
    if out["packets"] < 0.95 * calls * 4 * 50:  # a starved sender would flatter the limit
        raise RuntimeError(
            f"the bare run got {out['packets']} of {calls * 200} packets: the machine is too busy"
        )
    return out


def _figures(
    options: argparse.Namespace,
    engine: dict[str, Any],
    bare: dict[str, Any],
    plain: Any,
    runs: list[dict[str, Any]],
) -> dict[str, Any]:
    first = runs[0]
    most = max((run["calls"] for run in runs if clean(run, AIM_CALLS)), default=0)
    cost, p99 = round(first["cpu_s_per_call_minute"], 4), first["invite_to_200_ms"]["p99"]
    memory = max(run["memory_kib_per_call"] for run in runs if run["calls"] <= max(AIM_CALLS, first["calls"]))
    aims = {
        "cpu_s_per_call_minute": {"aim": AIM_CPU, "got": cost, "met": cost <= AIM_CPU},
        "invite_to_200_p99_ms": {"aim": AIM_MS, "got": p99, "met": p99 <= AIM_MS},
        "memory_kib_per_call": {"aim": AIM_KIB, "got": memory, "met": memory <= AIM_KIB},
    }
    if not options.quick:
        aims["srtp_calls_per_core"] = {"aim": AIM_CALLS, "got": most, "met": most >= AIM_CALLS}
    return {
        "cpu_s_per_call_minute": cost,
        "steady_cpu_s_per_call_minute": round(first["steady_cpu_s_per_call_minute"], 4),
        "limit_receive_decrypt_seal_cpu_s_per_call_minute": round(bare["srtp"]["cpu_s_per_call_minute"], 4),
        "limit_receive_seal_cpu_s_per_call_minute": round(bare["plain"]["cpu_s_per_call_minute"], 4),
        "rtpengine": engine,
        "peers_of_another_day_cpu_s_per_call_minute": PEERS,
        "srtp_calls_without_a_lost_packet": most,
        "memory_kib_per_call": memory,
        "invite_to_200_ms": first["invite_to_200_ms"],
        "processes": options.processes,
        "runs": [_rounded(run) for run in ([plain] if plain else []) + runs],
        "aims": aims,
    }  # fmt: skip


def _rounded(run: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in run.items()}


def show(out: dict[str, Any]) -> None:
    """The figures as a table."""
    print("20 ms G.711, every frame looked for; sound 'srtp': over TLS, SDES, AES-256-GCM")
    print(" ".join(f"{title:>{width}}" for _, title, width in COLUMNS))
    for run in out["runs"]:
        invite = run["invite_to_200_ms"]
        values = (
            run["calls"], "srtp" if run["encrypted"] else "plain", f"{run['steady_cpu_s_per_call_minute']:.4f}",
            f"{run['cpu_s_per_call_minute']:.4f}", f"{run['core_percent']:.0f}%", run["lost_packets"],
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
    for name, aim in out["aims"].items():
        print(f"{name}: {aim['got']} (aim {aim['aim']}): {'met' if aim['met'] else 'NOT met'}")


def main() -> int:
    """Exit codes: 0 measured, 1 could not be measured."""
    parser = argparse.ArgumentParser(
        prog="bench/calls", description="Cost of recorded and sealed calls on one core."
    )
    parser.add_argument("--quick", action="store_true", help="one encrypted run, within 60 seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--calls", type=int, default=0, help="calls at once in the first run")
    parser.add_argument("--seconds", type=float, default=0, help="recording time with all calls up")
    parser.add_argument("--processes", type=int, default=1, help="processes of the phone")
    parser.add_argument("--no-peer", action="store_true", help="without rtpengine")
    options = parser.parse_args()
    options.calls = options.calls or BASE
    options.seconds = options.seconds or (8.0 if options.quick else 30.0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    out = measure(options, pin(1))
    if options.json:
        print(json.dumps(out))
    else:
        show(out)
    return 0
