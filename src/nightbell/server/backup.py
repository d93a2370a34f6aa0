"""Backup and restore of an installation on SQLite. Data first, keyring second; never into one folder.

A data backup holds sealed bytes only. The keyring backup holds wrapped entries that open only with the
period key (its one overwritten slot) and the key file. On PostgreSQL use its own tools for the database
and this command for the rest.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from django.db import connections, transaction

from nightbell.audit import service as audit
from nightbell.audit.models import Log
from nightbell.core.config import Config
from nightbell.core.errors import NightbellError
from nightbell.mailbox.models import Message, State
from nightbell.store import vault

PARTS = ("blobs", "tls", "checkpoints")
FILES = ("home.json", "demo.json")


class BadBackup(NightbellError):
    """A backup cannot be made or restored as asked."""


def save(config: Config, target: Path, keyring_target: Path, actor: str, now: datetime) -> int:
    """Write a backup. Returns the number of blobs. Both folders must be new or empty, and apart."""
    if config.database != "sqlite":
        raise BadBackup(
            "The backup was not made", "the database is on PostgreSQL", "use pg_dump and copy blobs/"
        )
    if keyring_target.resolve().is_relative_to(target.resolve()) or target.resolve().is_relative_to(
        keyring_target.resolve()
    ):
        raise BadBackup(
            "The backup was not made", "data and keyring would lie together", "give two folders apart"
        )
    for folder in (target, keyring_target):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise BadBackup("The backup was not made", f"{target} is not empty", "give a new folder")
    with transaction.atomic():
        audit.record(audit.INSTALLATION, actor=actor, action="backup:save", now=now)
    with (
        closing(sqlite3.connect(config.home / "db" / "nightbell.sqlite3")) as source,
        closing(sqlite3.connect(target / "nightbell.sqlite3")) as copy,
    ):
        source.backup(copy)
    for name in PARTS:
        shutil.copytree(config.home / name, target / name, dirs_exist_ok=True)
    shutil.copytree(config.spool, target / "spool", ignore=shutil.ignore_patterns("*.part", ".*"))
    for name in FILES:
        if (config.home / name).exists():
            shutil.copy2(config.home / name, target / name)
    ring = vault.keyring()
    ring.backup(keyring_target / f"keyring-{now:%Y%m%dT%H%M%SZ}.json")
    ring.export_period(keyring_target / "period-slot")
    return sum(1 for path in (target / "blobs").rglob("*") if path.is_file())


def load(config: Config, source: Path, keyring_file: Path, actor: str, now: datetime) -> dict[str, int]:
    """Put a backup into a home that nothing runs on. Disposals later than the backup are replayed.

    The home must have been made (keys restored, `nightbell migrate` run) or be empty but for keys.
    """
    if not (source / "nightbell.sqlite3").is_file() or not keyring_file.is_file():
        raise BadBackup(
            "Nothing was restored", "the folder or the keyring file is no backup of ours", "check both paths"
        )
    connections.close_all()
    database = config.home / "db" / "nightbell.sqlite3"
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    shutil.copy2(source / "nightbell.sqlite3", database)
    for name in PARTS:
        shutil.copytree(source / name, config.home / name, dirs_exist_ok=True)
    for path in (source / "spool").glob("*.cap"):
        shutil.copy2(path, config.spool / path.name)
    restored = vault.keyring().restore(keyring_file)
    replayed = replay_disposals(actor, now)
    return {"keys": restored.entries, "unopenable": restored.unopenable, "disposals": replayed}


def replay_disposals(actor: str, now: datetime) -> int:
    """Messages whose key is gone were destroyed after the backup: take them out again, and say so in the log."""
    from nightbell.compliance.disposal import dispose

    ring = vault.keyring()
    gone = [
        m
        for m in Message.objects.exclude(state=State.DISPOSED).select_related("practice")
        if not ring.has(m.id)
    ]
    for log in Log.objects.all():
        audit.begin_epoch(log.id, actor=actor, now=now)
    for message in gone:
        dispose(message, actor, "replayed", now)
    return len(gone)
