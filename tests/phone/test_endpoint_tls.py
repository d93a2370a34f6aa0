"""The endpoint over TLS, with the standard library's TLS at the other end: certificates, bounds, the way of requests."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.phone.certs import Authority
from tests.phone.endpoints import CODECS, LOCAL, UNHURRIED, Line, line, message, offer, run, until
from tests.phone.house import speech, write_wav
from tests.phone.test_endpoint_tcp import Stream

from nightbell.phone import caller, transport
from nightbell.phone.endpoint import CallFailed
from nightbell.phone.tls import Tls
from nightbell.sip.message import Request
from nightbell.sip.srtp import Keying


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Tls:
    return Tls(authority.issue("127.0.0.1", "::1", "localhost"), ca=authority.file)


@contextlib.asynccontextmanager
async def secured(it: Line, context: ssl.SSLContext, name: str = "127.0.0.1") -> AsyncIterator[Stream]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", it.endpoint.sips_port, ssl=context, server_hostname=name
    )
    try:
        yield Stream(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


def over_tls(method: str, port: int, cseq: int = 1, **options: str) -> bytes:
    text = message(method, port, cseq, transport="TCP", **options)
    return text.replace(b"SIP/2.0/TCP", b"SIP/2.0/TLS").replace(b";transport=tcp", b";transport=tls")


def test_a_call_over_tls_ended_by_each_side(tls: Tls) -> None:
    async def story() -> None:
        async with line(tls=tls) as callee, line(tls=tls) as caller:
            uri = f"sip:line@127.0.0.1:{callee.endpoint.sips_port};transport=tls"
            for ends in ("caller", "callee"):
                leg = await caller.endpoint.dial(uri, LOCAL, CODECS, "5550100")
                await until(lambda: callee.events == ["confirmed"])
                incoming = callee.calls.pop()
                assert incoming.peer.transport == leg.peer.transport == "tls"
                over: list[str] = []
                other = incoming if ends == "caller" else leg
                other.on_end = over.append
                (leg if ends == "caller" else incoming).hangup()
                await until(lambda over=over: over == ["bye"])  # type: ignore[misc]
                callee.events.clear()
            assert callee.endpoint.counters["tls_connections"] == 1, "the second call has its own connection"
            assert callee.endpoint.counters["in_INVITE"] == 2

    run(story())


def test_contact_and_via_say_tls_and_a_bye_takes_the_same_connection(tls: Tls, authority: Authority) -> None:
    async def story() -> None:
        async with line(tls=tls) as it, secured(it, authority.client()) as client:
            client.send(over_tls("INVITE", client.port, body=offer()))
            answer = await client.response()
            port = it.endpoint.sips_port
            assert answer.get("contact") == f"<sip:127.0.0.1:{port};transport=tls>"
            client.send(over_tls("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            await until(lambda: it.events == ["confirmed"])
            it.calls[0].hangup()
            bye = await client.next()
            assert isinstance(bye, Request) and bye.method == "BYE"
            assert bye.get("via").startswith(f"SIP/2.0/TLS 127.0.0.1:{port};")

    run(story())


def test_a_contact_that_forgets_tls_does_not_lead_back_to_plain(tls: Tls, authority: Authority) -> None:
    async def story() -> None:
        async with line(tls=tls) as it, secured(it, authority.client()) as client:
            invite = over_tls("INVITE", client.port, body=offer()).replace(b";transport=tls", b"")
            client.send(invite)
            answer = await client.response()
            client.send(over_tls("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            await until(lambda: it.events == ["confirmed"])
            it.calls[0].hangup()
            bye = await client.next()
            assert isinstance(bye, Request) and bye.method == "BYE"
            assert bye.get("via").startswith("SIP/2.0/TLS ")

    run(story())


def test_a_sips_request_gets_a_sips_contact(tls: Tls, authority: Authority) -> None:
    async def story() -> None:
        async with line(tls=tls) as it, secured(it, authority.client()) as client:
            client.send(over_tls("INVITE", client.port, body=offer(), uri="sips:line@127.0.0.1"))
            answer = await client.response()
            assert answer.get("contact") == f"<sips:127.0.0.1:{it.endpoint.sips_port}>"

    run(story())


def test_old_versions_and_weak_ciphers_are_refused(tls: Tls, authority: Authority) -> None:
    async def story() -> None:
        async with line(tls=tls) as it:
            old, weak, good = authority.client(), authority.client(), authority.client()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
            old.set_ciphers("ALL:@SECLEVEL=0")
            weak.maximum_version = ssl.TLSVersion.TLSv1_2
            weak.set_ciphers("AES128-SHA:AES128-GCM-SHA256")
            for context in (old, weak):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    async with secured(it, context):
                        pass
            async with secured(it, good) as client:
                assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            good.maximum_version = ssl.TLSVersion.TLSv1_2
            async with secured(it, good) as client:
                client.send(over_tls("OPTIONS", client.port))
                assert (await client.response()).code == 200

    run(story())


def test_the_name_that_is_asked_for_chooses_the_certificate(authority: Authority) -> None:
    both = Tls(
        authority.issue("first.example"),
        {"second.example": authority.issue("second.example")},
        authority.file,
    )

    async def story() -> None:
        async with line(tls=both) as it:
            for name in ("first.example", "second.example", "SECOND.example"):
                async with secured(it, authority.client(), name) as client:
                    client.send(over_tls("OPTIONS", client.port))
                    assert (await client.response()).code == 200
            with pytest.raises(ssl.SSLCertVerificationError):
                async with secured(it, authority.client(), "third.example"):
                    pass

    run(story())


def test_only_a_certificate_that_proves_something_has_names(
    tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("sbc.carrier.example")
    cases = {
        (): None,
        ("sbc.carrier.example", "one.example"): authority.issue("one.example", "sip:sbc.carrier.example"),
        ("server.example",): authority.issue("server.example", server_only=True),
    }

    async def names(it: Line, context: ssl.SSLContext) -> tuple[str, ...]:
        seen = []
        it.endpoint.layer.transport.trusts = lambda peer: bool(
            seen.append(it.endpoint.layer.transport.peer_certificate_names(peer)) or True
        )
        async with secured(it, context) as client:
            client.send(over_tls("OPTIONS", client.port))
            assert (await client.response()).code == 200
        return seen[0]

    async def story() -> None:
        async with line(tls=tls) as it:
            for expected, pair in cases.items():
                assert await names(it, authority.client(pair)) == expected
            for untrusted in (stranger, authority.issue("late.example", days=-1)):
                assert await names(it, authority.client(untrusted)) == ()

    run(story())


def test_who_stalls_or_drips_a_handshake_is_cut_off(tls: Tls) -> None:
    async def story() -> None:
        async with line(tls=tls, limits=replace(UNHURRIED, handshake=0.3)) as it:
            silent = await asyncio.open_connection("127.0.0.1", it.endpoint.sips_port)
            drip = await asyncio.open_connection("127.0.0.1", it.endpoint.sips_port)
            hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(3):
                    for byte in hello:
                        drip[1].write(bytes([byte]))
                        await drip[1].drain()
                        await asyncio.sleep(0.02)
            for reader, writer in (silent, drip):
                with contextlib.suppress(ConnectionError):
                    async with asyncio.timeout(2):
                        assert await reader.read() == b""
                writer.close()
            assert it.endpoint.counters["handshakes_stalled"] == 2

    run(story())


def test_three_hundred_stalled_connections_keep_nobody_out_for_long(tls: Tls, authority: Authority) -> None:
    async def story() -> None:
        # So long that a slow machine has opened the last before the first is given up.
        limits = replace(UNHURRIED, handshake=4.0, handshakes=20)
        async with (
            line(tls=tls, limits=limits) as it,
            secured(it, authority.client()) as before,
            contextlib.AsyncExitStack() as held,
        ):
            for _ in range(300):
                _, writer = await asyncio.open_connection("127.0.0.1", it.endpoint.sips_port)
                held.callback(writer.close)
            before.send(over_tls("OPTIONS", before.port))
            assert (await before.response()).code == 200
            await until(lambda: it.endpoint.counters["connections_refused"] == 280)
            await until(lambda: it.endpoint.counters["handshakes_stalled"] == 20, 15)
            async with secured(it, authority.client()) as later:
                later.send(over_tls("OPTIONS", later.port, branch="z9hG4bKlater"))
                assert (await later.response()).code == 200

    run(story())


def test_what_is_not_tls_is_closed(tls: Tls) -> None:
    async def story() -> None:
        async with line(tls=tls) as it:
            for rubbish in (
                message("OPTIONS", 5060, transport="TCP"),
                b"GET / HTTP/1.1\r\n\r\n",
                bytes(5000),
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", it.endpoint.sips_port)
                writer.write(rubbish)
                with contextlib.suppress(ConnectionError):
                    async with asyncio.timeout(2):
                        assert b"SIP" not in await reader.read()
                writer.close()
            assert it.endpoint.counters["tls_failed"] == 3
            assert it.endpoint.counters["in_OPTIONS"] == 0

    run(story())


@pytest.mark.parametrize("trouble", ["wrong authority", "expired", "wrong name", "plain"])
def test_we_call_nobody_who_does_not_prove_his_name(
    tls: Tls, authority: Authority, tmp_path: Path, trouble: str
) -> None:
    bad = {
        "wrong authority": lambda: Authority(tmp_path, "other").issue("127.0.0.1"),
        "expired": lambda: authority.issue("127.0.0.1", days=-1),
        "wrong name": lambda: authority.issue("127.0.0.2", "localhost"),
        "plain": lambda: None,
    }[trouble]()

    async def story() -> None:
        async with line(tls=Tls(bad)) as callee, line(tls=tls) as caller:
            port = callee.endpoint.sips_port or callee.endpoint.port
            with pytest.raises(CallFailed) as failed:
                await caller.endpoint.dial(f"sips:line@127.0.0.1:{port}", LOCAL, CODECS)
            assert failed.value.code == 408
            assert caller.endpoint.counters["connect_failed"] == 1
            assert callee.calls == [] and callee.endpoint.counters["in_INVITE"] == 0

    run(story())


def test_a_server_that_stalls_its_handshake_is_given_up(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "OPENING", 0.2)

    async def story() -> None:
        server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(9), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with line(tls=tls) as it:
            with pytest.raises(CallFailed):
                await asyncio.wait_for(it.endpoint.dial(f"sips:a@127.0.0.1:{port}", LOCAL, CODECS), 3)
            assert it.endpoint.counters["connect_failed"] == 1
            assert it.endpoint.layer.transport._connections == {}
        server.close()

    run(story())


def test_a_name_of_the_certificate_that_a_wildcard_covers_is_enough_for_us(authority: Authority) -> None:
    wild = Tls(authority.issue("*.carrier.example"), ca=authority.file)

    async def story() -> None:
        async with line(tls=wild) as callee, line(tls=wild) as caller:
            caller.endpoint.resolver._hosts["pop.carrier.example"] = ("127.0.0.1",)
            uri = f"sip:line@pop.carrier.example:{callee.endpoint.sips_port};transport=tls"
            leg = await caller.endpoint.dial(uri, LOCAL, CODECS)
            assert leg.peer.name == "pop.carrier.example"
            leg.hangup()

    run(story())


def test_we_keep_our_connection_open_and_notice_when_it_is_dead(tls: Tls, authority: Authority) -> None:
    """RFC 5626 §3.5.1: whoever has answered a keep-alive once must go on doing so."""

    async def story() -> None:
        heard, answers = bytearray(), True

        async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while data := await reader.read(4096):
                    heard.extend(data)
                    if answers and data == b"\r\n\r\n":
                        writer.write(b"\r\n")
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = authority.issue("127.0.0.1")
        context.load_cert_chain(pair.certificate, pair.key)
        listener = await asyncio.start_server(server, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        limits = replace(UNHURRIED, ping=0.1, pong=0.2)
        async with line(tls=tls, limits=limits) as it:
            dialling = asyncio.create_task(
                it.endpoint.dial(f"sips:a@127.0.0.1:{port}", LOCAL, CODECS, security=Keying.NONE)
            )
            await until(lambda: heard.count(b"\r\n\r\n\r\n\r\n") or heard.endswith(b"\r\n\r\n" * 4))
            assert it.endpoint.counters["flows_dead"] == 0
            answers = False
            await until(lambda: it.endpoint.counters["flows_dead"] == 1)
            dialling.cancel()
            with contextlib.suppress(asyncio.CancelledError, CallFailed):
                await dialling
        listener.close()

    run(story())


def test_our_caller_says_that_it_does_not_trust_a_certificate_and_what_to_give(
    tls: Tls, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wav = str(write_wav(tmp_path / "x.wav", speech(1)))
    said: list[str] = []

    async def story() -> None:
        async with line(lambda call: call.reject(486), tls=tls) as callee:
            port = callee.endpoint.sips_port
            for trusts in ([], ["--ca", str(authority.file)]):
                arguments = [f"sips:1@127.0.0.1:{port}", "--wav", wav, "--timeout", "5", *trusts]
                assert await asyncio.to_thread(caller.main, arguments) == 1
                said.append(capsys.readouterr().out)

    run(story())
    assert "its certificate is not trusted: give --ca FILE" in said[0] and "408" not in said[0]
    assert "486" in said[1] and "not trusted" not in said[1]
