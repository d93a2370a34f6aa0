"""What strangers and careless carriers do to the wire, from addresses of their own (127.0.0.2 and on)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.phone.certs import Authority
from tests.phone.endpoints import CODECS, LOCAL, UNHURRIED, line, message, offer, run, until
from tests.phone.test_endpoint_tcp import Stream
from tests.phone.test_endpoint_tls import over_tls

from nightbell.phone.endpoint import Limits
from nightbell.phone.policy import Policy
from nightbell.phone.tls import Tls
from nightbell.sip.message import Response, parse
from nightbell.sip.transaction import Timing
from nightbell.sip.trunk import Kind, Trunk

CARRIER, STRANGER, ELSEWHERE = "127.0.0.2", "127.0.0.3", "127.0.0.4"
DATAGRAMS = Trunk(
    "01A", "t", Kind.ADDRESS, domain="carrier.example", sources=(CARRIER,), transport="udp", plain=True
)
STREAMS = replace(DATAGRAMS, transport="tcp")
ENCRYPTED = Trunk("01B", "t", Kind.ADDRESS, sources=(CARRIER,))
CERTIFIED = Trunk("01C", "t", Kind.CERTIFICATE, peer_name="sbc.carrier.example")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Tls:
    return Tls(authority.issue("127.0.0.1"), ca=authority.file)


@contextlib.asynccontextmanager
async def stream_from(host: str, port: int, context: ssl.SSLContext | None = None) -> AsyncIterator[Stream]:
    name = None if context is None else "127.0.0.1"
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=name, local_addr=(host, 0)
    )
    try:
        yield Stream(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


class Listening:
    """A TCP server of somebody: it says `words` to whoever connects, and keeps what it is told."""

    def __init__(self, words: bytes) -> None:
        self._words, self.met, self.heard = words, 0, b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        writer.write(self._words)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                self.heard += data
        writer.close()


def test_one_forged_datagram_makes_nobody_a_carrier() -> None:
    """Its Contact must not make us open a connection to a third machine, which then would speak as the carrier."""

    async def story() -> None:
        other = Listening(message("INVITE", 5060, body=offer(), call_id="c2", transport="TCP"))
        server = await asyncio.start_server(other, STRANGER, 0)
        port = server.sockets[0].getsockname()[1]
        policy = Policy([DATAGRAMS], local=False)
        wire, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=(CARRIER, 0)
        )
        async with line(policy=policy, timing=Timing(0.01, 0.05, 0.1)) as it:
            contact = f"<sip:5550100@{STRANGER}:{port};transport=tcp>".encode()
            forged = message("INVITE", 5060, body=offer())
            forged = forged.replace(b"<sip:5550100@127.0.0.1:5060>", contact)
            wire.sendto(forged, ("127.0.0.1", it.endpoint.port))
            await until(lambda: it.events == ["end:timeout"])
            await asyncio.sleep(0.2)
            assert other.met == 0 and len(it.calls) == 1
        wire.close()
        server.close()

    run(story())


@pytest.mark.parametrize("named", [True, False])
def test_whom_we_call_over_tcp_is_not_therefore_a_carrier(named: bool) -> None:
    async def story() -> None:
        other = Listening(message("INVITE", 5060, body=offer(), call_id="c2", transport="TCP"))
        server = await asyncio.start_server(other, STRANGER, 0)
        port = server.sockets[0].getsockname()[1]
        trunk = DATAGRAMS if named else replace(DATAGRAMS, domain="")
        async with line(policy=Policy([trunk], local=False)) as it:
            dialling = asyncio.create_task(
                it.endpoint.dial(f"sip:a@{STRANGER}:{port};transport=tcp", LOCAL, CODECS)
            )
            await until(lambda: b"INVITE" in other.heard)
            await asyncio.sleep(0.2)
            assert it.calls == [] and b"\nSIP/2.0 " not in other.heard
            assert it.endpoint.counters["strangers"] == 1
            dialling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await dialling
        server.close()

    run(story())


def test_connections_of_strangers_keep_no_carrier_out(tls: Tls, authority: Authority) -> None:
    """A trunk that is known by its certificate opens the port to everybody. One host that comes 40 times a second
    and never says a word, for as long as this takes."""
    pair = authority.issue("sbc.carrier.example")
    limits = Limits(handshakes=20, connections=30)

    async def flood(port: int) -> None:
        async with contextlib.AsyncExitStack() as held:
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(STRANGER, 0))
                    held.callback(writer.close)
                await asyncio.sleep(0.025)

    async def asks(port: int, host: str, context: ssl.SSLContext, number: int) -> int:
        async with stream_from(host, port, context) as client:
            client.send(over_tls("OPTIONS", client.port, branch=f"z9hG4bK{host}{number}"))
            return (await client.response()).code

    async def story() -> None:
        async with line(tls=tls, policy=Policy([ENCRYPTED, CERTIFIED], local=False), limits=limits) as it:
            port = it.endpoint.sips_port
            work = asyncio.create_task(flood(port))
            await until(lambda: it.endpoint.counters["connections_refused"] > 5)
            for number in range(8):
                assert await asks(port, CARRIER, authority.client(), number) == 200
                assert await asks(port, ELSEWHERE, authority.client(pair), number) == 200
                await asyncio.sleep(0.2)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    run(story())


def test_a_carrier_that_hurries_is_told_to_wait_and_keeps_its_connection() -> None:
    async def story() -> None:
        limits = Limits(rate=5, burst=10)
        async with (
            line(policy=Policy([STREAMS], local=False), limits=limits) as it,
            stream_from(CARRIER, it.endpoint.port) as client,
        ):
            for number in range(30):
                names = {"branch": f"z9hG4bK{number}", "call_id": f"c{number}"}
                client.send(message("INVITE", client.port, body=offer(), transport="TCP", **names))
            answers = [await client.response() for _ in range(30)]
            busy = [one for one in answers if one.code == 503]
            assert 15 <= len(busy) <= 20 and len(it.calls) == 30 - len(busy)
            assert all(int(one.get("retry-after")) > 0 for one in busy)
            assert it.endpoint.counters["throttled"] == len(busy)
            client.send(message("ACK", client.port, branch="z9hG4bK29", to_tag="x", transport="TCP"))
            await asyncio.sleep(0.5)
            client.send(message("OPTIONS", client.port, branch="z9hG4bKlate", transport="TCP"))
            assert (await client.response()).code == 200

    run(story())


def test_a_late_answer_costs_no_connection() -> None:
    async def story() -> None:
        async with (
            line(policy=Policy([STREAMS], local=False)) as it,
            stream_from(CARRIER, it.endpoint.port) as client,
        ):
            late = message("OPTIONS", client.port, transport="TCP", branch="z9hG4bKgone")
            client.send(b"SIP/2.0 200 OK\r\n" + late.partition(b"\r\n")[2])
            client.send(message("OPTIONS", client.port, transport="TCP"))
            assert (await client.response()).code == 200
            assert it.endpoint.counters["stray_responses"] == 1

    run(story())


def test_one_branch_for_many_requests_does_not_go_around_the_throttle() -> None:
    async def story() -> None:
        answers: list[Any] = []

        class Carrier(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                answers.append(parse(data))

        wire, _ = await asyncio.get_running_loop().create_datagram_endpoint(Carrier, local_addr=(CARRIER, 0))
        limits = replace(UNHURRIED, rate=1, burst=5)
        async with line(policy=Policy([DATAGRAMS], local=False), limits=limits) as it:
            for number in range(60):
                text = message("INVITE", 5060 + number, body=offer(), call_id=f"c{number}")
                wire.sendto(text, ("127.0.0.1", it.endpoint.port))
            for number in range(60):  # a tag of a call where there is none
                text = message("INVITE", 5060, body=offer(), call_id=f"d{number}", branch=f"z9hG4bKd{number}")
                tag = it.calls[0].local_tag if it.calls else ""
                text = text.replace(b"To: <sip:line@127.0.0.1>", f"To: <sip:line@h;tag={tag}>".encode())
                wire.sendto(text, ("127.0.0.1", it.endpoint.port))
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.2)
            assert 1 <= len(it.calls) <= 6
            assert {one.code for one in answers if isinstance(one, Response)} <= {100, 200}
        wire.close()

    run(story())


def test_the_oldest_handshake_of_strangers_makes_room_for_the_newest(tls: Tls, authority: Authority) -> None:
    pair = authority.issue("sbc.carrier.example")

    async def story() -> None:
        limits = Limits(unknown=2)
        async with (
            line(tls=tls, policy=Policy([CERTIFIED], local=False), limits=limits) as it,
            contextlib.AsyncExitStack() as held,
        ):
            port = it.endpoint.sips_port
            for number in range(2):
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=(f"127.0.1.{number + 1}", 0)
                )
                held.callback(writer.close)
            for number in range(3):  # who has proved himself no longer counts among them
                client = await held.enter_async_context(stream_from(ELSEWHERE, port, authority.client(pair)))
                client.send(over_tls("OPTIONS", client.port, branch=f"z9hG4bK{number}"))
                assert (await client.response()).code == 200
            assert it.endpoint.counters["handshakes_given_up"] == 1

    run(story())


def test_where_a_contact_is_a_name_a_lost_connection_is_opened_again_where_somebody_listens() -> None:
    async def story() -> None:
        other = Listening(b"")
        server = await asyncio.start_server(other, CARRIER, 0)
        port = server.sockets[0].getsockname()[1]
        async with line(policy=Policy([STREAMS], local=False)) as it:
            async with stream_from(CARRIER, it.endpoint.port) as client:
                invite = message("INVITE", client.port, body=offer(), transport="TCP")
                here = f"@127.0.0.1:{client.port};transport=tcp>".encode()
                client.send(invite.replace(here, f"@sbc.carrier.example:{port};transport=tcp>".encode()))
                answer = await client.response()
                client.send(
                    message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag, transport="TCP")
                )
                await until(lambda: it.events == ["confirmed"])
            await until(lambda: not it.endpoint.layer.transport.alive(it.calls[0].server.peer))
            it.calls[0].hangup()
            await until(lambda: other.heard.startswith(b"BYE "))
        server.close()

    run(story())
