"""Errors of the mailbox."""

from nightbell.core.errors import NightbellError


class NotNow(NightbellError):
    """The message is in a state in which this cannot be done."""


class BadText(NightbellError):
    """A note or an outcome that cannot be kept as given."""
