"""Calls that our endpoint places."""

import asyncio

import pytest
from tests.phone.endpoints import CODECS, LOCAL, line, offer, phone, run, until

from nightbell.phone.endpoint import CallFailed
from nightbell.phone.transport import Peer
from nightbell.sip.digest import Credentials
from nightbell.sip.message import build_response


def test_dialling_reports_why_it_failed() -> None:
    async def story() -> None:
        async with line(lambda call: call.reject(486)) as busy, line() as caller, phone(1) as silent:
            with pytest.raises(CallFailed) as failed:
                await caller.endpoint.dial(busy.uri, LOCAL, CODECS)
            assert failed.value.code == 486
            with pytest.raises(CallFailed) as failed:
                await caller.endpoint.dial(f"sip:x@127.0.0.1:{silent.port}", LOCAL, CODECS)
            assert failed.value.code == 408
            with pytest.raises(CallFailed) as failed:
                await caller.endpoint.dial(f"sip:x@127.0.0.1:{silent.port}", LOCAL, CODECS, transport="tcp")
            assert failed.value.code == 408  # nobody listens there: told at once
            for uri in ("mailto:x@h", "sip:x@h;transport=tls", "sip:"):
                with pytest.raises(CallFailed):
                    await caller.endpoint.dial(uri, LOCAL, CODECS)
            assert caller.endpoint.calls == 0

    run(story())


def test_each_that_asks_for_a_password_gets_its_answer_in_every_request() -> None:
    """RFC 3261 §22.3: a proxy on the way and the server behind it."""

    async def story() -> None:
        async with line() as caller, phone(1) as server:
            server._to = caller.endpoint.port
            known = Credentials.of("u", "r", "p")
            uri = f"sip:x@127.0.0.1:{server.port}"
            dialling = asyncio.create_task(
                caller.endpoint.dial(uri, LOCAL, CODECS, credentials=lambda realm: known)
            )
            asks = 'Digest realm="r", nonce="{}", qop="auth", algorithm=MD5'
            for code, name in ((407, "Proxy-Authenticate"), (401, "WWW-Authenticate"), (486, "X")):
                invite = await server.request()
                while invite.method != "INVITE":
                    invite = await server.request()
                server.send(build_response(code, invite.headers, "t", ((name, asks.format(code)),)))
            with pytest.raises(CallFailed) as failed:
                await dialling
            assert failed.value.code == 486
            assert 'nonce="407"' in invite.get("proxy-authorization")
            assert 'nonce="401"' in invite.get("authorization")

    run(story())


def test_giving_up_while_it_rings_cancels() -> None:
    async def story() -> None:
        async with line(lambda call: call.ring()) as callee, line() as caller:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await caller.endpoint.dial(callee.uri, LOCAL, CODECS)
            await until(lambda: callee.events == ["end:cancel"])
            await until(lambda: not caller.endpoint.calls)

    run(story())


def test_giving_up_too_late_hangs_up_what_was_answered() -> None:
    async def story() -> None:
        async with phone(1) as callee, line() as caller:
            task = asyncio.create_task(caller.endpoint.dial(f"sip:x@127.0.0.1:{callee.port}", LOCAL, CODECS))
            invite = await callee.request()
            task.cancel()
            await asyncio.sleep(0.05)  # no provisional answer yet: CANCEL is not allowed
            callee._to = caller.endpoint.port
            callee.send(
                build_response(
                    200,
                    invite.headers,
                    "t",
                    (("Contact", f"<sip:127.0.0.1:{callee.port}>"),),
                    offer().encode(),
                )
            )
            methods = []
            while "BYE" not in methods:
                methods.append((await callee.request()).method)
            assert "ACK" in methods
            assert "CANCEL" not in methods

    run(story())


def test_a_second_answer_of_a_fork_is_ended_at_once() -> None:
    async def story() -> None:
        async with phone(1) as callee, line() as caller:
            task = asyncio.create_task(caller.endpoint.dial(f"sip:x@127.0.0.1:{callee.port}", LOCAL, CODECS))
            invite = await callee.request()
            callee._to = caller.endpoint.port

            def answer(tag: str) -> bytes:
                contact = (("Contact", f"<sip:127.0.0.1:{callee.port}>"),)
                return build_response(200, invite.headers, tag, contact, offer().encode())

            callee.send(answer("one"))
            call = await task
            callee.send(answer("two"))
            seen = []
            while ("BYE", "two") not in seen:
                got = await callee.request()
                seen.append((got.method, got.to.tag))
            assert ("ACK", "one") in seen
            assert ("ACK", "two") in seen
            assert not call.ended
            callee.send(answer("one"))  # our ACK was lost: it is sent again
            while (got := await callee.request()).method != "ACK":
                pass
            assert got.to.tag == "one"

    run(story())


def test_our_own_lost_packets_are_sent_again() -> None:
    """INVITE, ACK, BYE and its answer each lost once between two of our endpoints."""

    async def story() -> None:
        async with line() as callee, line() as caller:
            lost: list[bytes] = []
            send = caller.endpoint.layer.transport.send

            def lossy(data: bytes, peer: Peer) -> None:
                if data[:3] in (b"INV", b"ACK", b"BYE") and data[:3] not in lost:
                    lost.append(data[:3])
                    return
                send(data, peer)

            caller.endpoint.layer.transport.send = lossy  # type: ignore[method-assign]
            call = await caller.endpoint.dial(callee.uri, LOCAL, CODECS)
            await until(lambda: callee.events == ["confirmed"])
            call.hangup()
            await until(lambda: callee.events == ["confirmed", "end:bye"])
            await until(lambda: not caller.endpoint.calls)
            assert lost == [b"INV", b"ACK", b"BYE"]
            assert len(callee.calls) == 1

    run(story())
