"""Registers the room with Django."""

from django.apps import AppConfig


class LineConfig(AppConfig):
    name = "nightbell.line"
    label = "line"
