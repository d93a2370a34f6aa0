"""Bring Django up in a process of ours, once."""

from __future__ import annotations

import os


def setup() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nightbell.server.settings")
    import django

    django.setup()
    from nightbell.line import openness, staffed
    from nightbell.oncall import gaps, routes
    from nightbell.server import wiring
    from nightbell.store import vault

    vault.make_provider = wiring.key_provider
    routes.is_open = openness.is_open
    gaps.staffed = staffed.spans
