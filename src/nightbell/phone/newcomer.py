"""A second voice at the same address of a plain call: the caller's own new source, or somebody who slips in words.

Plain RTP proves nothing. But whoever forges a caller's address and port does not see his packets, so he does not know
the SSRC: as long as the caller's own packets go on, another SSRC is not believed. Carriers do change it in the middle
of a call, and then the old one falls silent: what the new one said meanwhile is kept, so no word is lost.

Key presses are held to the same source. Some gateways send them under an SSRC of their own, and their sound pauses while
the key is down: such a press counts once that pause is seen. What is left: whoever sends presses for long may hit a pause
of the caller's own, and a gateway whose sound goes on beneath presses of another SSRC is not heard to press.
"""

from __future__ import annotations

from nightbell.sip.rtp import RtpPacket

SILENT = 0.2  # seconds after which the known source has ended
MOST = 250  # packets that wait: five seconds of a machine that stood still
PROOF = 3  # times that the known source spoke while another waits: it has not ended, and these are not out of order
KNOWN = 8  # sources of one call
PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds of the known source's clock without its sound: a key was down
MOST_PRESSES = 50  # packets of a key that wait


class Newcomer:
    """Which SSRC of plain audio is believed. Pure. A source that was believed once stays so: whoever slipped in while
    the caller was silent must not be able to shut him out."""

    __slots__ = ("_after", "_beneath", "_known", "_spoke", "_waiting", "presses", "ssrc", "until")

    def __init__(self) -> None:
        self.ssrc: int | None = None
        """The source of the latest packet."""
        self._known: tuple[int, ...] = ()
        self._waiting: list[RtpPacket] = []
        self._spoke = 0.0
        self._after = self._beneath = 0
        self.until = 0
        """Timestamp of the known source's latest packet."""
        self.presses: list[tuple[RtpPacket, float]] = []
        """Packets of key presses that wait, and when each came."""

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

    def may_press(self, packet: RtpPacket) -> bool:
        """Whether this packet of a key press is the known source's, or nobody has spoken yet."""
        return not self._known or packet.ssrc in self._known

    def wait(self, packet: RtpPacket, now: float) -> bool:
        """Keep another source's press. False: no room, or one of a third source."""
        fits = len(self.presses) < MOST_PRESSES and (
            not self.presses or self.presses[0][0].ssrc == packet.ssrc
        )
        if fits:
            self.presses.append((packet, now))
        return fits

    def paused(self, first: int, rate: int) -> list[tuple[RtpPacket, float]] | None:
        """The known source goes on at this timestamp, presses wait: they, [] while it is open, None: dropped.

        rate: ticks a second of its clock.
        """
        if PAUSE * rate <= (first - self.until) & 0xFFFFFFFF < LONGEST_PAUSE * rate:
            return self._pressed()
        self._beneath += 1
        if self._beneath < PROOF:
            return []
        self._pressed()
        return None

    def silent(self, now: float) -> list[tuple[RtpPacket, float]]:
        """The presses that wait, when all that has arrived by now is taken and the known source has ended."""
        return self._pressed() if now - self._spoke >= SILENT else []

    def _pressed(self) -> list[tuple[RtpPacket, float]]:
        presses, self.presses, self._beneath = self.presses, [], 0
        return presses

    def last_words(self) -> list[RtpPacket]:
        """What waits, now that recording pauses or ends: taken unless the known source has spoken since."""
        return [] if self._after else self._all()

    def _all(self) -> list[RtpPacket]:
        waiting, self._waiting, self._after = self._waiting, [], 0
        return waiting
