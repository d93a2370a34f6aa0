"""Claiming, finishing and retrying jobs. A killed worker's lease runs out and the job is claimed anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction

from nightbell.core import faults
from nightbell.core.ids import new_ulid
from nightbell.store.due import due
from nightbell.store.models import Job

MAX_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one job until the lease runs out."""

    id: str
    kind: str
    key: str
    attempts: int
    owner: str


def backoff(attempts: int) -> timedelta:
    """5 s, 10 s, 20 s ... at most 10 minutes."""
    return timedelta(seconds=min(600, 5 * 2 ** max(0, attempts - 1)))


def enqueue(kind: str, key: str, now: datetime) -> None:
    """Add a job once; the same kind and key again is nothing new. Joins the caller's transaction."""
    Job.objects.get_or_create(kind=kind, key=key, defaults={"created_at": now, "run_at": now})


def enqueue_all(wanted: Iterable[tuple[str, str]], now: datetime) -> None:
    """As `enqueue`, for several (kind, key) in one statement."""
    Job.objects.bulk_create(
        [Job(kind=kind, key=key, created_at=now, run_at=now) for kind, key in wanted], ignore_conflicts=True
    )


def claim(kinds: list[str], now: datetime, lease: timedelta) -> Claim | None:
    """Take the oldest due job of `kinds`, or None. Compare-and-set: two workers never hold one job."""
    owner = new_ulid()
    # A look without a lock first: an idle worker must not take SQLite's write lock ten times a second.
    waiting = Job.objects.filter(due("run_at", now), kind__in=kinds, ended_at=None)
    if not waiting.exists():
        return None
    with transaction.atomic():
        oldest = waiting.order_by("run_at", "id")
        if connection.features.has_select_for_update_skip_locked:
            oldest = oldest.select_for_update(skip_locked=True)
        job = oldest.first()
        if job is None:
            return None
        won = Job.objects.filter(pk=job.pk, run_at=job.run_at, leased_by=job.leased_by, ended_at=None).update(
            run_at=now + lease, leased_by=owner, attempts=job.attempts + 1
        )
    faults.point("job.claimed")
    return Claim(job.pk, job.kind, job.key, job.attempts + 1, owner) if won else None


def renew(claim: Claim, now: datetime, lease: timedelta) -> bool:
    """Hold a job for longer. False: the lease was lost."""
    held = Job.objects.filter(pk=claim.id, leased_by=claim.owner, ended_at=None)
    return held.update(run_at=now + lease) == 1


def finish(claim: Claim, now: datetime) -> bool:
    """Mark done; call it inside the transaction of the job's effect. False: the lease was lost."""
    held = Job.objects.filter(pk=claim.id, leased_by=claim.owner, ended_at=None)
    return held.update(ended_at=now, outcome="done", last_error="") == 1


def postpone(claim: Claim, now: datetime, delay: timedelta, error: str) -> None:
    """Put back without counting the attempt: the hindrance is not the job's (keys away, say)."""
    Job.objects.filter(pk=claim.id, leased_by=claim.owner, ended_at=None).update(
        run_at=now + delay, leased_by="", attempts=max(0, claim.attempts - 1), last_error=error[:120]
    )


def fail(claim: Claim, now: datetime, error: str, permanent: bool = False) -> bool:
    """Put back with back-off, or give up. True when the job is dead: the caller shows that to people."""
    dead = permanent or claim.attempts >= MAX_ATTEMPTS
    change: dict[str, object] = {"last_error": error[:120], "leased_by": ""}
    if dead:
        change |= {"ended_at": now, "outcome": "dead"}
    else:
        change["run_at"] = now + backoff(claim.attempts)
    Job.objects.filter(pk=claim.id, leased_by=claim.owner, ended_at=None).update(**change)
    return dead
