"""What must be provable later: certificates of disposal."""

from __future__ import annotations

from django.db import models

from nightbell.people.models import Practice
from nightbell.store.ids import UlidField


class DisposalCertificate(models.Model):
    """Says that a message's key was destroyed, when, by whom and why. Holds no PHI."""

    id = UlidField()
    practice = models.ForeignKey(Practice, on_delete=models.PROTECT, related_name="+")
    message = models.CharField(max_length=26, unique=True)
    actor = models.CharField(max_length=80)
    reason = models.CharField(max_length=40)
    disposed_at = models.DateTimeField()
    compacted_at = models.DateTimeField(null=True)  # from then on no old keyring backup opens it either
