"""A real caller on our own stack: dials, presses keys, waits for the tone, speaks a sound file, hangs up.

`python -m nightbell.phone.caller sip:USER@HOST:PORT --wav FILE [--digits "1,#"] [--transport udp|tcp|tls] [--srtp sdes]`
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nightbell.core import clock
from nightbell.core.capture import Codec
from nightbell.core.errors import NightbellError
from nightbell.core.log import Log
from nightbell.phone import wav
from nightbell.phone.caller_sound import TICK, Sound, ToneEar
from nightbell.phone.endpoint import CallFailed, Endpoint, OutgoingCall
from nightbell.phone.tls import Tls
from nightbell.sip.digest import Credentials
from nightbell.sip.sdp import AudioOffer
from nightbell.sip.srtp import Keying

__all__ = ["Caller", "Report", "Sound", "ToneEar", "main"]

FIRST_KEY, NEXT_KEY = 1.5, 1.0  # seconds after the answer, and between two keys; a comma waits as long again
LAST_WORDS = 90.0
KEYS_WITHIN = 12.0


@dataclass(slots=True)
class Report:
    """What happened; seconds since the answer."""

    answered: bool = False
    code: int = 0
    codec: str = ""
    srtp: str = ""
    profile: str = ""
    tone_at: float | None = None
    spoke_from: float | None = None
    spoken: float = 0.0
    ended_by: str = ""
    lasted: float = 0.0
    packets_sent: int = 0
    packets_received: int = 0
    unauthentic: int = 0
    keys: list[str] = field(default_factory=list)
    trouble: str = ""


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
        tls = Tls(ca=self.options.ca)
        log = Log("caller", io.StringIO())
        endpoint = Endpoint(self.options.bind, 0, lambda call: call.reject(486), log, tls=tls)
        await endpoint.start()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: self._sound, local_addr=(self.options.bind, 0)
        )
        sender: asyncio.Task[None] | None = None
        try:
            leg = await self._dial(endpoint, transport.get_extra_info("sockname")[:2])
            sender = asyncio.create_task(self._sound.run())
            return await self._keyed(leg) and await self._talk(leg)
        except CallFailed:
            self.report.trouble = _tls_trouble(endpoint.counters)
            raise
        finally:
            if sender is not None:
                sender.cancel()
            await asyncio.sleep(0.1)  # the BYE and its answer
            self._sound.close()
            transport.close()
            await endpoint.close()
            self.report.packets_sent, self.report.packets_received = self._sound.sent, self._sound.received
            self.report.unauthentic = self._sound.unauthentic

    async def _dial(self, endpoint: Endpoint, local: tuple[str, int]) -> OutgoingCall:
        self.tell(f"dialling {self.options.uri}")
        codec = Codec[self.options.codec.upper()]
        keying = Keying(self.options.srtp) if self.options.srtp else None
        leg = await asyncio.wait_for(
            endpoint.dial(
                self.options.uri, local, (codec,), self.options.sender, self.options.transport, security=keying,
                credentials=_login(self.options),
            ),
            self.options.timeout,
        )  # fmt: skip
        self._answered = clock.monotonic()
        leg.on_end = self._over
        leg.received = lambda: self._sound.received

        def moved(remote: AudioOffer) -> None:
            self._sound.begin(remote, leg.codec, leg.security)

        leg.on_media = moved
        moved(leg.remote)
        self.report.answered, self.report.codec = True, leg.codec.value
        self.report.srtp = leg.security.keying.value
        host, port = leg.remote.remote
        how = "unencrypted" if self.report.srtp == "none" else f"encrypted by {self.report.srtp.upper()}"
        self.tell(f"answered ({leg.codec.value}, {how}, sound to {host}:{port})")
        return leg

    async def _keyed(self, leg: OutgoingCall) -> bool:
        """Wait for the keys of the sound, where there are any."""
        try:
            await asyncio.wait_for(self._sound.keyed.wait(), KEYS_WITHIN)
        except TimeoutError:
            self._sound.failed = "stalled"
        self.report.profile = self._sound.profile
        if self._sound.failed:
            self.tell(f"no keys for the sound: {self._sound.failed}")
            leg.hangup()
            return False
        return True

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


def _tls_trouble(counters: Counter[str]) -> str:
    """Why nobody answered, when it was TLS that did not come about; else ''."""
    if counters["tls_distrusted"]:
        return (
            "its certificate is not trusted: give --ca FILE (one that Nightbell made itself is signed by "
            "$NIGHTBELL_HOME/phone/tls/ca.pem)"
        )
    return (
        "TLS did not come about: look at its certificate's names, and at the port"
        if counters["tls_failed"]
        else ""
    )


def _login(options: argparse.Namespace) -> Callable[[str], Credentials] | None:
    """What is answered to a server that asks who we are. Raises OSError."""
    if not options.user or options.password_file is None:
        return None
    password = options.password_file.read_text().strip()
    return lambda realm: Credentials.of(options.user, realm, password)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nightbell call", description="Place a real SIP call and leave a message."
    )
    parser.add_argument("uri", help="sip:NUMBER@HOST:PORT[;transport=tls]")
    parser.add_argument("--wav", required=True, type=Path, help="8000 Hz mono WAV, 16-bit PCM or G.711")
    parser.add_argument(
        "--digits",
        default="",
        help="keys to press before the tone; # ends the message, what follows it is pressed after that",
    )
    parser.add_argument("--transport", choices=("udp", "tcp", "tls"), default="udp")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="trust this certificate authority too (TLS)")
    parser.add_argument(
        "--srtp",
        choices=[one.value for one in Keying],
        help="how the sound is encrypted (over TLS: sdes, else none)",
    )
    parser.add_argument("--codec", type=str.lower, choices=("pcmu", "pcma", "g722", "opus"), default="pcmu")
    parser.add_argument("--from", dest="sender", default="6175550100", help="the caller's number")
    parser.add_argument("--user", default="", help="log in as this user when the server asks")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="holds that user's password")
    parser.add_argument(
        "--speak-after", type=float, metavar="S", help="speak S seconds after the answer, tone or not"
    )
    parser.add_argument(
        "--timeout", type=float, default=240.0, metavar="S", help="for the answer, and for the tone"
    )
    parser.add_argument("--bind", default="127.0.0.1", help="our own address")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    return parser


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.uri.startswith(("sip:", "sips:")):
        parser.error("the address begins with sip: or sips:")
    if bool(options.user) != (options.password_file is not None):
        parser.error("--user and --password-file belong together")
    if options.password_file is not None and not options.password_file.is_file():
        parser.error(f"--password-file: {options.password_file} is no file")
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
            why = caller.report.trouble or f"{failed.code} {failed.reason}".rstrip()
            caller.tell(f"not answered: {why}")
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
