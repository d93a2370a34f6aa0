"""What can be wrong with sealed bytes and with keys. No text here holds PHI or key material."""

from __future__ import annotations

from nightbell.core.errors import NightbellError, TemporaryError


class SealError(NightbellError):
    """Sealed bytes that cannot be opened."""


class Tampered(SealError):
    """Authentication failed: altered bytes, another place, or another key."""


class Truncated(SealError):
    """Too short to be what it claims to be; nothing whole could be recovered."""


class WrongKey(SealError):
    """This key does not open these bytes."""


class UnknownFormat(SealError):
    """Not one of our formats, or a version that this release does not know."""


class NoSuchKey(SealError):
    """The keyring has no such entry: never made, or destroyed."""


class StaleKeyring(SealError):
    """Entries lie under a period key that no longer exists: an old backup, or the wrong folder of period keys."""


class KeyUnavailable(TemporaryError):
    """The key provider cannot be used now; nothing is lost, opening waits until it is back."""


class Busy(TemporaryError):
    """Another process holds this file, or moved it meanwhile; look again later."""
