"""INVITEs whose sender may be forged: nothing is sent to the address in them, and they hold no line for ever."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.phone.endpoints import QUICK, line, message, offer, phone, run, until
from tests.phone.house import DIALLED, House

from nightbell.core.log import Log
from nightbell.phone.endpoint import Endpoint, Limits
from nightbell.phone.engine import Engine
from nightbell.phone.media import Media
from nightbell.phone.service import Phone
from nightbell.phone.snapshot import Holder
from nightbell.sealing.capture import open_capture
from nightbell.sip import sdp
from nightbell.sip.framing import Framer
from nightbell.sip.message import Response, parse
from nightbell.sip.rtp import RtpPacket, pack

USUAL = Limits()


class Ear(asyncio.DatagramProtocol):
    """The address that an offer names."""

    def __init__(self) -> None:
        self.heard = 0
        self.wire: asyncio.DatagramTransport
        self.port = 0

    def connection_made(self, transport: Any) -> None:
        self.wire, self.port = transport, transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard += 1

    def say(self, port: int, number: int = 0) -> None:
        packet = RtpPacket(0, False, number, number * 160, 7, b"\x55" * 160)
        self.wire.sendto(pack(packet), ("127.0.0.1", port))


class Lines:
    """A whole phone in this process, on the quick timers: it gives up on an ACK after 3.2 seconds."""

    def __init__(
        self, house: House, service: Phone, endpoint: Endpoint, log: io.StringIO, ear: Ear, media: Media
    ) -> None:
        self.house, self.phone, self.endpoint, self.log, self.ear = house, service, endpoint, log, ear
        self.media = media

    def invite(self, port: int, number: str = DIALLED, **options: Any) -> bytes:
        return message("INVITE", port, uri=f"sip:{number}@127.0.0.1", body=offer(self.ear.port), **options)

    def captures(self) -> list[str]:
        return [path.suffix for path in self.house.files()]


@contextlib.asynccontextmanager
async def lines(root: Path, limits: Limits = USUAL, **changes: object) -> AsyncIterator[Lines]:
    """changes: as House has them."""
    house, log = House(root, **changes), io.StringIO()
    media = Media("127.0.0.1", (38000, 39999), asyncio.get_running_loop().call_soon_threadsafe)
    holder = Holder(house.folder)
    engine = Engine(house.folder, holder, media, Log("test", log))
    service = Phone(house.folder, holder, engine, root / "none.sock", Log("test", log))
    endpoint = Endpoint("127.0.0.1", 0, service.on_call, Log("test", log), limits, QUICK)
    await endpoint.start()
    service.attach(endpoint)
    service.start()
    wire, ear = await asyncio.get_running_loop().create_datagram_endpoint(Ear, local_addr=("127.0.0.1", 0))
    try:
        yield Lines(house, service, endpoint, log, ear, media)
    finally:
        wire.close()
        await endpoint.close()
        service.close()


def test_nothing_is_sent_to_the_address_of_an_offer_before_the_ack(tmp_path: Path) -> None:
    async def story() -> None:
        async with lines(tmp_path) as it, phone(it.endpoint.port) as client:
            client.send(it.invite(client.port))
            answer = await client.response()
            await asyncio.sleep(1.5)
            assert it.ear.heard == 0
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            await until(lambda: it.ear.heard > 20)

    run(story())


def test_nothing_is_sent_to_the_address_of_an_offer_over_tcp_before_the_ack(tmp_path: Path) -> None:
    async def story() -> None:
        async with lines(tmp_path) as it:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.endpoint.port)
            port = writer.get_extra_info("sockname")[1]
            writer.write(it.invite(port, transport="TCP"))
            framer, answers = Framer(), list[Response]()
            while not answers:
                got = [parse(one) for one in framer.feed(await reader.read(4096))]
                answers = [one for one in got if isinstance(one, Response) and one.code == 200]
            await asyncio.sleep(1)
            assert it.ear.heard == 0
            writer.write(message("ACK", port, branch="z9hG4bK2", to_tag=answers[0].to.tag, transport="TCP"))
            await until(lambda: it.ear.heard > 20)
            writer.close()

    run(story())


def test_a_caller_whose_ack_is_lost_hears_us_as_soon_as_he_sounds(tmp_path: Path) -> None:
    async def story() -> None:
        async with lines(tmp_path) as it, phone(it.endpoint.port) as client:
            client.send(it.invite(client.port))
            port = sdp.parse((await client.response()).body).port
            it.ear.say(port)
            await until(lambda: it.ear.heard > 20)
            assert it.endpoint._unsettled == set()

    run(story())


def test_a_call_to_a_practice_that_nobody_confirmed_is_still_a_missed_call(tmp_path: Path) -> None:
    """Behind a firewall that lets no ACK and no sound in, every patient looks like this."""

    async def story() -> None:
        async with lines(tmp_path) as it, phone(it.endpoint.port) as client:
            client.send(it.invite(client.port))
            await until(lambda: it.captures() == [".cap"], 8)
            [capture] = it.house.files()
            assert open_capture(capture.read_bytes(), it.house.private).meta.caller == "5550100"
            assert it.phone.health()["never_confirmed"] == {"missed": 1}
            assert '"event":"call_never_confirmed"' in it.log.getvalue()
            assert "5550100" not in it.log.getvalue()
            assert it.ear.heard == 0

    run(story())


@pytest.mark.parametrize("sounds", [False, True])
def test_a_scan_of_numbers_that_are_nobodys_leaves_no_message_unless_somebody_is_heard(
    tmp_path: Path, sounds: bool
) -> None:
    async def story() -> None:
        async with lines(tmp_path) as it, phone(it.endpoint.port) as client:
            client.send(it.invite(client.port, "011972599999999"))
            port = sdp.parse((await client.response()).body).port
            if sounds:
                it.ear.say(port)
            await until(lambda: not it.endpoint.calls and not it.phone.works.stats().open_captures, 8)
            assert it.captures() == ([".cap"] if sounds else [])
            assert it.phone.health()["never_confirmed"] == ({} if sounds else {"dropped": 1})

    run(story())


def test_a_hang_up_by_whoever_read_our_answer_is_never_dropped(tmp_path: Path) -> None:
    async def story() -> None:
        async with lines(tmp_path) as it, phone(it.endpoint.port) as client:
            client.send(it.invite(client.port, "5559999999"))
            answer = await client.response()
            client.send(message("BYE", client.port, 2, branch="z9hG4bKb", to_tag=answer.to.tag))
            await until(lambda: it.captures() == [".cap"])

    run(story())


def test_an_unconfirmed_call_does_not_hold_up_a_drain(tmp_path: Path) -> None:
    async def story() -> None:
        async with lines(tmp_path) as it, phone(it.endpoint.port) as client:
            client.send(it.invite(client.port))
            await client.response()
            began = asyncio.get_running_loop().time()
            await it.phone.drain(0.1)
            assert asyncio.get_running_loop().time() - began < 2
            assert it.captures() == [".cap"]

    run(story())


def test_one_address_cannot_hold_every_line_with_calls_that_it_does_not_confirm() -> None:
    async def story() -> None:
        limits = Limits(calls=10, unconfirmed=2, unconfirmed_proven=4)
        async with line(limits=limits) as it, phone(it.endpoint.port) as client:

            async def call(name: str, ack: bool = False) -> int:
                client.send(
                    message("INVITE", client.port, branch=f"z9hG4bK{name}", call_id=name, body=offer())
                )
                while (got := await client.response()).call_id != name:
                    pass
                if ack:
                    client.send(
                        message("ACK", client.port, branch="z9hG4bKa", call_id=name, to_tag=got.to.tag)
                    )
                    await until(lambda: it.calls[-1].confirmed)
                else:
                    assert got.code != 503 or got.get("retry-after")
                return got.code

            assert [await call(f"a{n}") for n in range(3)] == [200, 200, 503]
            assert it.endpoint.counters["overload_unconfirmed"] == 1
            await until(lambda: not it.endpoint.calls, 8)  # given up
            assert [await call(f"b{n}", ack=True) for n in range(5)] == [200] * 5  # a carrier's
            assert [await call(f"c{n}") for n in range(5)] == [200] * 4 + [503]
            assert not it.endpoint._admission.admits("127.0.0.1")

    run(story())


def test_what_is_refused_hung_up_or_cancelled_gives_its_place_back() -> None:
    async def story() -> None:
        limits = Limits(unconfirmed=1, unconfirmed_proven=1)
        async with (
            line(lambda call: call.reject(486), limits=limits) as it,
            phone(it.endpoint.port) as client,
        ):
            for number in range(3):
                name = f"d{number}"
                client.send(
                    message("INVITE", client.port, branch=f"z9hG4bK{name}", call_id=name, body=offer())
                )
                while (got := await client.response()).call_id != name:
                    pass
                assert got.code == 486
                client.send(
                    message("ACK", client.port, branch=f"z9hG4bK{name}", call_id=name, to_tag=got.to.tag)
                )
            assert it.endpoint._admission.admits("127.0.0.1")

    run(story())
