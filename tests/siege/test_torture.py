"""RFC 4475's messages over TCP and TLS, and what a refusal must say beside its code."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.phone.certs import Authority
from tests.phone.endpoints import LOCAL, Line, line, message, phone, run
from tests.phone.test_endpoint_tcp import Stream, stream
from tests.phone.test_endpoint_tls import secured
from tests.phone.test_endpoint_torture import CORPUS, EXPECTED, SILENT, final_codes

from nightbell.phone.tls import Tls
from nightbell.sip.message import Response, parse

# Over a stream a length decides where a message ends (RFC 3261 §18.3).
OF_A_STREAM = EXPECTED | {
    "baddn": SILENT,  # its length is larger than what comes: it is waited for (RFC 4475 §3.1.2.2)
    "clerr": SILENT,
    "inv2543": 400,  # no length at all
}
SLOW = 0.25  # seconds in which an answer would have come


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


async def heard(client: Stream, data: bytes) -> list[bytes]:
    """What comes back, until a final answer, the end of the stream, or a while."""
    client.send(data)
    got = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(SLOW):
            while piece := await client.reader.read(65_536):
                got += piece
                if final_codes(_split(got)):
                    break
    return _split(got)


def _split(data: bytes) -> list[bytes]:
    return [b"SIP/2.0 " + part for part in data.split(b"SIP/2.0 ") if part[:3].isdigit()]


async def one(it: Line, name: str, context: object) -> tuple[str, list[int]]:
    opened = stream(it.endpoint.port) if context is None else secured(it, context)  # type: ignore[arg-type]
    async with opened as client:
        return name, final_codes(await heard(client, (CORPUS / f"{name}.dat").read_bytes()))


@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_the_answers_are_the_same_over_a_stream(way: str, authority: Authority) -> None:
    async def story() -> None:
        tls = Tls(authority.issue("127.0.0.1"), ca=authority.file)
        async with line(lambda call: call.answer(LOCAL, call.remote.codecs[0][1]), tls=tls) as it:
            context = authority.client() if way == "tls" else None
            found: dict[str, list[int]] = {}
            names = sorted(EXPECTED)
            for at in range(0, len(names), 7):
                found |= dict(await asyncio.gather(*(one(it, name, context) for name in names[at : at + 7])))
            assert {name: codes[0] if codes else SILENT for name, codes in found.items()} == OF_A_STREAM
            assert it.endpoint.counters["errors"] == 0, it.log.getvalue()[-500:]
            async with phone(it.endpoint.port) as client:
                client.send(message("OPTIONS", client.port, branch="z9hG4bKalive"))
                assert (await client.response()).code == 200

    run(story(), 40)


def answer_of(sent: list[bytes], code: int) -> Response:
    found = [parse(data) for data in sent if data.startswith(b"SIP/2.0 %d" % code)]
    assert isinstance(found[0], Response)
    return found[0]


def test_a_refusal_says_what_would_be_taken_and_nothing_of_a_proxys() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            sent: list[bytes] = []
            it.endpoint.layer.transport.send = lambda data, peer: sent.append(data)  # type: ignore[method-assign]
            for name in ("bext01", "invut", "regaut01", "esc02", "sdp01"):
                client.send((CORPUS / f"{name}.dat").read_bytes())
            await asyncio.sleep(0.3)
            unsupported = answer_of(sent, 420).get("unsupported")
            assert "nothingSupportsThis" in unsupported
            assert "Proxies" not in unsupported, "Proxy-Require is for proxies (RFC 4475 §3.3.6)"
            assert answer_of(sent, 415).get("accept") == "application/sdp"
            assert "INVITE" in answer_of(sent, 405).get("allow")
            assert "INVITE" in answer_of(sent, 501).get("allow")
            asked = [data for data in sent if b"Authenticate" in data]
            assert asked == [], "nobody is ever asked for a password: there is none to guess"

    run(story())
