"""What happens within a call: new offers, late ones, hold, a caller that moves."""

import asyncio

from tests.phone.endpoints import LOCAL, line, message, offer, phone, placed, run, until

from nightbell.core.capture import Codec
from nightbell.sip import sdp


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
