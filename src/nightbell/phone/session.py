"""The sound of one call: whom to believe, what to record, what to play."""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.sip import g711
from nightbell.sip.dtmf import DtmfDecoder
from nightbell.sip.rtp import BadRtp, Placement, RtpPacket, unpack

FRAME = 160
LATCH_AFTER = 0.5  # seconds in which only the source named in the SDP is believed
KEEP_ALIVE = 50  # ticks between packets while nothing is played, when silence is not sent
LAST_DATAGRAMS = 1000  # that may wait in a socket when its call ends
MAX_DATAGRAM = 2048
_HEADER = struct.Struct("!BBHII")
_VOICE_EVERY = 4  # one packet in four is looked at for voice
_VOICE_LEVEL = 4  # mean of |sample| / 16: about -52 dBFS. Too low only costs silence detection
Address = tuple[str, int]
Sink = Callable[[int, bytes, float], None]


class Engine(Protocol):
    """What a session needs of phone.media. post: call in the event loop; order: call in the media thread."""

    post: Callable[..., object]

    def order(self, act: Callable[[], None]) -> None: ...

    def forget(self, session: Session) -> None: ...


class Listener(Protocol):
    """What a call hears from its sound. Called in the event loop."""

    def digit(self, key: str, at: float) -> None: ...

    def played(self, token: int) -> None: ...

    def sounded(self) -> None:
        """The first sound or key came before `Session.confirm`."""


def _loudness(codec: Codec) -> bytes:
    """|sample| / 16, at most 255, for each code."""
    pcm = g711.decode(bytes(range(256)), codec)
    return bytes(min(255, abs(sample) // 16) for (sample,) in struct.iter_unpack("<h", pcm))


_LOUDNESS = {codec: _loudness(codec) for codec in (Codec.PCMU, Codec.PCMA)}


@dataclass(slots=True)
class Counters:
    """What one session, or all of them, saw: datagrams."""

    received: int = 0
    sent: int = 0
    strangers: int = 0
    bad: int = 0
    doubled: int = 0
    unsent: int = 0

    def add(self, other: Counters) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class _Job:
    """Frames being played."""

    frames: Sequence[bytes]
    token: int
    at: int = 0


class _Recording:
    """Where a session's audio goes."""

    __slots__ = ("_placement", "held", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.held = False
        self._placement = Placement(began=clock.monotonic())

    def place(self, timestamp: int, ssrc: int, payload: bytes, now: float) -> int | None:
        return self._placement.place(RtpPacket(0, False, 0, timestamp, ssrc, payload), now)


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side as its SDP has it. payload_type: of `codec`; mute: it wants no sound (hold)."""

    address: Address
    codec: Codec
    payload_type: int
    dtmf_type: int | None
    mute: bool = False


class Session:
    """The sound of one call. Made by `Media.open`; methods are for the event loop's thread."""

    def __init__(self, sock: socket.socket, peer: Peer, listener: Listener, media: Engine) -> None:
        self.socket, self.local = sock, sock.getsockname()[:2]
        self.counters = Counters()
        self.voice_at: float | None = None
        self._listener, self._media = listener, media
        self._dtmf = DtmfDecoder()
        self._sequence = secrets.randbits(16)
        self._timestamp = secrets.randbits(32)
        self._ssrc = secrets.randbits(32)
        self._job: _Job | None = None
        self._recording: _Recording | None = None
        self._marker = 0x80
        self._sample = self._idle = 0
        # An INVITE and the address in it may be forged. Until somebody is known to be there nothing is sent to
        # it, or anyone could have us flood a third party; what is to be played waits, so a late ACK costs no word.
        self.confirmed = False
        self.retarget(peer)

    def retarget(self, peer: Peer) -> None:
        """The other side has moved (re-INVITE): believe its new address, latch anew."""
        self.peer = peer
        self._target = peer.address
        self._latched: Address | None = None
        self._since = clock.monotonic()
        self._silence = g711.silence(FRAME, peer.codec)
        self._loudness = _LOUDNESS[peer.codec]

    def confirm(self) -> None:
        """Somebody is there: begin to send."""
        self.confirmed = True

    def play(self, frames: Sequence[bytes], token: int) -> None:
        """Play these instead of whatever plays; `listener.played(token)` follows at their end."""
        self._job = _Job(frames, token)

    def stop(self) -> None:
        """Fall silent."""
        self._job = None

    def record(self, sink: Sink) -> None:
        """Give every audio payload from now on to `sink(offset, payload, monotonic)`, in the media thread."""
        self._recording = _Recording(sink)

    def hold(self) -> None:
        """Take what has arrived until now, and nothing more until `go_on`."""
        self._media.order(lambda: self._set_held(True))

    def go_on(self) -> None:
        """Record again, on the same time line."""
        self._media.order(lambda: self._set_held(False))

    def stop_recording(self, then: Callable[[], None] | None = None) -> None:
        """Take what has arrived until now, but nothing after it; then call `then` in the event loop.

        A busy machine may leave seconds of speech in the socket: hanging up must not cost them.
        """
        self._media.order(lambda: self._last_of_it(then))

    def close(self) -> None:
        """Give the port back. Idempotent."""
        self._job = None
        self._media.forget(self)

    # From here on: the media thread.

    def take(self, data: bytes, source: Address, now: float) -> None:
        """One datagram arrived."""
        if source != self._latched and not self._latch(source, now):
            self.counters.strangers += 1
            return
        peer = self.peer
        try:
            first, second, _sequence, timestamp, ssrc = _HEADER.unpack_from(data)
            if (
                first == 0x80 and second & 0x7F == peer.payload_type
            ):  # nothing to leave out: nearly all of them
                self._audio(timestamp, ssrc, data[12:], now)
                return
            packet = unpack(data)
        except (BadRtp, struct.error):
            self.counters.bad += 1
            return
        if packet.payload_type == peer.payload_type:
            self._audio(packet.timestamp, packet.ssrc, packet.payload, now)
        elif packet.payload_type == peer.dtmf_type:
            self._sounds()
            key = self._dtmf.feed(packet)
            if key is not None:
                self._media.post(self._listener.digit, key, now)
        else:
            self.counters.bad += 1

    def _set_held(self, held: bool) -> None:
        if self._recording is not None:
            self._drain(clock.monotonic())
            self._recording.held = held

    def _last_of_it(self, then: Callable[[], None] | None) -> None:
        if self._recording is not None:
            self._drain(clock.monotonic())
            self._recording = None
        if then is not None:
            self._media.post(then)

    def _drain(self, now: float) -> None:
        for _ in range(LAST_DATAGRAMS):
            try:
                data, source = self.socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of what we sent
                continue
            self.take(data, source[:2], now)

    def _latch(self, source: Address, now: float) -> bool:
        """Decide once who the caller is: the SDP's own address, or after a while the first that speaks.

        The SDP's own address is believed later too: whoever was quicker behind its back is out again.
        """
        if source == self.peer.address or (self._latched is None and now - self._since >= LATCH_AFTER):
            self._latched = self._target = source
            return True
        return False

    def _audio(self, timestamp: int, ssrc: int, payload: bytes, now: float) -> None:
        self.counters.received += 1
        if not self.confirmed and payload:
            self._sounds()
        self._sample += 1
        if not self._sample % _VOICE_EVERY:
            some = payload[::4].translate(self._loudness)
            if sum(some) > _VOICE_LEVEL * len(some):
                self.voice_at = now
        recording = self._recording
        if recording is not None:
            offset = recording.place(timestamp, ssrc, payload, now)
            if offset is None:
                self.counters.doubled += 1
            elif not recording.held:
                recording.sink(offset, payload, now)

    def _sounds(self) -> None:
        """Who knows our port has read our answer: a lost ACK must not make a caller hear nothing."""
        if not self.confirmed:
            self.confirmed = True
            self._media.post(self._listener.sounded)

    def tick(self, ticks: int, send_silence: bool) -> None:
        """Send the frames of so many ticks."""
        if not self.confirmed:
            return
        for _ in range(ticks):
            job = self._job
            if job is None:
                self._idle += 1
                if send_silence or not self._idle % KEEP_ALIVE:
                    self._send(self._silence)
                else:
                    self._timestamp = (self._timestamp + FRAME) & 0xFFFFFFFF
                    self._marker = 0x80
            elif job.at < len(job.frames):
                self._send(job.frames[job.at])
                job.at += 1
            else:
                self._send(self._silence)
                if self._job is job:
                    self._job = None
                self._media.post(self._listener.played, job.token)

    def _send(self, frame: bytes) -> None:
        peer = self.peer
        header = _HEADER.pack(
            0x80, peer.payload_type | self._marker, self._sequence, self._timestamp, self._ssrc
        )
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + FRAME) & 0xFFFFFFFF
        self._marker = 0
        if peer.mute:
            return
        try:
            self.socket.sendto(header + frame, self._target)
            self.counters.sent += 1
        except OSError:  # buffer full, or an ICMP error of an earlier datagram
            self.counters.unsent += 1
