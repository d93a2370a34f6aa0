"""The keyring's wrapped entries in a schema of PostgreSQL: see `entries`."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from nightbell.sealing.entries import TABLES, Row, out_of_reach


class PostgresEntries:
    """Schema nightbell_keyring; one connection a process, made anew when it was lost."""

    def __init__(self, url: str) -> None:
        self._url, self._lock = url, threading.RLock()
        self._connection: psycopg.Connection[Row] | None = None
        self._process, self._depth = 0, 0  # depth: how many `writing` we are in
        with self.writing():
            # Two first starts at once would both try to create.
            self.query("SELECT pg_advisory_xact_lock(5724301)")
            self.run("CREATE SCHEMA IF NOT EXISTS nightbell_keyring")
            for statement in TABLES:
                self.run(statement.format(blob="BYTEA"))

    def _connect(self) -> psycopg.Connection[Row]:
        if self._depth and self._connection is not None:
            return (
                self._connection
            )  # lost or not: what follows belongs to its transaction, and to no other connection
        if self._connection is not None and self._process == os.getpid() and _was_left(self._connection):
            self._connection.close()
        if self._connection is None or self._process != os.getpid() or self._connection.closed:
            self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
            self._process = os.getpid()
            self._connection.execute("SET search_path TO nightbell_keyring")
            self._connection.execute("SET synchronous_commit TO on")
            self._connection.execute("SET client_min_messages TO warning")
        return self._connection

    def query(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        with self._lock, self._typed():
            try:
                return self._connect().execute(_translated(statement), values).fetchall()
            except psycopg.OperationalError:
                # It was lost without a word; asking once more changes nothing.
                if self._depth or not (self._connection and self._connection.closed):
                    raise
                return self._connect().execute(_translated(statement), values).fetchall()

    def run(self, statement: str, values: Sequence[object] = ()) -> int:
        with self._lock, self._typed():
            return self._connect().execute(_translated(statement), values).rowcount

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self._lock, self._typed(), self._connect().transaction():
            self._depth += 1
            try:
                if self._tables_there():
                    self.run("LOCK TABLE state IN SHARE ROW EXCLUSIVE MODE")
                yield
            finally:
                self._depth -= 1

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise out_of_reach(error) from error

    def _tables_there(self) -> bool:
        return self.query("SELECT to_regclass('nightbell_keyring.state') IS NOT NULL")[0][0] is True

    def scrub(self) -> bool:
        """Rewrite the table. Its old bytes may live on in WAL and backups: the period key makes them useless."""
        with self._lock, self._typed():
            self._connect().execute("VACUUM FULL entries")
            return True

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None


def _was_left(connection: psycopg.Connection[Row]) -> bool:
    """Whether the server hung up, or said that it will, while nobody asked it anything."""
    if connection.closed:
        return True
    looks = select.poll()
    looks.register(connection.fileno(), select.POLLIN)
    return bool(looks.poll(0))


def _translated(statement: str) -> sql.SQL:
    return sql.SQL(statement.replace("?", "%s"))
