"""Our endpoint against a hand-driven client and against itself: the beginning and the end of a call."""

import asyncio
import io

import pytest
from tests.phone.endpoints import CODECS, LOCAL, QUICK, line, message, offer, phone, run, until

from nightbell.core.capture import Codec
from nightbell.core.errors import RefusedStart
from nightbell.core.log import Log
from nightbell.phone.endpoint import Endpoint, IncomingCall
from nightbell.sip import sdp


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_it_calls_itself_talks_and_hangs_up_from_either_side(transport: str) -> None:
    async def story() -> None:
        ends: list[str] = []
        async with line() as callee, line() as caller:
            for side in ("caller", "callee"):
                call = await caller.endpoint.dial(
                    callee.uri, ("127.0.0.1", 42000), CODECS, "5550100", transport
                )
                await until(lambda: "confirmed" in callee.events)
                there = callee.calls[-1]
                assert (there.dialled, there.caller) == ("line", "5550100")
                assert there.remote.remote == ("127.0.0.1", 42000)
                assert (call.remote.remote, call.codec) == (LOCAL, Codec.PCMU)
                ends.clear()
                call.on_end = ends.append
                (call if side == "caller" else there).hangup()
                await until(lambda: ends and "end:bye" in callee.events)
                await until(lambda: not callee.endpoint.calls and not caller.endpoint.calls)
                assert ends == ["bye"]
                assert callee.events == ["confirmed", "end:bye"]
                callee.events.clear()

    run(story())


def test_a_repeated_invite_makes_one_call_and_one_answer() -> None:
    async def story() -> None:
        async with line(lambda call: call.ring()) as it, phone(it.endpoint.port) as client:
            invite = message("INVITE", client.port, body=offer())
            client.send(invite)
            assert (await client.response()).code == 180
            for _ in range(3):
                client.send(invite)
                assert (await client.response()).code == 180  # the newest provisional answer again
            it.calls[0].answer(LOCAL, Codec.PCMA)
            answer = await client.response()
            assert (answer.code, len(it.calls)) == (200, 1)
            assert sdp.parse(answer.body).codecs == ((8, Codec.PCMA),)
            client.send(invite)
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            await until(lambda: "confirmed" in it.events)
            assert len(it.calls) == 1

    run(story())


def test_an_answer_is_repeated_until_its_ack() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            answers = [await client.response() for _ in range(3)]
            assert len({answer.to.tag for answer in answers}) == 1
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answers[0].to.tag))
            await until(lambda: it.events == ["confirmed"])
            client.pending()
            await asyncio.sleep(0.5)
            assert client.pending() == []
            assert it.endpoint.counters["retransmits"] >= 2

    run(story())


def test_an_answer_never_acknowledged_ends_with_bye() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            bye = await client.request(6.0)
            assert bye.method == "BYE"
            assert it.events == ["end:timeout"]

    run(story())


def test_a_caller_who_is_heard_is_kept_without_an_ack() -> None:
    async def story() -> None:
        def on_call(call: IncomingCall) -> None:
            call.heard = lambda: True
            call.answer(LOCAL, Codec.PCMU)

        async with line(on_call) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            answer = await client.response()
            await until(lambda: it.events == ["confirmed"])
            assert it.endpoint.counters["kept_unacknowledged"] == 1
            client.send(message("BYE", client.port, 2, branch="z9hG4bKb", to_tag=answer.to.tag))
            await until(lambda: it.events == ["confirmed", "end:bye"])

    run(story())


def test_hanging_up_before_the_ack_waits_for_it() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            answer = await client.response()
            it.calls[0].hangup()
            await asyncio.sleep(0.02)
            assert b"BYE" not in b"".join(data[:4] for data in client.pending())
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            bye = await client.request()
            assert bye.method == "BYE"
            assert bye.via.param("rport") is not None
            assert it.events == ["end:bye"]

    run(story())


def test_cancel_before_the_answer_ends_the_call() -> None:
    async def story() -> None:
        async with line(lambda call: call.ring()) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            await client.response()
            client.send(message("CANCEL", client.port))
            codes = {(r.cseq.method, r.code) for r in [await client.response(), await client.response()]}
            assert codes == {("CANCEL", 200), ("INVITE", 487)}
            client.send(message("ACK", client.port))
            it.calls[0].answer(LOCAL, Codec.PCMU)  # too late: nothing happens
            await asyncio.sleep(0.2)
            assert it.events == ["end:cancel"]
            assert it.endpoint.calls == 0

    run(story())


def test_cancel_after_the_answer_changes_nothing() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            answer = await client.response()
            client.send(message("CANCEL", client.port))
            while (response := await client.response()).cseq.method != "CANCEL":
                pass
            assert response.code == 200
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            await until(lambda: it.events == ["confirmed"])
            assert it.endpoint.calls == 1

    run(story())


def test_it_speaks_ipv6() -> None:
    async def story() -> None:
        taken: list[IncomingCall] = []

        def on_call(call: IncomingCall) -> None:
            taken.append(call)
            call.answer(("::1", 40000), Codec.PCMU)

        callee = Endpoint("::1", 0, on_call, Log("test", io.StringIO()), timing=QUICK)
        caller = Endpoint("::1", 0, on_call, Log("test", io.StringIO()), timing=QUICK)
        await callee.start()
        await caller.start()
        for transport in ("udp", "tcp"):
            uri = f"sip:line@[::1]:{callee.port};transport={transport}"
            call = await caller.dial(uri, ("::1", 42000), CODECS)
            assert call.remote.remote == ("::1", 40000)
            await until(lambda: len(taken) == 1 and taken[0].confirmed)
            taken.pop().hangup()
            await until(lambda: call.ended and not callee.calls)  # noqa: B023
        await caller.close()
        await callee.close()

    run(story())


def test_the_wildcard_address_is_never_shown() -> None:
    async def story() -> None:
        bodies: list[str] = []
        callee = Endpoint(
            "0.0.0.0", 0, lambda call: call.answer(LOCAL, Codec.PCMU), Log("test", io.StringIO())
        )
        await callee.start()
        async with phone(callee.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            answer = await client.response()
            bodies.append(answer.get("contact"))
        await callee.close()
        assert bodies == [f"<sip:127.0.0.1:{callee.port}>"]

    run(story())


def test_a_taken_port_refuses_to_start_and_says_so() -> None:
    async def story() -> None:
        async with line() as it:
            other = Endpoint("127.0.0.1", it.endpoint.port, print, Log("test", io.StringIO()))
            with pytest.raises(RefusedStart, match="NIGHTBELL_SIP_PORT"):
                await other.start()

    run(story())
