"""aiortc's DTLS-SRTP as a caller, under SIP that is written by hand: in the one call it begins the handshake, in the other it
lets us begin."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from tests.interop.test_encrypted_sound import Street, noise
from tests.interop.test_matrix import long_enough, samples
from tests.phone.endpoints import Phone, message, phone
from tests.phone.house import DIALLED, PRACTICE
from tests.sound import Samples

from nightbell.core.capture import Capture, Codec
from nightbell.sip import g711
from nightbell.sip.dtmf import key_press
from nightbell.sip.message import Response
from nightbell.sip.rtp import RtpPacket, pack

CALLERS = {"5550101": "client", "5550102": "server"}  # the part of aiortc, by its number
LONGEST = 30.0  # seconds


@dataclass
class Made:
    """One call as the caller and as the phone had it. gone: the phone hung up."""

    heard: Samples
    gone: bool
    capture: Capture | None


class Wire(asyncio.DatagramProtocol):
    """What aiortc takes for its way through ICE: one socket, and an other side that is known."""

    role = "controlled"

    def __init__(self) -> None:
        self._came: asyncio.Queue[bytes] = asyncio.Queue()
        self.to = ("127.0.0.1", 0)

    def connection_made(self, transport: Any) -> None:
        self._socket = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._came.put_nowait(data)

    async def _recv(self) -> bytes:
        return await self._came.get()

    async def _send(self, data: bytes) -> None:
        self._socket.sendto(data, self.to)

    def close(self) -> None:
        self._socket.close()


class Ear:
    """All sound that comes, decrypted by aiortc."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        self.payloads.append(packet.payload)

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        pass

    def _handle_disconnect(self) -> None:
        pass


class Caller:
    """One call."""

    def __init__(self, number: str, sip: Phone, wire: Wire) -> None:
        self.number, self._sip, self._wire = number, sip, wire
        way: Any = wire
        self.ear, self._transport = Ear(), RTCDtlsTransport(way, [RTCCertificate.generateCertificate()])
        self._transport._set_role(CALLERS[number])
        self._transport._rtp_router.register_receiver(self.ear, [], [0])
        self._sequence, self._tag = 0, ""

    def _say(self, method: str, cseq: int, branch: str, body: str = "") -> None:
        text = message(
            method, self._sip.port, cseq, branch=f"z9hG4bK{self.number}{branch}", call_id=f"a{self.number}", body=body,
            to_tag=self._tag, uri=f"sip:{DIALLED}@127.0.0.1",
        )  # fmt: skip
        self._sip.send(text.replace(b"sip:5550100@", f"sip:{self.number}@".encode()))

    def _offer(self) -> str:
        prints = {one.algorithm: one.value for one in self._transport.getLocalParameters().fingerprints}
        setup = "actpass" if CALLERS[self.number] == "client" else "passive"
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {self._wire.port} UDP/TLS/RTP/SAVPF 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
            f"a=fingerprint:sha-256 {prints['sha-256']}\r\na=setup:{setup}\r\n"
        )

    async def begin(self) -> None:
        """Call, and do the handshake."""
        self._say("INVITE", 1, "i", self._offer())
        answer = await self._sip.response()
        assert answer.code == 200
        self._tag = answer.to.tag
        await self._secure(answer)
        assert self._transport.state == "connected"

    async def _secure(self, answer: Response) -> None:
        body = answer.body.decode()
        theirs = re.search(r"a=fingerprint:(\S+) (\S+)\r\n", body)
        port = re.search(r"m=audio (\d+) UDP/TLS/RTP/SAVPF ", body)
        assert theirs and port
        assert ("a=setup:passive" in body) is (CALLERS[self.number] == "client")
        self._wire.to = ("127.0.0.1", int(port[1]))
        self._say("ACK", 1, "k")
        mark = RTCDtlsFingerprint(theirs[1], theirs[2])
        async with asyncio.timeout(5):
            await self._transport.start(RTCDtlsParameters([mark]))

    async def press(self, key: str, at: int) -> None:
        for packet in key_press(key, 101, self._sequence, at, 9):
            await self._transport._send_rtp(pack(packet))
            self._sequence += 1

    async def speak(self) -> None:
        """A frame every 20 ms, until this is cancelled."""
        sound = g711.encode(noise().astype("<i2").tobytes(), Codec.PCMU)
        loop, number = asyncio.get_running_loop(), 0
        began = loop.time()
        while (number + 1) * 160 <= len(sound):
            frame = sound[number * 160 : (number + 1) * 160]
            packet = RtpPacket(0, False, self._sequence & 0xFFFF, 8_000 + number * 160, 9, frame)
            await self._transport._send_rtp(pack(packet))
            self._sequence += 1
            number += 1
            await asyncio.sleep(max(0.0, began + number * 0.02 - loop.time()))

    async def end(self, ours: bool) -> None:
        """ours: the phone hangs up, at '#'."""
        if ours:
            await self.press("#", 900_000)
            assert (await self._sip.request(15)).method == "BYE"
        else:
            self._say("BYE", 2, "b")
            assert (await self._sip.response()).code == 200
        await self._transport.stop()


@contextlib.asynccontextmanager
async def caller(street: Street, number: str) -> AsyncIterator[Caller]:
    loop = asyncio.get_running_loop()
    async with phone(street.house.port) as sip:
        _, wire = await loop.create_datagram_endpoint(Wire, local_addr=("127.0.0.1", 0))
        try:
            yield Caller(number, sip, wire)
        finally:
            wire.close()


async def call(street: Street, number: str) -> bytes:
    """What it heard, as mu-law. Who is a client is the one whom we hang up on."""
    async with caller(street, number) as one:
        await one.begin()
        await one.press("0", 100)
        speaking = asyncio.create_task(one.speak())
        async with asyncio.timeout(LONGEST):
            while number not in await asyncio.to_thread(long_enough, street):
                await asyncio.sleep(0.3)
        speaking.cancel()
        await one.end(CALLERS[number] == "client")
        return b"".join(one.ear.payloads)


async def calls(street: Street) -> dict[str, Made]:
    """All calls at once, to a phone of their own."""
    house = street.house
    house.lines[PRACTICE]["number"] = ""  # the last words are short without
    (house.folder / "snapshot.json").write_bytes(house.signed(2))
    house.settings |= {"NIGHTBELL_RTP_PORTS": "32700-32759"}
    await asyncio.to_thread(house.start)
    try:
        heard = await asyncio.gather(*(call(street, number) for number in CALLERS))
        captures = await asyncio.to_thread(house.wait_for_captures, len(CALLERS))
    finally:
        await asyncio.to_thread(house.stop)
    by_number = {one.meta.caller: one for one in captures}
    return {
        number: Made(samples(sound, Codec.PCMU), CALLERS[number] == "client", by_number.get(number))
        for number, sound in zip(CALLERS, heard, strict=True)
    }
