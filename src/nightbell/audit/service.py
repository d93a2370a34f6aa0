"""Appending to the transparency log, in the transaction of the action it tells about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import DatabaseError, connection, transaction

from nightbell.audit import tree
from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Log
from nightbell.core.clock import iso
from nightbell.core.ids import new_ulid

INSTALLATION = "installation"
EPOCH = "audit:epoch"
# Written out: every act of the product appends, and a burst of alerts appends hundreds of leaves within a second.
_INSERT = (
    "INSERT INTO audit_event (id, log_id, seq, at, actor, action, message, outcome, source, leaf, leaf_hash)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)
_GROW = "UPDATE audit_log SET size = %s, frontier = %s, epoch = %s WHERE id = %s"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one leaf tells, as the arguments of `record` have it."""

    actor: str
    action: str
    message: str = ""
    outcome: str = "ok"
    source: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)


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
    entry = Entry(actor, action, message, outcome, source, detail or {})
    return _append(log_id, [entry], now, new_epoch)[0]


def record_all(log_id: str, entries: Sequence[Entry], now: datetime) -> list[str]:
    """As `record`, for several events in this order: the head is read once for all of them."""
    return _append(log_id, entries, now, False) if entries else []


def _append(log_id: str, entries: Sequence[Entry], now: datetime, new_epoch: bool) -> list[str]:
    try:
        with transaction.atomic():
            head = Log.objects.select_for_update().get(pk=log_id)
            epoch = head.epoch + new_epoch
            grown = tree.Frontier.from_bytes(head.size, bytes(head.frontier))
            events = []
            with connection.cursor() as cursor:
                for entry in entries:
                    event, row = _leaf(log_id, epoch, grown.size, entry, now)
                    cursor.execute(_INSERT, row)
                    grown = grown.append(row[-1])
                    # One leaf at a time, as the triggers want it.
                    cursor.execute(_GROW, (grown.size, grown.to_bytes(), epoch, log_id))
                    events.append(event)
    except (DatabaseError, Log.DoesNotExist, OSError, ValueError) as error:
        raise AuditClosed(
            "The audit log cannot be written, so nothing can be read now",
            f"the store answered {type(error).__name__}",
            "calls are still recorded; tell the person who looks after this system",
        ) from error
    return events


def _leaf(log_id: str, epoch: int, seq: int, entry: Entry, now: datetime) -> tuple[str, tuple[Any, ...]]:
    """The id of an event, and its row as _INSERT has it; the hash is the last of it."""
    event = new_ulid()
    fields: dict[str, object] = {
        "id": event, "log": log_id, "epoch": epoch, "seq": seq, "at": iso(now), "actor": entry.actor,
        "action": entry.action, "message": entry.message, "outcome": entry.outcome, "source": entry.source,
    }  # fmt: skip
    if entry.detail:
        fields["detail"] = dict(entry.detail)
    leaf = canonical(fields)
    at = connection.ops.adapt_datetimefield_value(now)
    return event, (
        event, log_id, seq, at, entry.actor, entry.action, entry.message, entry.outcome, entry.source, leaf,
        tree.leaf_hash(leaf),
    )  # fmt: skip


def begin_epoch(log_id: str, *, actor: str, now: datetime, lost: Mapping[str, object] | None = None) -> str:
    """After a restore: the next leaf says that what follows the last known size may have been lost.

    lost: what is known of it (`restored.set_aside`).
    """
    detail = {"after_size": Log.objects.get(pk=log_id).size, **(lost or {})}
    return record(log_id, actor=actor, action=EPOCH, now=now, detail=detail, new_epoch=True)
