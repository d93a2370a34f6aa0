"""Appending to the transparency log, in the transaction of the action it tells about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from django.db import DatabaseError, transaction

from nightbell.audit import tree
from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event, Log
from nightbell.core.clock import iso
from nightbell.core.ids import new_ulid

INSTALLATION = "installation"
EPOCH = "audit:epoch"


def canonical(fields: Mapping[str, object]) -> bytes:
    """The bytes of a leaf: JSON, sorted keys, no spaces, UTF-8."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def open_log(log_id: str) -> None:
    """Start the log of a practice; one that exists is left as it is."""
    Log.objects.get_or_create(pk=log_id)


def record(
    log_id: str,
    *,
    actor: str,
    action: str,
    now: datetime,
    message: str = "",
    outcome: str = "ok",
    source: str = "",
    detail: Mapping[str, object] | None = None,
    new_epoch: bool = False,
) -> str:
    """Append one event and return its id; it counts when the caller's transaction commits.

    Call it last in the transaction: the head row is a lock. `detail` holds ids and numbers, never PHI.
    Raises AuditClosed when the store does not take it.
    """
    event = new_ulid()
    try:
        with transaction.atomic():
            head = Log.objects.select_for_update().get(pk=log_id)
            epoch = head.epoch + new_epoch
            fields: dict[str, object] = {
                "id": event, "log": log_id, "epoch": epoch, "seq": head.size, "at": iso(now), "actor": actor,
                "action": action, "message": message, "outcome": outcome, "source": source,
            }  # fmt: skip
            if detail:
                fields["detail"] = dict(detail)
            leaf = canonical(fields)
            digest = tree.leaf_hash(leaf)
            Event.objects.create(
                id=event, log=head, seq=head.size, at=now, actor=actor, action=action, message=message,
                outcome=outcome, source=source, leaf=leaf, leaf_hash=digest,
            )  # fmt: skip
            grown = tree.Frontier.from_bytes(head.size, bytes(head.frontier)).append(digest)
            Log.objects.filter(pk=log_id).update(size=grown.size, frontier=grown.to_bytes(), epoch=epoch)
    except (DatabaseError, Log.DoesNotExist, OSError, ValueError) as error:
        raise AuditClosed(
            "The audit log cannot be written, so nothing can be read now",
            f"the store answered {type(error).__name__}",
            "calls are still recorded; tell the person who looks after this system",
        ) from error
    return event


def begin_epoch(log_id: str, *, actor: str, now: datetime, lost: Mapping[str, object] | None = None) -> str:
    """After a restore: the next leaf says that what follows the last known size may have been lost.

    lost: what is known of it (`restored.set_aside`).
    """
    detail = {"after_size": Log.objects.get(pk=log_id).size, **(lost or {})}
    return record(log_id, actor=actor, action=EPOCH, now=now, detail=detail, new_epoch=True)
