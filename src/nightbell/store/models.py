"""Durable jobs (DESIGN decision 13): a lease table, at least once, with back-off."""

from __future__ import annotations

from django.db import models

from nightbell.store.ids import UlidField


class Job(models.Model):
    """Something to do. `key` makes it unique within its kind; the payload is an id, never PHI."""

    id = UlidField()
    kind = models.CharField(max_length=40)
    key = models.CharField(max_length=60)
    created_at = models.DateTimeField()
    run_at = models.DateTimeField()  # also the expiry of a running job's lease
    leased_by = models.CharField(max_length=60, blank=True, default="")
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=120, blank=True, default="")
    ended_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=12, blank=True, default="")  # done, dead

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "key"], name="one_job_a_key")]
        indexes = [models.Index(fields=["ended_at", "run_at"], name="job_due")]


class Flag(models.Model):
    """Small facts of the installation that are not a setting (last checkpoint, last compaction)."""

    name = models.CharField(max_length=60, primary_key=True)
    value = models.TextField(blank=True, default="")
    changed_at = models.DateTimeField()
