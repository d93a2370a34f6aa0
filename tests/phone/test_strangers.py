"""Who may talk to us, on real sockets: strangers, trunks, floods, several addresses, IPv6."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from typing import Any

import pytest
from tests.phone.certs import Authority
from tests.phone.endpoints import CODECS, LOCAL, UNHURRIED, line, message, offer, phone, placed, run, until
from tests.phone.test_endpoint_tcp import stream
from tests.phone.test_endpoint_tls import over_tls, secured

from nightbell.phone.endpoint import CallFailed, Limits
from nightbell.phone.policy import Policy
from nightbell.phone.tls import Tls
from nightbell.sip.message import Request
from nightbell.sip.trunk import Kind, Trunk

NOBODY = Policy(local=False)
CARRIER = Trunk("01A", "carrier", Kind.ADDRESS, sources=("127.0.0.1",))
PLAIN = replace(CARRIER, id="01B", transport="udp", plain=True)
BY_CERTIFICATE = Trunk("01C", "certified", Kind.CERTIFICATE, peer_name="sbc.carrier.example")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Tls:
    return Tls(authority.issue("127.0.0.1"), ca=authority.file)


def test_a_stranger_hears_nothing_whatever_he_says(tls: Tls) -> None:
    async def story() -> None:
        async with line(tls=tls, policy=NOBODY) as it, phone(it.endpoint.port) as client:
            for number, method in enumerate(
                ("OPTIONS", "INVITE", "REGISTER", "BYE", "ACK", "NONSENSE", "CANCEL")
            ):
                client.send(message(method, client.port, number, branch=f"z9hG4bK{number}", to_tag="x"))
            client.send(b"INVITE rubbish SIP/2.0\r\n\r\n")
            client.send(b"SIP/2.0 200 OK\r\n\r\n")
            for port in (it.endpoint.port, it.endpoint.sips_port):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(message("OPTIONS", client.port, transport="TCP"))
                with contextlib.suppress(ConnectionError):
                    async with asyncio.timeout(2):
                        assert await reader.read() == b""
                writer.close()
            await asyncio.sleep(0.1)
            assert client.pending() == [] and it.calls == []
            counters = it.endpoint.counters
            assert counters["strangers"] == 10 and counters["stray_responses"] == 1
            assert counters["malformed"] == 0 and counters["in_OPTIONS"] == 0
            assert it.log.getvalue().count("sip_stranger") == 1

    run(story())


def test_calls_in_progress_outlive_the_rules_that_let_them_in() -> None:
    async def story() -> None:
        async with line(policy=Policy([PLAIN], local=False)) as it, phone(it.endpoint.port) as client:
            answer = await placed(client)
            await until(lambda: it.events == ["confirmed"])
            assert it.calls[0].trunk is PLAIN and it.calls[0].allow_plain
            it.endpoint.take_policy(NOBODY)
            client.send(message("OPTIONS", client.port, branch="z9hG4bK8", call_id="other"))
            client.send(message("BYE", client.port, 2, branch="z9hG4bK9", to_tag=answer.to.tag))
            bye = await client.response()
            assert (bye.code, bye.cseq.method) == (200, "BYE")
            assert it.endpoint.counters["strangers"] == 1

    run(story())


@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_a_trunk_that_must_encrypt_is_told_so(way: str) -> None:
    async def story() -> None:
        async with line(policy=Policy([CARRIER], local=False)) as it:
            if way == "udp":
                async with phone(it.endpoint.port) as client:
                    client.send(message("INVITE", client.port, body=offer()))
                    answer = await client.response()
            else:
                async with stream(it.endpoint.port) as other:
                    other.send(message("INVITE", other.port, body=offer(), transport="TCP"))
                    answer = await other.response()
            assert answer.code == 403
            assert answer.get("warning") == '399 nightbell "TLS is required"'
            assert it.endpoint.refused_plain == {"01A": 1} and it.calls == []

    run(story())


def test_sound_must_be_encrypted_too(tls: Tls, authority: Authority) -> None:
    async def story() -> None:
        async with (
            line(policy=Policy([CARRIER], local=False), tls=tls) as it,
            secured(it, authority.client()) as client,
        ):
            client.send(over_tls("INVITE", client.port, body=offer()))
            assert (await client.response()).code == 488
            assert it.calls == []

    run(story())


def test_a_trunk_is_known_by_its_certificate(tls: Tls, authority: Authority) -> None:
    pair = authority.issue("sbc.carrier.example")

    async def refused(it: Any, context: ssl.SSLContext) -> None:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            async with secured(it, context) as client:
                client.send(over_tls("OPTIONS", client.port))
                assert await client.closed() == b""

    async def story() -> None:
        async with line(policy=Policy([BY_CERTIFICATE], local=False), tls=tls) as it:
            async with secured(it, authority.client(pair)) as client:
                client.send(over_tls("OPTIONS", client.port))
                assert (await client.response()).code == 200
            await refused(it, authority.client())
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                async with secured(it, authority.client()) as silent:
                    assert await silent.closed() == b"", "it waits for a first word of nobody"
            await refused(it, authority.client(authority.issue("other.example")))
            assert it.endpoint.counters["strangers"] == 3
            assert it.endpoint.counters["in_OPTIONS"] == 1
            async with stream(it.endpoint.port) as plain:
                assert await plain.closed() == b""

    run(story())


def test_our_answer_to_any_extension_is_the_same() -> None:
    async def story() -> None:
        async with line(lambda call: call.reject(480)) as it, phone(it.endpoint.port) as client:
            seen = set()
            for number, user in enumerate(("100", "line", "5552014567", "admin")):
                client.send(
                    message(
                        "INVITE", client.port, branch=f"z9hG4bK{number}", call_id=f"c{number}", body=offer(),
                        uri=f"sip:{user}@127.0.0.1",
                    )
                )  # fmt: skip
                answer = await client.response()
                seen.add((answer.code, answer.reason, tuple(sorted(set(answer.headers) - {"via"}))))
                for word in ("server", "user-agent"):
                    assert word not in answer.headers
            assert len(seen) == 1

    run(story())


def test_a_flood_does_not_touch_calls_that_are_there() -> None:
    async def story() -> None:
        limits = Limits(rate=5, burst=10)
        async with (
            line(limits=limits) as it,
            phone(it.endpoint.port) as caller,
            phone(it.endpoint.port) as flood,
        ):
            answer = await placed(caller)
            await until(lambda: it.events == ["confirmed"])
            for number in range(2000):
                flood.send(
                    message(
                        "INVITE", flood.port, branch=f"z9hG4bKf{number}", call_id=f"f{number}", body=offer()
                    )
                )
                if number % 100 == 0:
                    await asyncio.sleep(0)
            await until(lambda: it.endpoint.counters["throttled"] > 1500)
            caller.send(
                message("INVITE", caller.port, 2, branch="z9hG4bKre", to_tag=answer.to.tag, body=offer())
            )
            assert (await caller.response()).code == 200
            caller.send(message("ACK", caller.port, 2, branch="z9hG4bKra", to_tag=answer.to.tag))
            caller.send(message("BYE", caller.port, 3, branch="z9hG4bKb", to_tag=answer.to.tag))
            assert (await caller.response()).cseq.method == "BYE"
            assert len(it.calls) <= 12

    run(story())


def test_calls_without_a_word_are_bounded_and_those_of_others_are_taken() -> None:
    """The INVITE and BYE of somebody who leaves rows for others to look at."""

    async def hang_up(client: Any, number: int, caller: str) -> int:
        names = {"call_id": f"q{number}", "branch": f"z9hG4bKq{number}"}
        invite = message("INVITE", client.port, body=offer(), **names).replace(
            b"5550100@", f"{caller}@".encode()
        )
        client.send(invite)
        answer = await client.response()
        if answer.code == 200:
            names["branch"] += "b"
            client.send(message("BYE", client.port, 2, to_tag=answer.to.tag, **names))
            await client.response()
        return int(answer.code)

    async def story() -> None:
        limits = replace(UNHURRIED, quiet=3)
        async with line(policy=Policy([PLAIN]), limits=limits) as it, phone(it.endpoint.port) as client:
            codes = [await hang_up(client, number, "5550100") for number in range(5)]
            assert codes == [200, 200, 200, 503, 503]
            assert await hang_up(client, 10, "5550199") == 200
            assert it.endpoint.counters["overload_quiet"] == 2
            assert [await hang_up(client, number, "anonymous") for number in range(20, 26)] == [200] * 6

    run(story())


def test_a_port_for_tls_that_is_taken_keeps_no_caller_out(tls: Tls) -> None:
    async def story() -> None:
        async with line(tls=tls) as first, line(tls=tls, sips_port=first.endpoint.sips_port) as it:
            assert it.endpoint.counters["tls_not_listening"] == 1 and it.endpoint.sips_port == 0
            async with phone(it.endpoint.port) as client:
                assert (await placed(client)).code == 200

    run(story())


def test_two_addresses_each_answer_for_themselves() -> None:
    async def story() -> None:
        async with (
            line(bind=("127.0.0.1", "127.0.0.2", "::1")) as it,
            line(bind="::1") as six,
            line() as four,
        ):
            port = it.endpoint.port
            for host, caller in (("127.0.0.1", four), ("127.0.0.2", four), ("[::1]", six)):
                for way in ("udp", "tcp"):
                    uri = f"sip:line@{host}:{port};transport={way}"
                    leg = await caller.endpoint.dial(uri, LOCAL, CODECS)
                    await until(lambda: it.events == ["confirmed"])
                    call = it.calls.pop()
                    assert call.peer.local == host.strip("[]")
                    assert it.endpoint.layer.transport.bind_of(call.peer) == host.strip("[]")
                    assert leg.dialog is not None and f"@{host}" not in leg.dialog.target
                    assert leg.dialog.target.startswith(f"sip:{host}:{port}")
                    leg.hangup()
                    await until(lambda: "end:bye" in it.events)
                    it.events.clear()

    run(story())


def test_everywhere_in_both_families() -> None:
    async def story() -> None:
        async with line(bind=("0.0.0.0", "::")) as it, line(bind="::1") as six, line() as four:
            for host, caller in (("127.0.0.1", four), ("[::1]", six)):
                leg = await caller.endpoint.dial(f"sip:line@{host}:{it.endpoint.port}", LOCAL, CODECS)
                assert leg.dialog is not None
                assert leg.dialog.target == f"sip:{host}:{it.endpoint.port}"
                leg.hangup()
            await until(lambda: it.events.count("end:bye") == 2)

    run(story())


def test_behind_a_nat_the_public_address_is_shown_to_those_outside_alone() -> None:
    from nightbell.phone.transport import Peer

    async def story() -> None:
        async with line(public=("203.0.113.50", "2001:db8::50"), bind=("127.0.0.1", "::1")) as it:
            layer = it.endpoint.layer
            port = it.endpoint.port
            assert layer.contact(Peer("udp", "198.51.100.1", 5060)) == f"<sip:203.0.113.50:{port}>"
            assert (
                layer.contact(Peer("tcp", "2001:db8:1::1", 5060))
                == f"<sip:[2001:db8::50]:{port};transport=tcp>"
            )
            assert layer.contact(Peer("udp", "127.0.0.1", 5060)) == f"<sip:127.0.0.1:{port}>"

    run(story())


@pytest.mark.parametrize("ours", [True, False])
def test_a_trunks_connection_is_kept_and_others_are_not(ours: bool) -> None:
    """RFC 5626: calls of a carrier that we register with come by the connection that we opened."""

    async def story() -> None:
        gone = asyncio.Event()

        async def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):
                    pass
            gone.set()
            writer.close()

        server = await asyncio.start_server(carrier, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        here = replace(PLAIN, transport="tcp")
        limits = replace(UNHURRIED, idle=0.2, ping=0.1)
        async with line(policy=Policy([here] if ours else []), limits=limits) as it:
            lost: list[Any] = []
            it.endpoint.layer.transport.on_lost = lost.append
            dialling = asyncio.create_task(
                it.endpoint.dial(f"sip:a@127.0.0.1:{port};transport=tcp", LOCAL, CODECS)
            )
            await asyncio.sleep(0.8)
            assert gone.is_set() is not ours and len(lost) == (not ours)
            dialling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await dialling
        server.close()

    run(story())


@pytest.mark.parametrize("way", ["tcp", "tls with a certificate", "tls"])
def test_requests_go_over_a_connection_that_is_offered_for_them(
    tls: Tls, authority: Authority, way: str
) -> None:
    """RFC 5923: over TLS only if whoever offers it has proved who it is."""

    async def story() -> None:
        async with line(tls=tls) as it, contextlib.AsyncExitStack() as stack:
            if way == "tcp":
                client = await stack.enter_async_context(stream(it.endpoint.port))
                asks = message("OPTIONS", 5999, transport="TCP")
            else:
                shown = authority.issue("127.0.0.1") if "certificate" in way else None
                client = await stack.enter_async_context(secured(it, authority.client(shown)))
                asks = over_tls("OPTIONS", 5999)
            client.send(asks.replace(b";rport", b";rport;alias"))
            assert (await client.response()).code == 200
            dialling = asyncio.create_task(
                it.endpoint.dial(f"sip:a@127.0.0.1:5999;transport={way[:3]}", LOCAL, CODECS)
            )
            if way == "tls":
                with pytest.raises(CallFailed):
                    await dialling
                return
            for port in range(5900, 5998):  # a port in a Via is whatever somebody writes
                again = message("OPTIONS", port, branch=f"z9hG4bK{port}", transport=way[:3].upper())
                client.send(again.replace(b";rport", b";rport;alias"))
            client.send(asks.replace(b";rport", b";rport;alias").replace(b"z9hG4bK1", b"z9hG4bKlast"))
            invite = await client.next()
            while not isinstance(invite, Request):
                invite = await client.next()
            await until(lambda: it.endpoint.counters["in_OPTIONS"] == 100)
            assert len(it.endpoint.layer.transport._aliases) == 1
            assert isinstance(invite, Request) and invite.method == "INVITE"
            assert invite.via.param("alias") is not None
            dialling.cancel()

    run(story())
