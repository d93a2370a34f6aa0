"""Risk no. 1: our endpoint against SIPp. Scenarios run side by side; every one is judged by both ends."""

import asyncio
from pathlib import Path

import pytest
from tests.interop import sipp
from tests.interop.relay import lose_first, lose_first_answer, tcp_relay, udp_relay
from tests.phone.endpoints import CODECS, LOCAL, line, run, until

from nightbell.core.capture import Codec
from nightbell.phone.endpoint import CallFailed, IncomingCall
from nightbell.sip.transaction import Timing

REAL = Timing()


def ring_then_answer(delay: float):
    def on_call(call: IncomingCall) -> None:
        call.ring()
        asyncio.get_running_loop().call_later(delay, call.answer, LOCAL, Codec.PCMU)

    return on_call


def test_plain_calls_and_bye_from_each_side_over_udp_and_tcp(tmp_path: Path) -> None:
    theirs = sipp.PLAIN
    ours = sipp.invite() + sipp.ANSWERED + sipp.ack() + sipp.recv_request("BYE") + sipp.reply_200()

    async def story(transport: str) -> None:
        async with line(ring_then_answer(0.1), timing=REAL) as it:
            await sipp.caller(tmp_path, f"plain-{transport}", theirs, it.endpoint.port, transport)
            await until(lambda: it.events == ["confirmed", "end:bye"])
            assert (it.calls[0].dialled, it.calls[0].caller) == ("line", "5550100")
            it.events.clear()
            child = await sipp.start(tmp_path, f"ours-{transport}", ours, it.endpoint.port, transport)
            await until(lambda: it.events == ["confirmed"])
            it.calls[-1].hangup()
            await child.done()
            await until(lambda: it.events == ["confirmed", "end:bye"] and not it.endpoint.calls)

    async def all_of_them() -> None:
        await asyncio.gather(story("u1"), story("t1"))

    run(all_of_them(), 30)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_hold_resume_and_a_new_port(tmp_path: Path, transport: str) -> None:
    script = sipp.invite() + sipp.ANSWERED + sipp.ack()
    for cseq, port, direction in ((2, 41000, "sendonly"), (3, 41000, "sendrecv"), (4, 41200, "sendrecv")):
        script += sipp.pause(50) + sipp.invite(cseq, sipp.offer(port, direction, cseq))
        script += sipp.recv(100, 'optional="true"') + sipp.recv(200) + sipp.ack(cseq)
    script += sipp.pause(50) + sipp.bye(5)

    async def story() -> None:
        async with line(timing=REAL) as it:
            await sipp.caller(tmp_path, "hold", script, it.endpoint.port, transport)
            await until(lambda: "end:bye" in it.events)
            assert it.events == [
                "confirmed",
                "media:41000:sendonly",
                "media:41000:sendrecv",
                "media:41200:sendrecv",
                "end:bye",
            ]

    run(story(), 30)


def test_a_late_offer(tmp_path: Path) -> None:
    script = (
        sipp.invite(body="") + sipp.ANSWERED + sipp.ack(body=sipp.offer(41300)) + sipp.pause(100) + sipp.bye()
    )

    async def story() -> None:
        async with line(timing=REAL) as it:
            await sipp.caller(tmp_path, "late", script, it.endpoint.port)
            await until(lambda: it.events == ["media:41300:sendrecv", "confirmed", "end:bye"])

    run(story(), 30)


def test_lost_and_doubled_packets(tmp_path: Path) -> None:
    """Lost 200s, a lost ACK, a lost BYE, and everything doubled: one call each, ended properly."""
    rules = {
        "lost200": lose_first_answer(2),
        "lostack": lose_first("in", b"ACK ", 2),
        "lostbye": lose_first("in", b"BYE ", 1),
        "lostinvite": lose_first("in", b"INVITE ", 1),
        "doubled": lambda way, data: 2,
    }

    async def story(name: str) -> None:
        async with line(timing=REAL) as it, udp_relay(it.endpoint.port, rules[name]) as relay:
            await sipp.caller(tmp_path, name, sipp.SLOW, relay.port)
            await until(lambda: "end:bye" in it.events)
            assert it.events == ["confirmed", "end:bye"]
            assert len(it.calls) == 1
            if name in ("lost200", "lostack"):
                assert it.endpoint.counters["retransmits"] >= 1
            if name == "doubled":
                assert it.endpoint.counters["repeated_requests"] >= 2

    async def all_of_them() -> None:
        await asyncio.gather(*(story(name) for name in rules))

    run(all_of_them(), 30)


def test_an_ack_that_never_comes_ends_the_call_with_bye(tmp_path: Path) -> None:
    script = sipp.invite() + sipp.ANSWERED + sipp.recv_request("BYE") + sipp.reply_200()

    async def story() -> None:
        async with line(timing=Timing(0.1, 0.8, 1.0)) as it:
            await sipp.caller(tmp_path, "noack", script, it.endpoint.port)
            assert it.events == ["end:timeout"]

    run(story(), 30)


def test_cancel_wins_or_loses_the_race(tmp_path: Path) -> None:
    wins = sipp.invite() + sipp.recv(100) + sipp.recv(180) + sipp.cancel() + sipp.recv(200) + sipp.recv(487)
    wins += sipp.refusal_ack()
    # Here our 200 crosses the CANCEL: the call stands, and the caller has to end it.
    loses = (
        sipp.invite()
        + sipp.recv(100)
        + sipp.recv(180)
        + sipp.cancel()
        + sipp.recv(200, 'rrs="true"')
        + sipp.recv(200)
    )
    loses += sipp.ack() + sipp.pause(100) + sipp.bye()

    async def won(transport: str) -> None:
        async with line(lambda call: call.ring(), timing=REAL) as it:
            await sipp.caller(tmp_path, f"wins-{transport}", wins, it.endpoint.port, transport)
            await until(lambda: it.events == ["end:cancel"] and not it.endpoint.calls)

    async def lost() -> None:
        rule = lambda way, data: 0.3 if data.startswith(b"CANCEL ") else 1  # noqa: E731
        async with line(ring_then_answer(0.1), timing=REAL) as it, udp_relay(it.endpoint.port, rule) as relay:
            await sipp.caller(tmp_path, "loses", loses, relay.port)
            await until(lambda: it.events == ["confirmed", "end:bye"])

    async def all_of_them() -> None:
        await asyncio.gather(won("u1"), won("t1"), lost())

    run(all_of_them(), 30)


def test_refusals_are_acknowledged(tmp_path: Path) -> None:
    def refused(code: int) -> str:
        return sipp.invite() + sipp.recv(100, 'optional="true"') + sipp.recv(code) + sipp.refusal_ack()

    async def story() -> None:
        async with line(lambda call: call.reject(486), timing=REAL) as it:
            bad = refused(488).replace("RTP/AVP 0 101", "RTP/AVP 18")
            await asyncio.gather(
                sipp.caller(tmp_path, "busy", refused(486), it.endpoint.port),
                sipp.caller(tmp_path, "codec", bad, it.endpoint.port, "t1"),
            )
            await asyncio.sleep(0.1)
            assert it.endpoint.counters["rejected_488"] == 1
            assert len(it.calls) == 1
            assert it.endpoint.counters["retransmits"] == 0

    run(story(), 30)


@pytest.mark.parametrize("piece", [1, 7, 0])
def test_tcp_messages_cut_and_glued(tmp_path: Path, piece: int) -> None:
    async def story() -> None:
        async with (
            line(ring_then_answer(0.05), timing=REAL) as it,
            tcp_relay(it.endpoint.port, piece) as port,
        ):
            await sipp.caller(tmp_path, "cut", sipp.PLAIN, port, "t1")
            await until(lambda: it.events == ["confirmed", "end:bye"])
            assert it.endpoint.counters["broken_streams"] == 0

    run(story(), 30)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_dialling_out(tmp_path: Path, transport: str) -> None:
    way = "u1" if transport == "udp" else "t1"
    taken = (
        sipp.recv_request("INVITE") + sipp.answer(180, body=False) + sipp.answer() + sipp.recv_request("ACK")
    )
    ended_here = taken + sipp.recv_request("BYE") + sipp.reply_200()
    said_no = sipp.recv_request("INVITE") + sipp.answer(603, body=False) + sipp.recv_request("ACK")
    cancelled = sipp.recv_request("INVITE") + sipp.answer(180, body=False) + sipp.recv_request("CANCEL")
    cancelled += sipp.reply_200() + sipp.answer(487, body=False).replace("[last_CSeq:]", "CSeq: 1 INVITE")
    cancelled += sipp.recv_request("ACK")

    async def story() -> None:
        async with line(timing=REAL) as it:
            child = await sipp.start(tmp_path, "uas", ended_here, 0, way)
            await asyncio.sleep(0.5)
            call = await it.endpoint.dial(f"sip:doc@127.0.0.1:{child.port}", LOCAL, CODECS, "", transport)
            assert (call.remote.port, call.codec) == (41000, Codec.PCMU)
            await asyncio.sleep(0.1)
            call.hangup()
            await child.done()

            child = await sipp.start(tmp_path, "no", said_no, 0, way)
            await asyncio.sleep(0.5)
            with pytest.raises(CallFailed) as failed:
                await it.endpoint.dial(f"sip:doc@127.0.0.1:{child.port}", LOCAL, CODECS, "", transport)
            assert failed.value.code == 603
            await child.done()

            child = await sipp.start(tmp_path, "gone", cancelled, 0, way)
            await asyncio.sleep(0.5)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await it.endpoint.dial(f"sip:doc@127.0.0.1:{child.port}", LOCAL, CODECS, "", transport)
            await child.done()
            await until(lambda: not it.endpoint.calls)

    run(story(), 30)


def test_the_callee_of_our_call_hangs_up(tmp_path: Path) -> None:
    script = sipp.recv_request("INVITE") + sipp.answer() + sipp.recv_request("ACK") + sipp.pause(200)
    script += sipp.send(
        """BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:doc@[local_ip]:[local_port]>;tag=[pid]U[call_number]
To: [$caller]
Call-ID: [call_id]
CSeq: 1 BYE
Max-Forwards: 70
Content-Length: 0

""",
        'retrans="500"',
    )
    script = script.replace(
        '<recv request="INVITE"/>',
        '<recv request="INVITE" rrs="true"><action><ereg regexp=".*" search_in="hdr" header="From:" assign_to="caller"/></action></recv>',
    )
    script += sipp.recv(200)

    async def story() -> None:
        async with line(timing=REAL) as it:
            child = await sipp.start(tmp_path, "uasbye", script, 0)
            await asyncio.sleep(0.5)
            ends: list[str] = []
            call = await it.endpoint.dial(f"sip:doc@127.0.0.1:{child.port}", LOCAL, CODECS)
            call.on_end = ends.append
            await until(lambda: ends == ["bye"])
            await child.done()

    run(story(), 30)


def test_a_hundred_calls_in_two_seconds(tmp_path: Path) -> None:
    async def story() -> None:
        async with line(ring_then_answer(0.2), timing=REAL) as it:
            child = await sipp.start(
                tmp_path, "many", sipp.PLAIN, it.endpoint.port, "u1", "-r", "50", calls=100
            )
            await child.done()
            await until(lambda: it.events.count("end:bye") == 100)
            assert (len(it.calls), it.events.count("confirmed"), it.endpoint.calls) == (100, 100, 0)
            assert it.endpoint.counters["errors"] == 0

    run(story(), 30)
