"""Signed checkpoints of every log: kept in the database and, apart from it, in append-only text files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from django.db import transaction

from nightbell.audit import tree
from nightbell.audit.checkpoint import Checkpoint, Signer
from nightbell.audit.models import Checkpoint as Row
from nightbell.audit.models import Log
from nightbell.core import faults
from nightbell.core.durable import append
from nightbell.store import vault
from nightbell.store.models import Flag

SIGNER = "signer-checkpoint"
MARK = b"\x1e"  # ends each note in a text file


def origin(url: str, log_id: str) -> str:
    """The unique name of a log (C2SP): host and log id."""
    return f"{urlsplit(url).hostname}/nightbell/{log_id}"


def signer(url: str, log_id: str) -> Signer:
    """Signs for one log. Raises KeyUnavailable while the keys are away."""
    return Signer(origin(url, log_id), vault.keyring().get(SIGNER, "signer"))


def head_note(url: str, log: Log) -> str:
    """What the head row says of its log, signed now."""
    frontier = tree.Frontier.from_bytes(log.size, bytes(log.frontier))
    return signer(url, log.pk).sign(Checkpoint(origin(url, log.pk), log.size, frontier.root()))


def checkpoint_all(url: str, folder: Path, now: datetime) -> int:
    """Sign every log that grew since its last checkpoint. Returns how many."""
    signed = 0
    for log in Log.objects.filter(size__gt=0).order_by("id"):
        last = Row.objects.filter(log=log).order_by("-size").first()
        if last is not None and last.size >= log.size:
            continue
        note = head_note(url, log)
        with transaction.atomic():
            Row.objects.create(log=log, size=log.size, note=note, created_at=now)
            Flag.objects.update_or_create(
                name=f"vkey:{log.pk}", defaults={"value": signer(url, log.pk).vkey, "changed_at": now}
            )
        faults.point("checkpoint.row")
        append(folder / f"{log.pk}.txt", note.encode() + MARK)
        signed += 1
    return signed


def kept_notes(path: Path) -> list[str]:
    """The checkpoints in a log's text file, oldest first. What is no text stays in, and fails its signature."""
    try:
        return [note.decode("utf-8", "replace") for note in pieces(path)]
    except OSError:
        return []


def pieces(path: Path) -> list[bytes]:
    """The notes in such a file as they stand there. Raises OSError, but not for a file that is not there."""
    try:
        return [note for note in path.read_bytes().split(MARK) if note.strip()]
    except FileNotFoundError:
        return []
