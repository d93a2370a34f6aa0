"""The audit store or the disk takes nothing more: reading closes, calls go on, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.callers import Callers, Placed, plan
from tests.faults import ledger
from tests.stack import ROOT, Stack, wait_for

# Disks of their own for database and spool, in a mount namespace that ends with the product.
DISKS = """
mount -t tmpfs -o size=24m tmpfs "$NIGHTBELL_HOME/db" &&
mount -t tmpfs -o size=20m tmpfs "$NIGHTBELL_HOME/phone/spool" && exec "$@"
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = _without_words(tmp_path_factory.mktemp("closed"))
    for name in ("db", "phone/spool"):
        (stack.home / name).mkdir(parents=True)
    (stack.home / "making").touch()  # this home's making has begun
    stack.prefix = ("unshare", "-rm", "sh", "-c", DISKS, "sh")
    stack.start()
    stack.inside = Path(f"/proc/{stack.pid('worker')}/root{stack.home}")  # type: ignore[attr-defined]
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def callers(stack: Stack) -> Iterator[Callers]:
    with Callers(stack.uri()) as callers:
        yield callers


def _without_words(root: Path) -> Stack:
    """Its callers send noise and nothing here asks for words: loading a model for them would be most of the work."""
    return Stack(root, fresh=True, NIGHTBELL_MODELS=str(root / "no-models"))


def _home(stack: Stack) -> Path:
    return stack.inside  # type: ignore[attr-defined,no-any-return]


def _call(callers: Callers, seed: int, seconds: float = 3.0, urgent: bool = False) -> Placed:
    return callers.place(plan(seed, seconds, urgent)).result(90)


def _messages(stack: Stack) -> int:
    return len(ledger.rows(stack, "SELECT id FROM mailbox_message", home=_home(stack)))


def _captures(stack: Stack) -> list[Path]:
    return sorted((_home(stack) / "phone" / "spool").glob("0*"))


SESSION = """
import sys
from nightbell.server.django_setup import setup
setup()
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from nightbell.people.models import User
user = User.objects.get(login=sys.argv[1])
store = SessionStore()
store[SESSION_KEY] = str(user.pk)
store[BACKEND_SESSION_KEY] = "allauth.account.auth_backends.AuthenticationBackend"
store[HASH_SESSION_KEY] = user.get_session_auth_hash()
store.save()
print(store.session_key)
"""


def _session(stack: Stack) -> str:
    """A signed-in person's cookie, made in the namespace of the product."""
    return "__Host-nightbell=" + _inside(stack, SESSION, stack.user("clinician")["login"]).strip()


def _inside(stack: Stack, code: str, *arguments: str) -> str:
    """Run Python where the product sees its disks."""
    spaces = Path(f"/proc/{stack.pid('worker')}/ns")
    command = ["nsenter", f"--user={spaces / 'user'}", f"--mount={spaces / 'mnt'}", "--preserve-credentials"]
    done = subprocess.run(
        [*command, sys.executable, "-c", code, *arguments],
        env=stack.environment | {"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


EXECUTE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=20)
connection.execute(sys.argv[2])
connection.commit()
"""


def _fill(folder: Path) -> Path:
    """Take all that is left of a disk."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65536, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return path


@contextlib.contextmanager
def _refusing(stack: Stack) -> Iterator[None]:
    """An audit table that takes no row."""

    database = str(stack.home / "db" / "nightbell.sqlite3")
    refuse = "CREATE TRIGGER closed BEFORE INSERT ON audit_event BEGIN SELECT RAISE(ABORT, 'read-only'); END"
    _inside(stack, EXECUTE, database, refuse)
    try:
        yield
    finally:
        _inside(stack, EXECUTE, database, "DROP TRIGGER closed")


@contextlib.contextmanager
def _full(stack: Stack) -> Iterator[None]:
    """A database disk without a free byte."""
    ballast = _fill(_home(stack) / "db")
    try:
        yield
    finally:
        ballast.unlink()


@pytest.mark.parametrize(("close", "seed"), [(_refusing, 10), (_full, 20)], ids=["read-only", "full disk"])
def test_reading_closes_and_calls_are_still_recorded(
    stack: Stack, callers: Callers, close: Callable[[Stack], Any], seed: int
) -> None:
    _call(callers, seed)
    wait_for("the first message", lambda: not _captures(stack) and _messages(stack), 20)
    before, cookie = _messages(stack), _session(stack)
    with stack.client("clinician") as client:
        message = client.get("/messages").json()["items"][0]["id"]
        assert client.get(f"{stack.url}/m/{message}/", headers={"Cookie": cookie}).status_code == 200
        with close(stack):
            for path in ("/messages", f"/messages/{message}", f"/messages/{message}/audio"):
                answer = client.get(path)
                assert answer.status_code == 503, path
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == 503
            for path in ("/", f"/m/{message}/"):
                page = client.get(stack.url + path, headers={"Cookie": cookie})
                assert page.status_code == 503, path
                assert page.headers["content-type"].startswith("text/html")
            call = _call(callers, seed + 1, urgent=True)
            assert call.ended_by == "us"
            wait_for("the capture", lambda: len(_captures(stack)) == 1, 10)
            assert _messages(stack) == before
            wait_for("red health", lambda: _check(stack, "audit") is False, 45, every=1)
        wait_for("the message once it can be written", lambda: _messages(stack) == before + 1, 20)
        wait_for("green health", lambda: _check(stack, "audit") is True, 45, every=1)
        assert client.get("/messages").status_code == 200
    whole = ledger.judge(stack, [call], home=_home(stack))
    assert whole.good, whole.line()
    assert whole.worst_missing_s == 0.0
    assert whole.alerted == 1


def _status(stack: Stack) -> dict[str, Any]:
    return dict(json.loads(stack.command("status", "--json", check=False).stdout))


def _check(stack: Stack, name: str) -> bool | None:
    check = _status(stack)["checks"].get(name)
    return bool(check["ok"]) if check else None


def _counted(stack: Stack) -> dict[str, int]:
    phones = _status(stack)["phones"]
    return dict(phones[0]["captures"]) if phones and "captures" in phones[0] else {}


def test_a_full_spool_is_said_counted_and_survived(stack: Stack, callers: Callers) -> None:
    pids = {part: stack.pid(part) for part in ("phone", "worker")}
    before, folder = _messages(stack), _home(stack) / "phone" / "spool"
    ballast = [_fill(folder)]
    on_reserve = _call(callers, 31)
    assert on_reserve.ended_by == "us"
    wait_for("the message that the reserve took", lambda: _messages(stack) == before + 1, 20)
    ballast.append(_fill(folder).rename(folder / "ballast2"))
    refused = _call(callers, 32)
    assert (refused.ended_by, refused.said_at) == (
        "them",
        [],
    )  # told that there is trouble, not left to speak
    wait_for("it to be counted", lambda: _counted(stack).get("failed", 0) >= 1, 20, every=1)
    for path in folder.glob("ballast*"):
        path.unlink()
    kept = _call(callers, 33)
    assert kept.ended_by == "us"
    wait_for(
        "the next message",
        lambda: ledger.judge(stack, [kept], home=_home(stack)).heard == 1 and not _captures(stack),
        20,
    )
    verdict = ledger.judge(stack, [on_reserve, kept], home=_home(stack))
    assert verdict.good, verdict.line()
    assert {part: stack.pid(part) for part in pids} == pids


def test_without_its_database_the_line_answers_and_the_rest_follows(tmp_path: Path) -> None:
    stack = _without_words(tmp_path)
    stack.start()
    stack.stop()
    database = stack.home / "db" / "nightbell.sqlite3"
    away = stack.root / "database"
    database.rename(away)
    database.write_bytes(b"no database" * 1000)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(stack.start, 120)
        try:
            wait_for(
                "the trouble to be told", lambda: "Calls are taken and sealed" in stack.log.read_text(), 30
            )
            with Callers(stack.uri()) as callers:
                placed = _call(callers, 41)
            assert placed.ended_by == "us"
            assert len(ledger.spool(stack)) == 1
            assert not started.done()
            said = stack.command("audit", "verify", check=False)
            assert (said.returncode, said.stderr.count("\n")) == (1, 1)
            assert "the database cannot be used: file is not a database" in said.stderr
            away.replace(database)
            started.result()
            wait_for("the message", lambda: not ledger.spool(stack) and stack.messages(), 30)
        finally:
            stack.stop()
