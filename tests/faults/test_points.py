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
from collections.abc import Iterator

import httpx
import pytest
from tests.fakes import fake_fhir
from tests.fakes.fake_fhir import FakeFhir
from tests.faults import ledger
from tests.faults.acts import Busy, act, lease
from tests.faults.fill import fill, offer
from tests.stack import ROOT, Stack, wait_for

# Those that leave a lease behind come first: it runs out while the others die.
SPEECH = ("speech.heard", "speech.uncommitted", "job.claimed")
ALERTS = ("alert.leased", "alert.sent", "alert.started", "alert.recorded")
INTAKE = ("intake.blob", "intake.key", "intake.uncommitted", "intake.stored")
UPKEEP = ("checkpoint.row",)
TOGETHER = (*ALERTS, *INTAKE)  # where the worker dies with two messages in hand
POINTS = (*SPEECH, *ALERTS, *INTAKE, *UPKEEP)


def _start(stack: Stack, part: str, point: str = "", words: bool = True) -> subprocess.Popen[bytes]:
    """words: False gives it no speech model, where nothing asks for words any more. Then no job may wait for them:
    without a model it would be given up."""
    more = {"NIGHTBELL_KILL_AT": point} if point else {}
    more |= {} if words else {"NIGHTBELL_MODELS": str(stack.root / "no-models")}
    with stack.log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "nightbell.server.cli", part],
            env=stack.environment | more, cwd=stack.root, stdout=out, stderr=out,
        )  # fmt: skip


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


def _work_until(stack: Stack, query: str, message: str) -> None:
    """A worker runs until there is a row."""
    worker = _start(stack, "worker", words=False)
    try:
        wait_for(query, lambda: ledger.rows(stack, query, message), 30)
    finally:
        _stop(worker)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A home that was made by a real start, with nothing running on it."""
    stack = Stack(tmp_path_factory.mktemp("points"))
    stack.start()
    stack.stop()
    yield stack


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
        worker = _start(stack, "worker", point)
        assert worker.wait(240) == -signal.SIGKILL, point
    worker = _start(stack, "worker")
    pending = "SELECT id FROM mailbox_message WHERE words = 'pending'"
    try:
        wait_for("alerts to be sent", lambda: ledger.settled(stack), 60)
        wait_for("all words", lambda: not ledger.rows(stack, pending), 150)
    finally:
        _stop(worker)
    return taken


@pytest.fixture(scope="module")
def besides() -> dict[str, str]:
    """By point: the message that the worker had in hand beside that of `messages`, which fills this."""
    return {}


def _actions(stack: Stack, message: str) -> list[str]:
    found = ledger.rows(stack, "SELECT action FROM audit_event WHERE message = ? ORDER BY seq", message)
    return [row["action"] for row in found]


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
    actions = _actions(stack, message)
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


def _audit_is_whole(stack: Stack) -> bool:
    done = stack.command("audit", "verify", "--json", check=False)
    return done.returncode == 0 and all(log["ok"] for log in json.loads(done.stdout))


def test_the_log_is_whole(stack: Stack, messages: dict[str, str]) -> None:
    assert _audit_is_whole(stack)


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
    _work_until(stack, "SELECT id FROM mailbox_message WHERE id = ?", message)
    assert _audit_is_whole(stack)


def test_urgent_callers_come_first_and_a_bad_capture_blocks_nobody(
    stack: Stack, messages: dict[str, str]
) -> None:
    folder = stack.root / "made"
    routine = [offer(stack, capture) for capture in fill(stack, folder, 3, 2.0, "--silent")]
    [urgent] = [offer(stack, capture) for capture in fill(stack, folder, 1, 2.0, "--silent", "--urgent")]
    unreadable = stack.home / "phone" / "spool" / "01AAAAAAAAAAAAAAAAAAAAAAAA.cap"  # the oldest of all
    unreadable.mkdir()
    worker = _start(stack, "worker", words=False)
    try:
        wait_for("all but the bad one", lambda: ledger.spool(stack) == [unreadable.name], 30)
        hour_ago = time.time() - 3600
        os.utime(unreadable, (hour_ago, hour_ago))
        health = json.loads(stack.command("status", "--json", check=False).stdout)["checks"]["spool"]
        assert health["ok"] is False  # and somebody is told of it
    finally:
        _stop(worker)
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
    _work_until(stack, "SELECT id FROM mailbox_message WHERE id = ? AND state = 'disposed'", message)
    row = ledger.rows(stack, "SELECT state, caller_sealed FROM mailbox_message WHERE id = ?", message)[0]
    assert row == {"state": "disposed", "caller_sealed": None}
    certificates = ledger.rows(
        stack, "SELECT id FROM compliance_disposalcertificate WHERE message = ?", message
    )
    assert len(certificates) == 1
    assert not list((stack.home / "blobs").rglob(f"{message}*"))
    assert _audit_is_whole(stack)


def test_a_web_that_dies_after_the_row_has_shown_nothing(stack: Stack, messages: dict[str, str]) -> None:
    message = messages["alert.sent"]
    before = _actions(stack, message).count("message:view")
    web = _start(stack, "web", "reveal.audited")
    try:
        wait_for("the web", lambda: _answers(stack), 40)
        with stack.client("clinician") as client, pytest.raises(httpx.HTTPError):
            client.get(f"/messages/{message}")
    finally:
        web.kill()
        web.wait()
    assert _actions(stack, message).count("message:view") == before + 1


def _answers(stack: Stack) -> bool:
    try:
        with stack.client("clinician") as client:
            return client.get(stack.url + "/healthz").status_code in (200, 503)
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def telephone() -> Busy:
    return Busy()


@pytest.fixture(scope="module")
def acted(stack: Stack, messages: dict[str, str], telephone: Busy, fhir: FakeFhir) -> dict[str, str]:
    """Urgent messages of one clinician, whose telephone is busy: one rings, of one a call back was asked for, of one a
    try was noted, one lies there. Whoever did it died right after; the next worker has gone on until nothing was due any more."""
    prepared = act(stack, "prepare", telephone.uri, NIGHTBELL_FHIR_URL=fhir.url + "/fhir")
    assert prepared.returncode == 0, prepared.stderr
    made: dict[str, str] = json.loads(prepared.stdout)
    phone = _start(stack, "phone")
    try:
        for point, due in (("voice.planned", 120), ("voice.again", -1), ("voice.finished", -1)):
            assert _start(stack, "worker", point, words=False).wait(60) == -signal.SIGKILL, point
            lease(stack, due)
        for what, message, point in (
            ("ask", "asked", "callback.asked"),
            ("reach", "tried", "reach.recorded"),
        ):
            died = act(stack, what, made[message], point=point)
            assert died.returncode == -signal.SIGKILL, died.stderr
        worker = _start(stack, "worker", words=False)
        try:
            wait_for("the last resort, and an end of all calls", lambda: _is_quiet(stack, made), 60)
        finally:
            _stop(worker)
    finally:
        _stop(phone)
    return made


def _is_quiet(stack: Stack, made: dict[str, str]) -> bool:
    open_ones = "SELECT id FROM oncall_voicecall WHERE ended_at IS NULL UNION SELECT id FROM oncall_callback WHERE ended_at IS NULL"
    return not ledger.rows(stack, open_ones) and any(
        one["channel"] == "email" and one["state"] == "sent" for one in ledger.ladder(stack, made["rings"])
    )


def test_who_dies_before_or_after_a_call_leaves_no_alert_and_no_call_behind(
    stack: Stack, acted: dict[str, str], telephone: Busy
) -> None:
    ladder = ledger.ladder(stack, acted["rings"])
    assert [(one["channel"], one["state"]) for one in ladder[:3]] == [
        ("voice", "failed"), ("voice", "failed"), ("email", "sent"),
    ]  # fmt: skip
    assert [bool(one["twice"]) for one in ladder[:2]] == [True, False], "who was killed with it cannot know"
    calls = ledger.rows(stack, "SELECT * FROM oncall_voicecall")
    busy = [one for one in calls if one["why"] == "busy"]
    assert {one["why"] for one in calls} <= {"busy", "lost"}, "none gave up at its start"
    assert len(telephone.rung) == len(busy), "no order rang twice"
    assert sorted(one["attempt_id"] for one in busy if one["attempt_id"]) == sorted(
        one["id"] for one in ladder[:2]
    )
    actions = _actions(stack, acted["rings"])
    assert (actions.count("alert:start"), actions.count("notification:undelivered")) == (1, 2), actions
    assert _audit_is_whole(stack)


def test_a_call_back_that_was_asked_for_is_rung_once_and_can_be_asked_for_again(
    stack: Stack, acted: dict[str, str]
) -> None:
    [row] = ledger.rows(stack, "SELECT * FROM oncall_callback WHERE message_id = ?", acted["asked"])
    assert row["why"] == "busy"
    assert _actions(stack, acted["asked"]).count("call:ask") == 1
    again = act(stack, "ask", acted["asked"])
    assert again.returncode == 0, again.stderr


def test_a_try_that_was_noted_counts_once_and_comes_back(stack: Stack, acted: dict[str, str]) -> None:
    again = act(stack, "reach", acted["tried"])
    assert "NotNow" in again.stderr
    [row] = ledger.rows(stack, "SELECT * FROM oncall_reach WHERE message_id = ?", acted["tried"])
    assert (row["outcome"], row["back_at"] is not None) == ("no_answer", True)
    assert _actions(stack, acted["tried"]).count("message:reach") == 1


def test_a_message_that_lies_with_its_owner_is_brought_up_once(stack: Stack, acted: dict[str, str]) -> None:
    assert act(stack, "untried", point="reach.untried").returncode == -signal.SIGKILL
    again = act(stack, "untried")
    assert again.returncode == 0, again.stderr
    [row] = ledger.rows(stack, "SELECT * FROM oncall_reach WHERE message_id = ?", acted["lies"])
    assert row["back_at"] is not None or row["told"] > 0
    assert _actions(stack, acted["lies"]).count("message:untried") == 1


@pytest.fixture(scope="module")
def fhir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeFhir]:
    with fake_fhir.running(tmp_path_factory.mktemp("fhir"), FakeFhir()) as fake:
        yield fake


def test_a_note_is_in_the_record_system_once_wherever_its_sender_died(
    stack: Stack, acted: dict[str, str], fhir: FakeFhir
) -> None:
    token = stack.root / "token"
    token.write_text(fhir.token)
    settings = {"NIGHTBELL_FHIR_URL": fhir.url + "/fhir", "NIGHTBELL_FHIR_CA": fhir.ca}
    settings["NIGHTBELL_FHIR_TOKEN_FILE"] = str(token)
    for minutes, point, kept in ((0, "records.audited", 0), (3, "records.sent", 2)):
        died = act(stack, "send", str(minutes), point=point, **settings)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert len(fhir.kept) == kept
    sent = act(stack, "send", "6", **settings)
    assert sent.returncode == 0, sent.stderr
    assert [one["resourceType"] for one in fhir.kept] == ["DocumentReference", "Communication"]
    [job] = ledger.rows(stack, "SELECT * FROM store_job WHERE kind = 'fhir'")
    assert (job["outcome"], job["attempts"]) == ("done", 3)
    actions = _actions(stack, acted["tried"])
    assert (actions.count("records:send"), actions.count("records:kept")) == (3, 1)


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
    worker = _start(stack, "worker", words=False)
    try:
        wait_for("the sweep", lambda: not old.exists(), 30)
    finally:
        _stop(worker)
    assert fresh.exists()
