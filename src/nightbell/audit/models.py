"""The tables of the transparency log. Append-only: triggers refuse anything else (migration 0002)."""

from __future__ import annotations

from django.db import models

from nightbell.store.ids import UlidField


class Log(models.Model):
    """The head of one Merkle tree: one a practice (id = practice ULID) and one 'installation'."""

    id = models.CharField(max_length=26, primary_key=True)
    epoch = models.PositiveIntegerField(default=1)
    size = models.BigIntegerField(default=0)
    frontier = models.BinaryField(default=bytes)  # RFC 6962 compact range, 32 bytes a node

    class Meta:
        db_table = "audit_log"


class Event(models.Model):
    """One leaf. `leaf` holds the exact bytes that were hashed; the other columns repeat them for queries."""

    id = UlidField()
    log = models.ForeignKey(Log, on_delete=models.PROTECT)
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    actor = models.CharField(max_length=80)
    action = models.CharField(max_length=60)
    message = models.CharField(max_length=26, blank=True, default="")
    outcome = models.CharField(max_length=12)
    source = models.CharField(max_length=80, blank=True, default="")
    leaf = models.BinaryField()
    leaf_hash = models.BinaryField()

    class Meta:
        db_table = "audit_event"
        constraints = [models.UniqueConstraint(fields=["log", "seq"], name="one_event_a_seq")]
        indexes = [
            models.Index(fields=["log", "at"], name="audit_by_time"),
            models.Index(fields=["log", "actor", "at"], name="audit_by_actor"),
            models.Index(fields=["log", "message", "seq"], name="audit_by_message"),
        ]


class Checkpoint(models.Model):
    """A signed statement (C2SP) of a log's size and root."""

    id = UlidField()
    log = models.ForeignKey(Log, on_delete=models.PROTECT)
    size = models.BigIntegerField()
    note = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "audit_checkpoint"
