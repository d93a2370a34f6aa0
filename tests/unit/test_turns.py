"""The threads of a process take turns at writing to SQLite, and nobody keeps a turn that is over."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction

from nightbell.store.turns.base import TURN, DatabaseWrapper

OTHER = "turns"


@pytest.fixture
def file(tmp_path: Path, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A database in which SQLite itself waits for nobody."""
    path = tmp_path / "turns.sqlite3"
    own = {
        "ENGINE": "nightbell.store.turns",
        "NAME": str(path),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 0},
    }
    connections.settings  # noqa: B018 - read once, so that it can be added to
    monkeypatch.setitem(
        connections.settings, OTHER, connections.configure_settings({"default": {}, OTHER: own})[OTHER]
    )
    with django_db_blocker.unblock():
        with closing(sqlite3.connect(path)) as made, made:
            made.execute("PRAGMA journal_mode=WAL")
            made.execute("CREATE TABLE counted (n INTEGER)")
            made.execute("INSERT INTO counted VALUES (0)")
        try:
            yield path
        finally:
            connections[OTHER].close()
            del connections[OTHER]
    assert not TURN.lock.locked()


def count() -> int:
    with connections[OTHER].cursor() as cursor:
        return int(cursor.execute("SELECT n FROM counted").fetchone()[0])


def add(nested: bool = False) -> None:
    with transaction.atomic(OTHER):
        before = count()
        if nested:
            with transaction.atomic(OTHER):
                count()
        with connections[OTHER].cursor() as cursor:
            cursor.execute("UPDATE counted SET n = %s", (before + 1,))


def test_it_is_the_backend_of_the_product() -> None:
    if connections["default"].vendor == "sqlite":
        assert isinstance(connections["default"], DatabaseWrapper)


def test_threads_that_write_at_once_wait_for_each_other_and_not_in_sqlite(file: Path) -> None:
    found: list[Exception] = []

    def many() -> None:
        try:
            for number in range(25):
                add(nested=number % 2 == 0)
        except Exception as error:
            found.append(error)
        finally:
            connections[OTHER].close()

    threads = [threading.Thread(target=many) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == []
    assert count() == 150


def ended(how: str) -> None:
    with transaction.atomic(OTHER):
        assert TURN.lock.locked()
        if how == "closed":
            connections[OTHER].connection.close()
        if how == "set back":
            transaction.set_rollback(True, OTHER)
        raise ZeroDivisionError


@pytest.mark.parametrize("how", ["error", "closed", "set back"])
def test_a_turn_ends_however_it_ends(file: Path, how: str) -> None:
    with pytest.raises(ZeroDivisionError):
        ended(how)
    assert not TURN.lock.locked()
    connections[OTHER].close()
    add()
    assert count() == 1


def test_a_transaction_that_does_not_begin_leaves_the_turn_to_others(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError):
            add()
        assert not TURN.lock.locked()
        stranger.execute("COMMIT")
    add()
    assert count() == 1


def test_a_fork_waits_for_nobody_who_is_not_there(file: Path) -> None:
    with transaction.atomic(OTHER):
        child = os.fork()
        if not child:
            os._exit(int(TURN.lock.locked()))
    assert os.waitpid(child, 0)[1] == 0
