"""Registers the room with Django."""

from __future__ import annotations

import logging

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "nightbell.web"
    label = "web"

    def ready(self) -> None:
        from nightbell.web import accounts

        accounts.connect()
        # Django's own loggers print paths, values and whole tracebacks; core.log tells type and place instead.
        for name in ("django", "allauth", "ninja"):
            logger = logging.getLogger(name)
            logger.handlers = [logging.NullHandler()]
            logger.propagate = False
