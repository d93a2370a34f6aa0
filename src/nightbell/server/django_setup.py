"""Bring Django up in a process of ours, once."""

from __future__ import annotations

import gc
import os

# Rows come and go by the thousand, in no cycles: looking for those among all that was loaded, as often as Python does by
# itself, took a tenth of the CPU.
COLLECT = (20_000, 20, 20)


def setup() -> None:
    gc.set_threshold(*COLLECT)
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
