"""Our endpoint against a hand-driven client and against itself."""

import asyncio
import io

import pytest
from tests.phone.endpoints import CODECS, LOCAL, QUICK, Phone, line, message, offer, phone, run, until

from nightbell.core.capture import Codec
from nightbell.core.errors import RefusedStart
from nightbell.core.log import Log
from nightbell.phone.endpoint import CallFailed, Endpoint, IncomingCall, Limits
from nightbell.phone.transport import Peer
from nightbell.sip import sdp
from nightbell.sip.message import Response, build_response


async def placed(client: Phone, **options: str) -> Response:
    """An answered and acknowledged call."""
    client.send(message("INVITE", client.port, body=offer(), **options))
    answer = await client.response()
    client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag, **options))
    return answer


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


def test_a_stray_cancel_bye_ack_and_response_do_no_harm() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(message("ACK", client.port, to_tag="x"))
            client.send(
                b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK9\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n"
            )
            for method in ("CANCEL", "BYE", "UPDATE"):
                client.send(message(method, client.port, branch=f"z9hG4bK{method}", to_tag="nobody"))
                assert (await client.response()).code == 481
            assert it.calls == []

    run(story())


def test_hold_resume_and_a_new_port_are_taken_over() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            answer = await placed(client)
            first = sdp.parse(answer.body)
            steps = [(2, 41000, "sendonly"), (3, 41000, "sendrecv"), (4, 41500, "sendrecv")]
            for cseq, port, direction in steps:
                branch = f"z9hG4bKr{cseq}"
                client.send(
                    message(
                        "INVITE",
                        client.port,
                        cseq,
                        branch=branch,
                        to_tag=answer.to.tag,
                        body=offer(port, direction),
                    )
                )
                got = await client.response()
                assert (got.code, got.cseq.number) == (200, cseq)
                described = sdp.parse(got.body)
                assert described.session_id == first.session_id
                client.send(message("ACK", client.port, cseq, branch=branch + "a", to_tag=answer.to.tag))
                await asyncio.sleep(0.01)
                client.pending()
            assert it.events == [
                "confirmed",
                "media:41000:sendonly",
                "media:41000:sendrecv",
                "media:41500:sendrecv",
            ]
            assert described.version > first.version

    run(story())


def test_a_bad_reinvite_leaves_the_call_as_it_was() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            answer = await placed(client)
            await until(lambda: it.events)
            for cseq, formats in ((2, "18"), (3, "8")):  # unknown; known, but not what we speak in this call
                branch = f"z9hG4bKr{cseq}"
                client.send(
                    message(
                        "INVITE",
                        client.port,
                        cseq,
                        branch=branch,
                        to_tag=answer.to.tag,
                        body=offer(formats=formats),
                    )
                )
                assert (await client.response()).code == 488
                client.send(message("ACK", client.port, cseq, branch=branch, to_tag=answer.to.tag))
            assert it.events == ["confirmed"]
            client.send(message("BYE", client.port, 9, branch="z9hG4bKb", to_tag=answer.to.tag))
            assert (await client.response()).code == 200

    run(story())


def test_a_reinvite_before_the_ack_is_put_off() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            answer = await client.response()
            client.send(
                message("INVITE", client.port, 2, branch="z9hG4bKr", to_tag=answer.to.tag, body=offer())
            )
            while (response := await client.response()).cseq.number != 2:
                pass
            assert response.code == 491
            assert len(it.calls) == 1

    run(story())


def test_an_update_without_offer_refreshes_and_one_with_offer_changes() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            answer = await placed(client)
            client.send(message("UPDATE", client.port, 2, branch="z9hG4bKu", to_tag=answer.to.tag))
            assert (await client.response()).body == b""
            client.send(
                message("UPDATE", client.port, 3, branch="z9hG4bKv", to_tag=answer.to.tag, body=offer(41002))
            )
            assert sdp.parse((await client.response()).body).port == LOCAL[1]
            assert it.events == ["confirmed", "media:41002:sendrecv"]

    run(story())


def test_an_old_cseq_within_the_call_is_refused() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            answer = await placed(client)
            client.send(message("BYE", client.port, 1, branch="z9hG4bKb", to_tag=answer.to.tag))
            assert (await client.response()).code == 500
            client.send(
                message("BYE", client.port, 2, branch="z9hG4bKc", to_tag=answer.to.tag, from_tag="other")
            )
            assert (await client.response()).code == 481
            assert it.events == ["confirmed"]

    run(story())


def test_a_caller_may_let_us_offer() -> None:
    async def story() -> None:
        async with line(lambda call: call.answer(LOCAL, Codec.PCMA)) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port))
            answer = await client.response()
            assert sdp.parse(answer.body).codecs == ((8, Codec.PCMA),)
            client.send(
                message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag, body=offer(41004))
            )
            await until(lambda: it.events == ["media:41004:sendrecv", "confirmed"])
            assert it.calls[0].remote.port == 41004

    run(story())


def test_a_session_among_other_parts_is_found() -> None:
    parts = "--b1\r\nContent-Type: application/isup\r\n\r\n\x01\x02\r\n"
    parts += f"--b1\r\nContent-Type: application/sdp\r\n\r\n{offer()}\r\n--b1--\r\n"

    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            extra = 'Content-Type: multipart/mixed;boundary="b1"\r\n'
            client.send(message("INVITE", client.port, body=parts, extra=extra))
            assert sdp.parse((await client.response()).body).codecs[0][1] is Codec.PCMU
            assert it.calls[0].remote.port == 41000
            without = parts.replace("application/sdp", "text/plain")
            client.send(
                message("INVITE", client.port, body=without, extra=extra, call_id="c2", branch="z9hG4bKm")
            )
            while (got := await client.response()).call_id != "c2":
                pass
            assert got.code == 415

    run(story())


def test_a_useless_late_answer_ends_the_call() -> None:
    async def story() -> None:
        async with line(lambda call: call.answer(LOCAL, Codec.PCMA)) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port))
            answer = await client.response()
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            assert (await client.request()).method == "BYE"
            await until(lambda: "end:bye" in it.events)

    run(story())


@pytest.mark.parametrize(
    ("code", "bytes_of"),
    [
        (405, lambda port: message("REGISTER", port)),
        (405, lambda port: message("MESSAGE", port)),
        (501, lambda port: message("DANCE", port)),
        (416, lambda port: message("INVITE", port, uri="isbn:123", body=offer())),
        (420, lambda port: message("INVITE", port, extra="Require: 100rel, x\r\n", body=offer())),
        (406, lambda port: message("INVITE", port, extra="Accept: text/plain\r\n", body=offer())),
        (415, lambda port: message("INVITE", port, extra="Content-Type: text/plain\r\n", body="hello")),
        (415, lambda port: message("INVITE", port, extra="Content-Encoding: gzip\r\n", body=offer())),
        (488, lambda port: message("INVITE", port, body=offer(formats="9 18"))),
        (488, lambda port: message("INVITE", port, body=offer(port=0))),
        (488, lambda port: message("INVITE", port, body="nonsense")),
        (400, lambda port: message("INVITE", port, extra="Record-Route: <\r\n", body=offer())),
        (400, lambda port: message("INVITE", port, extra="CSeq: 2 INVITE\r\n", body=offer())),
        (
            505,
            lambda port: message("OPTIONS", port).replace(
                b"line@127.0.0.1 SIP/2.0", b"line@127.0.0.1 SIP/3.0"
            ),
        ),
        (200, lambda port: message("OPTIONS", port)),
    ],
)
def test_it_answers_by_the_book_without_bothering_the_application(code: int, bytes_of) -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            client.send(bytes_of(client.port))
            got = await client.response()
            assert got.code == code
            assert it.calls == []
            if code in (200, 405, 501):
                assert "INVITE" in got.get("allow")
            if code == 420:
                assert got.get("unsupported") == "100rel, x"
            if code == 488:
                assert it.endpoint.counters["rejected_488"] == 1

    run(story())


def test_a_copy_of_an_invite_by_another_way_is_refused() -> None:
    async def story() -> None:
        async with line(lambda call: call.ring()) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            await client.response()
            client.send(message("INVITE", client.port, branch="z9hG4bKother", body=offer()))
            assert (await client.response()).code == 482
            assert len(it.calls) == 1

    run(story())


def test_rejecting_and_hanging_up_before_the_answer() -> None:
    async def story() -> None:
        async with line(lambda call: call.reject(486, "Busy")) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            got = await client.response()
            assert (got.code, got.reason) == (486, "Busy")
            client.send(message("ACK", client.port, to_tag=got.to.tag))
        async with line(lambda call: call.hangup()) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            assert (await client.response()).code == 480
            assert it.events == ["end:bye"]

    run(story())


def test_an_application_that_fails_costs_one_call() -> None:
    def broken(call: IncomingCall) -> None:
        raise RuntimeError("a patient's words")

    async def story() -> None:
        async with line(broken) as it, phone(it.endpoint.port) as client:
            client.send(message("INVITE", client.port, body=offer()))
            assert (await client.response()).code == 500
            assert "patient" not in it.log.getvalue()
            client.send(message("OPTIONS", client.port, branch="z9hG4bKo", call_id="c2"))
            while (got := await client.response()).cseq.method != "OPTIONS":
                pass
            assert got.code == 200

    run(story())


@pytest.mark.parametrize(
    ("extra", "sender", "caller"),
    [
        ("", "<sip:5550100@h>", "5550100"),
        ("", '"Anonymous" <sip:anonymous@anonymous.invalid>', ""),
        ("P-Asserted-Identity: <sip:+15550199@h>\r\n", "<sip:anonymous@anonymous.invalid>", "+15550199"),
        ("P-Asserted-Identity: <sip:x@h>, <tel:+15550198>\r\n", "<sip:5550100@h>", "+15550198"),
        ("P-Asserted-Identity: <sip:+15550199@h>\r\nPrivacy: id\r\n", "<sip:5550100@h>", ""),
        ("P-Asserted-Identity: <sip:front-desk@h>, <sip:5550197@h>\r\n", "<sip:x@h>", "5550197"),
        ("P-Asserted-Identity: <sip:front-desk@h>\r\n", "<sip:5550100@h>", ""),
        ("", "<sip:5550100@anonymous.invalid>", ""),
        ("", "<sip:bob@h>", ""),
    ],
)
def test_the_caller_is_whom_the_carrier_names(extra: str, sender: str, caller: str) -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            invite = message("INVITE", client.port, body=offer(), extra=extra)
            client.send(invite.replace(b"<sip:5550100@127.0.0.1>;tag", sender.encode() + b";tag"))
            await client.response()
            assert it.calls[0].caller == caller

    run(story())


def test_no_number_reaches_the_log() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            await placed(client)
            await until(lambda: it.events)
            assert "sip_call" in it.log.getvalue()
            assert "5550100" not in it.log.getvalue()

    run(story())


def test_too_many_calls_and_transactions_are_turned_away() -> None:
    async def story() -> None:
        async with line(limits=Limits(transactions=5, calls=2)) as it, phone(it.endpoint.port) as client:
            codes = []
            for n in range(8):
                client.send(
                    message("INVITE", client.port, branch=f"z9hG4bKn{n}", call_id=f"n{n}", body=offer())
                )
            for _ in range(8):
                codes.append((await client.response()).code)
            assert codes.count(503) >= 6
            assert len(it.calls) == 2

    run(story())


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


def test_a_new_contact_gets_our_bye() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client, phone(it.endpoint.port) as moved:
            answer = await placed(client)
            again = message("UPDATE", client.port, 2, branch="z9hG4bKu", to_tag=answer.to.tag)
            old = f"<sip:5550100@127.0.0.1:{client.port}>".encode()
            client.send(again.replace(old, f"<sip:5550100@127.0.0.1:{moved.port}>".encode()))
            assert (await client.response()).code == 200
            it.calls[0].hangup()
            bye = await moved.request()
            assert (bye.method, bye.uri.port) == ("BYE", moved.port)

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


def test_without_rport_the_answer_goes_to_the_port_in_the_via() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client, phone(it.endpoint.port) as other:
            client.send(message("OPTIONS", other.port).replace(b";rport", b""))
            assert (await other.response()).code == 200
            assert client.pending() == []

    run(story())
