"""Spool files: a capture on its way from the phone to intake.

`<capture>.part` is being written, and its writer holds an exclusive flock; `<capture>.cap` is
finished. The kernel drops the flock of a killed writer, so a `.part` without one is an
interrupted capture that waits for intake like a finished one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from nightbell.core.durable import sync_folder
from nightbell.core.ids import is_ulid
from nightbell.sealing.errors import Busy

PART, CAP = ".part", ".cap"


class SpoolFile:
    """One capture being written. `append` in one thread; `sync` may run in another at the same time."""

    def __init__(self, folder: Path, capture_id: str, handle: int) -> None:
        self.path = folder / (capture_id + PART)
        self._final = folder / (capture_id + CAP)
        self._handle = handle
        self._unwritten = bytearray()
        self._named = False
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self.size = 0

    @classmethod
    def create(cls, folder: Path, capture_id: str) -> SpoolFile:
        """A new file, 0600, locked. Raises ValueError (not a ULID), FileExistsError, OSError."""
        if not is_ulid(capture_id):
            raise ValueError("a capture's id is a ULID")
        # Locked before it gets its name: intake must never see a `.part` whose writer seems dead.
        new = folder / f".{capture_id}.new"
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.link(new, folder / (capture_id + PART))
        except BaseException:
            os.close(handle)
            raise
        finally:
            os.unlink(new)
        return cls(folder, capture_id, handle)

    def append(self, data: bytes) -> None:
        """Hand bytes to the operating system. Raises OSError (full disk): the bytes are then kept
        and written by the next `append`, `sync` or `finish` that finds room."""
        with self._writing:
            self._unwritten += data
            while self._unwritten:
                done = os.pwrite(self._handle, self._unwritten, self.size)
                self.size += done
                del self._unwritten[:done]

    def sync(self) -> None:
        """Everything appended so far is on the disk when this returns. Raises OSError."""
        self.append(b"")
        with self._syncing:
            os.fdatasync(self._handle)
            if not self._named:
                sync_folder(self.path.parent)
                self._named = True

    def finish(self) -> Path:
        """Durable under its final name when this returns; the lock is released. Raises OSError."""
        self.sync()
        os.fsync(self._handle)
        os.rename(self.path, self._final)
        sync_folder(self._final.parent)
        self._close()
        return self._final

    def abandon(self) -> None:
        """Let go of the file as it is: intake takes it as an interrupted capture."""
        self._close()

    def discard(self) -> None:
        """Remove the file: only for a call of which nothing was to be kept."""
        self.path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        # A sync in another thread must not meet a number that the system has given to another file.
        with self._syncing:
            if self._handle >= 0:
                handle, self._handle = self._handle, -1
                os.close(handle)


def waiting(folder: Path) -> list[Path]:
    """Captures that intake may take: every `.cap`, and each `.part` whose writer is dead; oldest first."""
    files = (path for path, regular in _named(folder) if regular)
    found = [path for path in files if path.suffix == CAP or (path.suffix == PART and _unlocked(path))]
    return sorted(found, key=lambda path: path.name)


def strange(folder: Path) -> list[Path]:
    """What bears a capture's name and is no file: intake leaves it alone, so somebody must look at it."""
    return sorted(path for path, regular in _named(folder) if not regular)


def _named(folder: Path) -> list[tuple[Path, bool]]:
    """All that bears a capture's name, and whether it is a regular file.

    A pipe or a link of that name is not ours, and opening it might never end.
    """
    with os.scandir(folder) as entries:
        found = [(Path(entry.path), entry.is_file(follow_symlinks=False)) for entry in entries]
    return [(path, regular) for path, regular in found if is_ulid(path.stem) and path.suffix in (CAP, PART)]


def _unlocked(path: Path) -> bool:
    with contextlib.suppress(Busy), claimed(path):
        return True
    return False


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """Hold `path` exclusively, across processes. Raises Busy when held by another or moved meanwhile."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Busy(f"capture {path.stem}", "it was finished or taken meanwhile", "look again") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"capture {path.stem}", "another process holds it", "look again later") from None
        # Between open and lock the writer may have renamed it, or another intake may have removed it.
        if not _same(handle, path):
            raise Busy(f"capture {path.stem}", "it was finished or taken meanwhile", "look again")
        yield path
    finally:
        os.close(handle)


def _same(handle: int, path: Path) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    held = os.fstat(handle)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
