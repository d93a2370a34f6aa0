"""Registers the room with Django."""

from django.apps import AppConfig


class ComplianceConfig(AppConfig):
    name = "nightbell.compliance"
    label = "compliance"
