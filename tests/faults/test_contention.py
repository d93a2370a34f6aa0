"""Risk no. 3: twenty calls at once, speech busy, ten readers: the urgent notification leaves in time.

The only timed assertions of this tier; both bounds are the issue's: 2 s when nothing was killed, 60 s always.
"""

from __future__ import annotations

import json

import pytest
from tests.faults.wave import Wave, keep_speech_busy, wave
from tests.stack import Stack

CALLS, READERS, URGENT = 20, 10, 8
UNDISTURBED_S, ALWAYS_S = 2.0, 60.0


@pytest.fixture(scope="module", autouse=True)
def _busy(stack: Stack) -> None:
    keep_speech_busy(stack)


@pytest.fixture(scope="module")
def quiet(stack: Stack) -> Wave:
    met = wave(stack, 5000, CALLS, URGENT, READERS)
    print("nothing killed:", met.line())
    return met


@pytest.fixture(scope="module")
def stormy(stack: Stack, quiet: Wave) -> Wave:
    met = wave(stack, 6000, CALLS, URGENT, READERS, kill=("worker", "web"))
    print("worker and web killed:", met.line())
    return met


def test_it_notifies_within_two_seconds_of_hang_up_when_nothing_was_killed(quiet: Wave) -> None:
    assert quiet.verdict.alerted == URGENT
    assert max(quiet.verdict.notified_after_s) < UNDISTURBED_S


def test_it_notifies_within_a_minute_whatever_was_killed(stormy: Wave) -> None:
    assert stormy.killed == ["worker", "web"]
    assert stormy.verdict.alerted == URGENT
    assert max(stormy.verdict.notified_after_s) < ALWAYS_S


def test_speech_was_busy_all_along(quiet: Wave, stormy: Wave) -> None:
    assert quiet.speech_jobs_left > 0
    assert stormy.speech_jobs_left > 0


def test_readers_were_served_and_never_failed(quiet: Wave) -> None:
    assert set(quiet.reading["statuses"]) == {"200", "206"}


@pytest.mark.parametrize("which", ["quiet", "stormy"])
def test_every_call_is_kept_whole_and_once(which: str, request: pytest.FixtureRequest) -> None:
    verdict = request.getfixturevalue(which).verdict
    assert verdict.good, verdict.line()
    assert verdict.heard == CALLS
    assert verdict.worst_missing_uncut_s == 0.0


def test_the_log_is_whole(stack: Stack, stormy: Wave) -> None:
    done = stack.command("audit", "verify", "--json", check=False)
    assert done.returncode == 0, done.stdout
    assert all(log["ok"] for log in json.loads(done.stdout))
