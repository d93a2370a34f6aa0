"""The routing snapshot: signed, only newer ones, for ever good."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.phone.house import DIALLED, House

from nightbell.core.errors import RefusedStart
from nightbell.phone.snapshot import UNROUTED, BadSnapshot, Holder, verify
from nightbell.sealing.signed import sign


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def trust(house: House) -> bytes:
    return house.signer.public_key().public_bytes_raw()


def test_it_reads_what_the_worker_signed(house: House) -> None:
    snapshot = verify(house.signed(7), trust(house))
    number = snapshot.number(DIALLED)
    assert (snapshot.version, number.line.practice_number, number.max_seconds) == (7, "5552014567", 60)
    assert snapshot.epoch == house.epoch
    assert number.flow().limit == 60_000


@pytest.mark.parametrize("dialled", [DIALLED, f"+{DIALLED}", "555-201-4567", "(555) 201 4567"])
def test_it_knows_a_number_however_the_carrier_writes_it(house: House, dialled: str) -> None:
    assert verify(house.signed(1), trust(house)).number(dialled).practice


def test_it_takes_an_unknown_number_as_unrouted(house: House) -> None:
    assert verify(house.signed(1), trust(house)).number("5550000000") == UNROUTED
    assert UNROUTED.flow().scripts["en"]["first-words"]


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
    ],
)  # fmt: skip
def test_it_refuses_a_malformed_one_though_it_is_signed(house: House, change: dict[str, object]) -> None:
    with pytest.raises(BadSnapshot):
        verify(house.signed(2, **change), trust(house))


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
                st.sampled_from(["version", "numbers", "epoch", "issued_at", "limits"]), inner, max_size=5
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
