"""The routing snapshot: signed, only newer ones, for ever good."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.phone.house import DIALLED, House

from nightbell.core.errors import RefusedStart
from nightbell.flow.hours import Kind
from nightbell.flow.plan import Plan
from nightbell.phone.snapshot import UNROUTED, BadSnapshot, Holder, verify
from nightbell.sealing.signed import sign

NIGHT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
LINE: dict[str, Any] = {
    "practice": "p",
    "zone": "America/New_York",
    "number": "5552014567",
    "flow": 4,
    "plan": Plan(review=False).to_dict(),
    "holidays": {"2026-11-26": "Thanksgiving"},
    "known_until": "2027-12-31",
    "closures": [{"starts": "2026-11-23T14:00:00.000Z", "ends": None, "visits": False}],
    "team": True,
    "promise": {"urgent": "within-30-min", "routine": "promise-open-day"},
    "test": False,
}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def trust(house: House) -> bytes:
    return house.signer.public_key().public_bytes_raw()


def test_it_reads_what_the_worker_signed(house: House) -> None:
    snapshot = verify(house.signed(7), trust(house))
    number = snapshot.number(DIALLED)
    assert (snapshot.version, number.line.number, number.line.plan.max_seconds) == (7, "5552014567", 60)
    assert snapshot.epoch == house.epoch
    assert number.line.config("", NIGHT).timing.limit[0] == 60_000


def test_it_reads_numbers_as_they_were_before_lines(house: House) -> None:
    old = {
        "practice": "p",
        "mailbox": "m",
        "practice_number": "5552014567",
        "greeting": "closed",
        "on_call": True,
        "language": "es",
        "languages": ["en"],
        "max_seconds": 5,
        "promise_minutes": 31,
        "clips": {"practice-name": "b" * 64, "en/practice-name": "builtin:demo-practice-1"},
    }
    line = verify(house.signed(2, numbers={DIALLED: old}), trust(house)).number(DIALLED).line
    assert line.number == "5552014567"
    assert line.plan.languages == ("es", "en")
    assert line.plan.max_seconds == 30
    assert line.promise.urgent == "within-35-min"
    assert line.team
    assert not line.plan.callback
    assert not line.plan.review
    assert line.plan.clips == {
        "es/practice-name": "b" * 64,
        "en/practice-name": "builtin:demo-practice-1",
    }


def test_it_reads_lines_and_the_numbers_that_share_them(house: House) -> None:
    numbers = {
        DIALLED: {"practice": "p", "mailbox": "m", "line": "p"},
        "+1 (555) 201-4568": {"practice": "p", "mailbox": "n", "line": "p"},
        "5552014569": {"practice": "p", "mailbox": "m", "line": "p:draft"},
    }
    lines = {"p": LINE, "p:draft": LINE | {"flow": 0, "test": True}}
    snapshot = verify(house.signed(3, numbers=numbers, lines=lines), trust(house))
    number = snapshot.number(DIALLED)
    assert (number.practice, number.mailbox, number.line.flow, number.line.test) == ("p", "m", 4, False)
    assert number.line.plan == Plan(review=False)
    assert number.line.situation(NIGHT).kind is Kind.CLOSURE
    assert snapshot.number("15552014568").line is number.line
    assert snapshot.number("5552014569").line.test
    assert snapshot.number("5550000000") == UNROUTED


@pytest.mark.parametrize("dialled", [DIALLED, f"+{DIALLED}", "555-201-4567", "(555) 201 4567"])
def test_it_knows_a_number_however_the_carrier_writes_it(house: House, dialled: str) -> None:
    assert verify(house.signed(1), trust(house)).number(dialled).practice


def test_it_takes_an_unknown_number_as_unrouted(house: House) -> None:
    assert verify(house.signed(1), trust(house)).number("5550000000") == UNROUTED
    config = UNROUTED.line.config("", NIGHT)
    assert config.languages == ("en",)
    assert not config.team
    assert "callback" not in config.graph.nodes


def test_it_refuses_a_forged_one(house: House) -> None:
    forged = house.signed(2, signer=Ed25519PrivateKey.generate())
    with pytest.raises(BadSnapshot, match="pinned key"):
        verify(forged, trust(house))


def test_it_refuses_a_changed_payload(house: House) -> None:
    outer = json.loads(house.signed(2))
    body = base64.b64decode(outer["payload"]).replace(b'"version":2', b'"version":9')
    outer["payload"] = base64.b64encode(body).decode()
    with pytest.raises(BadSnapshot, match="pinned key"):
        verify(json.dumps(outer).encode(), trust(house))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 0}, {"version": "1"}, {"version": True}, {"issued_at": "yesterday"}, {"epoch": {}},
        {"epoch": {"id": "x", "public": ""}}, {"numbers": []}, {"numbers": {"1": {}}}, {"limits": {"max_calls": "x"}},
        {"numbers": {"1": {"practice": "p", "mailbox": "m", "language": "de"}}},
        {"numbers": {"1": {"practice": "p", "mailbox": "m", "clips": {"practice-name": "../../etc/passwd"}}}},
        {"numbers": {"1": {"practice": "p", "mailbox": "m", "clips": {"../x": "0" * 64}}}},
        {"numbers": {"1": {"practice": "p", "mailbox": "m", "max_seconds": "long"}}},
        {"numbers": {"1": {"practice": "p", "mailbox": "m", "line": "unknown"}}},
        {"numbers": {"1": {"practice": "p", "mailbox": "m", "line": ["p"]}}},
        {"lines": []}, {"lines": {"p": {}}}, {"lines": {"p": None}},
    ],
    ids=lambda change: str(change)[:60],
)  # fmt: skip
def test_it_refuses_a_malformed_one_though_it_is_signed(house: House, change: dict[str, object]) -> None:
    with pytest.raises(BadSnapshot):
        verify(house.signed(2, **change), trust(house))


@pytest.mark.parametrize(
    "change",
    [
        {"zone": "Nowhere/None"}, {"zone": "America"}, {"studio": "x", "language": "de"}, {"zone": "/etc/passwd"}, {"plan": {}}, {"plan": 7},
        {"plan": LINE["plan"] | {"languages": ["de"]}}, {"plan": LINE["plan"] | {"max_seconds": 1}},
        {"plan": LINE["plan"] | {"keys": [{"key": "0"}]}},
        {"plan": LINE["plan"] | {"clips": {"en/practice-name": "../../etc/passwd"}}},
        {"closures": [{"starts": "tomorrow", "ends": None, "visits": False}]},
        {"closures": [{"ends": None}]}, {"closures": None},
        {"holidays": {"26 November": "x"}}, {"known_until": None}, {"promise": "soon"}, {"flow": "new"},
    ],
    ids=lambda change: str(change)[:60],
)  # fmt: skip
def test_it_refuses_a_line_that_is_none(house: House, change: dict[str, Any]) -> None:
    numbers = {"1": {"practice": "p", "mailbox": "m", "line": "p"}}
    assert (
        verify(house.signed(2, numbers=numbers, lines={"p": LINE}), trust(house)).number("1").line.flow == 4
    )
    with pytest.raises(BadSnapshot):
        verify(house.signed(2, numbers=numbers, lines={"p": LINE | change}), trust(house))


@given(st.binary(max_size=200))
def test_it_refuses_rubbish(data: bytes) -> None:
    with pytest.raises(BadSnapshot):
        verify(data, bytes(32))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["version", "numbers", "epoch", "issued_at", "limits", "lines"]),
                inner,
                max_size=5,
            )
        ),
        max_leaves=8,
    )
)
def test_it_refuses_signed_rubbish(payload: object) -> None:
    signer = Ed25519PrivateKey.generate()
    with pytest.raises(BadSnapshot):
        verify(sign(payload, signer), signer.public_key().public_bytes_raw())  # type: ignore[arg-type]


def test_it_goes_forward_only_and_survives_a_restart(house: House) -> None:
    holder = Holder(house.folder)
    assert holder.take(house.signed(5)).version == 5
    with pytest.raises(BadSnapshot, match="older"):
        holder.take(house.signed(4))
    assert holder.current.version == 5
    assert holder.refused == 1
    assert Holder(house.folder).current.version == 5


def test_it_starts_from_the_last_good_one_without_a_worker(house: House) -> None:
    assert Holder(house.folder).current.version == 1


def test_it_says_what_to_do_when_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(RefusedStart, match="worker"):
        Holder(tmp_path)
