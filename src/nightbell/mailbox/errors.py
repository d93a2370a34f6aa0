"""Errors of the mailbox."""

from nightbell.core.errors import NightbellError


class NotNow(NightbellError):
    """The message is in a state in which this cannot be done."""


class BadRange(ValueError):
    """A stretch of sound that begins outside of the file."""


class BadText(NightbellError):
    """A note or an outcome that cannot be kept as given."""
