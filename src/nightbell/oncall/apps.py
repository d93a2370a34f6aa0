"""Registers the room with Django."""

from django.apps import AppConfig


class OncallConfig(AppConfig):
    name = "nightbell.oncall"
    label = "oncall"
