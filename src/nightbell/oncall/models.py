"""Who is on call, the policy, and the alerts that go on until a person owns them."""

from __future__ import annotations

from django.db import models

from nightbell.mailbox.models import Message
from nightbell.people.models import Practice, User
from nightbell.store.ids import UlidField


class Schedule(models.Model):
    """The on-call schedule of a practice, in the practice's zone."""

    id = UlidField()
    practice = models.OneToOneField(Practice, on_delete=models.PROTECT, related_name="schedule")
    fallback = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    fallback_email = models.EmailField(blank=True, default="")
    steps = models.JSONField(default=list)  # see oncall.rules.Policy


class Shift(models.Model):
    """A weekly shift: starts on `weekday` (Monday 0) at `start` minutes after local midnight."""

    id = UlidField()
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="shifts")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    weekday = models.PositiveSmallIntegerField()
    start = models.PositiveSmallIntegerField()
    minutes = models.PositiveIntegerField()
    rank = models.PositiveSmallIntegerField(default=0)  # 0 first, 1 backup


class Override(models.Model):
    """Someone else than the schedule says, from one instant to another."""

    id = UlidField()
    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="overrides")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    made_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")


class AlertState(models.TextChoices):
    OPEN = "open"
    OWNED = "owned"


class Alert(models.Model):
    """What must be owned. `policy` is frozen at the start; `token` is the link in its notifications."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="alerts")
    message = models.OneToOneField(Message, on_delete=models.PROTECT, related_name="alert")
    token = models.CharField(max_length=22, unique=True)
    state = models.CharField(max_length=8, choices=AlertState.choices, default=AlertState.OPEN)
    policy = models.TextField()
    step = models.PositiveIntegerField(default=0)  # counts on for ever: attempts are told apart by it
    began = models.PositiveIntegerField(default=0)  # the step at which the policy began, last time it rang
    started_at = models.DateTimeField()
    next_at = models.DateTimeField()
    owned_at = models.DateTimeField(null=True)
    owner = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["state", "next_at"], name="alert_due")]


class AttemptState(models.TextChoices):
    PENDING = "pending"  # recorded before it is sent
    SENT = "sent"
    FAILED = "failed"


class Attempt(models.Model):
    """One notification to one person by one channel; the exact bytes that left are kept."""

    id = UlidField()
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="attempts")
    step = models.PositiveIntegerField()
    user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    channel = models.CharField(max_length=20, blank=True, default="")
    address = models.CharField(max_length=254)
    kind = models.CharField(max_length=10)
    state = models.CharField(max_length=8, choices=AttemptState.choices, default=AttemptState.PENDING)
    recorded_at = models.DateTimeField()
    retry_at = models.DateTimeField()
    tries = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    sent = models.BinaryField(null=True)
    answer = models.CharField(max_length=120, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["alert", "step", "address"], name="one_attempt_a_step")
        ]
        indexes = [models.Index(fields=["state", "retry_at"], name="attempt_due")]
