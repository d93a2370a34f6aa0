"""A telephone's sound over real UDP sockets, and what a call hears of it."""

from __future__ import annotations

import queue
import select
import socket
import time
from collections.abc import Callable

from nightbell.core.capture import Codec
from nightbell.phone.media import Media
from nightbell.phone.session import Peer, Session
from nightbell.sip.rtp import RtpPacket, pack, unpack


class Listener:
    def __init__(self) -> None:
        self.keys: queue.Queue[str] = queue.Queue()
        self.ends: queue.Queue[int] = queue.Queue()
        self.sounds = 0

    def digit(self, key: str, at: float) -> None:
        self.keys.put(key)

    def played(self, token: int) -> None:
        self.ends.put(token)

    def sounded(self) -> None:
        self.sounds += 1


class Phone:
    """A telephone's RTP side: one UDP socket."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(2)
        self.address: tuple[str, int] = self.socket.getsockname()[:2]

    def peer(self, mute: bool = False) -> Peer:
        return Peer(self.address, Codec.PCMU, 0, 101, mute)

    def send(self, to: Session, packet: RtpPacket) -> None:
        self.socket.sendto(pack(packet), to.local)

    def receive(self) -> RtpPacket:
        return unpack(self.socket.recv(2048))


def audio(number: int, ssrc: int = 7) -> RtpPacket:
    """A frame that is like no other."""
    payload = number.to_bytes(4, "big") * 40
    return RtpPacket(0, False, number & 0xFFFF, (4_294_960_000 + number * 160) & 0xFFFFFFFF, ssrc, payload)


def until(true: Callable[[], bool], seconds: float = 2) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come true in time"
        time.sleep(0.01)


def quiet(session: Session, seconds: float = 0.1) -> None:
    """Until no more packets are being taken, or wait for a media thread that a busy machine holds up."""
    last = -1
    while (
        last != session.counters.received + session.counters.strangers + session.counters.bad
        or select.select([session.socket], [], [], 0)[0]
    ):
        last = session.counters.received + session.counters.strangers + session.counters.bad
        time.sleep(seconds)


class Taken(dict[int, bytes]):
    def __call__(self, packets: list[tuple[int, bytes]], now: float) -> None:
        for offset, payload in packets:
            assert offset not in self
            self[offset] = payload


def opened(media: Media, phone: Phone) -> tuple[Session, Listener, Taken]:
    listener, taken = Listener(), Taken()
    session = media.open(phone.peer(), listener)
    session.confirm()
    session.record(taken)
    return session, listener, taken
