"""Period keys: one wraps all entries of the keyring until compaction replaces and destroys it.

Each lies in a file of its own, wrapped by the key provider, apart from the keyring and never in
its backups: whoever holds only an old backup and the provider's key opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from nightbell.core.durable import sync_folder, write_file
from nightbell.core.ids import is_ulid, new_ulid
from nightbell.sealing.errors import Busy, KeyUnavailable, UnknownFormat, WrongKey
from nightbell.sealing.provider import KeyProvider

_SUFFIX = ".period"
_DEAD = ".dead"
_SLOT_SIZE = 4096
_KEY = 32


def _context(period: str) -> bytes:
    return b"nightbell period v1\x00" + period.encode()


class Periods:
    """The folder of period keys. Safe for several processes; only the holder of `exclusive` removes files."""

    def __init__(self, folder: Path, provider: KeyProvider) -> None:
        self.folder, self.provider = folder, provider
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, period: str) -> Path:
        if not is_ulid(period):
            raise UnknownFormat("a period key", "its name is not a ULID")
        return self.folder / (period + _SUFFIX)

    def ids(self) -> list[str]:
        """Those that exist, oldest first."""
        return sorted(path.stem for path in self.folder.glob("*" + _SUFFIX) if is_ulid(path.stem))

    def create(self) -> str:
        """A fresh period key, durable when this returns. Raises what the provider raises, OSError."""
        period = new_ulid()
        wrapped = self.provider.wrap(secrets.token_bytes(_KEY), _context(period))
        write_file(self._path(period), wrapped)
        return period

    def open(self, period: str) -> bytes:
        """The key. Raises KeyUnavailable when its file is not there; what the provider raises."""
        try:
            wrapped = self._path(period).read_bytes()
        except FileNotFoundError:
            wrapped = b""
        if not wrapped.strip(b"\x00"):  # not there, or caught in the act of being destroyed
            raise KeyUnavailable(
                f"period key {period}",
                f"it is not in {self.folder}: destroyed by a compaction, or the folder is another one",
                "restore the newest keyring backup together with the period slot",
            )
        return self.provider.unwrap(wrapped, _context(period))

    def rewrap(self, provider: KeyProvider) -> None:
        """Put every period key under another provider key, and use that from now on. May be killed and repeated."""
        for period in self.ids():
            try:
                provider.unwrap(self._path(period).read_bytes(), _context(period))
            except WrongKey:
                write_file(self._path(period), provider.wrap(self.open(period), _context(period)))
        self.provider = provider

    def destroy(self, period: str) -> None:
        """Overwrite the file in place, then remove it, durably. One that is not there is fine."""
        with contextlib.suppress(FileNotFoundError):
            self._path(period).rename(self.folder / (period + _DEAD))
        self.bury()

    def bury(self) -> None:
        """Finish what a killed `destroy` began."""
        for path in self.folder.glob("*" + _DEAD):
            _overwrite(path, bytes(path.stat().st_size))
            path.unlink()
        sync_folder(self.folder)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the right to remove period keys. Raises Busy when another process compacts."""
        handle = os.open(self.folder / "compaction.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy("the keyring", "another process compacts it", "wait until it is done") from None
            yield
        finally:
            os.close(handle)

    def export(self, path: Path) -> None:
        """Write all (wrapped) period keys into one slot, over what it held before."""
        held = {period: base64.b64encode(self._path(period).read_bytes()).decode() for period in self.ids()}
        text = json.dumps({"format": "nightbell period slot v1", "periods": held}).encode()
        if len(text) > _SLOT_SIZE:
            raise ValueError("too many period keys for one slot")
        _overwrite(path, text.ljust(_SLOT_SIZE))

    def adopt(self, path: Path) -> list[str]:
        """Bring the period keys of a slot back into an empty folder. Raises UnknownFormat, OSError."""
        try:
            data = json.loads(path.read_bytes())
            held = {str(k): base64.b64decode(v, validate=True) for k, v in data["periods"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise UnknownFormat(f"the period slot {path}", "it was not written by this program") from error
        for period, wrapped in held.items():
            if not self._path(period).exists():
                write_file(self._path(period), wrapped)
        return sorted(held)


def _overwrite(path: Path, data: bytes) -> None:
    """In place and not by rename: the blocks that held the old bytes are the ones to lose them."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        at = 0
        while at < len(data):
            at += os.pwrite(handle, data[at:], at)
        os.ftruncate(handle, len(data))
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(path.parent)
