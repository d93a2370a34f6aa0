"""Sound in and out: one thread that drains every call's RTP socket on a 20 ms tick.

No jitter buffer and no decoding: payloads go, placed by their timestamps, straight to the recorder.
The thread owns the sockets; the event loop hands it work by plain assignment and a queue, and gets
digits and ends of playing back through `call_soon_threadsafe`. A tick instead of a wake-up per
packet is what makes 400 calls fit on one core.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.core.errors import TemporaryError
from nightbell.sip import g711
from nightbell.sip.dtmf import DtmfDecoder
from nightbell.sip.rtp import BadRtp, Placement, RtpPacket, unpack

TICK = 0.02
FRAME = 160
LATCH_AFTER = 0.5  # seconds in which only the source named in the SDP is believed
CATCH_UP = 0.2  # a longer stall is skipped, not sent as a burst
KEEP_ALIVE = 50  # ticks between packets while nothing is played, when silence is not sent
ROUNDS = 50  # datagrams a socket may give in one tick; a flood waits in its own buffer
RECEIVE_BUFFER = 262_144
MAX_DATAGRAM = 2048
_HEADER = struct.Struct("!BBHII")
_VOICE_EVERY = 4  # one packet in four is looked at for voice
_VOICE_LEVEL = 4  # mean of |sample| / 16: about -52 dBFS. Too low only costs silence detection

Address = tuple[str, int]
Sink = Callable[[int, bytes, float], None]


class NoPort(TemporaryError):
    """Every RTP port of the range is in use."""


class Listener(Protocol):
    """What a call hears from its sound. Called in the event loop."""

    def digit(self, key: str, at: float) -> None: ...

    def played(self, token: int) -> None: ...


def _loudness(codec: Codec) -> bytes:
    """|sample| / 16, at most 255, for each code."""
    pcm = g711.decode(bytes(range(256)), codec)
    return bytes(min(255, abs(sample) // 16) for (sample,) in struct.iter_unpack("<h", pcm))


_LOUDNESS = {codec: _loudness(codec) for codec in Codec}


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

    __slots__ = ("_placement", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._placement = Placement()

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

    def __init__(self, sock: socket.socket, peer: Peer, listener: Listener, media: Media) -> None:
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
        self.retarget(peer)

    def retarget(self, peer: Peer) -> None:
        """The other side has moved (re-INVITE): believe its new address, latch anew."""
        self.peer = peer
        self._target = peer.address
        self._latched: Address | None = None
        self._since = clock.monotonic()
        self._silence = g711.silence(FRAME, peer.codec)
        self._loudness = _LOUDNESS[peer.codec]

    def play(self, frames: Sequence[bytes], token: int) -> None:
        """Play these instead of whatever plays; `listener.played(token)` follows at their end."""
        self._job = _Job(frames, token)

    def stop(self) -> None:
        """Fall silent."""
        self._job = None

    def record(self, sink: Sink) -> None:
        """Give every audio payload from now on to `sink(offset, payload, monotonic)`, in the media thread."""
        self._recording = _Recording(sink)

    def stop_recording(self) -> None:
        self._recording = None

    def close(self) -> None:
        """Give the port back. Idempotent."""
        self._job = self._recording = None
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
            key = self._dtmf.feed(packet)
            if key is not None:
                self._media.post(self._listener.digit, key, now)
        else:
            self.counters.bad += 1

    def _latch(self, source: Address, now: float) -> bool:
        """Decide once who the caller is: the SDP's own address, or after a while the first that speaks."""
        if self._latched is None and (source == self.peer.address or now - self._since >= LATCH_AFTER):
            self._latched = self._target = source
            return True
        return False

    def _audio(self, timestamp: int, ssrc: int, payload: bytes, now: float) -> None:
        self.counters.received += 1
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
            else:
                recording.sink(offset, payload, now)

    def tick(self, ticks: int, send_silence: bool) -> None:
        """Send the frames of so many ticks."""
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


class Media:
    """The engine. `start` it once; `open` a session a call. post: how callbacks reach the event loop."""

    def __init__(
        self,
        bind: str,
        ports: tuple[int, int],
        post: Callable[..., object],
        send_silence: bool = True,
    ) -> None:
        """ports: inclusive range, even ones are used. send_silence: 50 packets a second while nothing plays
        (some carriers end a call without RTP), else one in KEEP_ALIVE ticks."""
        self.bind, self.post = bind, post
        self.counters = Counters()
        self.late_ticks, self.worst_lag = 0, 0.0
        self._send_silence = send_silence
        self._ports = range(ports[0] + ports[0] % 2, ports[1] + 1, 2)
        self._next = secrets.randbelow(len(self._ports))
        self._sessions: dict[int, Session] = {}
        self._orders: deque[tuple[bool, Session]] = deque()
        self._epoll = select.epoll()
        self._wake = threading.Event()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="media", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close every socket."""
        self._running = False
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._obey()
        for session in list(self._sessions.values()):
            self._drop(session)
        self._epoll.close()

    def open(self, peer: Peer, listener: Listener) -> Session:
        """A session on a free even port. Raises NoPort."""
        session = Session(self._bind(), peer, listener, self)
        self._orders.append((True, session))
        self._wake.set()
        return session

    def forget(self, session: Session) -> None:
        self._orders.append((False, session))
        self._wake.set()

    def total(self) -> Counters:
        """Counters of all sessions, gone and living."""
        total = Counters()
        total.add(self.counters)
        for session in list(self._sessions.values()):
            total.add(session.counters)
        return total

    @property
    def open_ports(self) -> int:
        return len(self._sessions)

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.bind else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        for _ in range(len(self._ports)):
            port = self._ports[self._next]
            self._next = (self._next + 1) % len(self._ports)
            with contextlib.suppress(OSError):
                sock.bind((self.bind, port))
                return sock
        sock.close()
        raise NoPort("a call's sound", "every RTP port is in use", "widen NIGHTBELL_RTP_PORTS")

    def _run(self) -> None:
        due = clock.monotonic() + TICK
        while self._running:
            self._obey()
            if not self._sessions:
                self._wake.wait(1.0)
                due = clock.monotonic() + TICK
                self._wake.clear()
                continue
            delay = due - clock.monotonic()
            if delay > 0:
                time.sleep(delay)
            now = clock.monotonic()
            self._receive(now)
            due = self._send(now, due)

    def _obey(self) -> None:
        while self._orders:
            add, session = self._orders.popleft()
            if add:
                self._sessions[session.socket.fileno()] = session
                self._epoll.register(session.socket, select.EPOLLIN)
            else:
                self._drop(session)

    def _drop(self, session: Session) -> None:
        handle = session.socket.fileno()
        if self._sessions.pop(handle, None) is not None:
            self._epoll.unregister(handle)
            session.socket.close()
            self.counters.add(session.counters)

    def _receive(self, now: float) -> None:
        """One datagram a socket and round, until no socket has one: no exception ends a drain."""
        sessions, poll = self._sessions, self._epoll.poll
        for _ in range(ROUNDS):
            ready = poll(0, len(sessions))
            if not ready:
                return
            for handle, _event in ready:
                session = sessions[handle]
                try:
                    data, source = session.socket.recvfrom(MAX_DATAGRAM)
                    session.take(data, source[:2], now)
                except OSError:  # an ICMP error of what we sent
                    continue
                except Exception:  # one call's trouble must not cost the others their sound
                    session.counters.bad += 1

    def _send(self, now: float, due: float) -> float:
        """Send all frames that are due; the time of the next tick."""
        lag = now - due
        if lag > self.worst_lag:
            self.worst_lag = lag
        if lag > TICK:
            self.late_ticks += 1
        ticks = 1 + int(max(0.0, lag) / TICK)
        sent = min(ticks, int(CATCH_UP / TICK))
        for session in self._sessions.values():
            try:
                session.tick(sent, self._send_silence)
            except Exception:  # as in _receive
                session.counters.unsent += 1
        return due + ticks * TICK
