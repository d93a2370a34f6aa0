"""RFC 4475's messages, and garbage, at the endpoint: the status that the RFC asks for, never a crash."""

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.phone.endpoints import LOCAL, UNHURRIED, line, message, offer, phone, run

from nightbell.core.capture import Codec
from nightbell.phone.transport import Peer

CORPUS = Path(__file__).parents[1] / "vectors" / "rfc4475"
SILENT = None
# What our element, a user agent server without registrar, must or may answer by the RFC's text of each message.
EXPECTED = {
    "badaspec": 400,
    "badbranch": 200,
    "baddate": 200,  # "ignore the Date or refuse": we do not need it
    "baddn": 400,
    "badinv01": 400,
    "badvers": 505,
    "bcast": SILENT,
    "bext01": 420,
    "bigcode": SILENT,
    "clerr": 400,
    "cparam01": 405,
    "cparam02": 405,
    "dblreq": 405,
    "esc01": 200,
    "esc02": 501,
    "escnull": 405,
    "escruri": 400,
    "insuf": 400,
    "intmeth": 501,
    "inv2543": 200,
    "invut": 415,
    "longreq": 200,
    "ltgtruri": 400,
    "lwsdisp": 200,
    "lwsruri": 400,
    "lwsstart": 400,
    "mcl01": 400,
    "mismatch01": 400,
    "mismatch02": 400,
    "mpart01": 405,
    "multi01": 400,
    "ncl": 400,
    "noreason": SILENT,
    "novelsc": 416,
    "quotbal": 400,
    "regaut01": 405,
    "regbadct": 400,
    "regescrt": 405,
    "scalar02": 400,
    "scalarlg": SILENT,
    "sdp01": 406,
    "semiuri": 200,
    "transports": 200,
    "trws": 400,
    "unkscm": 416,
    "unksm2": 405,
    "unreason": SILENT,
    "wsinv": 481,  # its To has a tag of no call of ours
    "zeromf": 200,
}


def final_codes(sent: list[bytes]) -> list[int]:
    return [code for one in sent if one.startswith(b"SIP/2.0 ") and (code := int(one[8:11])) >= 200]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_it_answers_the_torture_messages_as_the_rfc_says(name: str) -> None:
    data = (CORPUS / f"{name}.dat").read_bytes()

    async def story() -> None:
        async with (
            line(lambda call: call.answer(LOCAL, call.remote.codecs[0][1])) as it,
            phone(it.endpoint.port) as client,
        ):
            # Most vectors name no rport: the answer would go to port 5060 of our host.
            sent: list[bytes] = []
            it.endpoint.layer.transport.send = lambda data, peer: sent.append(data)  # type: ignore[method-assign]
            client.send(data)
            for _ in range(40):
                await asyncio.sleep(0.005)
                if final_codes(sent):
                    break
            assert final_codes(sent)[:1] == ([] if EXPECTED[name] is None else [EXPECTED[name]])
            assert it.endpoint.counters["errors"] == 0
            sent.clear()
            client.send(message("OPTIONS", client.port, branch="z9hG4bKalive"))
            await asyncio.sleep(0.02)
            assert any(one.startswith(b"SIP/2.0 200 ") for one in sent)

    run(story())


def test_mutations_and_noise_never_stop_it() -> None:
    generator = random.Random(4475)
    seeds = [path.read_bytes() for path in sorted(CORPUS.glob("*.dat"))]
    seeds += [message("INVITE", 5, body=offer()), message("BYE", 5, to_tag="x"), message("CANCEL", 5)]

    async def story() -> None:
        async with (
            line(
                lambda call: (
                    call.answer(LOCAL, Codec.PCMU)
                    if call.remote.payload_type(Codec.PCMU) is not None
                    else call.reject(488)
                )
            ) as it,
            phone(it.endpoint.port) as client,
        ):
            for n in range(3000):
                data = bytearray(generator.choice(seeds))
                for _ in range(generator.randrange(1, 4)):
                    at = generator.randrange(len(data))
                    data[at : at + generator.randrange(4)] = generator.randbytes(generator.randrange(4))
                it.endpoint.layer.received(bytes(data), client_peer(client.port))
                if n % 200 == 0:
                    await asyncio.sleep(0)
            assert it.endpoint.counters["errors"] == 0, it.log.getvalue()[-500:]
            # A client of its own: the first one's socket is full of answers.
            async with phone(it.endpoint.port) as other:
                other.send(message("OPTIONS", other.port, branch="z9hG4bKalive", call_id="alive"))
                assert (await other.response()).code == 200

    run(story(), 60)


def test_a_flood_of_refusable_requests_takes_no_memory_and_no_place() -> None:
    async def story() -> None:
        async with line(limits=replace(UNHURRIED, transactions=50)) as it, phone(it.endpoint.port) as client:
            it.endpoint.layer.transport.send, send = lambda data, peer: None, it.endpoint.layer.transport.send  # type: ignore[method-assign]
            kinds = [
                ("OPTIONS", ""),
                ("REGISTER", ""),
                ("BYE", "x"),
                ("CANCEL", ""),
                ("DANCE", ""),
                ("UPDATE", ""),
            ]
            for n in range(3000):
                method, tag = kinds[n % len(kinds)]
                flood = message(method, 9, branch=f"z9hG4bK{n}", call_id=f"f{n}", to_tag=tag)
                it.endpoint.layer.received(flood, client_peer(9))
                bad = message("INVITE", 9, branch=f"z9hG4bKi{n}", call_id=f"i{n}", body=offer(formats="18"))
                it.endpoint.layer.received(bad, client_peer(9))
            assert it.endpoint.layer.size == 0
            it.endpoint.layer.transport.send = send  # type: ignore[method-assign]
            client.send(message("INVITE", client.port, body=offer()))
            assert (await client.response()).code == 200

    run(story())


def test_a_repeated_refusal_is_the_same() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            answers = []
            for _ in range(2):
                client.send(message("INVITE", client.port, body=offer(formats="18")))
                answers.append(await client.raw())
            assert answers[0] == answers[1]

    run(story())


def client_peer(port: int) -> Peer:
    return Peer("udp", "127.0.0.1", port)


def test_a_strangers_garbage_costs_little() -> None:
    """Less than 100 µs a packet on the slowest machine we mean, of which most is the parser's first look."""

    async def story() -> float:
        async with line() as it:
            peer = client_peer(9)
            noise = [random.Random(n).randbytes(400) for n in range(50)] + [
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            ] * 50
            began = time.process_time()
            for _ in range(20):
                for data in noise:
                    it.endpoint.layer.received(data, peer)
            assert it.endpoint.counters["malformed"] == 2000
            assert it.endpoint.layer.size == 0
            return (time.process_time() - began) / 2000

    assert run(story()) < 300e-6
