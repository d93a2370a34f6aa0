"""Helpers: endpoints on loopback, a plain UDP client, and a relay that loses what a rule says."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone.endpoint import Endpoint, IncomingCall, Limits
from nightbell.sip.message import Request, Response, parse
from nightbell.sip.transaction import Timing

LOCAL = ("127.0.0.1", 40000)
CODECS = (Codec.PCMU, Codec.PCMA)
QUICK = Timing(0.05, 0.4, 0.5)
UNHURRIED = Limits(rate=1e9, burst=10**9)  # for tests that are faster than any caller
T = TypeVar("T")


def run(story: Coroutine[Any, Any, T], seconds: float = 20.0) -> T:
    """Run one test's story with a limit."""

    async def limited() -> T:
        async with asyncio.timeout(seconds):
            return await story

    return asyncio.run(limited())


class Line:
    """An endpoint that notes what happens to its calls."""

    def __init__(self, on_call: Callable[[IncomingCall], None] | None = None, **options: Any) -> None:
        self.calls: list[IncomingCall] = []
        self.events: list[str] = []
        self.log = io.StringIO()
        self._on_call = on_call or (lambda call: call.answer(LOCAL, call.remote.codecs[0][1]))
        options.setdefault("timing", QUICK)
        options.setdefault("limits", UNHURRIED)
        bind = options.pop("bind", "127.0.0.1")
        self.endpoint = Endpoint(bind, 0, self._called, Log("test", self.log), **options)

    def _called(self, call: IncomingCall) -> None:
        self.calls.append(call)
        call.on_end = lambda reason: self.events.append(f"end:{reason}")
        call.on_media = lambda offer: self.events.append(f"media:{offer.port}:{offer.direction}")
        call.on_confirmed = lambda: self.events.append("confirmed")
        self._on_call(call)

    @property
    def uri(self) -> str:
        return f"sip:line@127.0.0.1:{self.endpoint.port}"


@contextlib.asynccontextmanager
async def line(on_call: Callable[[IncomingCall], None] | None = None, **options: Any) -> AsyncIterator[Line]:
    it = Line(on_call, **options)
    await it.endpoint.start()
    try:
        yield it
    finally:
        await it.endpoint.close()


async def until(true: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something holds; fail after a while."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


class Phone(asyncio.DatagramProtocol):
    """A hand-driven SIP client over UDP."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.wire: asyncio.DatagramTransport
        self.port = 0

    def connection_made(self, transport: Any) -> None:
        self.wire = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._inbox.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.wire.sendto(data, ("127.0.0.1", self._to))

    async def raw(self, seconds: float = 3.0) -> bytes:
        async with asyncio.timeout(seconds):
            return await self._inbox.get()

    async def response(self, seconds: float = 3.0) -> Response:
        """The next final response."""
        while True:
            message = parse(await self.raw(seconds))
            if isinstance(message, Response) and message.code >= 180:
                return message

    async def request(self, seconds: float = 3.0) -> Request:
        while True:
            message = parse(await self.raw(seconds))
            if isinstance(message, Request):
                return message

    def pending(self) -> list[bytes]:
        got = []
        while not self._inbox.empty():
            got.append(self._inbox.get_nowait())
        return got


@contextlib.asynccontextmanager
async def phone(to: int) -> AsyncIterator[Phone]:
    wire, it = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Phone(to), local_addr=("127.0.0.1", 0)
    )
    try:
        yield it
    finally:
        wire.close()


def offer(port: int = 41000, direction: str = "sendrecv", formats: str = "0 8 101") -> str:
    return (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    )


def message(
    method: str,
    port: int,
    cseq: int = 1,
    *,
    branch: str = "z9hG4bK1",
    to_tag: str = "",
    call_id: str = "c1",
    body: str = "",
    extra: str = "",
    uri: str = "sip:line@127.0.0.1",
    transport: str = "UDP",
    from_tag: str = "f1",
) -> bytes:
    tag = f";tag={to_tag}" if to_tag else ""
    kind = "Content-Type: application/sdp\r\n" if body and "Content-Type" not in extra else ""
    suffix = ";transport=tcp" if transport == "TCP" else ""
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:{port};branch={branch};rport\r\n"
        f"From: <sip:5550100@127.0.0.1>;tag={from_tag}\r\nTo: <sip:line@127.0.0.1>{tag}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {cseq} {method}\r\nContact: <sip:5550100@127.0.0.1:{port}{suffix}>\r\nMax-Forwards: 70\r\n"
        f"{extra}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def placed(client: Phone, **options: str) -> Response:
    """An answered and acknowledged call."""
    client.send(message("INVITE", client.port, body=offer(), **options))
    answer = await client.response()
    client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag, **options))
    return answer
