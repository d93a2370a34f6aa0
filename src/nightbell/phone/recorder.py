"""Recording: what the media thread takes is sealed and written by a thread of its own.

The writer looks at each call three times a second, hands its sealed bytes to the system and makes them durable once
a second, off the media thread; what is urgent goes at once. A full disk first costs the reserve file, then the call's own
recording; what is sealed stays in memory and is tried again, since a message must never be lost.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nightbell.core import clock
from nightbell.core.capture import CaptureMeta, Digit, End, Mark
from nightbell.core.errors import TemporaryError
from nightbell.core.log import Log
from nightbell.sealing.capture import CaptureSealer
from nightbell.sealing.epochs import EpochPublic
from nightbell.sealing.spool import SpoolFile

LOOK_EVERY, WRITE_EVERY, SYNC_EVERY, RETRY_EVERY = 0.1, 0.3, 1.0, 5.0
ON_THE_WAY = 0.1  # seconds that a packet may have waited before the media thread took it
RESERVE, RESERVE_BYTES = ".reserve", 8 * 1024 * 1024
MAX_SMALL_RECORDS = 512  # digits and marks of one call; a flood of keys must not fill the disk
QUICK = 0.02  # seconds: a disk that takes longer is waited for before a call is answered
FRESH = 60.0  # seconds for which that is believed
_FULL = (errno.ENOSPC, errno.EDQUOT)

Done = Callable[[bool], None]
T = TypeVar("T")


class CannotRecord(TemporaryError):
    """No capture can be opened for this call."""


@dataclass(slots=True)
class Counters:
    """What happened to captures since the start."""

    opened: int = 0
    finished: int = 0
    failed: int = 0
    dropped: int = 0  # unwanted, see Recording
    late: int = 0  # finished after a failure, once there was room again
    reserve_used: int = 0


class Recording:
    """One call's capture. `audio` is for the media thread, the rest for the event loop."""

    def __init__(self, capture: str, sealer: CaptureSealer, file: SpoolFile, on_failed: Callable[[], None]):
        self.capture, self.file, self.on_failed = capture, file, on_failed
        self.packets = 0
        self.failed = False
        self.unwanted = False  # nobody was there: its end removes the file. Set before `finish`
        self.ending: tuple[End, Done] | None = None
        self.ended = False
        self.syncing: Callable[[], None] | None = None
        self.synced_at = clock.monotonic()
        self.dirty = True
        self.due = 0.0
        self._sealer = sealer
        self._heard: deque[tuple[float, list[tuple[int, bytes]]]] = deque()
        self._beside: deque[tuple[float, list[tuple[int, bytes]]]] = deque()
        self._lock = threading.Lock()
        self._sealed = bytearray()
        self._small = 0

    def audio(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """Take payloads with their offsets in ticks since the recording began. Sealed within WRITE_EVERY.

        Nothing but an append: this is the media thread, some 10,000 times a second.
        """
        self._heard.append((now, packets))

    def beside(self, packets: list[tuple[int, bytes]], now: float) -> None:
        """As `audio`, of the second side of a call back."""
        self._beside.append((now, packets))

    def note(self, record: Digit | Mark) -> None:
        """Seal a key press or a mark; of key presses more than MAX_SMALL_RECORDS are dropped."""
        with self._lock:
            # Keys are counted, marks are not: a caller who leans on a key must not push out his own "urgent".
            self._small += isinstance(record, Digit)
            room = isinstance(record, Mark) or self._small <= MAX_SMALL_RECORDS
            if self.ending is None and room:
                self._seal_audio()
                self._sealed += self._sealer.add(record, clock.monotonic())

    def finish(self, end: End, done: Done) -> None:
        """No more records. `done(durable)` is called in the writer's thread. `Recorder.wake` hurries it."""
        with self._lock:
            if self.ending is None:
                self.ending = (end, done)

    def sync(self, done: Callable[[], None]) -> None:
        """Make what was taken so far durable. `done` is called in the writer's thread; a failure is `on_failed`."""
        self.syncing = done

    def collect(self, now: float, whole: bool = False) -> bytes:
        """Writer's thread: the sealed bytes since the last time. whole: nothing that was taken stays behind."""
        with self._lock:
            if self.ended:
                self._heard.clear()  # a packet that raced the end
                self._beside.clear()
                return b""
            self._seal_audio()
            if self.ending is not None:
                self.ended = True
                self._sealed += self._sealer.finish(self.ending[0], now)
            else:
                # Padded by its age at the next look: after that it might be older than a second.
                self._sealed += self._sealer.flush() if whole else self._sealer.pad(now + WRITE_EVERY)
            sealed = bytes(self._sealed)
            self._sealed.clear()
        return sealed

    @property
    def urgent(self) -> bool:
        return self.ending is not None or self.syncing is not None

    def _seal_audio(self) -> None:
        for heard in (self._heard, self._beside):
            if heard:
                came = heard[0][0] - ON_THE_WAY
                packets = [packet for _ in range(len(heard)) for packet in heard.popleft()[1]]
                self.packets += len(packets)
                self._sealed += self._sealer.add_audio(packets, came, heard is self._beside)


class Recorder:
    """All captures of this process and the thread that writes them."""

    def __init__(self, folder: Path, log: Log, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.folder, self.counters = folder, Counters()
        self._log, self._reserve_bytes = log, reserve_bytes
        self._recordings: dict[str, Recording] = {}
        self._stuck: dict[str, Recording] = {}
        self._wake = threading.Event()
        self._running = True
        self._next_retry = 0.0
        # What is done on the disk: since when, and how long it took the last time. Of a new one nothing is known.
        self._under_way: dict[str, float] = {}
        self._took = {"open": math.inf, "sync": 0.0}
        self._seen = 0.0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._keep_reserve()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what there is, stop, and let go of the files: intake takes unfinished ones as interrupted."""
        self._running = False
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        for recording in [*self._recordings.values(), *self._stuck.values()]:
            with contextlib.suppress(OSError):
                recording.file.sync()
            recording.file.abandon()

    @property
    def open_captures(self) -> int:
        return len(self._recordings) + len(self._stuck)

    @property
    def quick(self) -> bool:
        """Whether the disk does not keep a call waiting: a file was opened, and what was written made durable, within
        QUICK seconds the last time, which is not long ago, and nothing waits now."""
        now = clock.monotonic()
        waits = any(now - began >= QUICK for began in list(self._under_way.values()))
        fresh = now - self._seen < FRESH
        return fresh and not waits and not self._stuck and max(self._took["open"], self._took["sync"]) < QUICK

    def open(self, meta: CaptureMeta, epoch: EpochPublic, on_failed: Callable[[], None]) -> Recording:
        """Begin a capture. on_failed is called once, in the writer's thread. Raises CannotRecord."""
        file = None
        try:
            sealer = CaptureSealer(epoch, meta, clock.monotonic())
            with self._measured("open"):
                file = self._with_room(lambda: SpoolFile.create(self.folder, meta.capture))
                self._append(file, sealer.header)
        except Exception as error:
            if file is not None:
                _remove(file)
            self.counters.failed += 1
            self._log.failure("capture_not_opened", error, capture=meta.capture)
            why = "its file cannot be written" if isinstance(error, OSError) else "it cannot be sealed"
            mend = "make room on the disk of the spool" if isinstance(error, OSError) else "see the log"
            raise CannotRecord(f"capture {meta.capture}", why, mend) from error
        recording = Recording(meta.capture, sealer, file, on_failed)
        self._recordings[meta.capture] = recording
        self.counters.opened += 1
        return recording

    def wake(self) -> None:
        """Have the writer look now."""
        self._wake.set()

    @contextlib.contextmanager
    def _measured(self, what: str) -> Iterator[None]:
        """Note how long the disk takes for this; what fails took for ever."""
        began, took = clock.monotonic(), math.inf
        self._under_way[what] = began
        try:
            yield
            took = clock.monotonic() - began
        finally:
            self._took[what], self._seen = took, began
            self._under_way.pop(what, None)

    def _with_room(self, act: Callable[[], T]) -> T:
        """Do it; when the disk is full give up the reserve and do it again. Raises OSError."""
        try:
            return act()
        except OSError as error:
            if error.errno not in _FULL or not self._release():
                raise
            return act()

    def _append(self, file: SpoolFile, data: bytes) -> None:
        """As SpoolFile.append, which keeps what it could not write: the second try adds nothing."""
        waiting = bytearray(data)

        def act() -> None:
            now, waiting[:] = bytes(waiting), b""
            file.append(now)

        self._with_room(act)

    def _release(self) -> bool:
        try:
            (self.folder / RESERVE).unlink()
        except OSError:
            return False
        self.counters.reserve_used += 1
        self._log("reserve_released", bytes=min(self._reserve_bytes, 999_999))
        return True

    def _keep_reserve(self) -> None:
        """Set space aside, unless that would take the last of it."""
        path = self.folder / RESERVE
        try:
            room = os.statvfs(self.folder)
            if path.exists() or room.f_bavail * room.f_frsize < 2 * self._reserve_bytes:
                return
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, self._reserve_bytes)
            finally:
                os.close(handle)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    # From here on: the writer's thread.

    def _run(self) -> None:
        while self._running:
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            self._round(clock.monotonic())
        self._round(clock.monotonic(), whole=True)

    def _round(self, now: float, whole: bool = False) -> None:
        for recording in list(self._recordings.values()):
            if now < recording.due and not recording.urgent and not whole:
                continue
            recording.due = now + WRITE_EVERY - LOOK_EVERY / 2
            try:
                with self._measured("write"):
                    self._write(recording, now)
            except OSError as error:
                self._fail(recording, error)
            except Exception as error:  # one call's trouble must not stop the writing of the others
                self._log.failure("capture_broken", error, capture=recording.capture)
                self._fail(recording, OSError(errno.EIO, "unexpected"))
        if now >= self._next_retry:
            self._next_retry = now + RETRY_EVERY
            self._retry(now)
            self._keep_reserve()

    def _write(self, recording: Recording, now: float) -> None:
        synced = recording.syncing
        sealed = recording.collect(now, whole=synced is not None)
        if sealed:
            recording.dirty = True
            self._append(recording.file, sealed)
        if synced is not None and not recording.ended:
            self._sync(recording)
            recording.dirty, recording.synced_at, recording.syncing = False, now, None
            synced()
        if recording.ended:
            if recording.unwanted:
                recording.file.discard()
                self.counters.dropped += 1
            else:
                self._with_room(recording.file.finish)
                self.counters.finished += 1
            del self._recordings[recording.capture]
            _tell(recording, True)
        elif recording.dirty and now - recording.synced_at >= SYNC_EVERY:
            self._sync(recording)
            recording.dirty, recording.synced_at = False, now

    def _sync(self, recording: Recording) -> None:
        with self._measured("sync"):
            recording.file.sync()

    def _fail(self, recording: Recording, error: OSError) -> None:
        """Keep what there is and tell the call; the rest is tried again later."""
        self._log.failure("capture_failed", error, capture=recording.capture)
        self._recordings.pop(recording.capture, None)
        self._stuck[recording.capture] = recording
        if not recording.failed:
            recording.failed = True
            self.counters.failed += 1
            recording.on_failed()
        if recording.ended:
            _tell(recording, False)

    def _retry(self, now: float) -> None:
        """Try again what a full disk kept from being written."""
        for recording in list(self._stuck.values()):
            if recording.ending is None:
                continue  # its call will end it
            try:
                recording.file.append(recording.collect(now) if not recording.ended else b"")
                recording.file.finish()
            except OSError:
                continue
            except Exception as error:  # as in the round above: not at the cost of the others
                self._log.failure("capture_broken", error, capture=recording.capture)
                continue
            del self._stuck[recording.capture]
            self.counters.late += 1
            _tell(recording, True)


def _remove(file: SpoolFile) -> None:
    """A file that holds nothing. Where it cannot be removed intake takes it, as an interrupted capture."""
    try:
        file.discard()
    except OSError:
        file.abandon()


def _tell(recording: Recording, durable: bool) -> None:
    """Tell the call. Once all is kept the call is let go of: a ring of references would keep it until a full collection."""
    if recording.ending is None:
        return
    end, done = recording.ending
    done(durable)
    if durable:
        recording.ending, recording.on_failed = (end, _told), _told


def _told(*_: object) -> None:
    return
