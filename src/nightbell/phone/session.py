"""The sound of one call: whom to believe, what to record, what to play."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.phone.datagrams import SLOTS, Basket, address_of, mapped, name_of
from nightbell.phone.newcomer import Newcomer
from nightbell.phone.party import Counters, Engine, Listener, Peer, has_voice
from nightbell.phone.protection import REPLAYED, Protection, unprotect
from nightbell.phone.speaker import Job, Speaker
from nightbell.sip import codecs
from nightbell.sip.dtmf import DtmfDecoder
from nightbell.sip.rtp import HEADER_BYTES, RTP_HEADER, BadRtp, Placement, RtpPacket, unpack
from nightbell.sip.srtp import SrtpKeys

LATCH_AFTER = 0.5  # seconds in which only the source named in the SDP is believed
LAST_DATAGRAMS = 1000  # that may wait in a socket when its call ends
ROUNDS = 8  # fillings of a basket in one visit; a flood waits in its own buffer
SOON_OVER = 10  # frames: what has fewer left may end while one looks
MOST_EARLY = 100  # encrypted packets that may come before the keys do
SHAKING = 4  # sources of whose handshakes one knows
__all__ = ["Counters", "Listener", "Packets", "Peer", "Session", "Sink"]
Packets = list[tuple[int, bytes]]
Sink = Callable[[Packets, float], None]


class Session(Speaker):
    """The sound of one call. Made by `Media.open`; methods are for the event loop's thread."""

    __slots__ = (
        "_basket", "_brisk", "_dtmf", "_early", "_family", "_handle", "_held", "_latched", "_newcomer", "_others", "_placement",
        "_sdp_name", "_shaking", "_since", "_sink", "on_dtls", "voice_at",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, peer: Peer, listener: Listener, media: Engine) -> None:
        super().__init__(sock, peer, listener, media)
        self._handle, self._family = sock.fileno(), sock.family
        self.voice_at: float | None = None
        self.on_dtls: Callable[[bytes, bytes], None] | None = None
        """For the event loop: each DTLS datagram (RFC 5764 §5.1.2) and its source as `name_of` has it."""
        self._basket = media.baskets[sock.family]
        self._dtmf = DtmfDecoder(peer.codec.clock)
        self._sink: Sink | None = None
        self._placement: Placement | None = None
        self._held = self._brisk = False
        self._others = 0
        self._early: list[bytes] = []
        self._shaking: tuple[bytes, ...] = ()  # who does a handshake may be heard before we have the keys
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

    def secure(self, keys: SrtpKeys, source: bytes = b"") -> None:
        """The keys are agreed on, with that source: what waited is taken and sent."""
        self._media.order(lambda: self._set_keys(keys, source))

    def play(self, frames: Sequence[bytes], token: int) -> None:
        """Play these instead of whatever plays; `listener.played(token)` follows at their end."""
        self._job = Job(frames, token)
        self._media.speaks(self)

    def extend(self, frames: Sequence[bytes], token: int) -> bool:
        """Let what plays under this token go on with these, without a gap. False: it is over, or about to be."""
        job = self._job
        if job is None or job.token != token or len(job.frames) - job.at < SOON_OVER:
            return False
        job.frames = (*job.frames, *frames)
        return True

    def listen(self, sink: Sink) -> None:
        """As `record`, for who must hear it at once: visited at every tick until `stop_listening`."""
        self._brisk = True
        self.record(sink)

    def stop_listening(self, then: Callable[[], None] | None = None) -> None:
        self._brisk = False
        self.stop_recording(then)

    def alone(self) -> None:
        """Nothing more will be passed on to it."""
        self._media.order(self.own_again)

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

    def signs(self) -> int:
        """How many datagrams of the other side came that could be read: sound, keys, reports, handshakes, checks of the way.
        Encrypted sound that is not authentic is none, from whatever source: anybody can send that. More than so many may
        be counted; none are when none came."""
        return self.counters.received + self._others

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
        keyed = not self.peer.secured or self._protection is not None
        return self.confirmed and placed and keyed and not self._brisk

    def visit(self, now: float) -> bool:
        """Take what has arrived. True: there may be more."""
        basket, handle = self._basket, self._handle
        for _ in range(ROUNDS):
            count = basket.fill(handle)
            if count > 0:
                self._take(basket, count, now)
            if count < SLOTS:
                break
        if self._newcomer.presses:
            self._press(self._newcomer.silent(now))
        return count == SLOTS

    def _set_keys(self, keys: SrtpKeys, source: bytes) -> None:
        if self._protection is None or self._protection.keys != keys:
            self._protection = Protection(keys)
        if source:  # its certificate says who it is, as later its keys do
            self._latched, self._target = source, address_of(source)
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
        self._others += source in (self._latched, self._sdp_name)
        if data and 20 <= data[0] <= 63 and self.on_dtls is not None:
            self._handshakes(source, data, now, self.on_dtls)
            return
        if len(data) > 1 and data[0] >> 6 == 2 and 192 <= data[1] <= 223:
            self.counters.rtcp += 1  # reports are not needed, and of no interest to anyone else
            return
        if self.peer.secured:
            self._encrypted(source, data, now)
        elif self._believes(source, now):
            self._plain(data, now)

    def _handshakes(self, source: bytes, data: bytes, now: float, tell: Callable[..., None]) -> None:
        """Anyone can write such a datagram, so it moves no sound: who it is, the handshake finds out."""
        named = source in (self._latched, self._sdp_name)
        if not named and now - self._since < LATCH_AFTER:
            self.counters.strangers += 1
            return
        if not named and source not in self._shaking:
            self._shaking = (*self._shaking[1 - SHAKING :], source)
        self._media.post(tell, data, source)

    def _encrypted(self, source: bytes, data: bytes, now: float) -> None:
        if self._protection is None:
            early = source in (self._latched, self._sdp_name, *self._shaking)
            if early and len(self._early) < MOST_EARLY:
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
            if self._newcomer.may_press(packet):
                self._press([(packet, now)])
            else:
                self.counters.strangers += not self._newcomer.wait(packet, now)
        else:
            self.counters.bad += 1

    def _press(self, packets: list[tuple[RtpPacket, float]]) -> None:
        for packet, at in packets:
            self._sounds()
            key = self._dtmf.feed(packet)
            if key is not None:
                self._media.post(self._listener.digit, key, at)

    def _presses_wait(self, first: int) -> None:
        """The known source goes on at this timestamp."""
        waiting = len(self._newcomer.presses)
        believed = self._newcomer.paused(first, self.peer.codec.clock)
        if believed is None:
            self.counters.strangers += waiting
        else:
            self._press(believed)

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
        newcomer = self._newcomer
        if newcomer.presses:
            self._presses_wait(packets[0][0])
        newcomer.until = packets[-1][0]
        self.counters.strangers += newcomer.heard(now)
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
