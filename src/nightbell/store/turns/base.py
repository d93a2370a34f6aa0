"""One transaction of this process at a time, and the next one at once.

SQLite has one writer. Who finds it busy looks again after pauses that grow to a tenth of a second, though the lock has long
been free: the threads of a worker in a burst waited for each other longer than they wrote. Here they queue up for a lock of
the process first; other processes are met as before.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from django.db.backends.sqlite3 import base

WAIT = 20.0  # seconds, as SQLite's own `timeout`; after that SQLite itself may say what is the matter


class _Turn:
    """The lock of this process; a fork has one of its own, for who held it is not there."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def renew(self) -> None:
        self.lock = threading.Lock()


TURN = _Turn()
os.register_at_fork(after_in_child=TURN.renew)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection, of one thread."""

    _held: threading.Lock | None = None

    def _start_transaction_under_autocommit(self) -> None:
        lock = TURN.lock
        if self._held is None and lock.acquire(timeout=WAIT):
            self._held = lock
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._end_turn()
            raise

    def _end_turn(self) -> None:
        lock, self._held = self._held, None
        if lock is not None and lock is TURN.lock:
            lock.release()

    def _commit(self) -> Any:
        try:
            return super()._commit()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _rollback(self) -> Any:
        try:
            return super()._rollback()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _close(self) -> Any:
        try:
            return super()._close()  # type: ignore[misc]
        finally:
            self._end_turn()
