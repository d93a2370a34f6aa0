"""What granian serves."""

from __future__ import annotations

import signal

from nightbell.core.sandbox import follow_parent
from nightbell.server.django_setup import setup

# Granian's workers outlive a killed parent and would answer beside the new ones, for ever.
follow_parent(signal.SIGKILL)
setup()

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from nightbell.server import health  # noqa: E402
from nightbell.web import context  # noqa: E402

context.HEALTH = health.of_this_home
application = WSGIHandler()
