"""What a call says: frames at their pace, and nothing before somebody is known to be there."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from nightbell.phone.datagrams import Address, address_of, mapped, name_of
from nightbell.phone.party import Counters, Engine, Listener, Outgoing, Peer
from nightbell.phone.protection import Protection
from nightbell.sip import codecs


@dataclass(slots=True)
class Job:
    """Frames being played."""

    frames: Sequence[bytes]
    token: int
    at: int = 0


class Speaker:
    """The sending half of a session (phone.session)."""

    __slots__ = (
        "_job", "_listener", "_media", "_outgoing", "_protection", "_target", "confirmed", "counters", "local", "peer",
        "socket",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, peer: Peer, listener: Listener, media: Engine) -> None:
        self.socket, self.local = sock, sock.getsockname()[:2]
        self.counters = Counters()
        self.peer = peer
        self._listener, self._media = listener, media
        self._job: Job | None = None
        self._outgoing = Outgoing(media.ticks, peer.codec, media.pen)
        self._protection: Protection | None = None
        self._target: Address = mapped(peer.address, sock.family)
        # An INVITE and the address in it may be forged. Until somebody is known to be there nothing is sent to
        # it, or anyone could have us flood a third party; what is to be played waits, so a late ACK costs no word.
        self.confirmed = False

    def confirm(self) -> None:
        """Somebody is there: begin to send."""
        self.confirmed = True

    def send_raw(self, data: bytes, to: bytes) -> None:
        """Send a datagram that is no sound to a source, also before `confirm`. to: as `name_of` has it."""
        self._send(data, address_of(to) if to else self._target)

    def name(self, address: Address) -> bytes:
        """An address as it would be as a source."""
        return name_of(address, self.socket.family)

    def stop(self) -> None:
        """Fall silent."""
        self._job = None

    # From here on: the media thread.

    def tick(self, ticks: int, send_silence: bool) -> bool:
        """Send the frames of the last so many ticks. False: nothing is left to be sent."""
        if not self.confirmed or (self.peer.secured and self._protection is None):
            return True
        # Never a tick twice: after a late wake-up the way may have been kept open in what is a step ahead of this.
        first = max(self._media.ticks - ticks, self._outgoing.sent_at)
        if self._outgoing.until and self._job is not None:
            self._outgoing.own_again((first + 1) * codecs.frame_ticks(self.peer.codec))
        for number in range(first + 1, self._media.ticks + 1):
            job = self._job
            if job is None:
                if not send_silence:
                    return False
                if not self._outgoing.until:  # else somebody is heard
                    self._frame(codecs.silence(self.peer.codec), number)
            elif job.at < len(job.frames):
                self._frame(job.frames[job.at], number)
                job.at += 1
            else:
                self._frame(codecs.silence(self.peer.codec), number)
                if self._job is job:
                    self._job = None
                self._media.post(self._listener.played, job.token)
        return True

    def idle(self, ticks: int) -> bool:
        """Whether nothing was sent for so many ticks."""
        return self._media.ticks - self._outgoing.sent_at >= ticks

    def keep_open(self) -> None:
        """A packet while nothing is played: it keeps the way through a NAT open."""
        if self.confirmed and self._job is None and not (self.peer.secured and self._protection is None):
            self._frame(codecs.silence(self.peer.codec), self._media.ticks)
        self._outgoing.sent_at = self._media.ticks

    def own_again(self) -> None:
        """From now on we speak ourselves, after all that was passed on."""
        self._outgoing.own_again(self.places[0])

    def forward(self, frame: bytes, at: int) -> bool:
        """Pass on somebody else's payload, at this place of our clock (party.Outgoing). False: it cannot be now."""
        peer = self.peer
        if not self.confirmed or self._job is not None or (peer.secured and self._protection is None):
            return False
        data = self._outgoing.relayed(frame, at, self._media.ticks, peer, self._protection)
        if not peer.mute and self._send(data, self._target):
            self.counters.sent += 1
        return True

    @property
    def places(self) -> tuple[int, int]:
        """On our clock: of the next frame, and where ends what was passed on."""
        return (self._media.ticks + 1) * codecs.frame_ticks(self.peer.codec), self._outgoing.until

    def _frame(self, frame: bytes, number: int) -> None:
        peer = self.peer
        data = self._outgoing.packet(frame, number, peer.payload_type, self._protection)
        if not peer.mute and self._send(data, self._target):
            self.counters.sent += 1

    def _send(self, data: bytes | memoryview, to: Address) -> bool:
        try:
            self.socket.sendto(data, to)
        except OSError:  # buffer full, or an ICMP error of an earlier datagram
            self.counters.unsent += 1
            return False
        return True
