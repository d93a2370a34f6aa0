"""What our endpoint answers to what it does not take, and what it believes of a caller."""

import pytest
from tests.phone.endpoints import line, message, offer, phone, placed, run, until

from nightbell.phone.endpoint import IncomingCall, Limits


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


@pytest.mark.parametrize(
    ("code", "bytes_of"),
    [
        (405, lambda port: message("REGISTER", port)),
        (405, lambda port: message("MESSAGE", port)),
        (501, lambda port: message("DANCE", port)),
        (416, lambda port: message("INVITE", port, uri="isbn:123", body=offer())),
        (420, lambda port: message("INVITE", port, extra="Require: 100rel, x, timer, y\r\n", body=offer())),
        (406, lambda port: message("INVITE", port, extra="Accept: text/plain\r\n", body=offer())),
        (415, lambda port: message("INVITE", port, extra="Content-Type: text/plain\r\n", body="hello")),
        (415, lambda port: message("INVITE", port, extra="Content-Encoding: gzip\r\n", body=offer())),
        (488, lambda port: message("INVITE", port, body=offer(formats="18 4"))),
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
                assert got.get("unsupported") == "x, y"
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
            assert it.endpoint.counters["callers_unknown"] == (not caller)

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


def test_without_rport_the_answer_goes_to_the_port_in_the_via() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client, phone(it.endpoint.port) as other:
            client.send(message("OPTIONS", other.port).replace(b";rport", b""))
            assert (await other.response()).code == 200
            assert client.pending() == []

    run(story())
