"""Errors of the on-call room."""

from nightbell.core.errors import NightbellError


class BadShift(NightbellError):
    """A shift or an override that makes no sense."""
