"""The callers of bench/growth, who hang up, vanish or break off at every stage, and a worker that empties the spool."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from bench.calls_wire import HEADER, ffi, lib, srtp_context
from pylibsrtp import Policy
from tests.phone.certs import Authority
from tests.phone.endpoints import message, offer, phone
from tests.phone.house import DIALLED, House

from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone.endpoint import CallFailed, Endpoint, OutgoingCall
from nightbell.phone.endpoint import Limits as SipLimits
from nightbell.phone.tls import Tls
from nightbell.sealing.capture import open_capture
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import pack
from nightbell.sip.srtp import SrtpKeys

NOISE = os.urandom(160)
# Ways that no patient's call goes: what they leave behind is measured, but they are no calls of a night.
NO_PATIENTS = frozenset(["cancelled", "never acknowledged", "refused", "half a handshake"])
CHECKED = 20  # one capture of so many is opened


class Pace(NamedTuple):
    """Seconds. tone: from key 0, soon after the answer, to the end of the tone; words: of a message; wait: of who vanishes,
    hangs up in the greeting, or does other things that take no speech."""

    tone: float = 13.0
    words: float = 6.0
    wait: float = 2.0


class Voice:
    """The sound of one call, every 20 ms, in clear or encrypted."""

    def __init__(self, target: tuple[str, int], keys: SrtpKeys | None) -> None:
        self.target, self.number, self.sequence = target, 0, 0
        self.ssrc = random.getrandbits(32)
        self.context = (
            None if keys is None else srtp_context(keys.profile, keys.ours, Policy.SSRC_ANY_OUTBOUND)
        )

    def _protected(self, data: bytes) -> bytes:
        if self.context is None:
            return data
        memory, length = ffi.new("unsigned char[]", data + bytes(64)), ffi.new("int *", len(data))
        lib.srtp_protect(self.context[0], memory, length)
        return bytes(ffi.buffer(memory, length[0]))

    def frame(self) -> bytes:
        at = self.number
        head = HEADER.pack(0x80, 0, self.sequence & 0xFFFF, at * 160 & 0xFFFFFFFF, self.ssrc, 0, at)
        self.number, self.sequence = at + 1, self.sequence + 1
        return self._protected(head + NOISE[: 172 - HEADER.size])

    def press(self, key: str) -> list[bytes]:
        packets = key_press(key, 101, self.sequence & 0xFFFF, self.number * 160 & 0xFFFFFFFF, self.ssrc)
        self.sequence += len(packets)
        return [self._protected(pack(packet)) for packet in packets]

    def close(self) -> None:
        if self.context is not None:
            lib.srtp_dealloc(self.context[0])
            self.context = None


class Voices(threading.Thread):
    """All that are talking, from one socket."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # what is played is not listened to
        self.socket.bind(("127.0.0.1", 0))
        self.lock, self.talking, self.running = threading.Lock(), set[Voice](), True

    def run(self) -> None:
        due = time.monotonic()
        while self.running:
            with self.lock:
                for voice in self.talking:
                    with contextlib.suppress(OSError):
                        self.socket.sendto(voice.frame(), voice.target)
            due = max(due + 0.02, time.monotonic() - 0.2)
            time.sleep(max(0.0, due - time.monotonic()))

    def add(self, voice: Voice) -> None:
        with self.lock:
            self.talking.add(voice)

    def remove(self, voice: Voice) -> None:
        with self.lock:
            self.talking.discard(voice)
            voice.close()

    def press(self, voice: Voice, key: str) -> None:
        with self.lock:
            for data in voice.press(key):
                self.socket.sendto(data, voice.target)


class Worker:
    """The other end of the control socket, and of the spool."""

    def __init__(self, house: House) -> None:
        self._house, self.health = house, dict[str, Any]()
        self.captures = self.unread = self.most = 0

    async def start(self) -> None:
        path = self._house.home / "run" / "control.sock"
        self._server = await asyncio.start_unix_server(self._hear, path, limit=1 << 20)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            async for text in reader:
                said = json.loads(text)
                if said.get("event") == "health":
                    self.health = said
                    self.most = max(self.most, said["active_calls"])
                elif said.get("event") == "capture_ready":
                    order = {"command": "taken", "data": {"capture": said["capture"], "rings": False}}
                    writer.write(json.dumps(order).encode() + b"\n")
        writer.close()

    def clear(self) -> None:
        """Take what is finished out of the spool; open some of it."""
        for path in self._house.files("cap"):
            if time.time() - path.stat().st_mtime < 5:
                continue
            self.captures += 1
            if not self.captures % CHECKED:
                try:
                    open_capture(path.read_bytes(), self._house.private)
                except ValueError:
                    self.unread += 1
            path.unlink()

    async def close(self) -> None:
        self._server.close()


class Callers:
    """So many callers at once, each of whom calls again as soon as a call is over, the next time in another way."""

    def __init__(self, house: House, authority: Authority, calls: int, pace: Pace) -> None:
        self._house, self._calls, self._wait = house, calls, pace.wait
        self.kinds, self.failed = Counter[str](), Counter[str]()
        self.stopping = False
        self._port = 9  # for who is not to hear what is played
        self._voices, self._names = Voices(), itertools.count()
        self._endpoint = Endpoint(
            "127.0.0.1", 0, lambda call: call.reject(486), Log("bench", io.StringIO()), SipLimits(calls=5000),
            tls=Tls(ca=authority.file),
        )  # fmt: skip
        self._ways: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("message", lambda: self._speak(pace.tone + pace.words, False)),
            ("message, encrypted", lambda: self._speak(pace.tone + pace.words, True)),
            ("hung up in the greeting", lambda: self._speak(pace.wait, False)),
            ("hung up in the greeting, encrypted", lambda: self._speak(pace.wait, True)),
            ("hung up at the tone", lambda: self._speak(pace.tone, False)),
            ("message, encrypted", lambda: self._speak(pace.tone + 1.5 * pace.words, True)),
            ("cancelled", self._cancelled),
            ("never acknowledged", self._never_acknowledged),
            ("broken off in a new offer", self._half_a_new_offer),
            ("vanished", self._vanished),
            ("refused", self._refused),
            ("half a handshake", self._half_a_handshake),
        ]

    async def start(self) -> None:
        await self._endpoint.start()
        self._voices.start()

    async def practise(self) -> None:
        """One call of every kind, so that what is made once is there before anything is counted."""
        await asyncio.gather(*(way() for _, way in self._ways), asyncio.sleep(40))

    async def keep_calling(self) -> None:
        await asyncio.gather(*(self._caller(number) for number in range(self._calls)))

    async def _caller(self, number: int) -> None:
        await asyncio.sleep(number * 0.05)
        for kind in itertools.count(number):
            if self.stopping:
                return
            name, way = self._ways[kind % len(self._ways)]
            self.kinds[name] += 1
            try:
                await way()
            except Exception as error:  # one caller's trouble is counted, and the next call is made
                self.failed[f"{name}: {type(error).__name__} {getattr(error, 'code', '')}"] += 1
                await asyncio.sleep(1)

    async def close(self) -> None:
        self._voices.running = False
        self._voices.join()
        self._voices.socket.close()
        await self._endpoint.close()

    async def _dial(self, encrypted: bool) -> OutgoingCall:
        uri = self._house.uri
        if encrypted:
            uri = f"sip:{DIALLED}@127.0.0.1:{self._house.port + 1};transport=tls"
        local = self._voices.socket.getsockname()
        leg = await self._endpoint.dial(uri, local, (Codec.PCMU,), f"9{next(self._names):06d}")
        if encrypted and leg.security.keys is None:
            leg.hangup()
            raise CallFailed(488, "not encrypted")
        return leg

    async def _speak(self, seconds: float, encrypted: bool) -> None:
        leg = await self._dial(encrypted)
        over = asyncio.Event()
        leg.on_end = lambda reason: over.set()
        voice = Voice(leg.remote.remote, leg.security.keys)
        self._voices.add(voice)
        try:
            await asyncio.sleep(min(1.0, self._wait / 2))
            self._voices.press(voice, "0")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), seconds)
        finally:
            self._voices.remove(voice)
            leg.hangup()

    def _named(self) -> dict[str, str]:
        one = next(self._names)
        uri = f"sip:{DIALLED}@127.0.0.1:{self._house.port}"
        return {"call_id": f"grow{one}", "branch": f"z9hG4bKg{one}", "from_tag": f"g{one}", "uri": uri}

    async def _cancelled(self) -> None:
        async with phone(self._house.port) as client:
            named = self._named()
            client.send(message("INVITE", client.port, body=offer(self._port), **named))
            client.send(message("CANCEL", client.port, **named))
            await asyncio.sleep(self._wait)
            for data in client.pending():
                if data.startswith(b"SIP/2.0 487") or b"CSeq: 1 INVITE" in data:
                    client.send(message("ACK", client.port, **named))
                    return

    async def _never_acknowledged(self) -> None:
        async with phone(self._house.port) as client:
            client.send(message("INVITE", client.port, body=offer(self._port), **self._named()))
            await client.response()
            await asyncio.sleep(self._wait)

    async def _acknowledged(self, client: Any, named: dict[str, str]) -> str:
        """A call up to its ACK; the tag of the other side."""
        client.send(message("INVITE", client.port, body=offer(self._port), **named))
        tag: str = (await client.response()).to.tag
        client.send(message("ACK", client.port, to_tag=tag, **(named | {"branch": named["branch"] + "a"})))
        return tag

    async def _half_a_new_offer(self) -> None:
        async with phone(self._house.port) as client:
            named = self._named()
            tag = await self._acknowledged(client, named)
            again = named | {"branch": named["branch"] + "b"}
            client.send(message("INVITE", client.port, 2, to_tag=tag, body=offer(self._port), **again))
            await asyncio.sleep(self._wait)

    async def _vanished(self) -> None:
        """Acknowledged, then nothing more: neither sound nor an answer to BYE."""
        async with phone(self._house.port) as client:
            await self._acknowledged(client, self._named())
            await asyncio.sleep(self._wait)

    async def _refused(self) -> None:
        async with phone(self._house.port) as client:
            for body in (offer(formats="18"), "v=0\r\nm=audio", ""):
                named = self._named()
                client.send(
                    message("INVITE", client.port, body=body, extra="Require: x\r\n" * (not body), **named)
                )
                await client.response()
            await asyncio.sleep(self._wait)

    async def _half_a_handshake(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._house.port + 1)
        writer.write(struct.pack("!BHH", 22, 0x0301, 200) + b"\x01" + bytes(40))
        await asyncio.sleep(self._wait)
        writer.close()
        half, other = await asyncio.open_connection("127.0.0.1", self._house.port)
        other.write(message("INVITE", 9, body=offer(), transport="TCP")[:200])
        await asyncio.sleep(self._wait)
        other.close()
        del reader, half
