"""The life of sealing key epochs: begin, retire, destroy (DESIGN decision 2)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction

from nightbell.audit import service as audit
from nightbell.core import faults
from nightbell.mailbox.models import SealingEpoch
from nightbell.sealing import spool
from nightbell.sealing.capture import peek
from nightbell.sealing.epochs import EpochPublic, new_epoch
from nightbell.sealing.errors import SealError
from nightbell.store import vault

ROTATE_EVERY = timedelta(days=1)
GRACE = timedelta(hours=1)  # a call that began under the old snapshot has ended by then


def current() -> EpochPublic | None:
    """The epoch that new captures are sealed to."""
    row = SealingEpoch.objects.filter(retired_at=None).order_by("-created_at").first()
    return EpochPublic(row.id, base64.b64decode(row.public)) if row else None


def begin(now: datetime, actor: str) -> EpochPublic:
    """Start a new epoch and retire the others. The private seed is in the keyring before anyone can seal to it."""
    public, private = new_epoch()
    vault.keyring().put(public.id, "epoch", private)
    faults.point("epoch.key")
    with transaction.atomic():
        SealingEpoch.objects.filter(retired_at=None).update(retired_at=now)
        SealingEpoch.objects.create(
            id=public.id, public=base64.b64encode(public.public).decode(), created_at=now
        )
        audit.record(
            audit.INSTALLATION, actor=actor, action="epoch:begin", now=now, detail={"epoch": public.id}
        )
    return public


def in_spool(folder: Path) -> set[str]:
    """Epochs that a capture in the spool needs, finished, being written or left by a killed phone.

    A header that says nothing names none. Raises OSError when a file cannot be read: then nobody knows.
    """
    needed = set()
    # What could not be read yet may be readable one day: the tray counts too.
    tray = folder.parent / "unreadable"
    for path in [*folder.iterdir(), *(tray.iterdir() if tray.is_dir() else ())]:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            continue
        try:
            needed.add(peek(_head(path))[0])
        except SealError:
            continue
    return needed


def _head(path: Path) -> bytes:
    """The beginning of a capture, which its phone may be renaming from `.part` to `.cap` right now."""
    for name in (path, path.with_suffix(spool.CAP)):
        with suppress(FileNotFoundError), name.open("rb") as file:
            return file.read(8192)
    return b""  # taken in meanwhile


def destroy_drained(folder: Path, named_by_phones: Iterable[str], now: datetime, actor: str) -> int:
    """Destroy the private seeds that nothing needs any more. Returns how many.

    named_by_phones: the epoch that each phone seals to now. While no phone is there to ask, or one does not
    say, nothing is destroyed: a phone goes on with its last good snapshot, however old, and what it seals
    to a destroyed epoch is lost.
    """
    named = set(named_by_phones)
    if not named or "" in named:
        return 0
    gone = 0
    old = SealingEpoch.objects.filter(retired_at__lt=now - GRACE, destroyed_at=None).exclude(id__in=named)
    for row in old:
        if row.id in in_spool(folder):
            continue
        vault.keyring().destroy(row.id)
        with transaction.atomic():
            SealingEpoch.objects.filter(pk=row.id).update(destroyed_at=now)
            audit.record(
                audit.INSTALLATION, actor=actor, action="epoch:destroy", now=now, detail={"epoch": row.id}
            )
        gone += 1
    return gone


def age_of_current(now: datetime) -> timedelta | None:
    """How old the epoch in use is, None when there is none."""
    row = SealingEpoch.objects.filter(retired_at=None).order_by("-created_at").first()
    return now - row.created_at if row else None
