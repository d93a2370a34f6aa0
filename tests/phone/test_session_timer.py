"""Session timers on the wire (RFC 4028): who refreshes, and what happens when nobody does."""

from __future__ import annotations

import asyncio

import pytest
from tests.phone.endpoints import Phone, line, message, offer, phone, placed, run, until

from nightbell.sip.message import Request, build_response
from nightbell.sip.transaction import Timing

FAST = Timing(0.05, 0.4, 0.5, second=0.005)  # a session of 90 seconds lasts 0.45
THEIRS = "Supported: timer\r\nAllow: INVITE, ACK, BYE, UPDATE\r\nSession-Expires: 90\r\n"
OURS = THEIRS.replace("90", "90;refresher=uas")
NO_UPDATE = OURS.replace(", UPDATE", "")


def answer(client: Phone, request: Request, code: int = 200, extra: str = "", body: str = "") -> None:
    lines = [("Contact", f"<sip:127.0.0.1:{client.port}>")]
    lines += [tuple(one.split(": ", 1)) for one in extra.split("\r\n") if one]  # type: ignore[misc]
    client.send(build_response(code, request.headers, "", tuple(lines), body.encode()))


@pytest.mark.parametrize(
    ("extra", "expires", "required"),
    [(THEIRS, "90;refresher=uac", "timer"), (OURS, "90;refresher=uas", ""), ("", "", "")],
)
def test_what_the_answer_says(extra: str, expires: str, required: str) -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer(), extra=extra))
            got = await client.response()
            assert (got.get("session-expires"), got.get("require")) == (expires, required)

    run(story())


def test_a_call_may_require_timers_and_not_too_short_ones() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            brief = "Require: timer\r\nSession-Expires: 60\r\n"
            client.send(message("INVITE", client.port, body=offer(), extra=brief))
            got = await client.response()
            assert (got.code, got.get("min-se"), it.calls) == (422, "90", [])
            fit = "Require: timer\r\nSession-Expires: 90\r\n"
            client.send(message("INVITE", client.port, 2, branch="z9hG4bK7", body=offer(), extra=fit))
            assert (await client.response()).code == 200

    run(story())


def test_a_caller_who_does_not_refresh_is_ended_with_the_reason() -> None:
    async def story() -> None:
        async with line(timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=THEIRS)
            bye = await client.request()
            assert (bye.method, bye.get("reason")) == ("BYE", 'SIP;cause=408;text="not refreshed"')
            answer(client, bye)
            await until(lambda: not it.endpoint.calls)
            assert it.events == ["confirmed", "end:timeout"]

    run(story())


def test_a_caller_who_still_speaks_is_not_cut_off() -> None:
    async def story() -> None:
        async with line(timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=THEIRS)
            packets = 0

            def received() -> int:
                nonlocal packets
                packets += 50
                return packets

            it.calls[0].received = received
            await asyncio.sleep(0.6)
            assert it.endpoint.calls == 1
            it.calls[0].received = lambda: packets  # silence from now on
            assert (await client.request()).method == "BYE"
            assert it.endpoint.counters["kept_unrefreshed"] == 1

    run(story())


def test_a_refresh_keeps_the_call() -> None:
    async def story() -> None:
        async with line(timing=FAST) as it, phone(it.endpoint.port) as client:
            first = await placed(client, extra=THEIRS)
            for n in range(3):
                await asyncio.sleep(0.2)
                client.send(
                    message(
                        "UPDATE", client.port, 2 + n, branch=f"z9hG4bKu{n}", to_tag=first.to.tag, extra=THEIRS
                    )
                )
                got = await client.response()
                assert (got.code, got.get("session-expires")) == (200, "90;refresher=uac")
            # One without a timer ends the timer.
            client.send(message("UPDATE", client.port, 9, branch="z9hG4bKu9", to_tag=first.to.tag))
            assert (await client.response()).get("session-expires") == ""
            await asyncio.sleep(0.6)
            assert it.endpoint.calls == 1
            assert client.pending() == []

    run(story())


def test_we_refresh_by_update() -> None:
    async def story() -> None:
        async with line(timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=OURS)
            for _ in range(3):
                update = await client.request()
                assert (update.method, update.body) == ("UPDATE", b"")
                assert update.get("session-expires") == "90;refresher=uac"
                answer(client, update, 200, "Session-Expires: 90;refresher=uac")
            assert it.endpoint.counters["refreshes"] == 3
            assert it.endpoint.calls == 1

    run(story())


def test_we_refresh_by_invite_where_update_is_unknown() -> None:
    async def story() -> None:
        async with line(timing=FAST) as it, phone(it.endpoint.port) as client:
            first = await placed(client, extra=NO_UPDATE)
            for _ in range(2):
                invite = await client.request()
                assert invite.method == "INVITE"
                assert (
                    invite.session.split(b"\r\n")[1:2] == first.session.split(b"\r\n")[1:2]
                )  # same version: no change
                # While ours is under way, theirs must wait.
                client.send(message("INVITE", client.port, 50 + it.endpoint.counters["refreshes"], body=offer(),
                                    branch=f"z9hG4bKg{invite.cseq.number}", to_tag=first.to.tag))  # fmt: skip
                glare = await client.response()
                assert glare.code == 491
                client.send(
                    message(
                        "ACK",
                        client.port,
                        glare.cseq.number,
                        branch=f"z9hG4bKg{invite.cseq.number}",
                        to_tag=first.to.tag,
                    )
                )
                answer(client, invite, 200, "Session-Expires: 90;refresher=uac", offer())
                ack = await client.request()
                assert (ack.method, ack.cseq.number) == ("ACK", invite.cseq.number)
                answer(client, invite, 200, "Session-Expires: 90;refresher=uac", offer())  # our ACK got lost
                assert (await client.request()).method == "ACK"
            assert it.endpoint.calls == 1
            assert "end:timeout" not in it.events

    run(story())


def test_a_poor_answer_to_our_refresh_leaves_what_was() -> None:
    """The way of the sound stands, and so does the call."""

    async def story() -> None:
        async with line(timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=NO_UPDATE)
            before = it.calls[0].remote
            for body in ("v=0\r\n", offer(formats="18"), offer()):
                invite = await client.request()
                assert invite.method == "INVITE"
                answer(client, invite, 200, "Session-Expires: 90;refresher=uac", body)
                assert (await client.request()).method == "ACK"
                assert it.calls[0].remote.remote == before.remote
            assert it.endpoint.counters["bad_later_answer"] == 2
            assert it.endpoint.calls == 1

    run(story())


def test_update_refused_as_unknown_then_invite_with_a_longer_session() -> None:
    async def story() -> None:
        async with line(timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=OURS)
            answer(client, await client.request(), 405)
            invite = await client.request()
            assert invite.method == "INVITE"
            answer(client, invite, 422, "Min-SE: 300")
            assert (await client.request()).method == "ACK"
            longer = await client.request()
            assert (longer.get("session-expires"), longer.get("min-se")) == ("300;refresher=uac", "300")
            answer(client, longer, 200, "Session-Expires: 300;refresher=uac", offer())
            assert (await client.request()).method == "ACK"
            assert it.endpoint.calls == 1

    run(story())


@pytest.mark.parametrize("code", [481, 0])
def test_a_refresh_that_finds_nobody_ends_the_call(code: int) -> None:
    async def story() -> None:
        async with (
            line(timing=Timing(0.01, 0.05, 0.05, second=0.005)) as it,
            phone(it.endpoint.port) as client,
        ):
            await placed(client, extra=OURS)
            update = await client.request()
            if code:
                answer(client, update, code)
            while update.method != "BYE":
                update = await client.request()
            await until(lambda: it.events[-1] == "end:timeout")

    run(story())


@pytest.mark.parametrize("code", [481, 408, 0])
def test_a_refresh_that_finds_nobody_does_not_hang_up_on_who_still_speaks(code: int) -> None:
    async def story() -> None:
        async with (
            line(timing=Timing(0.01, 0.05, 0.05, second=0.005)) as it,
            phone(it.endpoint.port) as client,
        ):
            await placed(client, extra=OURS)
            packets = 0

            def received() -> int:
                nonlocal packets
                packets += 50
                return packets

            it.calls[0].received = received
            first = again = await client.request()
            if code:
                answer(client, first, code)
            while again.cseq.number == first.cseq.number:
                again = await client.request()
            assert again.method == "UPDATE"
            assert it.endpoint.counters["kept_unrefreshed"] == 1
            answer(client, again, 200, "Session-Expires: 90;refresher=uac")
            third = await client.request()  # in its time, as ever
            it.calls[0].received = lambda: packets  # silence from now on
            answer(client, third, 481)
            while (last := await client.request()).method != "BYE":
                answer(client, last, 481)
            await until(lambda: it.events[-1] == "end:timeout")

    run(story())


def test_a_refresh_refused_for_now_is_tried_again() -> None:
    async def story() -> None:
        async with line(timing=FAST) as it, phone(it.endpoint.port) as client:
            await placed(client, extra=OURS)
            for code in (500, 491, 503):
                answer(client, await client.request(), code)
            again = await client.request()
            assert again.method == "UPDATE"
            assert it.endpoint.calls == 1

    run(story())
