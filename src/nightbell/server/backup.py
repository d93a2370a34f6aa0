"""Backup and restore of an installation on SQLite. Data first, keyring second; never into one folder.

A data backup holds content as sealed bytes only, and no log-in; a practice's own recordings are no content. The keyring backup holds wrapped entries that open only with the
period key and the key file; neither is ever in a backup folder (NIGHTBELL_PERIOD_SLOT keeps the one copy). On PostgreSQL use its own tools for the database
and this command for the rest.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from allauth.usersessions.models import UserSession
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connections, transaction

from nightbell.audit import restored
from nightbell.audit import service as audit
from nightbell.audit.models import Log
from nightbell.compliance.disposal import dispose
from nightbell.core.config import Config
from nightbell.core.durable import write_file
from nightbell.core.errors import NightbellError
from nightbell.mailbox import epochs
from nightbell.mailbox.models import Message, State
from nightbell.sealing import spool
from nightbell.server import routing
from nightbell.server.home import SNAPSHOT_SIGNER, stamp
from nightbell.store import vault
from nightbell.store.models import Flag

PARTS = ("blobs", "tls", "checkpoints", "phone/clips")
PAIR = "backup.json"
FILES = ("home.json", "demo.json")


class BadBackup(NightbellError):
    """A backup cannot be made or restored as asked."""


def save(config: Config, target: Path, keyring_target: Path, actor: str, now: datetime) -> int:
    """Write a backup. Returns the number of blobs. Both folders must be new or empty, and apart."""
    if config.database != "sqlite":
        raise BadBackup(
            "The backup was not made",
            "the database is on PostgreSQL",
            "use pg_dump and copy blobs/ and phone/clips/",
        )
    with _told(
        "The backup was not made", "see that there is room and that it may be written, and give new folders"
    ):
        _require_apart(target, keyring_target)
        with transaction.atomic():
            audit.record(audit.INSTALLATION, actor=actor, action="backup:save", now=now)
        # A call goes from the spool to blob, key and row. Copied in this order, it is in the copy of the spool or in
        # all that follows; where it is in both, intake finds the row and tidies up.
        _save_spool(config.spool, target / "spool")
        _save_database(config.home / "db" / "nightbell.sqlite3", target / "nightbell.sqlite3")
        for name in PARTS:
            shutil.copytree(
                config.home / name, target / name, dirs_exist_ok=True,
                ignore=shutil.ignore_patterns(".*.tmp"), copy_function=_copy,
            )  # fmt: skip
        for name in FILES:
            if (config.home / name).exists():
                shutil.copy2(config.home / name, target / name)
        moment = f"{now:%Y%m%dT%H%M%SZ}"
        write_file(target / PAIR, json.dumps({"stamp": moment}).encode())
        vault.keyring().backup(keyring_target / f"keyring-{moment}.json")
        return sum(1 for path in (target / "blobs").rglob("*") if path.is_file())


@contextmanager
def _told(what: str, mend: str) -> Iterator[None]:
    """Disks that fail are told in words. The keys, the log and the checks have words of their own."""
    try:
        yield
    except shutil.Error as error:  # many in one; the first tells enough
        raise BadBackup(what, str(error.args[0][0][2]), mend) from error
    except OSError as error:
        raise BadBackup(what, f"{error.filename or 'a file'}: {error.strerror}", mend) from error
    except sqlite3.Error as error:
        raise BadBackup(what, f"the copy of the database: {error}", mend) from error


def _require_apart(target: Path, keyring_target: Path) -> None:
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


def _copy(source: str | Path, target: str | Path) -> str | Path:
    """One file, or nothing when it goes meanwhile: intake and disposal work beside a backup."""
    try:
        return shutil.copy2(source, target)
    except FileNotFoundError:
        if os.path.lexists(source):  # then it is the target that went
            raise
        return target


def _save_spool(source: Path, target: Path) -> None:
    """Every call that has ended: finished captures, and those whose writer died."""
    target.mkdir(mode=0o700)
    for path in spool.waiting(source):
        _copy(path, target / path.name)


def _save_database(database: Path, target: Path) -> None:
    """The database without what lets people in now: the key of a session is the cookie itself."""
    live = (Session._meta.db_table, UserSession._meta.db_table, settings.CACHES["default"]["LOCATION"])
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        there = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in there.intersection(live):
            copy.execute(f'DELETE FROM "{table}"')  # noqa: S608 (names of our own)
        copy.commit()
        copy.execute("VACUUM")  # a deleted row stays in the file until its page is written anew


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
    entries = ring.restore(keyring_file)
    for epoch_id, seed in seeds.items():
        if not ring.has(epoch_id):
            ring.put(epoch_id, "epoch", seed)
    with _told(
        "The restore is not finished",
        "see that there is room and that the home may be written, and run it again",
    ):
        _restore_files(config, source)
        lost = _set_aside(config, source)
        _replace_database(config, source)
        with transaction.atomic():
            for log in Log.objects.all():
                audit.begin_epoch(log.pk, actor=actor, now=now, lost=lost.get(log.pk))
        replayed = replay_disposals(actor, now)
        _new_routing(config, actor, now)
    return {"keys": entries.entries, "unopenable": entries.unopenable, "disposals": replayed}


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


def _replace_database(config: Config, source: Path) -> None:
    connections.close_all()
    database = config.home / "db" / "nightbell.sqlite3"
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    shutil.copy2(source / "nightbell.sqlite3", database)


def _restore_files(config: Config, source: Path) -> None:
    """What is here already is newer than the backup: certificates, checkpoints, the demo's people."""
    found = [path for name in PARTS for path in sorted((source / name).rglob("*"))]
    for path in [*found, *(source / name for name in FILES if (source / name).is_file())]:
        target = config.home / path.relative_to(source)
        if path.is_file() and not target.exists():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _bring(path, target)
    _restore_spool(source / "spool", config.spool)


def _restore_spool(source: Path, target: Path) -> None:
    """Captures that are not here, but for those whose message was destroyed since: they would come in anew."""
    here = {path.stem for path in target.iterdir()} | vault.disposed_ids()
    for path in spool.waiting(source) if source.is_dir() else ():
        if path.stem not in here:
            _bring(path, target / path.name)


def _bring(path: Path, target: Path) -> None:
    """Whole or not at all: what is there is not brought again, so half a file would stay."""
    half = target.with_name(f".{target.name}.tmp")
    shutil.copy2(path, half)
    half.replace(target)


def _set_aside(config: Config, source: Path) -> dict[str, dict[str, object]]:
    """The notes of the time that will be gone, out of the way of every log; what each log's epoch leaf is to tell."""
    database, folder = (config.home / "db" / "nightbell.sqlite3").absolute(), config.home / "checkpoints"
    live: dict[str, restored.Course] = {}
    with suppress(sqlite3.Error):  # it may be what was lost
        live = restored.courses(f"{database.as_uri()}?mode=rw")
    # A backup may lie where nothing can be written beside it.
    back = restored.courses(f"{(source / 'nightbell.sqlite3').absolute().as_uri()}?immutable=1")
    saved = source / "checkpoints"
    return {
        log_id: restored.set_aside(config.url, log_id, course, live.get(log_id), folder, saved)
        for log_id, course in back.items()
    }


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
    for message in gone:
        dispose(message, actor, "replayed", now)
    return len(gone)
