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
import threading
import time
from collections import deque
from collections.abc import Callable

from nightbell.core import clock
from nightbell.core.errors import TemporaryError
from nightbell.phone.session import MAX_DATAGRAM, Counters, Listener, Peer, Session

TICK = 0.02
CATCH_UP = 0.2  # a longer stall is skipped, not sent as a burst
ROUNDS = 50  # datagrams a socket may give in one tick; a flood waits in its own buffer
RECEIVE_BUFFER = 262_144


class NoPort(TemporaryError):
    """Every RTP port of the range is in use."""


class Media:
    """The engine. `start` it once; `open` a session a call. post: how callbacks reach the event loop."""

    def __init__(
        self,
        bind: str,
        ports: tuple[int, int],
        post: Callable[..., object],
        send_silence: bool = False,
    ) -> None:
        """ports: inclusive range, even ones are used. send_silence: 50 packets a second also while nothing is
        played, for a carrier that insists on it; else one a second, which keeps the way through a NAT open
        at a fifth less CPU for the call."""
        self.bind, self.post = bind, post
        self.counters = Counters()
        self.late_ticks, self.worst_lag = 0, 0.0
        self.send_silence = send_silence
        # Shuffled, since a packet to the right port confirms a call: the next one must not follow from the last.
        # In turn, since a port that rests longest is least likely to hear a caller of before.
        self._ports = list(range(ports[0] + ports[0] % 2, ports[1] + 1, 2))
        secrets.SystemRandom().shuffle(self._ports)
        self._next = 0
        self._sessions: dict[int, Session] = {}
        self._orders: deque[Callable[[], None]] = deque()
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
        self.order(lambda: self._add(session))
        return session

    def forget(self, session: Session) -> None:
        self.order(lambda: self._drop(session))

    def order(self, act: Callable[[], None]) -> None:
        """Have the media thread do this, in turn."""
        self._orders.append(act)
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
            try:
                self._orders.popleft()()
            except Exception:  # as in _receive; a loop that has ended takes no more callbacks
                self.counters.bad += 1

    def _add(self, session: Session) -> None:
        self._sessions[session.socket.fileno()] = session
        self._epoll.register(session.socket, select.EPOLLIN)

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
                session.tick(sent, self.send_silence)
            except Exception:  # as in _receive
                session.counters.unsent += 1
        return due + ticks * TICK
