"""Where the keyring's wrapped entries lie: a SQLite file of its own, or a schema in PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from nightbell.sealing.errors import KeyUnavailable

Row = tuple[object, ...]
_BUSY_SECONDS = 30.0


class Entries(Protocol):
    """A small SQL store of entries(id, kind, wrapped, period) and state(name, value). Thread-safe.

    Statements use `?`. Within `writing` they run in one durable transaction that excludes the
    others' `writing`. All raise KeyUnavailable when the database fails; then nothing was changed.
    """

    def query(self, statement: str, values: Sequence[object] = ()) -> list[Row]: ...

    def run(self, statement: str, values: Sequence[object] = ()) -> int:
        """Rows touched. Only within `writing`."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[None]: ...

    def scrub(self) -> bool:
        """Take deleted bytes out of the files as far as this store can. Whether it was all done."""
        ...

    def close(self) -> None: ...


TABLES = (
    "CREATE TABLE IF NOT EXISTS entries (id TEXT PRIMARY KEY, kind TEXT NOT NULL, wrapped {blob} NOT NULL, period TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS entries_by_kind ON entries (kind, id)",
    "CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)


def out_of_reach(error: Exception) -> KeyUnavailable:
    return KeyUnavailable(
        "the keyring's database",
        f"it failed with {type(error).__name__}",
        "see that it runs, that its disk has room and that no other process holds it",
    )


class SqliteEntries:
    """WAL, synchronous FULL, secure_delete ON; one connection a process, guarded by a lock."""

    def __init__(self, path: str) -> None:
        self._path, self._lock = path, threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with self.writing():
            for statement in TABLES:
                self.run(statement.format(blob="BLOB"))

    def _connect(self) -> sqlite3.Connection:
        # A connection must not be used on both sides of a fork.
        if self._connection is None or self._process != os.getpid():
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._process = os.getpid()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._connection.execute("PRAGMA " + pragma).fetchall()
        return self._connection

    def query(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        with self._lock, self._typed():
            return self._connect().execute(statement, values).fetchall()

    def run(self, statement: str, values: Sequence[object] = ()) -> int:
        with self._lock, self._typed():
            return self._connect().execute(statement, values).rowcount

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self._lock, self._typed():
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            finally:
                # A full disk makes SQLite roll back by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise out_of_reach(error) from error

    def scrub(self) -> bool:
        """Rebuild the file and empty the log. False when a reader was in the way."""
        with self._lock:
            connection = self._connect()
            try:
                connection.execute("VACUUM")
            except sqlite3.OperationalError:
                return False
            return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None


def open_entries(location: str) -> Entries:
    """A 'postgresql://' URL, or the path of a SQLite file whose folder exists."""
    if location.startswith(("postgresql://", "postgres://")):
        # Loading psycopg takes a tenth of a process's start: of installations that use it alone.
        from nightbell.sealing.entries_postgres import PostgresEntries

        return PostgresEntries(location)
    return SqliteEntries(location)
