"""Errors of the audit log."""

from nightbell.core.errors import NightbellError


class AuditClosed(NightbellError):
    """The log cannot be written, so nothing may be read. Calls are still recorded."""
