"""A home without a supervisor: its parts are started by the test, so that they die where they are told to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.faults import ledger
from tests.stack import Stack, wait_for


def start(stack: Stack, part: str, point: str = "", words: bool = True) -> subprocess.Popen[bytes]:
    """words: False gives it no speech model, where nothing asks for words any more. Then no job may wait for them:
    without a model it would be given up."""
    more = {"NIGHTBELL_KILL_AT": point} if point else {}
    more |= {} if words else {"NIGHTBELL_MODELS": str(stack.root / "no-models")}
    with stack.log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "nightbell.server.cli", part],
            env=stack.environment | more, cwd=stack.root, stdout=out, stderr=out,
        )  # fmt: skip


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


def work_until(stack: Stack, query: str, message: str) -> None:
    """A worker runs until there is a row."""
    worker = start(stack, "worker", words=False)
    try:
        wait_for(query, lambda: ledger.rows(stack, query, message), 30)
    finally:
        stop(worker)


def made(root: Path) -> Stack:
    """A home that was made by a real start, with nothing running on it."""
    stack = Stack(root)
    stack.start()
    stack.stop()
    return stack


def actions_of(stack: Stack, message: str) -> list[str]:
    found = ledger.rows(stack, "SELECT action FROM audit_event WHERE message = ? ORDER BY seq", message)
    return [row["action"] for row in found]


def audit_is_whole(stack: Stack) -> bool:
    done = stack.command("audit", "verify", "--json", check=False)
    return done.returncode == 0 and all(log["ok"] for log in json.loads(done.stdout))
