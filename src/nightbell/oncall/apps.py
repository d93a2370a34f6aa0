"""Registers the room with Django."""

from django.apps import AppConfig


class OncallConfig(AppConfig):
    name = "nightbell.oncall"
    label = "oncall"

    def ready(self) -> None:
        from nightbell.oncall import lost_ways

        lost_ways.watch()
