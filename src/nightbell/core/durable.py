"""Files that are there after a power cut: write, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data` at once and durably: a reader sees the old or the new, never a part.

    Raises OSError (full disk, read-only): then the old file is untouched.
    """
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def append(path: Path, data: bytes) -> None:
    """Add `data` at the end of `path`, durably, all of it or nothing.

    Raises OSError (full disk): the file then ends where it ended before.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def sweep(folder: Path, before: float) -> int:
    """Remove what `write_file` left half-written below `folder` when its process was killed.

    before: seconds since 1970; younger files may still be in the writing. Returns how many went.
    """
    gone = 0
    for path in folder.rglob(".*.tmp"):
        with suppress(FileNotFoundError):  # its writer was done meanwhile
            if path.lstat().st_mtime < before:
                path.unlink()
                gone += 1
    return gone


def remove_file(path: Path) -> None:
    """Unlink `path` durably; a file that is not there is fine."""
    remove_files([path])


def remove_files(paths: Collection[Path]) -> None:
    """As `remove_file`, for several: each folder is synced once."""
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
