"""What granian serves."""

from __future__ import annotations

from nightbell.server.django_setup import setup

setup()

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from nightbell.server import health  # noqa: E402
from nightbell.web import context  # noqa: E402

context.HEALTH = health.of_this_home
application = WSGIHandler()
