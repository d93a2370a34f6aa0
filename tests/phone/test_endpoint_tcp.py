"""The endpoint over TCP: framing, keep-alives, bounds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.phone.endpoints import LOCAL, line, message, offer, run, until

from nightbell.phone.endpoint import Limits
from nightbell.sip.framing import Framer
from nightbell.sip.message import Request, Response, parse


class Stream:
    """A hand-driven SIP client over TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.port = writer.get_extra_info("sockname")[1]
        self._framer = Framer()
        self._got: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def next(self) -> Request | Response:
        while not self._got:
            async with asyncio.timeout(3):
                data = await self.reader.read(65536)
            assert data, "closed"
            self._got += self._framer.feed(data)
        return parse(self._got.pop(0))

    async def response(self) -> Response:
        while True:
            got = await self.next()
            if isinstance(got, Response) and got.code >= 180:
                return got

    async def closed(self) -> bytes:
        async with asyncio.timeout(3):
            return await self.reader.read()


@contextlib.asynccontextmanager
async def stream(port: int) -> AsyncIterator[Stream]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Stream(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def test_a_call_whose_messages_come_byte_by_byte() -> None:
    async def story() -> None:
        async with line() as it, stream(it.endpoint.port) as client:
            for byte in message("INVITE", client.port, body=offer(), transport="TCP"):
                client.send(bytes([byte]))
                await asyncio.sleep(0)
            answer = await client.response()
            assert ";transport=tcp" in answer.get("contact")
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag, transport="TCP"))
            await until(lambda: it.events == ["confirmed"])
            it.calls[0].hangup()
            bye = await client.next()
            while not isinstance(bye, Request):
                bye = await client.next()
            assert bye.method == "BYE"

    run(story())


def test_two_messages_in_one_segment_are_two() -> None:
    async def story() -> None:
        async with line() as it, stream(it.endpoint.port) as client:
            client.send(
                message("OPTIONS", client.port, transport="TCP")
                + message("OPTIONS", client.port, 2, branch="z9hG4bK2", transport="TCP")
            )
            assert [(await client.response()).cseq.number for _ in range(2)] == [1, 2]

    run(story())


def test_a_keep_alive_is_answered() -> None:
    async def story() -> None:
        async with line() as it, stream(it.endpoint.port) as client:
            client.send(b"\r\n\r\n")
            assert await client.reader.readexactly(2) == b"\r\n"

    run(story())


def test_a_message_without_length_gets_400_and_the_connection_is_closed() -> None:
    async def story() -> None:
        async with line() as it, stream(it.endpoint.port) as client:
            client.send(
                message("OPTIONS", client.port, transport="TCP").replace(b"Content-Length: 0\r\n", b"")
            )
            assert (await client.closed()).startswith(b"SIP/2.0 400 ")
            assert it.endpoint.counters["broken_streams"] == 1

    run(story())


def test_what_is_not_sip_is_closed_without_a_word() -> None:
    async def story() -> None:
        async with line() as it:
            for garbage in (b"\x16\x03\x01\x00\xff\x01\x00\x00", b"GET  / \r\n", b"A" * 40000):
                async with stream(it.endpoint.port) as client:
                    client.send(garbage)
                    with contextlib.suppress(ConnectionError):
                        assert await client.closed() == b""
            assert it.endpoint.counters["broken_streams"] == 3

    run(story())


def test_silent_and_dripping_connections_are_closed() -> None:
    async def story() -> None:
        async with (
            line(limits=Limits(hello=0.3)) as it,
            stream(it.endpoint.port) as silent,
            stream(it.endpoint.port) as drip,
        ):
            drip.send(b"OPTIONS sip:a@h SIP/2.0\r\n")
            async with asyncio.timeout(2):
                while not drip.reader.at_eof() and not drip.writer.transport.is_closing():
                    drip.send(b"X")
                    await asyncio.sleep(0.05)
            assert await silent.closed() == b""
            assert it.endpoint.counters["idle_closed"] == 2

    run(story())


@pytest.mark.parametrize("limits", [Limits(connections=3), Limits(per_host=3)])
def test_connections_are_bounded(limits: Limits) -> None:
    async def story() -> None:
        async with line(limits=limits) as it, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(stream(it.endpoint.port)) for _ in range(5)]
            await until(lambda: it.endpoint.counters["connections_refused"] == 2)
            clients[0].send(message("OPTIONS", clients[0].port, transport="TCP"))
            assert (await clients[0].response()).code == 200

    run(story())


def test_a_reader_that_stalls_is_cut_off() -> None:
    async def story() -> None:
        async with (
            line(limits=Limits(backlog=4096, rate=1e9, burst=10**9)) as it,
            stream(it.endpoint.port) as client,
        ):
            client.writer.transport.pause_reading()
            for n in range(20000):
                client.send(
                    message("OPTIONS", client.port, branch=f"z9hG4bK{n}", call_id=f"{n}", transport="TCP")
                )
                if n % 100 == 0:
                    await asyncio.sleep(0.001)
                    if it.endpoint.counters["slow_reader"]:
                        return
            raise AssertionError("it buffered without end")

    run(story())


def test_the_call_survives_its_connection() -> None:
    """BYE finds its way by a new connection when the first is gone."""

    async def story() -> None:
        async with line() as it:
            got: asyncio.Queue[bytes] = asyncio.Queue()

            async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                got.put_nowait(await reader.read(65536))
                writer.close()

            server = await asyncio.start_server(taken, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with stream(it.endpoint.port) as client:
                client.send(message("INVITE", port, body=offer(), transport="TCP"))
                answer = await client.response()
                client.send(message("ACK", port, branch="z9hG4bK2", to_tag=answer.to.tag, transport="TCP"))
                await until(lambda: it.events == ["confirmed"])
            await asyncio.sleep(0.05)
            it.calls[0].hangup()
            async with asyncio.timeout(3):
                assert (await got.get()).startswith(b"BYE ")
            server.close()

    run(story())


def test_an_answer_finds_its_way_when_the_connection_of_its_request_is_gone() -> None:
    """RFC 3261 §18.2.2: to where the Via says that the other side listens."""

    async def story() -> None:
        async with line(lambda call: call.ring()) as it:
            got: asyncio.Queue[bytes] = asyncio.Queue()

            async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                got.put_nowait(await reader.read(65536))
                writer.close()

            server = await asyncio.start_server(taken, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with stream(it.endpoint.port) as client:
                client.send(message("INVITE", port, body=offer(), transport="TCP"))
                await client.response()
            await asyncio.sleep(0.05)
            it.calls[0].answer(LOCAL, it.calls[0].remote.codecs[0][1])
            async with asyncio.timeout(3):
                assert (await got.get()).startswith(b"SIP/2.0 200 ")
            server.close()

    run(story())
