"""The load behind bench/faults: a call alone, a wave of calls, a siege; and the table of what they met."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.faults import ledger
from tests.faults.siege import PARTS, Report, Siege
from tests.faults.wave import Wave, keep_speech_busy, wave
from tests.stack import ROOT, Stack, running, wait_for

from nightbell.core.clock import parse_iso

UNDISTURBED_S, ALWAYS_S, MAY_MISS_S = 2.0, 60.0, 1.0
WORDS_MAY_TAKE_S = 10.0  # and once the length of the message


def alone(stack: Stack) -> dict[str, float]:
    """One urgent call of a real voice with nothing beside it: seconds from hang-up to notification and to words."""
    stack.call(ROOT / "samples" / "urgent.wav", "--digits", "1")
    ended = time.time()
    [kept] = wait_for("the words", lambda: stack.events("speech.kept"), 120)
    [message] = stack.messages()
    told = ledger.notified_at(stack, message["id"])
    assert told is not None
    limit = message["duration_s"] + WORDS_MAY_TAKE_S
    words = parse_iso(kept["at"]).timestamp() - ended
    return {
        "notification_s": round(told - ended, 3), "words_s": round(words, 2), "words_limit_s": round(limit, 2),
        "words_of_limit": round(words / limit, 3),
    }  # fmt: skip


def _latency(seconds: list[float]) -> dict[str, float]:
    return {
        name: round(ledger.quantile(seconds, q), 3) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def table(lone: dict[str, float] | None, met: Wave, siege: Report) -> dict[str, Any]:
    """The JSON object: figures, each beside its limit or peer."""
    verdicts = [met.verdict, siege.verdict]
    lost = sum(len(v.lost) for v in verdicts)
    doubled = sum(len(v.doubled) for v in verdicts)
    unalerted = sum(len(v.unalerted) for v in verdicts)
    missing = round(max(v.worst_missing_s for v in verdicts), 2)
    undisturbed, killed = _latency(met.verdict.notified_after_s), _latency(siege.verdict.notified_after_s)
    aims = {
        "lost_messages": (0, lost), "doubled_messages": (0, doubled), "urgent_without_notification": (0, unalerted),
        "worst_missing_audio_s": (MAY_MISS_S, missing),
        "notification_undisturbed_max_s": (UNDISTURBED_S, undisturbed["max"]),
        "notification_with_kills_max_s": (ALWAYS_S, killed["max"]),
    }  # fmt: skip
    return {
        "kills": siege.kills,
        "calls": sum(v.calls for v in verdicts),
        "calls_of_over_two_seconds": sum(v.heard for v in verdicts),
        "calls_cut_by_a_kill": siege.verdict.cut,
        "lost_messages": lost,
        "doubled_messages": doubled,
        "urgent_without_notification": unalerted,
        "worst_missing_audio_s": missing,
        "restart_s": {part: _latency(siege.restarts_s[part]) for part in PARTS},
        "notification_s": {
            "alone": lone and lone["notification_s"], "undisturbed": undisturbed | {"limit": UNDISTURBED_S},
            "with_kills": killed | {"limit": ALWAYS_S},
        },
        "words_of_one_call_alone": lone,
        "readers": met.reading,
        "speech_jobs_waiting": met.speech_jobs_left,
        "load_average": met.load,
        "aims": {name: {"aim": aim, "got": got, "met": got <= aim} for name, (aim, got) in aims.items()},
    }  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, Any]:
    quick = options.quick
    with tempfile.TemporaryDirectory(prefix="nightbell-bench-") as folder, running(Path(folder)) as stack:
        lone = None if quick else alone(stack)
        keep_speech_busy(stack, 6 if quick else 20)
        met = wave(stack, 5000, *((10, 5, 5, 9.0) if quick else (20, 8, 10, 22.0)))
        siege = Siege(stack, options.seed, 3 if quick else 4).run(options.kills)
    return table(lone, met, siege)


def main() -> int:
    """Exit codes: 0 measured, 1 could not be measured."""
    parser = argparse.ArgumentParser(
        prog="bench/faults", description="Lost, doubled, late: under kills and load."
    )
    parser.add_argument("--quick", action="store_true", help="one kill of each part, within 60 seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--kills", type=int, default=0, help="of each part; default 10, quick 1")
    parser.add_argument("--seed", type=int, default=20261124)
    options = parser.parse_args()
    options.kills = options.kills or (1 if options.quick else 10)
    out = measure(options)
    if options.json:
        print(json.dumps(out))
        return 0
    for name, aim in out["aims"].items():
        print(
            f"{name:32} {aim['got']:>8}   aim at most {aim['aim']:>4}   {'met' if aim['met'] else 'MISSED'}"
        )
    print(f"kills {out['kills']}, calls {out['calls']}, notification {out['notification_s']}")
    print(f"restart {out['restart_s']}")
    print(f"one call alone {out['words_of_one_call_alone'] or 'not measured with --quick'}")
    return 0
