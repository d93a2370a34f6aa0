"""A sign of life to the outside: whoever listens there tells people when it stops (healthchecks.io and its like)."""

from __future__ import annotations

from nightbell.adapters.outward import Outward
from nightbell.core.notice import ChannelError


class HttpsHeartbeat:
    """url: https, secret, for it is all that proves who beats; ca_file: PEM to trust instead of the system's."""

    def __init__(self, url: str, ca_file: str = "", seconds: float = 10.0) -> None:
        self._url = url
        self._outward = Outward("the heartbeat's listener", private=True, ca_file=ca_file, seconds=seconds)

    def __call__(self) -> None:
        """One beat: a POST with nothing in it. Raises ChannelError, which never repeats the URL."""
        status = self._outward.post(self._url, {"User-Agent": "Nightbell"}, b"").status
        if not 200 <= status < 300:
            raise ChannelError(f"the heartbeat's listener answered {status}")
