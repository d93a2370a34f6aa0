"""The demo's way to a person: a folder that holds the exact bytes of each notification, a file each."""

from __future__ import annotations

from pathlib import Path

from nightbell.adapters import letters
from nightbell.core.clock import SYSTEM, Clock
from nightbell.core.durable import write_file
from nightbell.core.notice import ChannelError, Receipt, Rendered

SENDER = "nightbell@demo.invalid"  # RFC 2606: a domain that never exists


class OutboxChannel:
    """Implements `core.notice.Channel`. The folder is made when first needed, for its owner alone."""

    name = "outbox"

    def __init__(self, folder: Path, clock: Clock = SYSTEM) -> None:
        self._folder, self._clock = folder, clock

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """Write `<reference>.eml`, once: a second try finds the first one's bytes and leaves them."""
        letters.check(address, reference)
        path = self._folder / f"{reference}.eml"
        try:
            if path.exists():
                return Receipt(path.read_bytes(), "already in the outbox")
            data = letters.compose(rendered, SENDER, address, reference, self._clock.now())
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_file(path, data)
        except OSError as error:
            raise ChannelError(f"the outbox cannot be written ({error.strerror})") from error
        return Receipt(data, "written to the outbox")
