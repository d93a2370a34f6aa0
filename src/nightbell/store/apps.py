"""Registers the room with Django."""

from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "nightbell.store"
    label = "store"
