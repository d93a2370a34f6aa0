"""Many real SIP calls at once from one asyncio thread, each speaking frames that nobody else speaks.

Every frame's wall time is kept, so that what is stored can be compared with what was said until a kill.
"""

from __future__ import annotations

import asyncio
import io
import random
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone.caller import ToneEar
from nightbell.phone.endpoint import CallFailed, Endpoint, OutgoingCall
from nightbell.phone.endpoint import Limits as SipLimits
from nightbell.sip import g711
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import BadRtp, RtpPacket, pack, unpack

FRAME, TICK = 160, 0.02
QUIET = b"\xff" * FRAME
ANSWER_S, TONE_S = 15.0, 40.0
T = TypeVar("T")


@dataclass
class Placed:
    """One call as its caller lived it. Wall times in seconds since 1970, 0.0: it never came to that."""

    seed: int
    frames: list[bytes]  # mu-law, 160 samples each
    urgent: bool
    answered_at: float = 0.0
    tone_at: float = 0.0
    said_at: list[float] = field(default_factory=list)  # one for each frame that left
    ended_at: float = 0.0  # our BYE, or the moment at which the phone died
    ended_by: str = ""  # 'us', 'them', 'killed', 'never' (not answered, or no tone)

    @property
    def spoke_s(self) -> float:
        return len(self.said_at) * TICK

    def cut(self, at: float) -> None:
        """The phone died at `at`: what left later was heard by nobody."""
        self.said_at = [moment for moment in self.said_at if moment <= at]
        self.ended_at, self.ended_by = at, "killed"


def plan(seed: int, seconds: float, urgent: bool) -> Placed:
    """A call to come. Its sound follows from the seed alone."""
    sound = random.Random(seed).randbytes(round(seconds / TICK) * FRAME)
    return Placed(seed, [sound[i : i + FRAME] for i in range(0, len(sound), FRAME)], urgent)


class _Line(asyncio.DatagramProtocol):
    """The RTP of one call."""

    def __init__(self, call: Placed) -> None:
        self.call, self.ear = call, ToneEar()
        self.target: tuple[str, int] | None = None
        self.over = asyncio.Event()
        self.killed = False
        self.sequence, self.stamp, self.ssrc = 0, call.seed % 2**31, call.seed % 2**32
        self.transport: asyncio.DatagramTransport | None = None
        self.listening = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.listening:
            return  # what the phone plays matters until the tone alone
        try:
            packet = unpack(data)
        except BadRtp:
            return
        if packet.payload_type == 0:
            self.ear.feed(packet.payload, Codec.PCMU)

    def send(self, packet: RtpPacket) -> None:
        if self.transport is not None and self.target is not None:
            self.transport.sendto(pack(packet._replace(sequence=self.sequence)), self.target)
            self.sequence = (self.sequence + 1) & 0xFFFF

    def speak(self, frame: bytes) -> None:
        self.send(RtpPacket(0, False, 0, self.stamp, self.ssrc, frame))
        self.stamp = (self.stamp + FRAME) & 0xFFFFFFFF

    def press(self, key: str) -> None:
        for packet in key_press(key, 101, 0, self.stamp, self.ssrc):
            self.send(packet)
        self.stamp = (self.stamp + 2000) & 0xFFFFFFFF


class Callers:
    """The thread that all callers of a test share. Use as a context manager."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="callers", daemon=True)
        self._lines: set[_Line] = set()
        self.calls: list[Placed] = []

    def __enter__(self) -> Callers:
        self._thread.start()
        self._do(self._open()).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._endpoint.close()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _open(self) -> None:
        self._endpoint = Endpoint(
            "127.0.0.1",
            0,
            lambda call: call.reject(486),
            Log("callers", io.StringIO()),
            SipLimits(calls=1000),
        )
        await self._endpoint.start()

    def place(self, call: Placed) -> Future[Placed]:
        """Start one call; the future holds it when it is over, however it ended."""
        self.calls.append(call)
        return self._do(self._call(call))

    def phone_died(self, at: float) -> None:
        """Every call that was up at `at` (wall time) ends there, without a word to the phone."""
        self._do(self._cut(at)).result(10)

    async def _cut(self, at: float) -> None:
        for line in list(self._lines):
            if line.call.answered_at and line.call.answered_at <= at:
                line.call.cut(at)
                line.killed = True
                line.over.set()

    def speaking(self, seconds: float) -> int:
        """How many calls have spoken for so long and go on."""
        return sum(not call.ended_at and call.spoke_s >= seconds for call in list(self.calls))

    async def _call(self, call: Placed) -> Placed:
        line = _Line(call)
        transport, _ = await self._loop.create_datagram_endpoint(lambda: line, local_addr=("127.0.0.1", 0))
        self._lines.add(line)
        try:
            leg = await self._dial(line, transport.get_extra_info("sockname")[:2])
            if leg is None:
                call.ended_at, call.ended_by = time.time(), "never"
                return call
            await self._talk(line)
            self._end(line, leg)
            await asyncio.sleep(0.2)
        finally:
            self._lines.discard(line)
            transport.close()
        return call

    async def _dial(self, line: _Line, local: tuple[str, int]) -> OutgoingCall | None:
        try:
            leg = await asyncio.wait_for(
                self._endpoint.dial(
                    self.uri, local, (Codec.PCMU,), f"555{2_000_000 + line.call.seed % 10**6}"
                ),
                ANSWER_S,
            )
        except (CallFailed, TimeoutError):
            return None
        line.call.answered_at = time.time()
        leg.on_end = lambda reason: line.over.set()
        line.target = leg.remote.remote
        return leg

    async def _talk(self, line: _Line) -> None:
        """Keys, silence until the tone, then every frame at its time."""
        keys = {25: "1", 45: "0"} if line.call.urgent else {25: "0"}
        due, tick, said = self._loop.time(), 0, 0
        while not line.over.is_set():
            call = line.call
            if not line.ear.over:
                if tick in keys:
                    line.press(keys[tick])
                else:
                    line.speak(QUIET)
                if tick * TICK > TONE_S:
                    return
            elif said < len(call.frames):
                if not said:
                    line.listening, call.tone_at = False, time.time()
                call.said_at.append(time.time())
                line.speak(call.frames[said])
                said += 1
            else:
                return
            tick += 1
            due += TICK
            delay = due - self._loop.time()
            if delay < -0.5:
                due = self._loop.time()  # a stalled machine: speak on, not all at once
            await asyncio.sleep(max(0.0, delay))

    @staticmethod
    def _end(line: _Line, leg: OutgoingCall) -> None:
        call = line.call
        if not line.killed:
            call.ended_by = "them" if line.over.is_set() else ("us" if call.said_at else "never")
            call.ended_at = time.time()
        leg.hangup()  # after a kill it only frees the endpoint; a new phone knows nothing of the call


def decoded(call: Placed) -> list[bytes]:
    """The frames as PCM16, as a played message holds them."""
    return [g711.decode(frame, Codec.PCMU) for frame in call.frames]


class Index:
    """Finds whose voice a recording is, and what of it is missing."""

    KEY = 64  # bytes of a frame that tell it from every other

    def __init__(self, calls: list[Placed]) -> None:
        self._frames: dict[bytes, tuple[Placed, int]] = {}
        for call in calls:
            for number in range(0, len(call.frames), 10):
                pcm = g711.decode(call.frames[number], Codec.PCMU)
                self._frames[pcm[: self.KEY]] = (call, number)

    def whose(self, wav: bytes) -> tuple[Placed, int] | None:
        """The call, and the byte at which its frame 0 would lie. None for a stranger's sound."""
        for at in range(44, len(wav) - self.KEY, 2):
            found = self._frames.get(wav[at : at + self.KEY])
            if found is not None:
                return found[0], at - found[1] * 2 * FRAME
        return None

    @staticmethod
    def missing(call: Placed, start: int, wav: bytes) -> list[int]:
        """Numbers of the frames that were said and are not at their place."""
        lost = []
        for number, pcm in enumerate(decoded(call)[: len(call.said_at)]):
            at = start + number * 2 * FRAME
            if at < 44 or wav[at : at + 2 * FRAME] != pcm:
                lost.append(number)
        return lost
