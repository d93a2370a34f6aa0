"""A real phone process in a folder of its own, with a snapshot and keys made here."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.ports import free_port

from nightbell.core.capture import Capture, Codec
from nightbell.core.log import Log
from nightbell.flow.hours import Day
from nightbell.flow.plan import MenuKey, Plan
from nightbell.phone.caller import Sound
from nightbell.phone.endpoint import Endpoint
from nightbell.sealing.capture import open_capture
from nightbell.sealing.epochs import new_epoch
from nightbell.sealing.signed import sign
from nightbell.sip import g711
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import RtpPacket, pack

DIALLED, CALLER = "5552014567", "5552017123"
PRACTICE = "01K000000000000000000PRACT"


def line_of(**changes: object) -> dict[str, Any]:
    """A line as the worker gives it: open on every day, the shortest way to the tone, one language."""
    keys = (MenuKey("1", "menu-urgent", urgency="urgent"), MenuKey("2", "menu-routine"))
    short = Plan(
        languages=("en",),
        week=(Day(480, 1020, None),) * 7,
        keys=keys,
        callback=False,
        review=False,
        max_seconds=60,
    )
    return {
        "practice": PRACTICE,
        "zone": "America/New_York",
        "number": DIALLED,
        "flow": 1,
        "plan": replace(short, **changes).to_dict(),  # type: ignore[arg-type]
        "holidays": {},
        "known_until": "2099-12-31",
        "closures": [],
        "team": True,
        "promise": {"urgent": "within-30-min", "routine": "promise-open-day"},
        "test": False,
    }


class House:
    """NIGHTBELL_HOME, its keys, and the phone that runs on it."""

    def __init__(self, root: Path, **changes: object) -> None:
        """changes: fields of the plan that are not the short one's."""
        self.home, self.keys = root / "home", root / "keys"
        self.folder = self.home / "phone"
        self.spool = self.folder / "spool"
        for path in (self.spool, self.folder / "clips", self.home / "run", self.keys):
            path.mkdir(parents=True, exist_ok=True)
        self.signer = Ed25519PrivateKey.generate()
        (self.folder / "trust.pub").write_bytes(self.signer.public_key().public_bytes_raw())
        self.epoch, self.private = new_epoch()
        (self.keys / "epoch").write_bytes(self.private)
        os.chmod(self.keys / "epoch", 0o600)
        self.numbers: dict[str, dict[str, object]] = {
            DIALLED: {"practice": PRACTICE, "mailbox": "01K000000000000000000MAB0X", "line": PRACTICE}
        }
        self.lines = {PRACTICE: line_of(**changes)}
        self.port = free_port()
        self.processes = 1
        self.settings: dict[str, str] = {}
        self.process: subprocess.Popen[str] | None = None
        (self.folder / "snapshot.json").write_bytes(self.signed(1))

    def signed(self, number: int, signer: Ed25519PrivateKey | None = None, **more: object) -> bytes:
        payload = {
            "version": number,
            "issued_at": "2026-11-24T03:00:00.000Z",
            "epoch": self.epoch.to_dict(),
            "lines": self.lines,
            "numbers": self.numbers,
            "limits": {"drain_seconds": 3},
        }
        return sign(payload | more, signer or self.signer)

    @property
    def uri(self) -> str:
        return f"sip:{DIALLED}@127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": "src",
            "NIGHTBELL_HOME": str(self.home),
            "NIGHTBELL_KEYS": str(self.keys),
            "NIGHTBELL_SIP_PORT": str(self.port),
            "NIGHTBELL_SIPS_PORT": str(self.port + 1),
            "NIGHTBELL_RTP_PORTS": "20000-29999",
            "NIGHTBELL_PHONE_PROCESSES": str(self.processes),
            **self.settings,
        }

    def start(self, prefix: tuple[str, ...] = ()) -> None:
        """Start the process and wait until it takes calls. prefix: a command that runs it."""
        self.log = (self.home / "phone.log").open("a+")
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "nightbell.phone"],
            env=self.environment(),
            text=True,
            stderr=self.log,
        )
        self.wait_for_log("phone_ready")

    def wait_for_log(self, event: str, seconds: float = 15) -> dict[str, Any]:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for line in (self.home / "phone.log").read_text().splitlines():
                if f'"event":"{event}"' in line:
                    return dict(json.loads(line))
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no {event!r}: {(self.home / 'phone.log').read_text()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        self.log.close()
        return code

    def call(
        self, *options: str, wav: Path, background: bool = False, number: str = DIALLED
    ) -> subprocess.Popen[str]:
        """Place a call with our caller's command; waits for its end unless in the background."""
        uri = f"sip:{number}@127.0.0.1:{self.port}"
        caller = subprocess.Popen(
            [sys.executable, "-m", "nightbell.phone.caller", uri, "--wav", str(wav), "--from", CALLER,
             "--json", *options],
            env=self.environment(), text=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        if not background:
            caller.wait(90)
        return caller

    def files(self, suffix: str = "*") -> list[Path]:
        return sorted(path for path in self.spool.glob(f"*.{suffix}") if not path.name.startswith("."))

    def wait_for_captures(self, count: int, seconds: float = 10) -> list[Capture]:
        ends = time.monotonic() + seconds
        while len(self.files("cap")) < count and time.monotonic() < ends:
            time.sleep(0.05)
        found = [open_capture(path.read_bytes(), self.private) for path in self.files("cap")]
        assert len(found) == count
        return found


def sound_of(capture: Capture) -> bytes:
    """The recording as G.711 with its gaps silent."""
    codec = capture.meta.codec
    length = max((packet.offset + len(packet.payload) for packet in capture.packets), default=0)
    sound = bytearray(g711.silence(length, codec))
    for packet in capture.packets:
        sound[packet.offset : packet.offset + len(packet.payload)] = packet.payload
    return bytes(sound)


def spoken_of(capture: Capture) -> bytes:
    """The recording from its first sound on: a caller who sends nothing before has silence in front."""
    first = min((packet.offset for packet in capture.packets), default=0)
    return sound_of(capture)[first:]


def write_wav(path: Path, ulaw: bytes) -> Path:
    """A mu-law WAV file."""
    header = b"RIFF" + (36 + len(ulaw)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (7).to_bytes(2, "little") + (1).to_bytes(2, "little") + (8000).to_bytes(4, "little") * 2
    header += (1).to_bytes(2, "little") + (8).to_bytes(2, "little")
    path.write_bytes(header + b"data" + len(ulaw).to_bytes(4, "little") + ulaw)
    return path


def speech(seconds: float, seed: int = 1) -> bytes:
    """Loud mu-law sound of which no two frames are alike."""
    import random

    return random.Random(seed).randbytes(int(seconds * 50) * 160)


class HandCaller:
    """A caller whose every RTP packet the test decides. Use inside one event loop."""

    def __init__(self, house: House, caller: str = CALLER) -> None:
        self.house, self.caller = house, caller
        self.endpoint = Endpoint("127.0.0.1", 0, lambda call: call.reject(486), Log("test", io.StringIO()))
        self.sound = Sound()
        self.ended = asyncio.Event()
        self._sequence, self._press_at = 0, 0

    async def __aenter__(self) -> HandCaller:
        await self.endpoint.start()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self.sound, local_addr=("127.0.0.1", 0))
        self.transport = transport
        local = transport.get_extra_info("sockname")[:2]
        self.leg = await self.endpoint.dial(self.house.uri, local, (Codec.PCMU,), self.caller)
        self.leg.on_end = lambda reason: self.ended.set()
        self.target = self.leg.remote.remote
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leg.hangup()
        await asyncio.sleep(0.1)
        self.transport.close()
        await self.endpoint.close()

    def press(self, key: str) -> None:
        self._press_at += 2000
        for packet in key_press(key, 101, self._sequence, self._press_at, 9):
            self.transport.sendto(pack(packet), self.target)
            self._sequence += 1

    def audio(self, number: int, payload: bytes) -> None:
        """Frame `number` of the message, at its timestamp."""
        packet = RtpPacket(0, False, number & 0xFFFF, 5_000 + number * 160, 9, payload)
        self.transport.sendto(pack(packet), self.target)

    async def tone(self) -> None:
        """Press 0 and wait until the tone is over."""
        self.press("0")
        ends = time.monotonic() + 20
        while not self.sound.ear.over:
            assert time.monotonic() < ends, "no tone"
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def running(root: Path, **changes: object) -> Iterator[House]:
    """A phone that takes calls, stopped at the end."""
    house = House(root, **changes)
    try:
        house.start()
        yield house
    finally:
        if house.process is not None:
            house.process.kill()
            house.process.wait()


__all__ = [
    "CALLER",
    "DIALLED",
    "Codec",
    "HandCaller",
    "House",
    "running",
    "sound_of",
    "speech",
    "spoken_of",
    "write_wav",
]
