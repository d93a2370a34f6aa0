"""Whoever rings, asks, notes and sends dies between each pair of durable steps; the next one goes on where it was.

The points are counted in test_points.py.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
from tests.fakes import fake_fhir
from tests.fakes.fake_fhir import FakeFhir
from tests.faults import ledger
from tests.faults.acts import Busy, act, lease
from tests.faults.points import actions_of, audit_is_whole, made, start, stop
from tests.stack import Stack, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return made(tmp_path_factory.mktemp("calls"))


@pytest.fixture(scope="module")
def telephone() -> Busy:
    return Busy()


@pytest.fixture(scope="module")
def acted(stack: Stack, telephone: Busy, fhir: FakeFhir) -> dict[str, str]:
    """Urgent messages of one clinician, whose telephone is busy: one rings, of one a call back was asked for, of one a
    try was noted, one lies there. Whoever did it died right after; the next worker has gone on until nothing was due any more."""
    prepared = act(stack, "prepare", telephone.uri, NIGHTBELL_FHIR_URL=fhir.url + "/fhir")
    assert prepared.returncode == 0, prepared.stderr
    made: dict[str, str] = json.loads(prepared.stdout)
    phone = start(stack, "phone")
    try:
        for point, due in (("voice.planned", 120), ("voice.again", -1), ("voice.finished", -1)):
            assert start(stack, "worker", point, words=False).wait(60) == -signal.SIGKILL, point
            lease(stack, due)
        for what, message, point in (
            ("ask", "asked", "callback.asked"),
            ("reach", "tried", "reach.recorded"),
        ):
            died = act(stack, what, made[message], point=point)
            assert died.returncode == -signal.SIGKILL, died.stderr
        worker = start(stack, "worker", words=False)
        try:
            wait_for("the last resort, and an end of all calls", lambda: _is_quiet(stack, made), 60)
        finally:
            stop(worker)
    finally:
        stop(phone)
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
    actions = actions_of(stack, acted["rings"])
    assert (actions.count("alert:start"), actions.count("notification:undelivered")) == (1, 2), actions
    assert audit_is_whole(stack)


def test_a_call_back_that_was_asked_for_is_rung_once_and_can_be_asked_for_again(
    stack: Stack, acted: dict[str, str]
) -> None:
    [row] = ledger.rows(stack, "SELECT * FROM oncall_callback WHERE message_id = ?", acted["asked"])
    assert row["why"] == "busy"
    assert actions_of(stack, acted["asked"]).count("call:ask") == 1
    again = act(stack, "ask", acted["asked"])
    assert again.returncode == 0, again.stderr


def test_a_try_that_was_noted_counts_once_and_comes_back(stack: Stack, acted: dict[str, str]) -> None:
    again = act(stack, "reach", acted["tried"])
    assert "NotNow" in again.stderr
    [row] = ledger.rows(stack, "SELECT * FROM oncall_reach WHERE message_id = ?", acted["tried"])
    assert (row["outcome"], row["back_at"] is not None) == ("no_answer", True)
    assert actions_of(stack, acted["tried"]).count("message:reach") == 1


def test_a_message_that_lies_with_its_owner_is_brought_up_once(stack: Stack, acted: dict[str, str]) -> None:
    assert act(stack, "untried", point="reach.untried").returncode == -signal.SIGKILL
    again = act(stack, "untried")
    assert again.returncode == 0, again.stderr
    [row] = ledger.rows(stack, "SELECT * FROM oncall_reach WHERE message_id = ?", acted["lies"])
    assert row["back_at"] is not None or row["told"] > 0
    assert actions_of(stack, acted["lies"]).count("message:untried") == 1


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
    actions = actions_of(stack, acted["tried"])
    assert (actions.count("records:send"), actions.count("records:kept")) == (3, 1)
