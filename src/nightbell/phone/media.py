"""Sound in and out: one thread that plays on a 20 ms tick and looks into each call's RTP socket every fourth one.
The calls take turns within a tick, so that SIP on the same core waits for a few of them and not for all.

No jitter buffer and no decoding: payloads go, placed by their timestamps, straight to the recorder.
The thread owns the sockets; the event loop hands it work by plain assignment and a queue, and gets
digits and ends of playing back through `call_soon_threadsafe`. Ticks instead of a wake-up per packet, and
several packets of one call at a time, are what makes a thousand calls fit on one core.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection

from nightbell.core import clock
from nightbell.core.errors import TemporaryError
from nightbell.phone.datagrams import Basket
from nightbell.phone.protection import Pen
from nightbell.phone.session import Counters, Listener, Peer, Session

TICK = 0.02
SLICES = 2  # of a tick: each more wakes the thread 50 times a second more
STEP = TICK / SLICES
CATCH_UP = 0.2  # a longer stall is skipped, not sent as a burst
LANES = 4  # a steady call is visited every so many ticks: a key is known within 80 ms
KEEP_ALIVE = 50  # ticks between packets while nothing is played, when silence is not sent
RECEIVE_BUFFER = 262_144


Groups = tuple[dict[Session, None], ...]


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
        # The kernel writes as much of a source's name as its family has. In a basket of both, a short name would end
        # in the long one that lay there before, and be nobody's.
        self.baskets = {family: Basket() for family in (socket.AF_INET, socket.AF_INET6)}
        self.pen = Pen()
        self.ticks, self.late_ticks, self.worst_lag = 0, 0, 0.0
        self.send_silence = send_silence
        # Shuffled, since a packet to the right port confirms a call: the next one must not follow from the last.
        # In turn, since a port that rests longest is least likely to hear a caller of before.
        self._ports = list(range(ports[0] + ports[0] % 2, ports[1] + 1, 2))
        secrets.SystemRandom().shuffle(self._ports)
        self._next = 0
        self._sessions: dict[Session, int] = {}  # each with its turn among all steps of LANES ticks
        self._turns = [0] * (LANES * SLICES)  # sessions of each turn
        self._steps = self._turn = 0
        self._lanes: Groups = tuple({} for _ in self._turns)
        self._brisk: Groups = tuple({} for _ in range(SLICES))  # visited at every tick
        self._talking: Groups = tuple({} for _ in range(SLICES))
        self._orders: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="media", daemon=True)

    def rest(self, ports: Collection[int]) -> None:
        """Use these after all others: a caller of before may still speak to them."""
        self._ports.sort(key=lambda port: port in ports)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close every socket."""
        self._running = False
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._obey()
        for session in list(self._sessions):
            self._drop(session)

    def open(self, peer: Peer, listener: Listener, bind: str = "") -> Session:
        """A session on a free even port. bind: our address, '' for the usual one. Raises NoPort."""
        session = Session(self._bind(bind or self.bind), peer, listener, self)
        self.order(lambda: self._add(session))
        return session

    def forget(self, session: Session) -> None:
        self.order(lambda: self._drop(session))

    def speaks(self, session: Session) -> None:
        """It has something to play."""
        self.order(lambda: self._let_speak(session))

    def hurry(self, session: Session) -> None:
        """Visit it at every tick until it is steady."""
        self.order(lambda: self._quicken(session))

    def order(self, act: Callable[[], None]) -> None:
        """Have the media thread do this, in turn."""
        self._orders.append(act)
        self._wake.set()

    def total(self) -> Counters:
        """Counters of all sessions, gone and living."""
        total = Counters()
        total.add(self.counters)
        for session in list(self._sessions):
            total.add(session.counters)
        return total

    @property
    def open_ports(self) -> int:
        return len(self._sessions)

    def _bind(self, bind: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        for _ in range(len(self._ports)):
            port = self._ports[self._next]
            self._next = (self._next + 1) % len(self._ports)
            with contextlib.suppress(OSError):
                sock.bind((bind, port))
                return sock
        sock.close()
        raise NoPort("a call's sound", "every RTP port is in use", "widen NIGHTBELL_RTP_PORTS")

    def _run(self) -> None:
        due = clock.monotonic() + STEP
        while self._running:
            self._obey()
            if not self._sessions:
                self._wake.wait(1.0)
                due = clock.monotonic() + STEP
                self._wake.clear()
                continue
            delay = due - clock.monotonic()
            if delay > 0:
                time.sleep(delay)
            due = self._work(clock.monotonic(), due)

    def _obey(self) -> None:
        while self._orders:
            try:
                self._orders.popleft()()
            except Exception:  # as in _visit; a loop that has ended takes no more callbacks
                self.counters.bad += 1

    def _add(self, session: Session) -> None:
        turn = self._turns.index(min(self._turns))
        self._turns[turn] += 1
        self._sessions[session] = turn
        self._brisk[turn % SLICES][session] = None

    def _drop(self, session: Session) -> None:
        turn = self._sessions.pop(session, None)
        if turn is not None:
            self._turns[turn] -= 1
            for groups in (self._brisk, self._talking, self._lanes):
                groups[turn % len(groups)].pop(session, None)
            session.closed()
            self.counters.add(session.counters)

    def _let_speak(self, session: Session) -> None:
        turn = self._sessions.get(session)
        if turn is not None:
            self._talking[turn % SLICES][session] = None

    def _quicken(self, session: Session) -> None:
        turn = self._sessions.get(session)
        if turn is not None:
            self._lanes[turn].pop(session, None)
            self._brisk[turn % SLICES][session] = None

    def _work(self, now: float, due: float) -> float:
        """Do all steps that are due; the time of the next one."""
        lag = now - due
        if lag > self.worst_lag:
            self.worst_lag = lag
        if lag > TICK:
            self.late_ticks += 1
        steps = 1 + int(max(0.0, lag) / STEP)
        self._play(min(steps, int(CATCH_UP / STEP)))
        # One turn, however many steps were due: nobody's is passed over for being late.
        self._turn = (self._turn + 1) % len(self._turns)
        self._receive(self._turn, now)
        return due + steps * STEP

    def _play(self, steps: int) -> None:
        """The next so many steps; what is late of one call goes out together."""
        before, end = self._steps, self._steps + steps
        for part in range(SLICES):
            last = end - (end - part) % SLICES
            count = (last - before + SLICES - 1) // SLICES
            if count > 0:
                self.ticks = last // SLICES
                self._speak(part, count)
        self._steps, self.ticks = end, end // SLICES

    def _speak(self, part: int, ticks: int) -> None:
        silence, talking = self.send_silence, self._talking[part]
        everyone = [one for one, turn in self._sessions.items() if turn % SLICES == part] if silence else None
        for session in list(talking) if everyone is None else everyone:
            try:
                if not session.tick(ticks, silence):
                    talking.pop(session, None)
            except Exception:  # as in _visit
                session.counters.unsent += 1

    def _receive(self, turn: int, now: float) -> None:
        """Visit those whose turn it is: no exception ends a round."""
        brisk, lane = self._brisk[turn % SLICES], self._lanes[turn]
        flooded = [session for session in lane if self._visit(session, now)]
        for session in list(brisk):
            if not self._visit(session, now) and session.steady:
                del brisk[session]
                self._lanes[self._sessions[session]][session] = None
        for session in flooded:
            self._quicken(session)

    def _visit(self, session: Session, now: float) -> bool:
        """True: more waits than one visit takes."""
        more = False
        try:
            more = session.visit(now)
            if session.idle(KEEP_ALIVE):
                session.keep_open()
        except Exception:  # one call's trouble must not cost the others their sound
            session.counters.bad += 1
        return more
