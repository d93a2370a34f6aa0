"""Many callers in one event loop over real SIP and RTP: one clock sends for all, and what each hears is kept.

A silent caller sends nothing, as a telephone with silence suppression does.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone.endpoint import CallFailed, Endpoint, OutgoingCall
from nightbell.phone.endpoint import Limits as SipLimits
from nightbell.phone.voice import packaged
from nightbell.sip.dtmf import KEYS, key_press, pack_event
from nightbell.sip.rtp import RtpPacket, pack

FRAME, TICK, MS = 160, 0.02, 8
ANSWER_S, TONE_S = 30.0, 60.0
LOOK_S = 0.2
CUES_AHEAD = 2
SEGMENT = 400  # packets of a key held down: an event of more than 8 s comes in segments (RFC 4733 §2.5.1.3)
PROMPTLY = 10.0  # seconds after a tone in which what is said certainly belongs to it
_TONE = frozenset(packaged("tone", Codec.PCMU))
_TONE_FRAMES = len(packaged("tone", Codec.PCMU))
_HEADER = struct.Struct("!BBHII")


class Over(Exception):
    """The call has ended: the rest of what its caller meant to do is left undone."""


class Patient(asyncio.DatagramProtocol):
    """One call. heard: (RTP timestamp, mu-law) of each packet, when it is to be kept; code: of the answer, 0 for none;
    tones: how many were heard; spoke: frames in all; said: frames soon after the last tone and before #, most: the
    largest such count; did: what and when."""

    def __init__(
        self, street: Street, uri: str, number: str, sound: random.Random, keep: bool = False
    ) -> None:
        """number: '' withholds it; sound: of the noise that is this caller's speech."""
        self.street, self.uri, self.number = street, uri, number
        self.heard: list[tuple[int, bytes]] = []
        self.code = self.tones = self.spoke = self.said = self.most = 0
        self.answered = self.ended = 0.0  # monotonic
        self.over = asyncio.Event()
        self.tone_heard = asyncio.Event()
        self.did: list[str] = []
        self._keep = keep
        self._cues: deque[tuple[float, bytes]] = deque()
        self._noise = [sound.randbytes(FRAME) for _ in range(150)]
        self._queue: deque[RtpPacket | bytes] = deque()
        self._empty = asyncio.Event()
        self._sequence, self._stamp, self._ssrc = (
            sound.getrandbits(16),
            sound.getrandbits(31),
            sound.getrandbits(32),
        )
        self._tone_run, self._tone_at = 0, 0.0
        self._transport: asyncio.DatagramTransport | None = None
        self._leg: OutgoingCall | None = None
        self._target = ("", 0)

    def __str__(self) -> str:
        return f"{self.number or 'withheld'} [{self.code}]: {' '.join(self.did)}"

    @property
    def keys(self) -> str:
        """All digits that were pressed, in their order."""
        return "".join(
            deed.rpartition(":")[2][0] for deed in self.did if deed[0] in KEYS or deed[:4] == "held"
        )

    @property
    def up(self) -> bool:
        return self._leg is not None and not self.over.is_set()

    @property
    def now(self) -> float:
        """Seconds since the answer."""
        return time.monotonic() - self.answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[1] & 0x7F:
            return
        payload = data[12:]
        if self._keep:
            self.heard.append((_HEADER.unpack_from(data)[3], payload))
        if self._cues:
            self._hear_cue(payload)
        if payload not in _TONE:
            self._tone_run = 0
            return
        self._tone_run += 1
        if self._tone_run == _TONE_FRAMES:
            self.tones, self.said, self._tone_at = self.tones + 1, 0, time.monotonic()
            self.tone_heard.set()

    def expect(self, cues: Sequence[tuple[float, bytes]]) -> None:
        """Frames that will be heard, and when on paper (seconds): each sets this call's clock to that, so that on a
        slow machine, too, keys come where they are meant to."""
        self._cues = deque(cues)

    def _hear_cue(self, payload: bytes) -> None:
        for number in range(min(CUES_AHEAD, len(self._cues))):
            at, frame = self._cues[number]
            if payload == frame:
                self.answered = time.monotonic() - at
                for _ in range(number + 1):
                    self._cues.popleft()
                return

    def tick(self) -> None:
        """Twenty milliseconds: one packet at most."""
        self._stamp = (self._stamp + FRAME) & 0xFFFFFFFF
        if not self._queue:
            self._empty.set()
            return
        first = self._queue.popleft()
        if isinstance(first, bytes):
            self._send(RtpPacket(0, False, 0, self._stamp, self._ssrc, first))
            self.spoke += 1
            if self._tone_at and time.monotonic() - self._tone_at < PROMPTLY + self.said * TICK:
                self.said += 1
                self.most = max(self.most, self.said)
        else:
            self._send(first)

    def _send(self, packet: RtpPacket) -> None:
        if self._transport is not None:
            self._transport.sendto(pack(packet._replace(sequence=self._sequence)), self._target)
            self._sequence = (self._sequence + 1) & 0xFFFF

    # The call itself, by the street.

    async def dial(self, endpoint: Endpoint) -> bool:
        """False when it was not answered; `code` says why."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        local = transport.get_extra_info("sockname")[:2]
        try:
            leg = await asyncio.wait_for(endpoint.dial(self.uri, local, (Codec.PCMU,), self.number), ANSWER_S)
        except CallFailed as failed:
            self.code = failed.code
            return False
        except TimeoutError:
            self.code = 408
            return False
        self.answered, self.code = time.monotonic(), 200
        leg.on_end = lambda reason: self._ended()
        self._leg, self._target = leg, leg.remote.remote
        return True

    def _ended(self) -> None:
        self.ended = self.ended or time.monotonic()
        self.over.set()

    def bye(self) -> None:
        """Hang up, if it is still up, and forget the sound."""
        if self.up and self._leg is not None:
            self.did.append(f"bye@{self.now:.1f}")
            self._leg.hangup()
            self._ended()
        if self._transport is not None:
            self._transport.close()

    # What a caller does. Each raises Over when the other side has hung up.

    async def wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), max(0.0, seconds))
        self._or_over()

    async def until(self, seconds: float) -> None:
        """Wait until so long after the answer, on a clock that may be set meanwhile."""
        while (left := seconds - self.now) > 0:
            await self.wait(min(left, LOOK_S))
        self._or_over()

    async def tone(self) -> None:
        """The next tone, to its end."""
        self.tone_heard.clear()
        await self._first_of(self.tone_heard, TONE_S)
        self.did.append(f"tone@{self.now:.1f}")

    async def press(self, keys: str, gap: float = 0.25) -> None:
        for key in keys:
            self._or_over()
            self._note_key(key)
            self._queue.extend(key_press(key, 101, 0, self._stamp, self._ssrc, ms=80))
            await self.wait(gap)

    async def flood(self, keys: str) -> None:
        """All at once, a packet each."""
        self._or_over()
        for number, key in enumerate(keys):
            self._note_key(key)
            at = self._stamp + number * FRAME // 2
            self._send(key_press(key, 101, 0, at, self._ssrc, ms=20)[0])
        await self.wait(len(keys) * TICK)  # so that a later key has a later time stamp

    async def hold(self, key: str, seconds: float) -> None:
        """One key, held down."""
        self._or_over()
        self._note_key(key, f"held{seconds:.0f}s:")
        event, began = KEYS.index(key), self._stamp
        count = round(seconds / TICK)
        for number in range(count):
            part, at = divmod(number, SEGMENT)
            stamp = began + part * SEGMENT * FRAME
            payload = pack_event(event, (at + 1) * FRAME, number == count - 1)
            self._queue.append(RtpPacket(101, number == 0, 0, stamp & 0xFFFFFFFF, self._ssrc, payload))
        await self._sent(seconds)

    async def speak(self, seconds: float) -> None:
        self._or_over()
        self.did.append(f"speak{seconds:.1f}@{self.now:.1f}")
        self._queue.extend(self.noise(round(seconds / TICK)))
        await self._sent(seconds)

    def noise(self, frames: int) -> list[bytes]:
        """The first so many frames of whatever this caller says."""
        return [self._noise[number % len(self._noise)] for number in range(frames)]

    async def _sent(self, seconds: float) -> None:
        self._empty.clear()
        await self._first_of(self._empty, seconds + 10)

    def _note_key(self, key: str, how: str = "") -> None:
        self.did.append(f"{how}{key}@{self.now:.1f}")
        if key == "#":
            self._tone_at = 0.0

    async def _first_of(self, event: asyncio.Event, seconds: float) -> None:
        over = asyncio.create_task(self.over.wait())
        other = asyncio.create_task(event.wait())
        await asyncio.wait((over, other), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        other.cancel()
        self._or_over()

    def _or_over(self) -> None:
        if self.over.is_set():
            raise Over


Script = Callable[[Patient], Awaitable[None]]


class Street:
    """Where the callers live. Use as an async context manager, once, in one event loop."""

    def __init__(self, longest: float = 75.0) -> None:
        """longest: seconds after which a caller hangs up, come what may."""
        self.longest = longest
        self.calls: list[Patient] = []
        self._endpoint = Endpoint(
            "127.0.0.1", 0, lambda call: call.reject(486), Log("street", io.StringIO()), SipLimits(calls=1000)
        )

    async def __aenter__(self) -> Street:
        await self._endpoint.start()
        self._clock = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._clock.cancel()
        await asyncio.sleep(0.3)  # the last BYEs and their answers
        await self._endpoint.close()

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            for call in self.calls:
                if call.up:
                    call.tick()
            due += TICK
            delay = due - time.monotonic()
            if delay < -0.5:
                due = time.monotonic()  # a stalled machine: go on, not all at once
            await asyncio.sleep(max(0.0, delay))

    async def call(
        self, uri: str, number: str, script: Script, sound: random.Random, keep: bool = False
    ) -> Patient:
        """One call from its INVITE to its end. Returns it however it ended."""
        patient = Patient(self, uri, number, sound, keep)
        self.calls.append(patient)
        try:
            if await patient.dial(self._endpoint):
                with contextlib.suppress(Over, TimeoutError):
                    await asyncio.wait_for(script(patient), self.longest)
        finally:
            patient.bye()
        return patient
