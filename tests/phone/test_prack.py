"""Ringing that is acknowledged (RFC 3262)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.phone.endpoints import LOCAL, Phone, line, message, offer, phone, run, until

from nightbell.phone.endpoint import IncomingCall
from nightbell.sip.message import Response, parse
from nightbell.sip.transaction import Timing

REQUIRED = "Require: 100rel\r\n"


async def ringing(client: Phone, extra: str = REQUIRED, body: str | None = None) -> Response:
    client.send(message("INVITE", client.port, body=offer() if body is None else body, extra=extra))
    return await client.response()


def prack(client: Phone, rung: Response, rack: str = "", cseq: int = 2, body: str = "") -> None:
    rack = rack or f"{rung.get('rseq')} 1 INVITE"
    client.send(
        message(
            "PRACK",
            client.port,
            cseq,
            branch=f"z9hG4bKp{cseq}",
            to_tag=rung.to.tag,
            extra=f"RAck: {rack}\r\n",
            body=body,
        )
    )


def of(code: int) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(f"SIP/2.0 {code}".encode())


def test_it_is_repeated_until_its_prack() -> None:
    async def story() -> None:
        async with line(lambda call: call.ring()) as it, phone(it.endpoint.port) as client:
            rung = await ringing(client)
            assert (rung.code, rung.get("require")) == (180, "100rel")
            again = await client.response()
            assert (again.code, again.get("rseq")) == (180, rung.get("rseq"))
            prack(client, rung)
            while (got := await client.response()).cseq.method != "PRACK":
                pass
            assert got.code == 200
            client.pending()
            await asyncio.sleep(0.4)
            assert client.pending() == []
            prack(client, rung)  # the 200 got lost: the same transaction
            assert (await client.response()).code == 200
            prack(client, rung, cseq=3)  # another one acknowledges nothing
            assert (await client.response()).code == 481
            it.calls[0].answer(LOCAL, it.calls[0].remote.codecs[0][1])
            assert (await client.response()).code == 200

    run(story())


@pytest.mark.parametrize(
    "rack", ["1 1 INVITE", "x", "1 1 BYE", "99999999999999999999 1 INVITE", "-1 1 INVITE", " "]
)
def test_a_wrong_acknowledgement_is_none(rack: str) -> None:
    async def story() -> None:
        async with line(lambda call: call.ring()) as it, phone(it.endpoint.port) as client:
            rung = await ringing(client)
            prack(client, rung, rack)
            while (got := await client.response()).cseq.method != "PRACK":
                pass
            assert got.code == 481
            assert (await client.response()).code == 180

    run(story())


def test_nobody_acknowledges() -> None:
    async def story() -> None:
        ring: Callable[[IncomingCall], None] = lambda call: call.ring()  # noqa: E731
        async with line(ring, timing=Timing(0.01, 0.1, 0.1)) as it, phone(it.endpoint.port) as client:
            assert (await ringing(client)).code == 180
            while (got := await client.response()).code == 180:
                pass
            assert got.code == 504
            await until(lambda: it.events == ["end:timeout"] and not it.endpoint.calls)
            assert it.endpoint.counters["rings_unacknowledged"] == 1

    run(story())


def test_an_answer_ends_the_repeats() -> None:
    def both(call: IncomingCall) -> None:
        call.ring()
        call.answer(LOCAL, call.remote.codecs[0][1])

    async def story() -> None:
        async with line(both) as it, phone(it.endpoint.port) as client:
            assert (await ringing(client)).code == 180
            assert (await client.response()).code == 200
            seen = [await client.raw() for _ in range(3)]
            assert all(of(200)(data) for data in seen)

    run(story())


def test_an_offer_in_a_prack_comes_too_early() -> None:
    async def story() -> None:
        async with line(lambda call: call.ring()) as it, phone(it.endpoint.port) as client:
            prack(client, await ringing(client), body=offer(41002))
            while (got := await client.response()).cseq.method != "PRACK":
                pass
            assert got.code == 488
            assert it.endpoint.calls == 1

    run(story())


def test_who_merely_can_gets_it_as_always_and_without_an_offer_none() -> None:
    async def story() -> None:
        async with line(lambda call: call.ring()) as it, phone(it.endpoint.port) as client:
            rung = await ringing(client, "Supported: 100rel\r\n")
            assert (rung.code, rung.get("rseq"), rung.get("require")) == (180, "", "")
        async with line(lambda call: call.ring()) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, extra=REQUIRED))
            trying = parse(await client.raw())
            assert isinstance(trying, Response) and trying.code == 100
            with pytest.raises(TimeoutError):
                await client.raw(0.2)

    run(story())


def test_a_prack_without_a_call() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(message("PRACK", client.port, to_tag="x", extra="RAck: 1 1 INVITE\r\n"))
            assert (await client.response()).code == 481

    run(story())
