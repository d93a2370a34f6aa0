"""The end of a sealing key epoch: never while anything may still be sealed to it or waits under it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.factories import House, make_capture

from nightbell.core.clock import utc_now
from nightbell.mailbox import epochs
from nightbell.store import vault


@pytest.fixture
def old(house: House) -> str:
    """An epoch that was retired two hours ago."""
    then = utc_now() - timedelta(hours=2)
    first = epochs.begin(then, "system:test")
    epochs.begin(then, "system:test")
    return first.id


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def _destroyed(folder: Path, *named: str, now: datetime | None = None) -> int:
    return epochs.destroy_drained(folder, named, now or utc_now(), "system:test")


def test_it_is_destroyed_when_every_phone_names_another_and_nothing_waits(old: str, folder: Path) -> None:
    current = epochs.current()
    assert current is not None
    assert _destroyed(folder, current.id) >= 1
    assert not vault.keyring().has(old)


def test_it_lives_while_a_phone_still_seals_to_it(old: str, folder: Path) -> None:
    _destroyed(folder, old)
    assert vault.keyring().has(old)


@pytest.mark.parametrize("named", [(), ("",)], ids=["no phone is there", "a phone does not say"])
def test_it_lives_while_nobody_can_say_what_the_phones_seal_to(
    old: str, folder: Path, named: tuple[str, ...]
) -> None:
    assert _destroyed(folder, *named) == 0
    assert vault.keyring().has(old)


def test_it_lives_while_a_capture_under_it_is_still_being_written(house: House, folder: Path) -> None:
    """A full disk can keep a phone at one file for hours; its lock hides it from intake, not from us."""
    then = utc_now() - timedelta(hours=2)
    first = epochs.begin(then, "system:test")
    path = make_capture(house.mailbox, folder=folder, finish=False)
    second = epochs.begin(then, "system:test")
    with path.open("rb") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        _destroyed(folder, second.id)
        assert vault.keyring().has(first.id)
    path.unlink()
    _destroyed(folder, second.id)
    assert not vault.keyring().has(first.id)
