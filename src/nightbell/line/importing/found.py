"""What lies in a folder that somebody points at: names and bytes of which nothing is believed, within bounds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from nightbell.core.errors import NightbellError

DEEPEST = 8  # folders below the one that was named
MOST_ENTRIES = 500_000
MOST_TEXT = 65_536  # bytes of a description
MOST_ROWS = 64_000_000  # bytes of a table
_FIRST_YEAR = datetime(1995, 1, 1, tzinfo=UTC).timestamp()


class BadImport(NightbellError, ValueError):
    """This folder cannot be imported from."""


class Damaged(NightbellError, ValueError):
    """This one message cannot be taken; it is listed and left alone."""

    def __init__(self, why: str) -> None:
        super().__init__("a message of the folder", why)


@dataclass(frozen=True, slots=True)
class Found:
    """One message as the voicemail of before describes it.

    where: the path below the named folder, for the report; origin: what it was there, whatever its file is called today (a
    voicemail renumbers and moves them); sounds: files of the same sound, the best first; received: aware; caller: as written
    there; heard: somebody listened to it there; flagged: marked as urgent there; why: it cannot be taken, and why not.
    """

    where: str
    origin: str = ""
    sounds: tuple[Path, ...] = ()
    received: datetime | None = None
    caller: str = ""
    heard: bool = False
    flagged: bool = False
    why: str = ""


@dataclass(slots=True)
class Folder:
    """All regular files below `root`. links: symbolic links that were not followed; strange: pipes, devices, too deep."""

    root: Path
    files: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)
    strange: list[Path] = field(default_factory=list)

    def shown(self, path: Path) -> str:
        """The path below the root, fit to be printed: a name may hold anything but a slash."""
        return printable(str(path.relative_to(self.root)))


def printable(text: str) -> str:
    """Without what a terminal obeys, and not too long."""
    clean = text.encode("utf-8", "replace").decode()
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in clean)[:200]


def look(root: Path) -> Folder:
    """Every file below `root`, in the order of their paths. Raises BadImport."""
    if not root.is_dir():
        raise BadImport(
            f"The folder {printable(str(root))}", "it is not there", "name the folder of the voicemail"
        )
    folder = Folder(root)
    for count, (entry, depth) in enumerate(_entries(root)):
        path = Path(entry.path)
        if count >= MOST_ENTRIES:
            raise BadImport(
                "The folder", f"it has more than {MOST_ENTRIES} entries", "import its mailboxes one by one"
            )
        if entry.is_symlink():
            folder.links.append(path)
        elif entry.is_file(follow_symlinks=False):
            folder.files.append(path)
        elif depth >= DEEPEST or not entry.is_dir(follow_symlinks=False):
            folder.strange.append(path)
    for found in (folder.files, folder.links, folder.strange):
        found.sort()
    return folder


def _entries(root: Path) -> Iterator[tuple[os.DirEntry[str], int]]:
    waiting = [(root, 1)]
    while waiting:
        path, depth = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    yield entry, depth
                    if depth < DEEPEST and entry.is_dir(follow_symlinks=False):
                        waiting.append((Path(entry.path), depth + 1))
        except OSError as error:
            raise BadImport(
                f"The folder {printable(str(path))}",
                f"it cannot be read ({error.strerror})",
                "run the command as a user who may read it",
            ) from error


def read(path: Path, most: int) -> bytes:
    """A whole regular file, never through a link, never a pipe that would not end. Raises Damaged."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Damaged("it is not a file")
            data = file.read(most + 1)
    except OSError as error:
        raise Damaged(f"it cannot be read ({error.strerror})") from error
    if len(data) > most:
        raise Damaged(f"it is larger than {most:,} bytes")
    return data


def moment(seconds: str, now: datetime) -> datetime:
    """Seconds since 1970 as a voicemail writes them. Raises Damaged for no time, or one that cannot be."""
    text = seconds.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise Damaged("it does not say when it was left")
    if not _FIRST_YEAR <= int(text) <= now.timestamp() + 86_400:
        raise Damaged("the time at which it was left cannot be")
    return datetime.fromtimestamp(int(text), UTC)
