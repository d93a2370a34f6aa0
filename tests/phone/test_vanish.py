"""Callers who are gone without a word, and callers who are only silent: who holds a line, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.phone.endpoints import LOCAL, Phone, line, message, offer, phone, placed, run, until
from tests.phone.test_session_timer import FAST, NO_UPDATE, OURS, answer
from tests.phone.test_spread_hangs import front
from tests.phone.test_unconfirmed import Lines, lines

from nightbell.core.capture import Codec, EndReason
from nightbell.phone.endpoint import IncomingCall, Limits
from nightbell.sealing.capture import open_capture
from nightbell.sip import sdp
from nightbell.sip.dtmf import key_press
from nightbell.sip.message import Request
from nightbell.sip.presence import Patience
from nightbell.sip.rtp import RtpPacket, pack

SOON = Limits(patience=Patience(0.15, 0.3, 3))
SOON_OVER = Limits(patience=Patience(0.15, 0.3, 0.4))
OFTEN = FAST._replace(second=0.002)  # a refresh every 0.09 seconds
QUICKLY = {"clips": {"en/notice-recorded": "builtin:digit-1"}}  # six seconds to the tone, with key 0


def silent(call: IncomingCall) -> None:
    """Answered by an application that hears nothing."""
    call.received = lambda: 0
    call.answer(LOCAL, Codec.PCMU)


async def question(client: Phone) -> Request:
    request = await client.request()
    while request.method == "ACK":
        request = await client.request()
    assert (request.method, request.get("accept")) == ("OPTIONS", "application/sdp")
    return request


def test_who_acknowledges_and_vanishes_is_let_go_of_and_nobody_waits_for_an_answer_to_the_bye() -> None:
    async def story() -> None:
        async with line(silent, limits=SOON_OVER) as it, phone(it.endpoint.port) as client:
            got = await placed(client)
            asked = await question(client)  # and the answer stays away
            assert (asked.to.tag, asked.sender.tag, asked.call_id) == ("f1", got.to.tag, "c1")
            while (bye := await client.request()).method == "OPTIONS":
                assert bye.cseq.number == asked.cseq.number  # copies, as over UDP
            assert (bye.method, bye.get("reason")) == ("BYE", 'SIP;cause=408;text="nobody is there"')
            assert bye.cseq.number == asked.cseq.number + 1
            assert (it.events, it.endpoint.calls) == (["confirmed", "end:timeout"], 0)
            assert (await client.request()).method == "BYE"  # goes on for a while, in its transaction alone
            await until(lambda: it.endpoint.layer.size <= 1, 8)  # the INVITE's
            assert it.endpoint.counters["ended_vanished"] == 1

    run(story())


@pytest.mark.parametrize("code", [200, 405, 501, 404])
def test_a_silent_telephone_that_answers_keeps_its_call(code: int) -> None:
    async def story() -> None:
        async with line(silent, limits=SOON) as it, phone(it.endpoint.port) as client:
            await placed(client)
            numbers = []
            for _ in range(3):
                asked = await question(client)
                numbers.append(asked.cseq.number)
                answer(client, asked, code)
            assert numbers == sorted(set(numbers))
            assert (it.events, it.endpoint.calls) == (["confirmed"], 1)

    run(story())


@pytest.mark.parametrize("code", [481, 408])
def test_who_knows_of_no_such_call_is_let_go_of_at_once(code: int) -> None:
    async def story() -> None:
        async with line(silent, limits=SOON) as it, phone(it.endpoint.port) as client:
            await placed(client)
            answer(client, await question(client), code)
            assert (await client.request()).method == "BYE"
            assert (it.events, it.endpoint.calls) == (["confirmed", "end:timeout"], 0)

    run(story())


@pytest.mark.parametrize("code", [0, 481])
def test_sound_while_we_ask_keeps_the_call(code: int) -> None:
    async def story() -> None:
        async with line(silent, limits=SOON) as it, phone(it.endpoint.port) as client:
            await placed(client)
            packets = 0
            it.calls[0].received = lambda: packets
            first = await question(client)
            packets += 1
            if code:
                answer(client, first, code)
            while (second := await question(client)).cseq.number == first.cseq.number:
                pass
            assert (it.events, it.endpoint.calls) == (["confirmed"], 1)
            answer(client, second)

    run(story())


def test_who_speaks_is_not_asked() -> None:
    async def story() -> None:
        async with line(silent, limits=SOON) as it, phone(it.endpoint.port) as client:
            await placed(client)
            packets = 0

            def received() -> int:
                nonlocal packets
                packets += 1
                return packets

            it.calls[0].received = received
            await asyncio.sleep(1)
            assert (client.pending(), it.endpoint.calls, it.endpoint.counters["asked_alive"]) == ([], 1, 0)

    run(story())


def test_a_request_of_the_other_side_is_a_sign_of_life() -> None:
    async def story() -> None:
        limits = Limits(patience=Patience(2, 2, 3))
        async with line(silent, limits=limits) as it, phone(it.endpoint.port) as client:
            got = await placed(client)
            for number in range(11):
                await asyncio.sleep(0.2)
                client.send(
                    message("OPTIONS", client.port, 2 + number, branch=f"z9hG4bKo{number}", to_tag=got.to.tag)
                )
                assert (await client.response()).code == 200
            assert it.endpoint.counters["asked_alive"] == 0

    run(story())


def test_between_our_answer_and_its_ack_the_answer_itself_is_what_is_repeated() -> None:
    async def story() -> None:
        async with line(silent, limits=SOON) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            await until(lambda: it.events == ["end:timeout"], 8)
            assert it.endpoint.calls == it.endpoint.counters["asked_alive"] == 0

    run(story())


def test_a_refresh_that_is_answered_asks_for_both() -> None:
    async def story() -> None:
        limits = Limits(patience=Patience(2, 2, 3))
        async with line(silent, limits=limits, timing=OFTEN) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=OURS)
            loop, methods = asyncio.get_running_loop(), list[str]()
            ends = loop.time() + 2.2
            while loop.time() < ends:
                request = await client.request()
                methods.append(request.method)
                answer(client, request, 200, "Session-Expires: 90;refresher=uac")
            assert set(methods) == {"UPDATE"}
            assert (it.endpoint.calls, it.endpoint.counters["asked_alive"]) == (1, 0)

    run(story())


@pytest.mark.parametrize("extra", [OURS, NO_UPDATE])
def test_who_leaves_our_refresh_without_an_answer_is_let_go_of_as_for_a_question(extra: str) -> None:
    async def story() -> None:
        limits = Limits(patience=Patience(0.3, 0.6, 0.4))
        async with line(silent, limits=limits, timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=extra)
            while (request := await client.request()).method != "BYE":
                pass
            assert request.get("reason") == 'SIP;cause=408;text="nobody is there"'
            assert (it.events, it.endpoint.calls) == (["confirmed", "end:timeout"], 0)

    run(story())


def test_who_is_behind_a_nat_is_asked_where_his_requests_come_from() -> None:
    async def story() -> None:
        async with line(silent, limits=SOON) as it, phone(it.endpoint.port) as client:
            invite = message("INVITE", client.port, body=offer())
            client.send(invite.replace(b"sip:5550100@127.0.0.1:", b"sip:5550100@192.168.77.7:"))
            got = await client.response()
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=got.to.tag))
            asked = await question(client)
            assert asked.uri.host == "192.168.77.7"
            async with phone(it.endpoint.port) as anew:  # the NAT gave it another port
                anew.send(message("OPTIONS", anew.port, 2, branch="z9hG4bK3", to_tag=got.to.tag))
                assert (await anew.response()).code == 200
                answer(anew, await question(anew))
                assert (it.events, it.endpoint.calls) == (["confirmed"], 1)
                it.calls[0].hangup()
                assert (await anew.request()).method == "BYE"

    run(story())


def test_a_refresh_waits_for_the_answer_to_our_question_and_a_question_for_a_refresh() -> None:
    async def story() -> None:
        limits = Limits(patience=Patience(0.2, 0.3, 2))
        async with line(silent, limits=limits, timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=OURS)
            asked = await question(client)
            await asyncio.sleep(0.15)  # the refresh is due
            assert it.endpoint.counters["refreshes"] == 0
            answer(client, asked)
            while (update := await client.request()).method != "UPDATE":
                pass
            await asyncio.sleep(0.6)  # the next question is due
            assert it.endpoint.counters["asked_alive"] == 1
            answer(client, update, 200, "Session-Expires: 90;refresher=uac")
            assert it.endpoint.calls == 1

    run(story())


def test_who_only_says_that_our_refresh_is_on_its_way_is_asked_all_the_same() -> None:
    """A proxy says 100 to an INVITE, and nothing may ever follow (RFC 3261 §17.1.1.2)."""

    async def story() -> None:
        limits = Limits(patience=Patience(0.4, 0.4, 3))
        async with line(silent, limits=limits, timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=NO_UPDATE)
            invite = await client.request()
            assert invite.method == "INVITE"
            answer(client, invite, 100)
            answer(client, await question(client), 481)
            assert (await client.request()).method == "BYE"
            assert it.endpoint.calls == 0

    run(story())


def test_a_call_that_we_placed_ends_too_when_nobody_is_there() -> None:
    async def story() -> None:
        async with line(limits=SOON_OVER) as ours, phone(ours.endpoint.port) as gone:
            call = asyncio.create_task(
                ours.endpoint.dial(f"sip:x@127.0.0.1:{gone.port}", LOCAL, (Codec.PCMU,), "5550100")
            )
            invite = await gone.request()
            answer(gone, invite, 200, body=offer())
            ended: list[str] = []
            leg = await call
            leg.on_end, leg.received = ended.append, lambda: 0
            await question(gone)
            await until(lambda: ended == ["timeout"] and not ours.endpoint.calls)

    run(story())


class Speaker:
    """Key 0, then sound, at their pace."""

    def __init__(self, say: Callable[[bytes], None]) -> None:
        self._say, self.sent = say, list[bytes]()

    async def speak(self, seconds: float) -> None:
        for packet in key_press("0", 101, 0, 0, 7):
            self._say(pack(packet))
        for number in range(100, 100 + int(seconds * 50)):
            payload = bytes([0x20 + number % 64]) * 160
            self._say(pack(RtpPacket(0, False, number, number * 160, 7, payload)))
            self.sent.append(payload)
            await asyncio.sleep(0.02)


def test_what_was_said_is_kept_and_the_line_is_free(tmp_path: Path) -> None:
    """The whole phone: slot, port and file are free within the limits, and the message ends as with a hang-up."""

    async def story() -> None:
        limits = Limits(patience=Patience(1, 1, 0.4))
        async with lines(tmp_path, limits, **QUICKLY) as it, phone(it.endpoint.port) as client:
            client.send(it.invite(client.port).replace(b"sip:5550100@", b"sip:5552017123@"))
            got = await client.response()
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=got.to.tag))
            target = ("127.0.0.1", sdp.parse(got.body).port)
            speaker = Speaker(lambda data: it.ear.wire.sendto(data, target))
            await speaker.speak(8)
            assert it.phone.works.calls == 1
            await until(lambda: not it.phone.works.calls, 1.2 + 0.4 + 1)
            assert (it.endpoint.calls, it.phone.works.stats().open_captures) == (0, 0)
            await until(lambda: not it.media.open_ports, 0.2)
            [file] = it.house.files("cap")
            capture = open_capture(file.read_bytes(), it.house.private)
            said = [packet.payload for packet in capture.packets]
            assert len(said) > 50
            assert said == speaker.sent[-len(said) :]
            assert capture.end is not None
            assert capture.end.reason is EndReason.HANG_UP

    run(story())


REPORT, CHECK, HANDSHAKE = (
    b"\x81\xc9\0\1\0\0\0\7",
    b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12),
    b"\x16\xfe\xfd" + bytes(20),
)


def test_a_report_a_check_of_the_way_or_a_handshake_is_a_sign_of_life(tmp_path: Path) -> None:
    """RTCP, STUN and DTLS, of telephones that send no sound while their users are silent."""

    async def kept(it: Lines, data: bytes) -> None:
        name = f"s{data[0]}"
        async with phone(it.endpoint.port) as client:
            client.send(it.invite(client.port, call_id=name, branch=f"z9hG4bK{name}"))
            got = await client.response()
            client.send(
                message("ACK", client.port, branch=f"z9hG4bKa{name}", call_id=name, to_tag=got.to.tag)
            )
            target = ("127.0.0.1", sdp.parse(got.body).port)
            for _ in range(11):
                it.ear.wire.sendto(data, target)
                await asyncio.sleep(0.2)
            assert client.pending() == []

    async def story() -> None:
        async with lines(tmp_path, Limits(patience=Patience(2, 2, 3))) as it:
            await asyncio.gather(*(kept(it, data) for data in (REPORT, CHECK, HANDSHAKE)))
            assert (it.phone.works.calls, it.endpoint.counters["asked_alive"]) == (3, 0)

    run(story())


@pytest.mark.slow
def test_engines_tell_of_signs_of_life_and_let_go_of_who_is_gone(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            front(tmp_path, Limits(patience=Patience(2.6, 3, 1.2))) as it,
            phone(it.house.port) as client,
        ):
            invite = {"uri": it.house.uri, "call_id": "spread"}
            wire, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
            )
            own = wire.get_extra_info("sockname")[1]
            client.send(message("INVITE", client.port, body=offer(own), **invite))
            got = await client.response()
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=got.to.tag, **invite))
            target = ("127.0.0.1", sdp.parse(got.body).port)
            for number in range(160):
                wire.sendto(pack(RtpPacket(0, False, number, number * 160, 7, b"\x55" * 160)), target)
                await asyncio.sleep(0.02)
            assert it.works.calls == 1
            assert client.pending() == []
            await until(lambda: not it.works.calls, 8)
            wire.close()
            assert [Path(one).suffix for one in it.house.files()] == [".cap"]

    run(story())
