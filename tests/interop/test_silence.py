"""Telephones of others that are asked whether they are still there: whatever they answer, their calls go on."""

import asyncio

from tests.interop import child
from tests.phone.endpoints import LOCAL, line, run, until

from nightbell.core.capture import Codec
from nightbell.phone.endpoint import IncomingCall, Limits
from nightbell.sip.presence import Patience
from nightbell.sip.transaction import Timing

LIMITS = Limits(patience=Patience(0.5, 0.8, 3))


def deaf(call: IncomingCall) -> None:
    """Answered as if no sound ever came."""
    call.received = lambda: 0
    call.answer(LOCAL, Codec.PCMU)


def test_pjsip_and_baresip_keep_their_calls() -> None:
    async def story(stack: str, transport: str) -> None:
        async with line(deaf, timing=Timing(), limits=LIMITS) as it:
            uri = it.uri + (";transport=tcp" if transport == "tcp" else "")
            caller = await child.start(stack, transport, uri, "up,wait=3,bye")
            word = await caller.done()
            assert word.get("up"), caller.told
            await until(lambda: it.events == ["confirmed", "end:bye"])
            assert it.endpoint.counters["asked_alive"] >= 2
            assert it.endpoint.counters["ended_vanished"] == 0

    async def all_of_them() -> None:
        await asyncio.gather(
            *(story(stack, transport) for stack in ("pjsip", "baresip") for transport in ("udp", "tcp"))
        )

    run(all_of_them(), 60)
