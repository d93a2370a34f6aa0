"""The sound of our own caller: RTP or SRTP, key presses, and an ear for the recording tone."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import deque
from collections.abc import Sequence

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.phone import encode
from nightbell.phone.dtls import Handshake
from nightbell.phone.protection import Protection
from nightbell.sip import codecs
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import BadRtp, RtpPacket, pack, unpack
from nightbell.sip.sdp import AudioOffer
from nightbell.sip.srtp import PLAIN, Keying, Security, SrtpKeys

TICK = 0.02
TONE_HZ, TONE_FRAMES = 1000, 5
_COS = [math.cos(2 * math.pi * TONE_HZ * n / encode.RATE) for n in range(encode.FRAME)]
_SIN = [math.sin(2 * math.pi * TONE_HZ * n / encode.RATE) for n in range(encode.FRAME)]


class ToneEar:
    """Hears the recording tone: 1000 Hz alone for a tenth of a second, then its end."""

    def __init__(self) -> None:
        self.run = 0
        self.heard = self.over = False
        self._codec = Codec.PCMU
        self._ear = encode.Ear(self._codec)

    def feed(self, payload: bytes, codec: Codec) -> None:
        """One received packet."""
        if codec is not self._codec:
            self._codec, self._ear = codec, encode.Ear(codec)
        if self.over or not payload:
            return
        for frame in self._ear.feed(payload):
            if len(frame) == encode.FRAME:
                self._hear(frame)

    def _hear(self, samples: Sequence[int]) -> None:
        """Goertzel's single bin, by tables."""
        total = sum(sample * sample for sample in samples)
        real = sum(sample * cos for sample, cos in zip(samples, _COS, strict=True))
        imaginary = sum(sample * sin for sample, sin in zip(samples, _SIN, strict=True))
        share = 2 * (real * real + imaginary * imaginary) / (encode.FRAME * total) if total > 1e7 else 0.0
        if share > 0.9:
            self.run += 1
            self.heard = self.heard or self.run >= TONE_FRAMES
        else:
            self.over, self.run = self.over or self.heard, 0


class Sound(asyncio.DatagramProtocol):
    """The caller's RTP: one packet every 20 ms, silence when there is nothing to say. Where the call is encrypted, nothing
    plain is sent or heard, and nothing at all before the keys are there."""

    def __init__(self) -> None:
        self.ear, self.codec = ToneEar(), Codec.PCMU
        self.sent = self.received = self.unauthentic = 0
        self.target: tuple[str, int] | None = None
        self.payload_type, self.dtmf_type = 0, 101
        self._frames: deque[bytes] = deque()
        self._keys: deque[RtpPacket] = deque()
        self._transport: asyncio.DatagramTransport | None = None
        self._sequence, self._ssrc = secrets.randbits(15), secrets.randbits(32)
        self._timestamp = secrets.randbits(32)
        self.idle = asyncio.Event()
        self.keyed = asyncio.Event()  # the keys are there, or it is known that there will be none
        self.failed = ""
        self._security = PLAIN
        self._protection: Protection | None = None
        self._handshake: Handshake | None = None

    @property
    def profile(self) -> str:
        """Of the encryption, '' without."""
        return self._protection.keys.profile if self._protection is not None else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def begin(self, remote: AudioOffer, codec: Codec, security: Security) -> None:
        """Speak with this other side: after its answer, and after each new one."""
        self.codec, self.payload_type = codec, remote.payload_type(codec) or 0
        self.dtmf_type = remote.dtmf_type_for(codec) or self.dtmf_type
        self.target, self._security = remote.remote, security
        if security.keying is Keying.SDES and security.keys is not None:
            self._secure(security.keys)
        elif security.keying is Keying.DTLS and self._handshake is None:
            self._handshake = Handshake(security, self._send_raw, self._secure)
            self._handshake.start()
        elif not security.secured:
            self.keyed.set()

    def close(self) -> None:
        if self._handshake is not None:
            self._handshake.close()

    def _secure(self, keys: SrtpKeys | None) -> None:
        if keys is None:
            self.failed = self._handshake.why if self._handshake is not None else ""
        elif self._protection is None or self._protection.keys != keys:
            self._protection = Protection(keys)
        self.keyed.set()

    def _send_raw(self, data: bytes) -> None:
        if self._transport is not None and self.target is not None:
            self._transport.sendto(data, self.target)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data and 20 <= data[0] <= 63:
            if self._handshake is not None:
                self._handshake.feed(data)
            return
        if self._security.secured:
            opened = self._protection.open(data) if self._protection is not None and len(data) > 12 else 1
            if isinstance(opened, int):
                self.unauthentic += 1
                return
            data = opened
        try:
            packet = unpack(data)
        except BadRtp:
            return
        self.received += 1
        if packet.payload_type == self.payload_type:
            self.ear.feed(packet.payload, self.codec)

    def say(self, frames: tuple[bytes, ...]) -> None:
        self.idle.clear()
        self._frames.extend(frames)

    def press(self, key: str) -> None:
        """Send one key press in place of sound. Raises ValueError for what is no key."""
        self.idle.clear()
        press = key_press(key, self.dtmf_type, 0, self._timestamp, self._ssrc, clock=self.codec.clock)
        self._keys.extend(press)

    async def run(self) -> None:
        """Send for as long as the call lasts."""
        due = clock.monotonic()
        while True:
            self._send()
            due += TICK
            await asyncio.sleep(max(0.0, due - clock.monotonic()))

    def _send(self) -> None:
        if self.target is None or (self._security.secured and self._protection is None):
            return
        if self._keys:
            packet = self._keys.popleft()._replace(sequence=self._sequence)
        else:
            if not self._frames:
                self.idle.set()
            frame = self._frames.popleft() if self._frames else codecs.silence(self.codec)
            packet = RtpPacket(self.payload_type, False, self._sequence, self._timestamp, self._ssrc, frame)
        data = pack(packet)
        self._send_raw(self._protection.seal(data) if self._protection is not None else data)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + codecs.frame_ticks(self.codec)) & 0xFFFFFFFF
        self.sent += 1
