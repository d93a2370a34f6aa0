"""Upkeep after the database went away and came back: one step's broken connection is none of the next one's."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections
from tests.db.oncall.test_groups import beside

from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.oncall import escalation
from nightbell.server import worker
from nightbell.server.loop import Told


@pytest.fixture
def db(django_db_setup: None) -> None:
    """The tests' database, without a transaction around each test."""


def upkeep() -> list[dict[str, str]]:
    """What failed, each time. Only `alerts` asks the database: whether it can be asked at all."""
    one, found = worker.Worker.__new__(worker.Worker), list[dict[str, str]]()
    one.config, one.log, one.loops = load(), Log("worker"), []
    one.trunks, one.line_trouble = mock.Mock(), mock.Mock()
    one.after, one.told = mock.Mock(), Told(one.log)
    for name in ("_snapshot_if_due", "_calm", "_epochs", "_checkpoint", "_sweep"):
        setattr(one, name, lambda *_: None)
    with (
        mock.patch.object(worker.health, "write"), mock.patch.object(worker.health, "read", return_value={}),
        mock.patch.object(worker.metrics, "update"), mock.patch.object(worker.late, "find_broken"),
        mock.patch.object(worker.playing, "close_expired"), mock.patch.object(worker.disposal, "compact_if_due"),
        mock.patch.object(worker.Worker, "report", lambda self, trouble: found.append(dict(trouble)) or {}),
        mock.patch.object(escalation, "find_forgotten", ask),
    ):  # fmt: skip
        for _ in range(3):
            one.keep_up()
    return found


def ask(_now: object = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def hang_up() -> None:
    """The server ends our connection, as when it is started anew. A SQLite file has none."""
    if connection.vendor == "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ours = cursor.fetchone()[0]
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [ours])
    finally:
        other.close()


def test_upkeep_goes_on_with_a_new_connection(db: None, django_db_blocker: Any) -> None:
    def lost() -> list[dict[str, str]]:
        hang_up()
        return upkeep()

    with django_db_blocker.unblock():
        found = beside(lost)()
    assert isinstance(found, list), found
    assert found[0] in ({}, {"alerts": "OperationalError"})
    assert found[1:] == [{}, {}]
