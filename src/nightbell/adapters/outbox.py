"""The demo's way to a person: a folder that holds the exact bytes of each notification, a file each."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from nightbell.adapters import letters
from nightbell.core.clock import SYSTEM, Clock
from nightbell.core.durable import write_file
from nightbell.core.ids import is_ulid
from nightbell.core.notice import ChannelError, Receipt, Rendered

SENDER = "nightbell@demo.invalid"  # RFC 2606: a domain that never exists
_ADDRESS = re.compile(r"[!-~]{1,600}\Z")  # no blank and no line break
_WORDS: dict[str, Callable[[Rendered], str]] = {
    "sms": lambda rendered: rendered.short,
    "voice": lambda rendered: " ".join(rendered.voice),
    "push": lambda rendered: "",  # a push is empty
    "other": lambda rendered: f"{rendered.subject}\n{rendered.body.strip()}",
}


class OutboxChannel:
    """Implements `core.notice.Channel`, for contacts of one kind ('email', 'sms', 'push', 'voice' or 'other').

    The folder is made when first needed, for its owner alone. A mail is `<reference>.eml`; all else `<reference>.<kind>`:
    the address, an empty line and the words.
    """

    name = "outbox"

    def __init__(self, folder: Path, clock: Clock = SYSTEM, kind: str = "email") -> None:
        self._folder, self._clock, self._kind = folder, clock, kind

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """Write the file, once: a second try finds the first one's bytes and leaves them."""
        self._check(address, reference)
        path = self._folder / f"{reference}.{'eml' if self._kind == 'email' else self._kind}"
        try:
            if path.exists():
                return Receipt(path.read_bytes(), "already in the outbox")
            data = self._data(rendered, address, reference)
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(path, data)
        except OSError as error:
            raise ChannelError(f"the outbox cannot be written ({error.strerror})") from error
        return Receipt(data, "written to the outbox")

    def _check(self, address: str, reference: str) -> None:
        if self._kind == "email":
            letters.check(address, reference)
        elif not is_ulid(reference) or not _ADDRESS.match(address):
            raise ChannelError("the address or the reference must not reach a file", permanent=True)

    def _data(self, rendered: Rendered, address: str, reference: str) -> bytes:
        if self._kind == "email":
            return letters.compose(rendered, SENDER, address, reference, self._clock.now())
        return f"To: {address}\n\n{_WORDS[self._kind](rendered)}\n".encode()
