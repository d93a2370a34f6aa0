"""A second voice at the same address of a plain call: the caller's own new source, or somebody who slips in words.

Plain RTP proves nothing. But whoever forges a caller's address and port does not see his packets, so he does not know
the SSRC: as long as the caller's own packets go on, another SSRC is not believed. Carriers do change it in the middle
of a call, and then the old one falls silent: what the new one said meanwhile is kept, so no word is lost.
"""

from __future__ import annotations

from nightbell.sip.rtp import RtpPacket

SILENT = 0.2  # seconds after which the known source has ended
MOST = 250  # packets that wait: five seconds of a machine that stood still
PROOF = 3  # times that the known source spoke while another waits: it has not ended, and these are not out of order
KNOWN = 8  # sources of one call


class Newcomer:
    """Which SSRC of plain audio is believed. Pure. A source that was believed once stays so: whoever slipped in while
    the caller was silent must not be able to shut him out."""

    __slots__ = ("_after", "_known", "_spoke", "_waiting", "ssrc")

    def __init__(self) -> None:
        self.ssrc: int | None = None
        """The source of the latest packet."""
        self._known: tuple[int, ...] = ()
        self._waiting: list[RtpPacket] = []
        self._spoke = 0.0
        self._after = 0

    def learn(self, ssrc: int) -> None:
        """This source is believed from now on."""
        self.ssrc = ssrc
        if ssrc not in self._known:
            self._known = (*self._known[1 - KNOWN :], ssrc)

    def heard(self, now: float) -> int:
        """A known source spoke. now: monotonic seconds. Gives how many waiting packets are dropped for it."""
        self._spoke = now
        if not self._waiting:
            return 0
        self._after += 1
        return len(self._all()) if self._after >= PROOF else 0

    def takes(self, packet: RtpPacket, now: float) -> list[RtpPacket] | None:
        """The packets to be believed now that this one came, in order; [] while it waits; None: not believed."""
        if not self._known or packet.ssrc in self._known:
            self.learn(packet.ssrc)
            return [packet]
        if now - self._spoke >= SILENT:
            self.learn(packet.ssrc)
            return [*(one for one in self._all() if one.ssrc == packet.ssrc), packet]
        if len(self._waiting) < MOST and (not self._waiting or self._waiting[0].ssrc == packet.ssrc):
            self._waiting.append(packet)
            return []
        return None

    def last_words(self) -> list[RtpPacket]:
        """What waits, now that recording pauses or ends: taken unless the known source has spoken since."""
        return [] if self._after else self._all()

    def _all(self) -> list[RtpPacket]:
        waiting, self._waiting, self._after = self._waiting, [], 0
        return waiting
