"""After a restore: the checkpoints of the time that is gone, set aside and named by the log's epoch leaf.

    checkpoints/LOG.txt                  notes that the log must fit
    checkpoints/LOG.before-epoch-N.txt   notes that it could not fit any more when it was set back and epoch N began

The leaf `audit:epoch` of epoch N binds its file by a digest, and names size and root of the last note in it. So a
file that no leaf tells of, or another one than it tells of, explains nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nightbell.audit import checkpoint, signing, tree
from nightbell.audit.checkpoint import BadCheckpoint, Checkpoint
from nightbell.audit.models import Event, Log
from nightbell.audit.service import EPOCH
from nightbell.core import faults
from nightbell.core.durable import remove_file, write_file

_ASIDE = re.compile(r".+\.before-epoch-([1-9][0-9]{0,8})\.txt\Z")


def is_aside(path: Path) -> bool:
    """Whether a checkpoint file holds what a restore set aside."""
    return _ASIDE.match(path.name) is not None


@dataclass(frozen=True, slots=True)
class Gap:
    """What an epoch leaf tells. after: size of the log before it; lost: size at the last note set aside, 0 if none."""

    epoch: int
    after: int
    lost: int
    digest: str
    at: str

    def says(self) -> str:
        if self.lost > self.after:
            gone = f"entries {self.after} to {self.lost - 1} and any later ones of the time after the backup are gone"
        else:
            gone = f"entries from {self.after} on of the time after the backup may be gone"
        return f"{gone}: restored from a backup at {self.at}"


@dataclass(frozen=True, slots=True)
class Course:
    """A log as a database file has it. hashes: of its leaves; begins: numbers of the leaves that begin an epoch."""

    epoch: int
    hashes: list[bytes]
    begins: set[int]


def courses(uri: str) -> dict[str, Course]:
    """All logs of an SQLite file. uri: as SQLite takes it. Raises sqlite3.Error."""
    with closing(sqlite3.connect(uri, uri=True)) as database:
        logs = database.execute("SELECT id, epoch FROM audit_log ORDER BY id").fetchall()
        return {log_id: _course(database, log_id, epoch) for log_id, epoch in logs}


def _course(database: sqlite3.Connection, log_id: str, epoch: int) -> Course:
    found = database.execute(
        "SELECT leaf_hash, action FROM audit_event WHERE log_id = ? ORDER BY seq", (log_id,)
    ).fetchall()
    begins = {number for number, (_, action) in enumerate(found) if action == EPOCH}
    return Course(epoch, [bytes(digest) for digest, _ in found], begins)


def set_aside(
    url: str, log_id: str, back: Course, live: Course | None, folder: Path, saved: Path
) -> dict[str, object]:
    """Move the notes aside that a log cannot fit once it is set back; what its next epoch leaf is to tell of them.

    back: the log of the backup; live: what it takes the place of; saved: the checkpoints of the backup.
    To be done before the database is replaced: then, after a power cut at any moment, doing it again gives the same.
    """
    kept, gone = _parted(url, log_id, back, live, folder / f"{log_id}.txt")
    target = folder / f"{log_id}.before-epoch-{back.epoch + 1}.txt"
    # Files of epochs that this log does not know, or knows otherwise: they are of a course that is gone as well.
    foreign = [
        path
        for number, path in _files(folder, log_id)
        if number > back.epoch or not _same(path, saved / path.name)
    ]
    notes = list(dict.fromkeys([*(note for path in foreign for note in signing.pieces(path)), *gone]))
    if not notes:
        return {}
    # In the new file before they leave the old one: cut anywhere between, a note stands in both.
    body = _joined(notes)
    write_file(target, body)
    faults.point("restore.aside")
    if gone:
        write_file(folder / f"{log_id}.txt", _joined(kept))
    for path in foreign:
        if path != target:
            _put_back(path, saved / path.name)
    return _detail(url, log_id, notes, body)


def _parted(
    url: str, log_id: str, back: Course, live: Course | None, path: Path
) -> tuple[list[bytes], list[bytes]]:
    """Notes that stay and notes that go. What we did not sign stays: it would never have fitted."""
    stated = [(note, _stated(url, log_id, note)) for note in signing.pieces(path)]
    other = _other_roots(back, live, {point.size for _, point in stated if point is not None})
    kept: list[bytes] = []
    gone: list[bytes] = []
    for note, point in stated:
        goes = point is not None and (point.size > len(back.hashes) or other.get(point.size) == point.root)
        (gone if goes else kept).append(note)
    return kept, gone


def _other_roots(back: Course, live: Course | None, sizes: set[int]) -> dict[int, bytes]:
    """Roots of `live` at those sizes at which `back` is another log because of an earlier restore.

    They part at a leaf that begins an epoch (an older backup was restored before this one). Where they part at any
    other leaf somebody changed one of them, and the notes stay to say so.
    """
    if live is None:
        return {}
    pairs = enumerate(zip(back.hashes, live.hashes, strict=False))
    same = next((number for number, (ours, theirs) in pairs if ours != theirs), None)
    if same is None or same not in back.begins | live.begins:
        return {}
    roots, frontier = {}, tree.Frontier()
    for size, digest in enumerate(live.hashes, 1):
        frontier = frontier.append(digest)
        if size > same and size in sizes:
            roots[size] = frontier.root()
    return roots


def _stated(url: str, log_id: str, note: bytes) -> Checkpoint | None:
    signer = signing.signer(url, log_id)
    try:
        return checkpoint.verify(note.decode("utf-8", "replace"), signer.vkey, signer.name)
    except BadCheckpoint:
        return None


def _detail(url: str, log_id: str, notes: list[bytes], body: bytes) -> dict[str, object]:
    detail: dict[str, object] = {"lost_notes": hashlib.sha256(body).hexdigest()}
    found = [stated for stated in (_stated(url, log_id, note) for note in notes) if stated is not None]
    if found:
        last = max(found, key=lambda stated: stated.size)
        detail |= {"lost_size": last.size, "lost_root": last.root.hex()}
    return detail


def _joined(notes: list[bytes]) -> bytes:
    return b"".join(note + signing.MARK for note in notes)


def _files(folder: Path, log_id: str) -> list[tuple[int, Path]]:
    """Files of notes set aside, with their epochs, in order."""
    found = ((_ASIDE.match(path.name), path) for path in folder.glob(f"{log_id}.before-epoch-*.txt"))
    return sorted((int(match[1]), path) for match, path in found if match)


def _same(path: Path, saved: Path) -> bool:
    return saved.is_file() and saved.read_bytes() == path.read_bytes()


def _put_back(path: Path, saved: Path) -> None:
    """An earlier epoch's file as the restored log knows it."""
    if saved.is_file():
        write_file(path, saved.read_bytes())
    else:
        remove_file(path)


def gaps(log: Log) -> list[Gap]:
    """What the epoch leaves of a log tell. A leaf that cannot be read tells nothing; verifying names it."""
    found = []
    for event in Event.objects.filter(log=log, action=EPOCH, seq__lt=log.size).order_by("seq"):
        try:
            leaf = json.loads(bytes(event.leaf))
            detail = leaf["detail"]
            found.append(
                Gap(
                    int(leaf["epoch"]), int(detail["after_size"]), int(detail.get("lost_size", 0)),
                    str(detail.get("lost_notes", "")), str(leaf["at"]),
                )
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def unexplained(folder: Path, log_id: str, known: list[Gap]) -> list[str]:
    """Files of notes set aside that are not what a leaf tells of."""
    told = {gap.epoch: gap.digest for gap in known}
    problems = []
    for number, path in _files(folder, log_id):
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            digest = f"unreadable: {error.strerror}"
        if told.get(number) != digest:
            problems.append(
                f"the checkpoints in {path.name} are not what an epoch entry of this log tells of"
            )
    return problems
