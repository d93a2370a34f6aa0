"""Calls that a provider answers for us, and the recordings that it holds until we have them.

A caller's number is in `sealed` alone, under a key of the row's own, which is destroyed when the message is in.
"""

from __future__ import annotations

from django.db import models

from nightbell.store.ids import UlidField


class Stage(models.TextChoices):
    """How far a call is on its way to a message."""

    OPEN = "open"
    ENDED = "ended"  # its recordings are to be fetched
    SPOOLED = "spooled"  # its capture is with intake; then it is compared, and deleted at the provider
    DONE = "done"


class Kept(models.TextChoices):
    """What is known of one recording at the provider."""

    WAITING = "waiting"
    COMPLETED = "completed"
    ABSENT = "absent"  # nothing was recorded
    LOST = "lost"  # there was one, and the provider does not have it
    BAD = "bad"  # there is one, and it cannot be used


class CarrierCall(models.Model):
    """One call. digest: SHA-256 of the provider's name for it, kept for ever, so that an old request makes no new call;
    capture: the id of its message; later: of what is fetched after a stand-in was stored; turn: requests so far."""

    id = UlidField()
    provider = models.CharField(max_length=10)
    digest = models.CharField(max_length=64)
    sid = models.CharField(max_length=200, blank=True, default="")  # '' once nothing is to be asked of it
    capture = models.CharField(max_length=26)
    later = models.CharField(max_length=26)
    turn = models.PositiveIntegerField(default=0)
    sealed = models.BinaryField(null=True)
    answered_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    takes = models.PositiveIntegerField(default=0)
    urgent = models.BooleanField(default=False)
    stage = models.CharField(max_length=8, choices=Stage.choices, default=Stage.OPEN)
    due_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    stand_in_at = models.DateTimeField(null=True)
    verified_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    trouble = models.CharField(max_length=40, blank=True, default="")  # a word of ours, or an error's name

    class Meta:
        constraints = [models.UniqueConstraint(fields=["provider", "digest"], name="one_row_a_carrier_call")]
        indexes = [
            models.Index(
                fields=["due_at"], name="carrier_call_due", condition=~models.Q(stage="done")
            )
        ]  # fmt: skip


class CarrierRecording(models.Model):
    """One recording of a call. take: which one, from 0; sid: the provider's name for it."""

    call = models.ForeignKey(CarrierCall, on_delete=models.CASCADE, related_name="recordings")
    take = models.PositiveIntegerField()
    sid = models.CharField(max_length=80, blank=True, default="")
    status = models.CharField(max_length=10, choices=Kept.choices, default=Kept.WAITING)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["call", "take"], name="one_row_a_take")]
