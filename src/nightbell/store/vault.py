"""The keyring and the blobs of this installation, as the Django rooms reach them.

Nothing is kept unwrapped between calls: moving the key file away closes everything at once.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from nightbell.core.config import Config, load
from nightbell.core.durable import append
from nightbell.core.errors import NightbellError
from nightbell.sealing.blobs import FolderBlobs
from nightbell.sealing.errors import KeyUnavailable, SealError
from nightbell.sealing.fields import Place, open_field, seal_field
from nightbell.sealing.keyring import Keyring
from nightbell.sealing.provider import FileKeyProvider, KeyProvider

SECRETS = "installation-secrets"
DISPOSED = "disposed.txt"
_lock = threading.Lock()


class KeysAway(NightbellError):
    """The key file (or key service) is not there: nothing can be opened, calls are still taken."""


def keyring_location(config: Config) -> str:
    """Where the keyring is: a file of its own beside the database, or a PostgreSQL URL."""
    return str(config.home / "keyring" / "keyring.sqlite3") if config.keyring == "sqlite" else config.keyring


def key_file(config: Config) -> KeyProvider:
    """The default provider."""
    return FileKeyProvider(config.keys / "kek.key")


# Set by server.wiring when a key service is chosen; this room does not know adapters.
make_provider: Callable[[Config], KeyProvider] = key_file


@lru_cache(maxsize=4)
def _keyring(location: str, keys: Path) -> Keyring:
    config = load()
    slot = Path(config.period_slot) if config.period_slot else None
    return Keyring(location, keys / "periods", make_provider(config), slot)


def keyring() -> Keyring:
    """This process's keyring."""
    config = load()
    with _lock:
        return _keyring(keyring_location(config), config.keys)


def blobs() -> FolderBlobs:
    """Where sealed sound lies."""
    return FolderBlobs(load().blobs)


def message_key(message_id: str) -> bytes:
    """The key of one message. Raises KeysAway, or NoSuchKey when it was destroyed."""
    try:
        return keyring().get(message_id, "message")
    except KeyUnavailable as error:
        raise _away(error) from error


def message_keys(ids: Sequence[str]) -> dict[str, bytes]:
    """The keys of many messages with one use of the provider; without those that are gone or damaged. KeysAway."""
    try:
        return keyring().get_many(ids, "message")
    except KeyUnavailable as error:
        raise _away(error) from error
    except SealError:  # one of them is damaged: the others are asked for without it
        return {i: key for i in ids if (key := _whole(i)) is not None}


def _whole(message_id: str) -> bytes | None:
    try:
        return message_key(message_id)
    except SealError:
        return None


def _away(error: KeyUnavailable) -> KeysAway:
    return KeysAway(
        "The keys of this system are not available, so nothing can be opened",
        error.why or "the key file cannot be read",
        f"{error.mend or 'put the key file back'}; calls are still recorded meanwhile",
    )


def seal_secret(text: str, name: str = "totp") -> str:
    """Seal a small secret of the installation (a TOTP seed) for a database column."""
    place = Place("secret", name, "0" * 26, "0" * 26)
    return base64.urlsafe_b64encode(seal_field(_secrets_key(), place, text.encode())).decode()


def open_secret(sealed: str, name: str = "totp") -> str:
    """Open what `seal_secret` made. Raises KeysAway or a SealError."""
    place = Place("secret", name, "0" * 26, "0" * 26)
    return open_field(_secrets_key(), place, base64.urlsafe_b64decode(sealed)).decode()


def _secrets_key() -> bytes:
    try:
        return keyring().get(SECRETS, "secret")
    except KeyUnavailable as error:
        raise KeysAway(
            "The keys of this system are not available", error.why, error.mend or "put the key file back"
        ) from error


def require_keys() -> None:
    """Raise KeysAway now, before the log claims that something was shown."""
    _secrets_key()


def disposed_ids() -> set[str]:
    """Messages that were ever destroyed here. Kept beside the keys, so that no restored backup forgets them."""
    try:
        return set((load().keys / DISPOSED).read_text("ascii").split())
    except FileNotFoundError:
        return set()


def note_disposed(message_id: str) -> None:
    """Durable before the key goes."""
    if message_id not in disposed_ids():
        append(load().keys / DISPOSED, message_id.encode() + b"\n")
