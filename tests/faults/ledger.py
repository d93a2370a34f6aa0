"""What an installation under attack holds in the end, read from its own database, spool and outbox."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.callers import TICK, Index, Placed
from tests.stack import Stack

from nightbell.core.ids import is_ulid

SPOKE_S, MAY_MISS_S = 2.0, 1.0


def rows(stack: Stack, query: str, *values: object, home: Path | None = None) -> list[dict[str, Any]]:
    """A look into the database that takes no lock.

    home: where another mount namespace keeps it, seen through /proc. SQLite would follow that link to the
    wrong side, so the look goes into a copy.
    """
    if home is not None:
        return _rows_of_copy(home / "db", query, *values)
    return _rows(stack.home / "db" / "nightbell.sqlite3", query, *values)


def _rows_of_copy(folder: Path, query: str, *values: object) -> list[dict[str, Any]]:
    for attempt in range(20):
        with tempfile.TemporaryDirectory() as copy:
            for name in ("nightbell.sqlite3-wal", "nightbell.sqlite3"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(folder / name, Path(copy) / name)
            try:
                return _rows(Path(copy) / "nightbell.sqlite3", query, *values)
            except sqlite3.DatabaseError:  # copied in the middle of a checkpoint
                if attempt == 19:
                    raise
        time.sleep(0.2)
    return []


def _rows(path: Path, query: str, *values: object) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]


def ladder(stack: Stack, message: str) -> list[dict[str, Any]]:
    """The attempts about a message, by step."""
    return rows(
        stack,
        "SELECT a.* FROM oncall_attempt a JOIN oncall_alert l ON a.alert_id = l.id WHERE l.message_id = ? ORDER BY a.step, a.id",
        message,
    )


def spool(stack: Stack) -> list[str]:
    """Captures that are not messages yet."""
    return [p.name for p in (stack.home / "phone" / "spool").iterdir() if is_ulid(p.stem)]


def settled(stack: Stack) -> bool:
    """Nothing waits: no capture, no alert without a first attempt, no attempt that is not sent."""
    return (
        not spool(stack)
        and not rows(stack, "SELECT id FROM mailbox_message WHERE needs_alert")
        and not rows(stack, "SELECT id FROM oncall_attempt WHERE state = 'pending'")
        and not rows(stack, "SELECT id FROM oncall_alert WHERE step = 0")
    )


@dataclass
class Verdict:
    """Calls against messages. Lists hold the seeds of calls; figures are seconds."""

    calls: int = 0
    heard: int = 0  # callers who spoke long enough to count
    cut: int = 0  # of these, cut by a kill of the phone
    messages: int = 0
    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    holed: dict[int, float] = field(default_factory=dict)  # more than a second is missing
    worst_missing_s: float = 0.0
    worst_missing_uncut_s: float = 0.0
    unalerted: list[int] = field(default_factory=list)
    alerted: int = 0
    notified_after_s: list[float] = field(default_factory=list)  # hang-up to notification, urgent calls

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.holed or self.unalerted)

    def line(self) -> str:
        late = sorted(self.notified_after_s)
        return (
            f"{self.calls} calls, {self.heard} heard ({self.cut} cut), {self.messages} messages: lost {self.lost}, "
            f"doubled {self.doubled}, holed {self.holed}, without alert {self.unalerted}; worst missing "
            f"{self.worst_missing_s:.2f} s ({self.worst_missing_uncut_s:.2f} s uncut); {self.alerted} alerted, "
            f"notified after p50 {quantile(late, 0.5):.2f} p99 {quantile(late, 0.99):.2f} max {quantile(late, 1):.2f} s"
        )


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def sounds(stack: Stack, ids: list[str]) -> dict[str, bytes]:
    """The WAV of every message, as its clinician hears it."""
    with stack.client("clinician") as client:

        def fetch(message: str) -> tuple[str, bytes]:
            answer = client.get(f"/messages/{message}/audio")
            answer.raise_for_status()
            return message, answer.content

        with ThreadPoolExecutor(4) as pool:
            return dict(pool.map(fetch, ids))


def judge(stack: Stack, calls: list[Placed], home: Path | None = None) -> Verdict:
    """Compare every call with every message, frame by frame."""
    with_sound = "SELECT id FROM mailbox_message WHERE audio_bytes > 0"
    found = {row["id"] for row in rows(stack, with_sound, home=home)}
    index, owners = Index(calls), {}
    verdict = Verdict(calls=len(calls), messages=len(found))
    for message, wav in sounds(stack, sorted(found)).items():
        whose = index.whose(wav)
        if whose is not None:
            call, start = whose
            owners.setdefault(call.seed, []).append((message, len(index.missing(call, start, wav)) * TICK))
    for call in calls:
        _judge_one(stack, call, owners.get(call.seed, []), verdict, home)
    return verdict


def _judge_one(
    stack: Stack, call: Placed, mine: list[tuple[str, float]], verdict: Verdict, home: Path | None
) -> None:
    if len(mine) > 1:
        verdict.doubled.append(call.seed)
    if call.spoke_s <= SPOKE_S:
        return
    verdict.heard += 1
    verdict.cut += call.ended_by == "killed"
    if not mine:
        verdict.lost.append(call.seed)
        return
    message, missing = mine[0]
    verdict.worst_missing_s = max(verdict.worst_missing_s, missing)
    if call.ended_by == "us":
        verdict.worst_missing_uncut_s = max(verdict.worst_missing_uncut_s, missing)
    if missing > MAY_MISS_S:
        verdict.holed[call.seed] = round(missing, 2)
    if call.urgent:
        first = notified_at(stack, message, home)
        if first is None:
            verdict.unalerted.append(call.seed)
        else:
            verdict.alerted += 1
            verdict.notified_after_s.append(first - call.ended_at)


def notified_at(stack: Stack, message: str, home: Path | None = None) -> float | None:
    """Wall time at which the first notification about a message lay in the outbox; None: none did."""
    attempts = rows(
        stack,
        "SELECT a.id FROM oncall_attempt a JOIN oncall_alert l ON a.alert_id = l.id WHERE l.message_id = ?",
        message,
        home=home,
    )
    files = [stack.home / "outbox" / f"{attempt['id']}.eml" for attempt in attempts]
    times = [file.stat().st_mtime for file in files if file.exists()]
    return min(times, default=None)
