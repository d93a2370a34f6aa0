"""The root of every error that a person may be told about."""

from __future__ import annotations


class NightbellError(Exception):
    """Something went wrong that we can name. Its text holds no PHI.

    what: what failed, with the setting or thing named; why: the cause; mend: what to do now.
    """

    def __init__(self, what: str, why: str = "", mend: str = "") -> None:
        self.what, self.why, self.mend = what, why, mend
        super().__init__(". ".join(part.rstrip(".") for part in (what, why, mend) if part) + ".")


class TemporaryError(NightbellError):
    """Trying again later may work."""


class Stopping(TemporaryError):
    """We are being stopped: no fault of what was asked."""


class RefusedStart(NightbellError):
    """A process will not start: unsafe or impossible settings."""
