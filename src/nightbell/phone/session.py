"""The sound of one call: whom to believe, what to record, what to play."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.phone.datagrams import SLOTS, Basket, address_of, mapped, name_of
from nightbell.phone.newcomer import Newcomer
from nightbell.phone.party import Counters, Engine, Listener, Outgoing, Peer, has_voice
from nightbell.phone.protection import REPLAYED, Protection, unprotect
from nightbell.sip import codecs
from nightbell.sip.dtmf import DtmfDecoder
from nightbell.sip.rtp import HEADER_BYTES, RTP_HEADER, BadRtp, Placement, unpack
from nightbell.sip.srtp import SrtpKeys

LATCH_AFTER = 0.5  # seconds in which only the source named in the SDP is believed
LAST_DATAGRAMS = 1000  # that may wait in a socket when its call ends
ROUNDS = 8  # fillings of a basket in one visit; a flood waits in its own buffer
MOST_EARLY = 100  # encrypted packets that may come before the keys do
__all__ = ["Counters", "Listener", "Packets", "Peer", "Session", "Sink"]
Packets = list[tuple[int, bytes]]
Sink = Callable[[Packets, float], None]


@dataclass(slots=True)
class _Job:
    """Frames being played."""

    frames: Sequence[bytes]
    token: int
    at: int = 0


class Session:
    """The sound of one call. Made by `Media.open`; methods are for the event loop's thread."""

    __slots__ = (
        "_basket", "_dtmf", "_early", "_family", "_handle", "_held", "_job", "_latched", "_listener", "_media",
        "_newcomer", "_outgoing", "_placement", "_protection", "_sdp_name", "_since", "_sink",
        "_target", "confirmed", "counters", "local", "on_dtls", "peer", "socket", "voice_at",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, peer: Peer, listener: Listener, media: Engine) -> None:
        self.socket, self.local = sock, sock.getsockname()[:2]
        self._handle, self._family = sock.fileno(), sock.family
        self.counters = Counters()
        self.voice_at: float | None = None
        self.on_dtls: Callable[[bytes], None] | None = None
        """For the event loop: each DTLS datagram of the believed source (RFC 5764 §5.1.2)."""
        self._listener, self._media = listener, media
        self._basket = media.baskets[sock.family]
        self._dtmf = DtmfDecoder(peer.codec.clock)
        self._job: _Job | None = None
        self._sink: Sink | None = None
        self._placement: Placement | None = None
        self._held = False
        self._outgoing = Outgoing(media.ticks)
        self._early: list[bytes] = []
        # An INVITE and the address in it may be forged. Until somebody is known to be there nothing is sent to
        # it, or anyone could have us flood a third party; what is to be played waits, so a late ACK costs no word.
        self.confirmed = False
        self._protection: Protection | None = None
        self._meet(peer)

    def retarget(self, peer: Peer) -> None:
        """The other side has moved (re-INVITE): believe its new address, latch anew. The same keys, or none where the
        call is encrypted already, leave the encryption as it is."""

        def meet() -> None:
            self._sdp_name = name_of(peer.address, self._family)  # some of what waits may come from there
            self._drain(clock.monotonic())
            self._meet(peer)

        self._media.order(meet)

    def _meet(self, peer: Peer) -> None:
        if not peer.secured:
            self._protection = None
        elif peer.keys is not None and (self._protection is None or self._protection.keys != peer.keys):
            self._protection = Protection(peer.keys)
        self.peer = peer
        self._target = mapped(peer.address, self._family)
        self._sdp_name = name_of(peer.address, self._family)
        self._latched: bytes | None = None
        self._since = clock.monotonic()
        self._newcomer = Newcomer()

    def secure(self, keys: SrtpKeys) -> None:
        """The keys are agreed on: what waited is taken and sent. The same keys again change nothing."""
        self._media.order(lambda: self._set_keys(keys))

    def confirm(self) -> None:
        """Somebody is there: begin to send."""
        self.confirmed = True

    def send_raw(self, data: bytes) -> None:
        """Send a datagram that is no sound to the believed source, also before `confirm`."""
        self._send(data)

    def play(self, frames: Sequence[bytes], token: int) -> None:
        """Play these instead of whatever plays; `listener.played(token)` follows at their end."""
        self._job = _Job(frames, token)
        self._media.speaks(self)

    def stop(self) -> None:
        """Fall silent."""
        self._job = None

    def record(self, sink: Sink) -> None:
        """Give all audio from now on to `sink([(offset in ticks, payload), …], monotonic)`, in the media thread."""
        self._held = False
        self._placement = Placement(began=clock.monotonic(), codec=self.peer.codec)
        self._sink = sink
        self._media.hurry(self)

    def hold(self) -> None:
        """Take what has arrived until now, and nothing more until `go_on`."""
        self._media.order(lambda: self._set_held(True))

    def go_on(self) -> None:
        """Record again, on the same time line."""
        self._media.order(lambda: self._set_held(False))

    def catch_up(self, then: Callable[[], None]) -> None:
        """Take what has arrived until now, then call `then` in the media thread."""

        def act() -> None:
            self._drain(clock.monotonic())
            then()

        self._media.order(act)

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

    def closed(self) -> None:
        """The engine has let go of it."""
        self._handle = -1
        self.socket.close()

    @property
    def steady(self) -> bool:
        """Whether it may be visited less often: every packet of its has a place that no waiting changes."""
        placed = self._placement is None or self._placement.end > 0
        return self.confirmed and placed and not (self.peer.secured and self._protection is None)

    def visit(self, now: float) -> bool:
        """Take what has arrived. True: there may be more."""
        basket, handle = self._basket, self._handle
        for _ in range(ROUNDS):
            count = basket.fill(handle)
            if count > 0:
                self._take(basket, count, now)
            if count < SLOTS:
                return False
        return True

    def _set_keys(self, keys: SrtpKeys) -> None:
        if self._protection is None or self._protection.keys != keys:
            self._protection = Protection(keys)
        early, self._early = self._early, []
        now = clock.monotonic()
        for data in early:
            opened = self._protection.open(data)
            if isinstance(opened, int):
                self._refused(opened)
            else:
                self._authentic(opened, now)

    def _set_held(self, held: bool) -> None:
        if self._sink is not None:
            self._drain(clock.monotonic())
            self._held = held

    def _last_of_it(self, then: Callable[[], None] | None) -> None:
        if self._sink is not None:
            self._drain(clock.monotonic())
            self._sink = self._placement = None
        if then is not None:
            self._media.post(then)

    def _drain(self, now: float) -> None:
        basket, errors = self._basket, 0
        for _ in range(LAST_DATAGRAMS // SLOTS):
            count = basket.fill(self._handle)
            if count > 0:
                self._take(basket, count, now)
            errors += count < 0  # the first may be an ICMP error of what we sent
            if errors > 1 or 0 <= count < SLOTS:
                break
        last = self._newcomer.last_words()
        self._flush([(one.timestamp, one.ssrc, one.payload) for one in last], now)

    def _take(self, basket: Basket, count: int, now: float) -> None:
        """So many datagrams arrived."""
        peer, data, names, sizes = self.peer, basket.data, basket.names, basket.sizes
        latched, protection, payload_type = self._latched, self._protection, peer.payload_type
        inbound = protection.inbound if protection is not None else None
        ssrc = self._newcomer.ssrc
        packets: list[tuple[int, int, bytes]] = []
        for at, name, size_at, pointer, length in basket.slots[:count]:
            source, size = names[name], sizes[size_at]
            first, second, _sequence, timestamp, sender = RTP_HEADER.unpack_from(data, at)
            if first != 0x80 or size <= HEADER_BYTES or second & 0x7F != payload_type or source != latched or (
                sender != ssrc
            ):  # fmt: skip
                packets = self._flush(packets, now)
                self._rare(source, data[at : at + size], now)
                latched, ssrc = self._latched, self._newcomer.ssrc
                continue
            if inbound is not None:
                refusal = unprotect(inbound, pointer, length)
                if refusal:
                    self._refused(refusal)
                    continue
                size = sizes[size_at]
            packets.append((timestamp, sender, data[at + HEADER_BYTES : at + size]))
        self._flush(packets, now)

    def _rare(self, source: bytes, data: bytes, now: float) -> None:
        """One datagram that is not simply the next packet of the known source."""
        if data and 20 <= data[0] <= 63 and self.on_dtls is not None:
            if self._believes(source, now):
                self._media.post(self.on_dtls, data)
            return
        if len(data) > 1 and data[0] >> 6 == 2 and 192 <= data[1] <= 223:
            self.counters.rtcp += 1  # reports are not needed, and of no interest to anyone else
            return
        if self.peer.secured:
            self._encrypted(source, data, now)
        elif self._believes(source, now):
            self._plain(data, now)

    def _encrypted(self, source: bytes, data: bytes, now: float) -> None:
        if self._protection is None:
            if len(self._early) < MOST_EARLY and source in (self._latched, self._sdp_name):
                self._early.append(data)
            else:
                self.counters.strangers += 1
            return
        opened = self._protection.open(data) if len(data) > HEADER_BYTES else 1
        if isinstance(opened, int):
            self._refused(opened)
            return
        if source != self._latched:  # it has moved, as behind a NAT: its keys say who it is
            self._latched, self._target = source, address_of(source)
        self._authentic(opened, now)

    def _authentic(self, data: bytes, now: float) -> None:
        ssrc = int.from_bytes(data[8:12], "big")
        if self._protection is not None and not self._protection.knows(ssrc):
            self.counters.bad += 1
            return
        self._newcomer.learn(ssrc)
        self._plain(data, now)

    def _refused(self, code: int) -> None:
        if code in REPLAYED:
            self.counters.doubled += 1
        else:
            self.counters.unauthentic += 1

    def _believes(self, source: bytes, now: float) -> bool:
        """Decide once who the caller is: the SDP's own address, or after a while the first that speaks.

        The SDP's own address is believed later too: whoever was quicker behind its back is out again.
        """
        if source == self._latched:
            return True
        if source == self._sdp_name or (self._latched is None and now - self._since >= LATCH_AFTER):
            if self._latched is not None:
                self._newcomer = Newcomer()
            self._latched, self._target = source, address_of(source)
            return True
        self.counters.strangers += 1
        return False

    def _plain(self, data: bytes, now: float) -> None:
        try:
            packet = unpack(data)
        except BadRtp:
            self.counters.bad += 1
            return
        peer = self.peer
        if packet.payload_type == peer.payload_type:
            taken = self._newcomer.takes(packet, now)
            self.counters.strangers += taken is None
            self._flush([(one.timestamp, one.ssrc, one.payload) for one in taken or ()], now)
        elif packet.payload_type == peer.dtmf_type:
            self._sounds()
            key = self._dtmf.feed(packet)
            if key is not None:
                self._media.post(self._listener.digit, key, now)
        else:
            self.counters.bad += 1

    def _flush(self, packets: list[tuple[int, int, bytes]], now: float) -> list[tuple[int, int, bytes]]:
        """Audio of the believed source, in the order in which it came. Gives an empty list."""
        if not packets:
            return packets
        self.counters.received += len(packets)
        codec, last = self.peer.codec, packets[-1][2]
        if last:
            if not self.confirmed:
                self._sounds()
            if has_voice(codec, last):
                self.voice_at = now
        self.counters.strangers += self._newcomer.heard(now)
        sink, placement = self._sink, self._placement
        if sink is not None and placement is not None:
            self._place(packets, placement, sink, now)
        return []

    def _place(
        self, packets: list[tuple[int, int, bytes]], placement: Placement, sink: Sink, now: float
    ) -> None:
        codec, put, heard = self.peer.codec, placement.put, []
        opus = codec is Codec.OPUS
        for timestamp, ssrc, payload in packets:
            ticks = codecs.duration(codec, payload) if opus else len(payload)
            offset = put(timestamp, ssrc, ticks, now)
            if offset is None:
                self.counters.doubled += 1
            else:
                heard.append((offset, payload))
        if heard and not self._held:
            sink(heard, now)

    def _sounds(self) -> None:
        """Who knows our port has read our answer: a lost ACK must not make a caller hear nothing."""
        if not self.confirmed:
            self.confirmed = True
            self._media.post(self._listener.sounded)

    def tick(self, ticks: int, send_silence: bool) -> bool:
        """Send the frames of the last so many ticks. False: nothing is left to be sent."""
        if not self.confirmed or (self.peer.secured and self._protection is None):
            return True
        first = self._media.ticks - ticks
        for number in range(first + 1, first + 1 + ticks):
            job = self._job
            if job is None:
                if not send_silence:
                    return False
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

    def _frame(self, frame: bytes, number: int) -> None:
        peer = self.peer
        data = self._outgoing.packet(frame, number, peer, self._protection)
        if not peer.mute and self._send(data):
            self.counters.sent += 1

    def _send(self, data: bytes) -> bool:
        try:
            self.socket.sendto(data, self._target)
        except OSError:  # buffer full, or an ICMP error of an earlier datagram
            self.counters.unsent += 1
            return False
        return True
