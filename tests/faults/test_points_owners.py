"""The worker is killed between the durable steps of a message that somebody has: taken, handed over, back, not reached; and
after a try that failed. The points are counted in test_points.py."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import pytest
from tests.faults import ledger
from tests.faults.acts import act
from tests.faults.points import actions_of, audit_is_whole, made, start, work_until
from tests.stack import Stack

NOBODY = {"NIGHTBELL_SMTP": "smtp://127.0.0.1:1", "NIGHTBELL_SMTP_FROM": "line@nightbell.test"}
SENT = "SELECT a.id FROM oncall_attempt a JOIN oncall_alert l ON a.alert_id = l.id WHERE l.message_id = ? AND a.state = 'sent'"
BACK = (
    "SELECT a.id FROM oncall_attempt a JOIN oncall_alert l ON a.alert_id = l.id JOIN mailbox_message m ON l.message_id = m.id"
    " WHERE m.id = ? AND a.alone AND a.user_id = m.owner_id AND a.state = 'sent'"
)
OWNER = "SELECT u.role FROM mailbox_message m JOIN people_user u ON m.owner_id = u.id WHERE m.id = ?"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return made(tmp_path_factory.mktemp("owners"))


def left(stack: Stack) -> str:
    done = act(stack, "leave")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def killed(stack: Stack, point: str) -> None:
    assert start(stack, "worker", point, words=False).wait(60) == -signal.SIGKILL, point


def past(stack: Stack, table: str, column: str, message: str) -> None:
    """A minute ago, in place of in some minutes."""
    ago = "strftime('%Y-%m-%d %H:%M:%f000', 'now', '-20 seconds')"
    with (
        closing(sqlite3.connect(stack.home / "db" / "nightbell.sqlite3", timeout=20)) as connection,
        connection,
    ):
        changed = connection.execute(
            f"UPDATE {table} SET {column} = {ago} WHERE message_id = ? AND {column} IS NOT NULL", [message]
        )
        assert changed.rowcount == 1


def owner(stack: Stack, message: str) -> str:
    return str(ledger.rows(stack, OWNER, message)[0]["role"])


def test_a_try_that_failed_is_tried_again_and_the_alert_goes_on(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = left(stack)
    with monkeypatch.context() as away:
        for name, value in NOBODY.items():
            away.setitem(stack.environment, name, value)
        killed(stack, "alert.failed")
    work_until(stack, SENT, message)
    ladder = ledger.ladder(stack, message)
    steps = [(one["step"], one["channel"]) for one in ladder]
    assert len(steps) == len(set(steps)), "no step is taken twice"
    actions = actions_of(stack, message)
    assert actions.count("alert:start") == 1
    assert actions.count("notification:sent") == sum(one["state"] == "sent" for one in ladder)


def test_one_that_was_taken_is_settled_once(stack: Stack) -> None:
    message = left(stack)
    work_until(stack, SENT, message)
    assert act(stack, "take", message).returncode == 0
    killed(stack, "alert.settled")
    work_until(stack, "SELECT id FROM oncall_alert WHERE message_id = ? AND state = 'owned'", message)
    assert actions_of(stack, message).count("alert:owned") == 1
    assert owner(stack, message) == "clinician"


def test_one_that_is_handed_over_has_one_owner_and_comes_back_once(stack: Stack) -> None:
    message = left(stack)
    work_until(stack, SENT, message)
    assert act(stack, "take", message).returncode == 0
    died = act(stack, "hand", message, point="handed.recorded")
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert owner(stack, message) == "manager"
    assert "NotNow" in act(stack, "hand", message).stderr
    past(stack, "oncall_alert", "handed_until", message)
    killed(stack, "handed.returned")
    assert owner(stack, message) == "clinician"
    work_until(stack, BACK, message)
    actions = actions_of(stack, message)
    assert (actions.count("message:hand_over"), actions.count("message:returned")) == (1, 1), actions
    assert owner(stack, message) == "clinician"


def test_a_patient_who_was_not_reached_is_brought_up_once(stack: Stack) -> None:
    message = left(stack)
    work_until(stack, SENT, message)
    assert act(stack, "take", message).returncode == 0
    done = act(stack, "reach", message)
    assert done.returncode == 0, done.stderr
    past(stack, "oncall_reach", "back_at", message)
    killed(stack, "reach.told")
    work_until(stack, "SELECT id FROM oncall_reach WHERE message_id = ? AND told = 1", message)
    assert actions_of(stack, message).count("message:unreached") == 1
    assert owner(stack, message) == "clinician"
    assert audit_is_whole(stack)
