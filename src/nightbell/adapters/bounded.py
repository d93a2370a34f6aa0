"""A channel that never holds up another: each sending ends within its time, whatever the far side or a name server does."""

from __future__ import annotations

import threading

from nightbell.core.notice import Channel, ChannelError, Receipt, Rendered

SECONDS = 12.0  # a little more than a channel's own, which tells better what was wrong
MOST_HANGING = 8


class BoundedChannel:
    """Implements `core.notice.Channel` around another one.

    What does not come back in time goes on by itself in a thread that nobody waits for; with too many of those the
    channel answers at once that it is stuck, until one of them comes back.
    """

    def __init__(self, inner: Channel, seconds: float = SECONDS) -> None:
        self.inner, self.name, self._seconds = inner, inner.name, seconds
        self._free = threading.BoundedSemaphore(MOST_HANGING)

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """See `core.notice.Channel`."""
        if not self._free.acquire(blocking=False):
            raise ChannelError("the channel is stuck")
        found: list[Receipt | Exception] = []
        thread = threading.Thread(
            target=self._run, args=(found, rendered, address, reference), name=f"{self.name}-out", daemon=True
        )
        thread.start()
        thread.join(self._seconds)
        if not found:
            raise ChannelError("the channel did not end in time: it may have left", unsure=True)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    def _run(
        self, found: list[Receipt | Exception], rendered: Rendered, address: str, reference: str
    ) -> None:
        try:
            found.append(self.inner.send(rendered, address, reference))
        except Exception as error:
            found.append(error)
        finally:
            self._free.release()
