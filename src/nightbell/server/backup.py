"""Backup and restore of an installation on SQLite. Data first, keyring second; never into one folder.

A data backup holds sealed bytes only. The keyring backup holds wrapped entries that open only with the
period key and the key file; neither is ever in a backup folder (NIGHTBELL_PERIOD_SLOT keeps the one copy). On PostgreSQL use its own tools for the database
and this command for the rest.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connections, transaction

from nightbell.audit import service as audit
from nightbell.audit.models import Log
from nightbell.compliance.disposal import dispose
from nightbell.core.config import Config
from nightbell.core.durable import write_file
from nightbell.core.errors import NightbellError
from nightbell.mailbox import epochs
from nightbell.mailbox.models import Message, State
from nightbell.server import routing
from nightbell.server.home import SNAPSHOT_SIGNER, stamp
from nightbell.store import vault
from nightbell.store.models import Flag

PARTS = ("blobs", "tls", "checkpoints")
PAIR = "backup.json"
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
    moment = f"{now:%Y%m%dT%H%M%SZ}"
    write_file(target / PAIR, json.dumps({"stamp": moment}).encode())
    vault.keyring().backup(keyring_target / f"keyring-{moment}.json")
    return sum(1 for path in (target / "blobs").rglob("*") if path.is_file())


def load(config: Config, source: Path, keyring_file: Path, actor: str, now: datetime) -> dict[str, int]:
    """Put a backup into a home that nothing runs on: keyring first, for it refuses without changing anything.

    The seeds of epochs that are here stay (captures in the spool may need them), disposals later than the
    backup are replayed, and the phone's trust and snapshot are made anew from the restored keys.
    """
    check_pair(source, keyring_file)
    if stamp(config) != mode_of(source):
        raise BadBackup(
            "Nothing was restored", "one is a demo and the other is not", "use another NIGHTBELL_HOME"
        )
    if _running(config):
        raise BadBackup("Nothing was restored", "Nightbell runs on this home", "stop it first")
    ring = vault.keyring()
    seeds = ring.get_many(ring.ids("epoch"), "epoch")
    restored = ring.restore(keyring_file)
    for epoch_id, seed in seeds.items():
        if not ring.has(epoch_id):
            ring.put(epoch_id, "epoch", seed)
    _replace_data(config, source)
    replayed = replay_disposals(actor, now)
    _new_routing(config, actor, now)
    return {"keys": restored.entries, "unopenable": restored.unopenable, "disposals": replayed}


def check_pair(source: Path, keyring_file: Path) -> None:
    """The keyring must be of the data's moment or later: from an older one, living messages would seem destroyed."""
    try:
        saved = json.loads((source / PAIR).read_text("utf-8"))["stamp"]
        ring = re.fullmatch(r"keyring-(\d{8}T\d{6}Z)\.json", keyring_file.name)
        if not (source / "nightbell.sqlite3").is_file() or not keyring_file.is_file() or ring is None:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise BadBackup(
            "Nothing was restored", "the folder or the keyring file is no backup of ours", "check both paths"
        ) from None
    if ring[1] < saved:
        raise BadBackup(
            "Nothing was restored",
            "the keyring is older than the data",
            "take the keyring file of the same backup",
        )


def mode_of(source: Path) -> str | None:
    """'demo' or 'real', as the backup's home was made."""
    try:
        return str(json.loads((source / "home.json").read_text("utf-8"))["mode"])
    except (OSError, ValueError, KeyError):
        return None


def _running(config: Config) -> bool:
    """Whether a worker listens on this home."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(config.control_socket)) == 0


def _replace_data(config: Config, source: Path) -> None:
    connections.close_all()
    database = config.home / "db" / "nightbell.sqlite3"
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    shutil.copy2(source / "nightbell.sqlite3", database)
    # What is here already is newer than the backup: certificates, checkpoints, the demo's people.
    found = [path for name in PARTS for path in sorted((source / name).rglob("*"))]
    for path in [*found, *(source / name for name in FILES if (source / name).is_file())]:
        target = config.home / path.relative_to(source)
        if path.is_file() and not target.exists():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy2(path, target)
    for path in (source / "spool").glob("*.cap"):
        if not (config.spool / path.name).exists():
            shutil.copy2(path, config.spool / path.name)


def _new_routing(config: Config, actor: str, now: datetime) -> None:
    """The restored keyring brings the signer of its time: the phone must trust that one, and a version above all."""
    folder = config.home / "phone"
    issued = [_version(folder / name) for name in ("issued.json", "snapshot.json")]
    kept = Flag.objects.filter(name="snapshot:version").first()
    version = max([*issued, int(kept.value) if kept else 0])
    Flag.objects.update_or_create(
        name="snapshot:version", defaults={"value": str(version), "changed_at": now}
    )
    signer = Ed25519PrivateKey.from_private_bytes(vault.keyring().get(SNAPSHOT_SIGNER, "signer"))
    write_file(folder / "trust.pub", signer.public_key().public_bytes_raw())
    for name in ("issued.json", "snapshot.json"):
        (folder / name).unlink(missing_ok=True)
    epochs.begin(now, actor)
    routing.publish(config, now)


def _version(path: Path) -> int:
    """The version in a snapshot file, 0 when there is none."""
    try:
        outer = json.loads(path.read_text("utf-8"))
        outer = json.loads(outer["file"]) if "file" in outer else outer
        return int(json.loads(base64.b64decode(outer["payload"]))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def replay_disposals(actor: str, now: datetime) -> int:
    """Messages destroyed after the backup: take them out again, and say so in the log."""
    ring, destroyed = vault.keyring(), vault.disposed_ids()
    alive = Message.objects.exclude(state=State.DISPOSED).select_related("practice")
    gone = [m for m in alive if m.id in destroyed or not ring.has(m.id)]
    for log in Log.objects.all():
        audit.begin_epoch(log.id, actor=actor, now=now)
    for message in gone:
        dispose(message, actor, "replayed", now)
    return len(gone)
