"""A thread that does the same step again and again, and outlives the step's errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db import DatabaseError, close_old_connections, connection

from nightbell.audit.errors import AuditClosed
from nightbell.core import clock
from nightbell.core.log import Log

T = TypeVar("T")
IDLE = 0.2  # seconds between two looks when nothing was announced
TELL_AGAIN = 60.0  # seconds until the log hears of the same trouble again


class Loop(threading.Thread):
    """Calls `step` for ever. `step` tells whether there was work; an error is logged and waits a second.

    at_once: False waits for `wake` before the first step.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], bool],
        wake: threading.Event,
        log: Log,
        idle: float = IDLE,
        at_once: bool = True,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.step, self.wake, self.log, self.idle, self.at_once = step, wake, log, idle, at_once
        self.stopping = threading.Event()
        self.beat = clock.monotonic()
        self.trouble = ""
        self.told = Told(log)

    def run(self) -> None:
        if not self.at_once:
            self.wake.wait()
            self.wake.clear()
        while not self.stopping.is_set():
            self.beat = clock.monotonic()
            try:
                busy = self.step()
                self.trouble = ""
            except Exception as error:
                # Whatever it was: this loop must go on, and the health page must show it.
                self._failed(error)
                busy = False
                self.stopping.wait(1.0)
            if not busy:
                self.wake.wait(self.idle)
                self.wake.clear()

    def _failed(self, error: Exception) -> None:
        self.trouble = type(error).__name__
        self.told.failure("loop.failed", error, self.name)
        let_go(error)


class Told:
    """A log that hears of the same trouble once a minute: keys, or a database, may be away for days."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: dict[
            str, tuple[str, float]
        ] = {}  # by kind: the last trouble, and when it was told (monotonic)

    def failure(self, event: str, error: Exception, kind: str) -> None:
        trouble, at = self._last.get(kind, ("", 0.0))
        if trouble != type(error).__name__ or clock.monotonic() - at > TELL_AGAIN:
            self._last[kind] = (type(error).__name__, clock.monotonic())
            self._log.failure(event, error, kind=kind)


def let_go(error: Exception) -> None:
    """Whoever catches an error of the database and goes on: the server may be another one by now, so that a connection to
    the old one would fail for ever."""
    if connection.in_atomic_block:
        return  # whoever began it ends it
    if isinstance(error, (DatabaseError, AuditClosed)):
        connection.close()
    close_old_connections()


def each(
    rows: Callable[[], Iterable[T]],
    act: Callable[[T], bool],
    problems: list[Exception],
    put_back: Callable[[T], None] | None = None,
) -> int:
    """One after another: one that fails costs no other its turn. Returns how many did something."""
    done = 0
    try:
        found = list(rows())
    except Exception as error:
        problems.append(error)
        return 0
    for row in found:
        try:
            done += act(row)
        except Exception as error:
            problems.append(error)
            if put_back is not None:
                put_back(row)
    return done
