"""Risk no. 1: our endpoint against PJSIP and baresip, in both directions."""

import asyncio

import pytest
from tests.interop import child
from tests.interop.relay import lose_first_answer, udp_relay
from tests.phone.endpoints import CODECS, LOCAL, Line, line, run, until

from nightbell.core.capture import Codec
from nightbell.phone.endpoint import IncomingCall
from nightbell.sip.transaction import Timing

REAL = Timing()
STACKS = ["pjsip", "baresip"]


def answer_soon(call: IncomingCall) -> None:
    call.ring()
    asyncio.get_running_loop().call_later(0.2, call.answer, LOCAL, Codec.PCMU)


def address(it: Line, transport: str) -> str:
    return it.uri + (";transport=tcp" if transport == "tcp" else "")


@pytest.mark.parametrize("stack", STACKS)
def test_it_is_called_and_either_side_ends(stack: str) -> None:
    async def theirs(transport: str) -> None:
        async with line(answer_soon, timing=REAL) as it:
            caller = await child.start(stack, transport, address(it, transport), "up,wait=0.3,bye")
            word = await caller.done()
            await until(lambda: "end:bye" in it.events)
            assert word.get("up"), caller.told
            assert word["gone"]
            assert it.calls[0].dialled == "line"
            assert it.calls[0].caller == "5550100"
            assert it.events[0] == "confirmed"
            await until(lambda: not it.endpoint.calls)

    async def ours(transport: str) -> None:
        async with line(answer_soon, timing=REAL) as it:
            caller = await child.start(stack, transport, address(it, transport), "up,end")
            await until(lambda: "confirmed" in it.events, 10)
            await asyncio.sleep(0.3)
            it.calls[0].hangup()
            word = await caller.done()
            assert word.get("gone"), caller.told
            await until(lambda: not it.endpoint.calls)
            assert it.endpoint.counters["errors"] == 0

    async def all_of_them() -> None:
        await asyncio.gather(*(one(transport) for one in (theirs, ours) for transport in ("udp", "tcp")))

    run(all_of_them(), 60)


@pytest.mark.parametrize("stack", STACKS)
def test_it_is_put_on_hold_and_resumed(stack: str) -> None:
    async def story(transport: str) -> None:
        async with line(answer_soon, timing=REAL) as it:
            steps = "up,wait=1.5,hold,wait=0.7,resume,wait=0.7,bye"
            caller = await child.start(stack, transport, address(it, transport), steps)
            word = await caller.done()
            assert word.get("gone"), caller.told
            await until(lambda: "end:bye" in it.events)
            directions = [event.rpartition(":")[2] for event in it.events if event.startswith("media:")]
            assert "sendonly" in directions or "inactive" in directions, it.events
            assert directions[-1] == "sendrecv"
            assert it.calls[0].remote.port > 0
            assert len(it.calls) == 1

    async def all_of_them() -> None:
        await asyncio.gather(story("udp"), story("tcp"))

    run(all_of_them(), 60)


@pytest.mark.parametrize("stack", STACKS)
def test_the_caller_gives_up_while_it_rings(stack: str) -> None:
    async def story() -> None:
        async with line(lambda call: call.ring(), timing=REAL) as it:
            caller = await child.start(stack, "udp", it.uri, "wait=0.7,bye,end")
            word = await caller.done()
            assert word.get("gone"), caller.told
            assert it.events == ["end:cancel"]
            await until(lambda: not it.endpoint.calls)

    run(story(), 60)


def test_pjsip_when_our_first_answers_are_lost() -> None:
    async def story() -> None:
        async with (
            line(answer_soon, timing=REAL) as it,
            udp_relay(it.endpoint.port, lose_first_answer(2)) as relay,
        ):
            proxy = f"sip:127.0.0.1:{relay.port};lr"
            caller = await child.start("pjsip", "udp", it.uri, "up,wait=0.3,bye", proxy)
            word = await caller.done()
            assert word.get("up"), caller.told
            await until(lambda: "end:bye" in it.events)
            assert it.events == ["confirmed", "end:bye"]
            assert it.endpoint.counters["retransmits"] >= 2
            assert len(it.calls) == 1

    run(story(), 60)


@pytest.mark.parametrize("stack", STACKS)
def test_it_calls_them(stack: str) -> None:
    """baresip sends a re-INVITE about a second after its answer: it must be taken in stride."""

    async def story(transport: str, side: str) -> None:
        async with line(timing=REAL) as it:
            callee = await child.start(
                stack, transport, "listen", "up,wait=2,bye" if side == "theirs" else "up,end"
            )
            ends: list[str] = []
            uri = f"sip:5550100@127.0.0.1:{callee.port}"
            async with asyncio.timeout(15):
                call = await it.endpoint.dial(uri, LOCAL, CODECS, "line", transport)
            call.on_end = ends.append
            assert call.remote.port > 0
            if side == "ours":
                await asyncio.sleep(2)
                assert not ends
                call.hangup()
            word = await callee.done()
            assert word.get("gone"), callee.told
            await until(lambda: ends == ["bye"] and not it.endpoint.calls)
            assert it.endpoint.counters["errors"] == 0

    async def all_of_them() -> None:
        await asyncio.gather(*(story(t, side) for t in ("udp", "tcp") for side in ("ours", "theirs")))

    run(all_of_them(), 60)
