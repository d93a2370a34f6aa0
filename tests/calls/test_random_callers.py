"""Sixty callers who do anything at any time, over real calls: each is a message, a missed call or a question."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import pytest
from tests.calls.conftest import THRICE, Evening
from tests.calls.people import COUNT, KINDS
from tests.calls.street import TICK, Patient

pytestmark = pytest.mark.slow

SPOKE_S = 2.0


def _by_caller(evening: Evening) -> dict[str, list[dict[str, Any]]]:
    """Rows by caller ID. A number that was keyed in and confirmed is shown in its place, and leads back to whoever
    pressed its digits, of those whose calls have no row yet."""
    calls = Counter(call.number for call in evening.calls)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    keyed: list[dict[str, Any]] = []
    for row in evening.rows:
        number = row["number"] or ""
        (found[number] if number in calls else keyed).append(row)
    for row in keyed:
        owners = [call.number for call in evening.calls if len(found[call.number]) < calls[call.number]]
        pressed = {call.number: call.keys for call in evening.calls}
        found[next((one for one in owners if _within(row["number"], pressed[one])), "?")].append(row)
    return {number: rows for number, rows in found.items() if rows}


def _within(number: str, keys: str) -> bool:
    """Whether the digits are among the keys, in their order: a phone may keep not all of a flood."""
    rest = iter(keys)
    return all(key in rest for key in number)


def test_sixty_callers_of_every_kind_are_answered(evening: Evening) -> None:
    assert len(evening.people) == COUNT
    assert {who.kind for who in evening.people} == set(KINDS)
    refused = [str(call) for call in evening.calls if call.code != 200]
    assert not refused, (evening.seed, refused)


def test_every_call_is_one_row_and_none_is_nothing_or_two(
    evening: Evening, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = Counter(call.number for call in evening.calls)
    stored = Counter({number: len(rows) for number, rows in _by_caller(evening).items()})
    with capsys.disabled():
        kinds = Counter(row["kind"] for row in evening.rows)
        print(f"\nNIGHTBELL_TEST_SEED={evening.seed}: {calls.total()} calls, {dict(kinds)}")
    wrong = [str(call) for call in evening.calls if stored[call.number] != calls[call.number]]
    assert stored == calls, (evening.seed, wrong, stored - calls)
    assert {row["kind"] for row in evening.rows} == {"message", "missed", "status"}


def test_nothing_is_left_in_the_spool_and_no_call_is_left_up(evening: Evening) -> None:
    assert evening.spool == []
    assert evening.active == 0


def test_every_message_has_sound(evening: Evening) -> None:
    for row in evening.rows:
        if row["kind"] == "message":
            assert row["audio_bytes"] > 0 and row["duration_ms"] >= 1000, (evening.seed, row)


def test_whoever_spoke_for_two_seconds_after_a_tone_left_a_message(evening: Evening) -> None:
    stored = _by_caller(evening)
    spoke = [call for call in evening.calls if call.most * TICK >= SPOKE_S]
    assert len(spoke) > 15, evening.seed
    for number in {call.number for call in spoke}:
        kinds = Counter(row["kind"] for row in stored.get(number, []))
        those: list[Patient] = [call for call in spoke if call.number == number]
        assert kinds["message"] >= len(those), (evening.seed, kinds, [str(call) for call in those])


def test_whoever_never_spoke_left_no_message(evening: Evening) -> None:
    stored = _by_caller(evening)
    silent = {call.number for call in evening.calls} - {call.number for call in evening.calls if call.spoke}
    assert silent, evening.seed
    for number in silent - {""}:
        assert {row["kind"] for row in stored.get(number, [])} <= {"missed", "status"}, (
            evening.seed,
            stored[number],
        )


def test_the_third_call_within_twenty_minutes_is_urgent(evening: Evening) -> None:
    first, second, third = sorted(_by_caller(evening)[THRICE], key=lambda row: str(row["id"]))
    assert [row["kind"] for row in (first, second, third)] == ["missed", "message", "missed"]
    assert "third" in json.loads(third["tags"])
    assert third["urgency"] == "urgent"
    for row in (first, second):
        assert "third" not in json.loads(row["tags"])
        assert row["urgency"] != "urgent"


def test_asking_for_ones_own_message_is_told_and_for_anothers_is_not(evening: Evening) -> None:
    stored = _by_caller(evening)
    own = [who for who in evening.people if who.kind == "own_status"]
    told = [tag for who in own for row in stored.get(who.number, []) for tag in json.loads(row["tags"])]
    assert sum(tag.startswith("status:waiting") for tag in told) == len(own), (evening.seed, told)
    asked = [who for who in evening.people if who.kind == "wrong_status"]
    guessed = {tag for who in asked for row in stored.get(who.number, []) for tag in json.loads(row["tags"])}
    assert {tag for tag in guessed if tag.startswith("status:")} <= {"status:none"}, (evening.seed, guessed)
