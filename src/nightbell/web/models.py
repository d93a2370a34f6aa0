"""The only state of this room: how often somebody knocked in vain (DESIGN decision 11: a table, not the cache)."""

from __future__ import annotations

from django.db import models


class Knock(models.Model):
    """Failed attempts from one place since one moment. `key`: what is throttled and the source address."""

    key = models.CharField(max_length=80, primary_key=True)
    since = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)
