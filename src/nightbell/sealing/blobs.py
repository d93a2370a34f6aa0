"""Where sealed objects lie. A local folder here; object stores fit the same protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from nightbell.core.durable import remove_file, sync_folder, write_file
from nightbell.core.ids import is_ulid
from nightbell.sealing.errors import SealError


class NoSuchBlob(SealError):
    """The store has no object of this name."""


class Blobs(Protocol):
    """Opaque objects by practice and id (both ULIDs, else ValueError). Any thread, any process.

    put: durable on return, replaces at once or not at all. delete: durable on return, idempotent.
    size and read_range raise NoSuchBlob; read_range gives fewer bytes only at the end.
    All raise OSError or TemporaryError when the store fails.
    """

    def put(self, practice: str, id: str, data: bytes) -> None: ...

    def size(self, practice: str, id: str) -> int: ...

    def read_range(self, practice: str, id: str, offset: int, length: int) -> bytes: ...

    def delete(self, practice: str, id: str) -> None: ...

    def ids(self, practice: str) -> Iterator[str]: ...


class FolderBlobs:
    """root/<practice>/<last two characters>/<id>; folders 0700, files 0600."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, practice: str, id: str) -> Path:
        if not is_ulid(practice) or not is_ulid(id):
            raise ValueError("objects are named by ULIDs")
        # The first characters of a ULID are the time: the last ones spread.
        return self.root / practice / id[-2:] / id

    def put(self, practice: str, id: str, data: bytes) -> None:
        path = self._path(practice, id)
        for folder in (self.root, path.parent.parent, path.parent):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(folder.parent)
        write_file(path, data)

    def size(self, practice: str, id: str) -> int:
        try:
            return self._path(practice, id).stat().st_size
        except FileNotFoundError:
            raise _missing(id) from None

    def read_range(self, practice: str, id: str, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0:
            raise ValueError("a range does not begin before the object")
        try:
            with open(self._path(practice, id), "rb", buffering=0) as file:
                file.seek(offset)
                out = bytearray()
                while piece := file.read(length - len(out)):
                    out += piece
                return bytes(out)
        except FileNotFoundError:
            raise _missing(id) from None

    def delete(self, practice: str, id: str) -> None:
        path = self._path(practice, id)
        if path.parent.is_dir():
            remove_file(path)

    def ids(self, practice: str) -> Iterator[str]:
        if not is_ulid(practice):
            raise ValueError("objects are named by ULIDs")
        for path in (self.root / practice).glob("??/*"):
            if is_ulid(path.name):
                yield path.name


def _missing(id: str) -> NoSuchBlob:
    return NoSuchBlob(f"object {id}", "the store does not have it", "restore the store from its backup")
