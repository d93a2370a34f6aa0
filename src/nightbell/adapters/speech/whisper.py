"""Whisper base on the CPU, behind the port `core.notice.Recogniser`.

The model runs in a child (child.py) that is started when first needed and ends after a number of
messages or ten idle minutes. One message at a time: two would only wait for each other's cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from nightbell.adapters.speech import models, wire
from nightbell.core import clock
from nightbell.core.errors import NightbellError, Stopping, TemporaryError
from nightbell.core.log import Log
from nightbell.core.notice import Hearing
from nightbell.core.sandbox import scrubbed

ENGINE = f"whisper-base/{models.FILES['model.bin'][:12]}/int8"
_MEND = "the message is kept and can be listened to; it will be tried again"


class WhisperRecogniser:
    """Keeps at most one child. Safe to share between threads.

    models: folder that holds `whisper-base`; jobs: messages per child; idle: seconds until an unused child
    is ended; least, factor: a message may take `least` seconds or `factor` times its length.
    """

    def __init__(
        self,
        models: Path,
        log: Log,
        *,
        jobs: int = 50,
        idle: float = 600.0,
        least: float = 30.0,
        factor: float = 4.0,
        start: float = 60.0,
    ) -> None:
        self._folder, self._log = models / "whisper-base", log
        self._jobs, self._idle, self._least, self._factor, self._start = jobs, idle, least, factor, start
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._done = 0
        self._closed = False
        self._last = 0.0
        self._timer: threading.Timer | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, if one runs."""
        return self._child.pid if self._child else None

    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
        """See `core.notice.Recogniser`. Blocks; takes about a third of the message's length on two cores."""
        try:
            return self._hear(pcm, language, rate)
        except TemporaryError as error:
            if self._closed:
                raise Stopping("the speech engine", "it was stopped with the worker", _MEND) from error
            raise

    def _hear(self, pcm: bytes, language: str | None, rate: int) -> Hearing:
        with self._lock:
            child = self._running()
            limit = max(self._least, self._factor * len(pcm) / (2 * rate))
            began = clock.monotonic()
            answer = self._ask(child, {"language": language, "rate": rate}, pcm, limit)
            if "failed" in answer:
                self._end()
                raise TemporaryError("the speech engine", f"it failed with {answer['failed']}", _MEND)
            self._log("speech_heard", seconds=round(clock.monotonic() - began, 2), attempt=self._done)
            self._after()
            try:
                return wire.hearing_in(answer, ENGINE)
            except (ValueError, TypeError) as error:
                self._end()
                raise TemporaryError("the speech engine", "it gave no sense", _MEND) from error

    def warm(self) -> None:
        """Start the child now, so that its model is loaded when the call ends."""
        if self._child is not None or not self._lock.acquire(blocking=False):
            return
        try:
            self._running()
            self._last = clock.monotonic()
        except NightbellError as error:
            self._log.failure("speech_not_warm", error)
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the child for good, at once: who is being answered gets Stopping."""
        self._closed = True
        child = self._child  # of another thread, which holds the lock until it is answered
        if child is not None:
            child.kill()
        with self._lock:
            self._end()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self._end()
        if self._child is None:
            models.verify(self._folder)
            self._child, self._done = self._spawn(), 0
            if self._closed:  # asked after the child is known: either close() finds it or this finds close()
                self._end()
                raise TemporaryError("the speech engine", "it was stopped with the worker", _MEND)
            answer = self._ask(self._child, None, b"", self._start)
            reason = answer.get("refused")
            if isinstance(reason, list):
                self._end()
                raise NightbellError(*(str(part) for part in reason))
            self._log("speech_started", pid=self._child.pid)
        return self._child

    def _spawn(self) -> subprocess.Popen[bytes]:
        threads = min(2, len(os.sched_getaffinity(0)))
        command = [sys.executable, "-m", "nightbell.adapters.speech.child", str(self._folder), str(threads)]
        return subprocess.Popen(
            command,
            cwd="/",
            env=child_environment(os.environ, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def _ask(
        self, child: subprocess.Popen[bytes], request: dict[str, object] | None, pcm: bytes, limit: float
    ) -> dict[str, object]:
        """One answer. The child is killed after `limit` seconds, which ends every wait on its pipes."""
        with _killed_after(child, limit) as late:
            try:
                if request is not None:
                    source = cast(BinaryIO, child.stdin)
                    wire.put_json(source, request)
                    wire.put(source, pcm)
                return wire.get_json(cast(BinaryIO, child.stdout))
            except (OSError, EOFError, ValueError) as error:
                self._end()
                why = "it took too long and was stopped" if late.is_set() else "its process died"
                self._log("speech_died", reason="timeout" if late.is_set() else "died", seconds=limit)
                raise TemporaryError("the speech engine", why, _MEND) from error

    def _after(self) -> None:
        self._done, self._last = self._done + 1, clock.monotonic()
        if self._done >= self._jobs:
            self._end()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(self._idle, self._end_if_idle, args=(self._last,))
        self._timer.daemon = True
        self._timer.start()

    def _end_if_idle(self, since: float) -> None:
        with self._lock:
            if self._last == since:
                self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                _close(pipe)


def child_environment(environ: Mapping[str, str], threads: int) -> dict[str, str]:
    """What the child may know of the worker's environment: where Python is, and no secret."""
    kept = scrubbed(environ, ()) | {"OMP_NUM_THREADS": str(threads)}
    kept.pop("HOME", None)
    return kept


def _close(pipe: object) -> None:
    try:
        cast(BinaryIO, pipe).close()
    except OSError:
        return  # bytes that a dead child will not read


@contextmanager
def _killed_after(child: subprocess.Popen[bytes], limit: float) -> Iterator[threading.Event]:
    late = threading.Event()

    def kill() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(limit, kill)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
