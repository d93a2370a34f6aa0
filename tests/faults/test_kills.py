"""kill -9 of phone, worker and web at random moments during calls: nothing is lost, doubled or left lying."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.faults import ledger
from tests.faults.siege import PARTS, Report, Siege
from tests.stack import Stack, wait_for

KILLS = int(os.environ.get("NIGHTBELL_TEST_KILLS", "4"))  # of each part; the full run is 50
SEED = int(os.environ.get("NIGHTBELL_TEST_SEED", "20261124"))


@pytest.fixture(scope="module")
def report(stack: Stack) -> Report:
    found = Siege(stack, SEED).run(KILLS)
    print(found.kills, found.verdict.line())
    for part, seconds in found.restarts_s.items():
        print(
            f"{part}: back after p50 {ledger.quantile(seconds, 0.5):.1f} max {ledger.quantile(seconds, 1):.1f} s"
        )
    return found


def test_it_was_hit_while_people_spoke(report: Report) -> None:
    assert report.kills == dict.fromkeys(PARTS, KILLS)
    assert report.verdict.cut >= KILLS
    assert report.verdict.heard > report.verdict.cut


def test_it_keeps_every_call_of_over_two_seconds_exactly_once(report: Report) -> None:
    assert report.verdict.lost == []
    assert report.verdict.doubled == []


def test_it_misses_at_most_a_second_of_any_call(report: Report) -> None:
    assert report.verdict.holed == {}


def test_it_loses_no_alert_and_tells_within_a_minute(report: Report) -> None:
    assert report.verdict.unalerted == []
    assert report.verdict.alerted > 0
    assert max(report.verdict.notified_after_s) < 60


def test_it_leaves_nothing_in_the_spool(stack: Stack, report: Report) -> None:
    assert ledger.spool(stack) == []
    assert list((stack.home / "phone" / "unreadable").glob("*")) == []


def test_it_tells_nobody_twice_about_one_step(stack: Stack, report: Report) -> None:
    twice = "SELECT alert_id FROM oncall_attempt GROUP BY alert_id, step, address HAVING COUNT(*) > 1"
    assert ledger.rows(stack, twice) == []
    starts = (
        "SELECT message FROM audit_event WHERE action = 'alert:start' GROUP BY message HAVING COUNT(*) > 1"
    )
    assert ledger.rows(stack, starts) == []


def test_it_answered_no_read_without_a_row(stack: Stack, report: Report) -> None:
    viewed = ledger.rows(stack, "SELECT COUNT(*) AS n FROM audit_event WHERE action = 'message:view'")[0]["n"]
    assert 0 < report.views <= viewed


def test_its_log_is_whole(stack: Stack, report: Report) -> None:
    done = stack.command("audit", "verify", "--json", check=False)
    assert done.returncode == 0, done.stdout
    assert all(log["ok"] for log in json.loads(done.stdout))


def test_it_leaves_no_orphan_behind(stack: Stack, report: Report) -> None:
    """kill -9 hits the head of the web alone: its children must not go on answering beside the new ones."""

    def strangers() -> list[int]:
        ours = {stack.pid(part) for part in PARTS} | {stack.process.pid if stack.process else 0}
        return [pid for pid, parent in _processes(stack.root) if pid not in ours and parent not in ours]

    wait_for("no orphan", lambda: not strangers(), 15)


def _processes(root: Path) -> list[tuple[int, int]]:
    """(pid, parent) of every process that was started with this home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"NIGHTBELL_HOME={root / 'home'}".encode() in (folder / "environ").read_bytes():
                found.append(
                    (int(folder.name), int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]))
                )
        except OSError:
            continue
    return found


def test_it_starts_again_after_serve_itself_was_killed(stack: Stack, report: Report) -> None:
    head = stack.process
    assert head is not None
    head.kill()
    head.wait()
    wait_for("its parts to end by themselves", lambda: not _processes(stack.root), 30)
    stack.start()
    assert stack.messages("clinician")
