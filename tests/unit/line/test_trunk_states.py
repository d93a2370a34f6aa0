"""What a phone says of its trunks is believed only in its shape; how they stand is judged by it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nightbell.core.clock import iso
from nightbell.core.ids import new_ulid
from nightbell.line import trunk_states
from nightbell.server.control import checked

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
ONE, TWO = new_ulid(), new_ulid()
STATE: dict[str, Any] = {
    "state": "registered", "code": 200, "since": iso(NOW), "realm": "r", "algorithms": ["MD5"], "rtt_ms": 2.5, "calls": 1,
    "refused_plain": 3, "why": "",
}  # fmt: skip
STORED: dict[str, Any] = {"id": ONE, "name": "Carrier", "realm": "r", "until": "", "left_out": ""}


def test_a_right_word_is_kept_and_unknown_fields_are_left_out() -> None:
    assert trunk_states.checked({ONE: STATE | {"caller": "5035550148"}}) == {ONE: STATE}
    assert checked({"trunks": {ONE: STATE}}) == ({"trunks": {ONE: STATE}}, [])


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"carrier": STATE},
        {ONE: "registered"},
        {ONE: {}},
        {ONE: STATE | {"state": "happy"}},
        {ONE: STATE | {"code": -1}},
        {ONE: STATE | {"code": True}},
        {ONE: STATE | {"since": "yesterday"}},
        {ONE: STATE | {"realm": "a\nb"}},
        {ONE: STATE | {"realm": "x" * 300}},
        {ONE: STATE | {"algorithms": "MD5"}},
        {ONE: STATE | {"algorithms": ["x"] * 17}},
        {ONE: STATE | {"rtt_ms": float("nan")}},
        {ONE: STATE | {"rtt_ms": "2"}},
        {ONE: STATE | {"calls": 2**60}},
        {new_ulid(): STATE for _ in range(65)},
    ],
)
def test_a_wrong_word_is_none(value: object) -> None:
    assert trunk_states.checked(value) is None
    assert checked({"trunks": value}) == ({}, ["trunks"])


def test_of_several_phones_the_best_counts_and_calls_are_added_up() -> None:
    down = STATE | {"state": "failed", "calls": 0, "refused_plain": 4}
    phones = [{"trunks": {ONE: down}, "age_s": 1.0}, {"trunks": {ONE: STATE}, "age_s": 3.0}, {"age_s": 0.0}]
    assert trunk_states.merged(phones) == {ONE: STATE | {"age_s": 3.0, "refused_plain": 7}}
    assert trunk_states.merged([phones[0]])[ONE]["state"] == "failed"


def judged(
    stored: list[dict[str, Any]], states: dict[str, Any], certificate: int | None = 90, beyond: bool = True
) -> tuple[bool, str]:
    ends = NOW + timedelta(days=certificate) if certificate is not None else None
    return trunk_states.judged(stored, states, ends, beyond, NOW)


def test_all_in_order() -> None:
    assert judged([STORED], {ONE: STATE}) == (True, "1 trunk, all in order")
    assert judged([STORED], {ONE: STATE | {"state": "off"}})[0]
    assert judged([], {}, beyond=False) == (True, "no trunk; only this machine can call")


@pytest.mark.parametrize(
    ("stored", "state", "certificate", "told"),
    [
        ({}, None, 90, "the phone says nothing of it"),
        ({"left_out": "risk"}, None, 90, "nobody accepted that risk"),
        ({"left_out": "damaged"}, STATE, 90, "damaged"),
        (
            {},
            {"state": "failed", "since": iso(NOW - timedelta(minutes=3))},
            90,
            "failed since 2026-11-27 11:57 UTC",
        ),
        ({}, {"state": "unreachable", "since": "?"}, 90, "unreachable since"),
        ({}, {"state": "registering", "since": iso(NOW - timedelta(hours=1))}, 90, "registering since"),
        ({"until": iso(NOW + timedelta(days=30))}, STATE, 90, "ends on 2026-12-27"),
        ({"until": iso(NOW - timedelta(days=1))}, STATE, 90, "ended on 2026-11-26"),
        ({"realm": "other"}, STATE, 90, "another realm"),
        ({}, STATE, 20, "certificate ends in 20 days"),
        ({}, STATE, -1, "certificate has ended"),
    ],
)
def test_what_needs_a_person_is_told(
    stored: dict[str, Any], state: dict[str, Any] | None, certificate: int, told: str
) -> None:
    ok, says = judged([STORED | stored], {ONE: STATE | state} if state is not None else {}, certificate)
    assert not ok
    assert told in says


def test_no_trunk_on_an_open_address_is_red() -> None:
    assert judged([], {})[0] is False


def test_one_that_just_fell_is_not_red_at_once() -> None:
    for since, ok in ((NOW - timedelta(minutes=1), True), (NOW - timedelta(minutes=3), False)):
        assert judged([STORED], {ONE: STATE | {"state": "failed", "since": iso(since)}})[0] is ok


def test_one_bad_trunk_of_two_is_named_alone() -> None:
    other = STORED | {"id": TWO, "name": "Second"}
    says = judged(
        [STORED, other], {ONE: STATE, TWO: STATE | {"state": "failed", "since": iso(NOW - timedelta(days=1))}}
    )[1]
    assert says.startswith("Second: failed") and "Carrier" not in says
