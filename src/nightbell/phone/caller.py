"""A real caller on our own stack: dials, presses keys, waits for the tone, speaks a sound file, hangs up.

`python -m nightbell.phone.caller sip:USER@HOST:PORT --wav FILE [--digits "1,#"] [--transport udp|tcp]`
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import math
import secrets
import struct
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError
from nightbell.core.log import Log
from nightbell.phone import wav
from nightbell.phone.endpoint import CallFailed, Endpoint, OutgoingCall
from nightbell.sip import g711
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import BadRtp, RtpPacket, pack, unpack

TICK = 0.02
FIRST_KEY, NEXT_KEY = 1.5, 1.0  # seconds after the answer, and between two keys; a comma waits as long again
TONE_HZ, TONE_FRAMES = 1000, 5
LAST_WORDS = 90.0
_COS = [math.cos(2 * math.pi * TONE_HZ * n / 8000) for n in range(wav.FRAME)]
_SIN = [math.sin(2 * math.pi * TONE_HZ * n / 8000) for n in range(wav.FRAME)]


@dataclass(slots=True)
class Report:
    """What happened; seconds since the answer."""

    answered: bool = False
    code: int = 0
    codec: str = ""
    tone_at: float | None = None
    spoke_from: float | None = None
    spoken: float = 0.0
    ended_by: str = ""
    lasted: float = 0.0
    packets_sent: int = 0
    packets_received: int = 0
    keys: list[str] = field(default_factory=list)


class ToneEar:
    """Hears the recording tone: 1000 Hz alone for a tenth of a second, then its end."""

    def __init__(self) -> None:
        self.run = 0
        self.heard = self.over = False

    def feed(self, payload: bytes, codec: Codec) -> None:
        """One received frame (Goertzel's single bin, by tables)."""
        if self.over or len(payload) != wav.FRAME:
            return
        samples = struct.unpack(f"<{wav.FRAME}h", g711.decode(payload, codec))
        total = sum(sample * sample for sample in samples)
        real = sum(sample * cos for sample, cos in zip(samples, _COS, strict=True))
        imaginary = sum(sample * sin for sample, sin in zip(samples, _SIN, strict=True))
        share = 2 * (real * real + imaginary * imaginary) / (wav.FRAME * total) if total > 1e7 else 0.0
        if share > 0.9:
            self.run += 1
            self.heard = self.heard or self.run >= TONE_FRAMES
        else:
            self.over, self.run = self.heard, 0


class Sound(asyncio.DatagramProtocol):
    """The caller's RTP: one packet every 20 ms, silence when there is nothing to say."""

    def __init__(self) -> None:
        self.ear, self.codec = ToneEar(), Codec.PCMU
        self.sent = self.received = 0
        self.target: tuple[str, int] | None = None
        self.payload_type, self.dtmf_type = 0, 101
        self._frames: deque[bytes] = deque()
        self._keys: deque[RtpPacket] = deque()
        self._transport: asyncio.DatagramTransport | None = None
        self._sequence, self._ssrc = secrets.randbits(16), secrets.randbits(32)
        self._timestamp = secrets.randbits(32)
        self.idle = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
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
        self._keys.extend(key_press(key, self.dtmf_type, 0, self._timestamp, self._ssrc))

    async def run(self) -> None:
        """Send for as long as the call lasts."""
        due = clock.monotonic()
        while True:
            self._send()
            due += TICK
            await asyncio.sleep(max(0.0, due - clock.monotonic()))

    def _send(self) -> None:
        if self.target is None or self._transport is None:
            return
        if self._keys:
            packet = self._keys.popleft()._replace(sequence=self._sequence)
        else:
            if not self._frames:
                self.idle.set()
            frame = self._frames.popleft() if self._frames else g711.silence(wav.FRAME, self.codec)
            packet = RtpPacket(self.payload_type, False, self._sequence, self._timestamp, self._ssrc, frame)
        self._transport.sendto(pack(packet), self.target)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + wav.FRAME) & 0xFFFFFFFF
        self.sent += 1


class Caller:
    """One call, told line by line."""

    def __init__(self, options: argparse.Namespace, sound: bytes) -> None:
        self.options, self.report = options, Report()
        self._speech = sound
        self._sound = Sound()
        self._ended = asyncio.Event()
        self._answered = 0.0

    def tell(self, text: str) -> None:
        if not self.options.json:
            now = clock.monotonic() - self._answered if self._answered else 0.0
            print(f"{now:6.1f}  {text}", flush=True)

    async def call(self) -> bool:
        """True when the message was spoken. Raises CallFailed."""
        loop = asyncio.get_running_loop()
        endpoint = Endpoint(self.options.bind, 0, lambda call: call.reject(486), Log("caller", io.StringIO()))
        await endpoint.start()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self._sound, local_addr=(self.options.bind, 0)
        )
        sender: asyncio.Task[None] | None = None
        try:
            leg = await self._dial(endpoint, transport.get_extra_info("sockname")[:2])
            sender = asyncio.create_task(self._sound.run())
            return await self._talk(leg)
        finally:
            if sender is not None:
                sender.cancel()
            await asyncio.sleep(0.1)  # the BYE and its answer
            transport.close()
            await endpoint.close()
            self.report.packets_sent, self.report.packets_received = self._sound.sent, self._sound.received

    async def _dial(self, endpoint: Endpoint, local: tuple[str, int]) -> OutgoingCall:
        self.tell(f"dialling {self.options.uri}")
        codec = Codec[self.options.codec.upper()]
        leg = await asyncio.wait_for(
            endpoint.dial(self.options.uri, local, (codec,), self.options.sender, self.options.transport),
            self.options.timeout,
        )
        self._answered = clock.monotonic()
        leg.on_end = self._over
        sound = self._sound
        sound.codec, sound.payload_type = leg.codec, leg.remote.payload_type(leg.codec) or 0
        sound.dtmf_type = leg.remote.dtmf_type or sound.dtmf_type
        sound.target = leg.remote.remote
        self.report.answered, self.report.codec = True, leg.codec.value
        self.tell(f"answered ({leg.codec.value}, sound to {sound.target[0]}:{sound.target[1]})")
        return leg

    def _over(self, _reason: str) -> None:
        self._ended.set()

    async def _talk(self, leg: OutgoingCall) -> bool:
        digits, pound, after = self.options.digits.partition("#")
        keys = asyncio.create_task(self._press(digits))
        try:
            spoke = await self._speak()
        finally:
            keys.cancel()
        if spoke and pound and not self._ended.is_set():
            self._press_one("#")
            later = asyncio.create_task(self._press(after, NEXT_KEY))
            await self._until_over(LAST_WORDS)
            later.cancel()
        self.report.lasted = round(clock.monotonic() - self._answered, 2)
        self.report.ended_by = "them" if self._ended.is_set() else "us"
        self.tell("they hung up" if self._ended.is_set() else "hung up")
        leg.hangup()
        return spoke

    async def _press(self, digits: str, first: float = FIRST_KEY) -> None:
        await asyncio.sleep(first)
        for key in digits:
            if key not in ", ":
                self._press_one(key)
            await asyncio.sleep(NEXT_KEY)

    def _press_one(self, key: str) -> None:
        self._sound.press(key)
        self.report.keys.append(key)
        self.tell(f"pressed {key}")

    async def _speak(self) -> bool:
        if self.options.speak_after is None:
            if not await self._tone():
                self.tell("they hung up before the tone" if self._ended.is_set() else "no tone was heard")
                return False
        else:
            await self._until_over(self.options.speak_after)
        frames = wav.frames(self._speech, self._sound.codec)
        seconds = len(frames) * TICK
        self.report.spoke_from = round(clock.monotonic() - self._answered, 2)
        self.tell(f"speaking {int(seconds) // 60}:{int(seconds) % 60:02d}")
        self._sound.say(frames)
        idle = asyncio.create_task(self._sound.idle.wait())
        over = asyncio.create_task(self._ended.wait())
        await asyncio.wait((idle, over), timeout=seconds + 10, return_when=asyncio.FIRST_COMPLETED)
        spoke = idle.done()
        idle.cancel()
        over.cancel()
        self.report.spoken = round(
            min(seconds, clock.monotonic() - self._answered - self.report.spoke_from), 2
        )
        return spoke

    async def _tone(self) -> bool:
        ends = clock.monotonic() + self.options.timeout
        while not self._sound.ear.over and not self._ended.is_set() and clock.monotonic() < ends:
            await asyncio.sleep(TICK)
        if self._sound.ear.over:
            self.report.tone_at = round(clock.monotonic() - self._answered, 2)
            self.tell("tone heard")
        return self._sound.ear.over

    async def _until_over(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._ended.wait(), seconds)
        except TimeoutError:
            return


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="nightbell call", description="Place a real SIP call and leave a message."
    )
    parser.add_argument("uri", help="sip:NUMBER@HOST:PORT")
    parser.add_argument("--wav", required=True, type=Path, help="8000 Hz mono WAV, 16-bit PCM or G.711")
    parser.add_argument(
        "--digits",
        default="",
        help="keys to press before the tone; # ends the message, what follows it is pressed after that",
    )
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--codec", choices=("pcmu", "pcma"), default="pcmu")
    parser.add_argument("--from", dest="sender", default="6175550100", help="the caller's number")
    parser.add_argument(
        "--speak-after", type=float, metavar="S", help="speak S seconds after the answer, tone or not"
    )
    parser.add_argument(
        "--timeout", type=float, default=240.0, metavar="S", help="for the answer, and for the tone"
    )
    parser.add_argument("--bind", default="127.0.0.1", help="our own address")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    options = parser.parse_args(arguments)
    if not options.uri.startswith("sip:"):
        parser.error("the address begins with sip:")
    if set(options.digits) - set("0123456789*#, "):
        parser.error("--digits takes 0-9, *, # and commas")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 the message was spoken, 1 it was not, 2 wrong usage or a file that cannot be played."""
    options = _options(arguments)
    try:
        sound = wav.read_wav(options.wav, Codec[options.codec.upper()])
    except (NightbellError, OSError) as error:
        print(f"nightbell call: {error}", file=sys.stderr)
        return 2

    async def place() -> tuple[bool, Report]:
        caller = Caller(options, sound)
        try:
            return await caller.call(), caller.report
        except CallFailed as failed:
            caller.report.code = failed.code
            caller.tell(f"not answered: {failed.code} {failed.reason}".rstrip())
        except TimeoutError:
            caller.report.code = 408
            caller.tell("not answered in time")
        return False, caller.report

    try:
        spoke, report = asyncio.run(place())
    except KeyboardInterrupt:
        return 1
    except NightbellError as error:
        print(f"nightbell call: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(asdict(report)))
    return 0 if spoke else 1


if __name__ == "__main__":
    raise SystemExit(main())
