"""The worker dies between each pair of durable steps, once at each point; the next one goes on where it was.

No supervisor here: the worker is started by the test, so that it dies where it is told to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from tests.faults import ledger
from tests.faults.fill import fill, offer
from tests.faults.points import actions_of, audit_is_whole, made, start, stop, work_until
from tests.stack import ROOT, Stack, wait_for

# Those that leave a lease behind come first: it runs out while the others die.
SPEECH = ("speech.heard", "speech.uncommitted", "job.claimed")
ALERTS = ("alert.leased", "alert.sent", "alert.started", "alert.recorded")
INTAKE = ("intake.blob", "intake.key", "intake.uncommitted", "intake.stored")
UPKEEP = ("checkpoint.row",)
TOGETHER = (*ALERTS, *INTAKE)  # where the worker dies with two messages in hand
POINTS = (*SPEECH, *ALERTS, *INTAKE, *UPKEEP)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return made(tmp_path_factory.mktemp("points"))


@pytest.fixture(scope="module")
def messages(stack: Stack, besides: dict[str, str]) -> dict[str, str]:
    """By point: the message during which the worker died there. All are settled in the end."""
    folder, others = stack.root / "made", len(POINTS) - len(SPEECH)
    captures = fill(stack, folder, len(SPEECH), 2.5, "--urgent", "--words")
    captures += fill(stack, folder, others, 2.5, "--urgent", "--silent")  # no words: soon done
    beside = iter(fill(stack, folder, len(TOGETHER), 2.5, "--urgent", "--silent"))
    taken = {}
    for point, capture in zip(POINTS, captures, strict=True):
        if point in TOGETHER:
            besides[point] = offer(stack, next(beside))
        taken[point] = offer(stack, capture)
        worker = start(stack, "worker", point)
        assert worker.wait(240) == -signal.SIGKILL, point
    worker = start(stack, "worker")
    pending = "SELECT id FROM mailbox_message WHERE words = 'pending'"
    try:
        wait_for("alerts to be sent", lambda: ledger.settled(stack), 60)
        wait_for("all words", lambda: not ledger.rows(stack, pending), 150)
    finally:
        stop(worker)
    return taken


@pytest.fixture(scope="module")
def besides() -> dict[str, str]:
    """By point: the message that the worker had in hand beside that of `messages`, which fills this."""
    return {}


@pytest.mark.parametrize(
    ("point", "beside"), [*((point, False) for point in POINTS), *((point, True) for point in TOGETHER)]
)
def test_it_is_one_message_with_one_alert_and_its_words(
    stack: Stack, messages: dict[str, str], besides: dict[str, str], point: str, beside: bool
) -> None:
    message = besides[point] if beside else messages[point]
    row = ledger.rows(stack, "SELECT * FROM mailbox_message WHERE id = ?", message)[0]
    assert (row["urgency"], row["words"]) == ("urgent", "ready" if point in SPEECH else "empty")
    attempts = ledger.rows(
        stack,
        "SELECT a.state, a.step FROM oncall_attempt a JOIN oncall_alert l ON a.alert_id = l.id WHERE l.message_id = ?",
        message,
    )
    steps = [attempt["step"] for attempt in attempts]
    assert 0 in steps
    assert len(steps) == len(set(steps))
    assert {attempt["state"] for attempt in attempts} == {"sent"}
    assert ledger.notified_at(stack, message) is not None
    actions = actions_of(stack, message)
    for once in ("message:received", "alert:start", "message:transcribed"):
        assert actions.count(once) == 1, (once, actions)
    assert actions.count("notification:sent") == len(steps)


def test_nothing_waits_and_nothing_is_left_over(
    stack: Stack, messages: dict[str, str], besides: dict[str, str]
) -> None:
    assert ledger.spool(stack) == []
    stored = {row["id"] for row in ledger.rows(stack, "SELECT id FROM mailbox_message")}
    assert stored == {*messages.values(), *besides.values()}
    blobs = {path.name[:26] for path in (stack.home / "blobs").rglob("0*") if path.is_file()}
    assert blobs == stored


def test_the_log_is_whole(stack: Stack, messages: dict[str, str]) -> None:
    assert audit_is_whole(stack)


@pytest.mark.parametrize("point", ["epoch.key", "compaction.keyring"])
def test_a_rotation_that_dies_half_way_locks_nobody_out(
    stack: Stack, messages: dict[str, str], point: str
) -> None:
    [capture] = fill(stack, stack.root / "made", 1, 1.5)
    message = offer(stack, capture)
    rotate = [sys.executable, "-m", "nightbell.server.cli", "keys", "rotate"]
    died = subprocess.run(
        rotate,
        env=stack.environment | {"NIGHTBELL_KILL_AT": point},
        cwd=stack.root,
        capture_output=True,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL
    stack.command("keys", "rotate")
    work_until(stack, "SELECT id FROM mailbox_message WHERE id = ?", message)
    assert audit_is_whole(stack)


def test_urgent_callers_come_first_and_a_bad_capture_blocks_nobody(
    stack: Stack, messages: dict[str, str]
) -> None:
    folder = stack.root / "made"
    routine = [offer(stack, capture) for capture in fill(stack, folder, 3, 2.0, "--silent")]
    [urgent] = [offer(stack, capture) for capture in fill(stack, folder, 1, 2.0, "--silent", "--urgent")]
    unreadable = stack.home / "phone" / "spool" / "01AAAAAAAAAAAAAAAAAAAAAAAA.cap"  # the oldest of all
    unreadable.mkdir()
    worker = start(stack, "worker", words=False)
    try:
        wait_for("all but the bad one", lambda: ledger.spool(stack) == [unreadable.name], 30)
        hour_ago = time.time() - 3600
        os.utime(unreadable, (hour_ago, hour_ago))
        health = json.loads(stack.command("status", "--json", check=False).stdout)["checks"]["spool"]
        assert health["ok"] is False  # and somebody is told of it
    finally:
        stop(worker)
        unreadable.rmdir()
    marks = ", ".join("?" for _ in (*routine, urgent))
    received = f"SELECT message FROM audit_event WHERE action = 'message:received' AND message IN ({marks}) ORDER BY seq"
    assert [row["message"] for row in ledger.rows(stack, received, *routine, urgent)] == [urgent, *routine]


DISPOSE = """
import sys
from nightbell.server.django_setup import setup
setup()
from nightbell.compliance.disposal import dispose
from nightbell.core.clock import utc_now
from nightbell.mailbox.models import Message
dispose(Message.objects.get(pk=sys.argv[1]), "system:test", "test", utc_now())
"""


@pytest.mark.parametrize("point", ["disposal.key", "disposal.blob"])
def test_a_disposal_that_dies_half_way_is_finished_by_the_next(
    stack: Stack, messages: dict[str, str], point: str
) -> None:
    message = messages["intake.blob" if point == "disposal.key" else "intake.key"]
    command = [sys.executable, "-c", DISPOSE, message]
    environment = stack.environment | {"PYTHONPATH": str(ROOT / "src")}
    died = subprocess.run(command, env=environment | {"NIGHTBELL_KILL_AT": point}, timeout=60)
    assert died.returncode == -signal.SIGKILL
    work_until(stack, "SELECT id FROM mailbox_message WHERE id = ? AND state = 'disposed'", message)
    row = ledger.rows(stack, "SELECT state, caller_sealed FROM mailbox_message WHERE id = ?", message)[0]
    assert row == {"state": "disposed", "caller_sealed": None}
    certificates = ledger.rows(
        stack, "SELECT id FROM compliance_disposalcertificate WHERE message = ?", message
    )
    assert len(certificates) == 1
    assert not list((stack.home / "blobs").rglob(f"{message}*"))
    assert audit_is_whole(stack)


def test_a_web_that_dies_after_the_row_has_shown_nothing(stack: Stack, messages: dict[str, str]) -> None:
    message = messages["alert.sent"]
    before = actions_of(stack, message).count("message:view")
    web = start(stack, "web", "reveal.audited")
    try:
        wait_for("the web", lambda: _answers(stack), 40)
        with stack.client("clinician") as client, pytest.raises(httpx.HTTPError):
            client.get(f"/messages/{message}")
    finally:
        web.kill()
        web.wait()
    assert actions_of(stack, message).count("message:view") == before + 1


def _answers(stack: Stack) -> bool:
    try:
        with stack.client("clinician") as client:
            return client.get(stack.url + "/healthz").status_code in (200, 503)
    except httpx.HTTPError:
        return False


def test_every_point_in_the_source_is_died_at() -> None:
    """A new durable step brings its point here, or this fails."""
    named = set()
    for path in (ROOT / "src" / "nightbell").rglob("*.py"):
        if path.name != "faults.py":
            parts = path.read_text("utf-8").split('faults.point("')[1:]
            named |= {part.split('"', 1)[0] for part in parts}
    others = {
        "epoch.key",
        "compaction.keyring",
        "disposal.key",
        "disposal.blob",
        "voice.planned",
        "voice.finished",
        "voice.again",
        "callback.asked",
        "reach.recorded",
        "reach.untried",
        "records.audited",
        "records.sent",
        "reveal.audited",
        "restore.aside",
        "takeup.file",  # these two in tests/db/line/test_takeup.py
        "takeup.uncommitted",
        "decode.blob",  # in tests/db/test_wide_sound.py
        "alert.failed",  # these, and those of alerts that are died at above, in tests/db/oncall/test_alert_points.py
        "alert.settled",
        "handed.recorded",
        "handed.returned",
        "reach.told",
        "notice.leased",
        "notice.sent",
        "code.leased",
        "code.sent",
        "consent.noted",  # in tests/db/oncall/test_consent.py
        "talk.blob",  # these two in tests/db/test_talks.py
        "talk.stored",
        "carrier.fetched",  # these four in tests/db/carriers/
        "carrier.spooled",
        "carrier.verified",
        "carrier.deleted",
    }
    assert named == {*POINTS, *others}


def test_files_that_were_half_written_at_a_kill_are_swept(stack: Stack, messages: dict[str, str]) -> None:
    folder = next(path for path in (stack.home / "blobs").iterdir() if path.is_dir())
    old, fresh = folder / ".half.tmp", folder / ".writing.tmp"
    for path in (old, fresh):
        path.write_bytes(b"x")
    hour_ago = time.time() - 3600
    os.utime(old, (hour_ago, hour_ago))
    worker = start(stack, "worker", words=False)
    try:
        wait_for("the sweep", lambda: not old.exists(), 30)
    finally:
        stop(worker)
    assert fresh.exists()
