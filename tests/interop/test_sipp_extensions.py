"""SIPp with session timers (RFC 4028) and acknowledged ringing (RFC 3262)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.interop import sipp
from tests.interop.sipp import ANSWERED, ack, bye, invite, offer, pause, recv, recv_request, send
from tests.phone.endpoints import LOCAL, line, run, until

from nightbell.phone.endpoint import IncomingCall
from nightbell.sip.transaction import Timing

FAST = Timing(0.1, 0.8, 1.0, second=0.01)  # 90 s of a session last 0.9


def with_lines(script: str, *lines: str) -> str:
    return script.replace("Max-Forwards: 70\n", "Max-Forwards: 70\n" + "".join(f"{one}\n" for one in lines))


def request(method: str, cseq: int, *lines: str) -> str:
    return with_lines(bye(cseq).partition("<recv")[0].replace("BYE", method), *lines)


TIMER = ("Supported: timer", "Allow: INVITE, ACK, BYE, CANCEL")
AGREED = send(
    f"""SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:5550100@[local_ip]:[local_port];transport=[transport]>
Session-Expires: 90;refresher=uac
Content-Type: application/sdp
Content-Length: [len]

{offer()}"""
)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_we_refresh_by_invite(tmp_path: Path, transport: str) -> None:
    async def story() -> None:
        async with line(timing=FAST) as it:
            begin = with_lines(invite(), *TIMER, "Session-Expires: 90;refresher=uas")
            refreshed = recv_request("INVITE") + AGREED + recv_request("ACK")
            await sipp.caller(
                tmp_path, "uas", begin + ANSWERED + ack() + refreshed * 2 + bye(), it.endpoint.port, transport
            )
            await until(lambda: it.events[-1] == "end:bye")
            assert it.endpoint.counters["refreshes"] == 2

    run(story())


def test_the_caller_refreshes_and_then_does_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with line(timing=FAST) as it:
            begin = with_lines(invite(), *TIMER, "Session-Expires: 90;refresher=uac")
            update = (
                pause(400)
                + request("UPDATE", 2, "Supported: timer", "Session-Expires: 90;refresher=uac")
                + recv(200)
            )
            script = (
                begin
                + ANSWERED
                + ack()
                + update
                + update.replace("2 UPDATE", "3 UPDATE")
                + recv_request("BYE")
            )
            await sipp.caller(tmp_path, "uac", script + sipp.reply_200(), it.endpoint.port)
            await until(lambda: it.events[-1] == "end:timeout" and not it.endpoint.calls)
            assert it.endpoint.counters["in_UPDATE"] == 2

    run(story())


@pytest.mark.parametrize("repeats", [0, 2])
def test_ringing_is_acknowledged(tmp_path: Path, repeats: int) -> None:
    """repeats: how often at least the ringing comes again, for the first PRACKs are lost."""

    def late(call: IncomingCall) -> None:
        call.ring()
        asyncio.get_running_loop().call_later(1.0, lambda: call.answer(LOCAL, call.remote.codecs[0][1]))

    async def story() -> None:
        async with line(late, timing=FAST) as it:
            rung = """<recv response="180" rrs="true"><action>
<ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" check_it="true" assign_to="rseq"/>
</action></recv>
"""
            begin = with_lines(invite(), "Require: 100rel") + recv(100, 'optional="true"') + rung
            wait = (
                pause(500) if repeats else ""
            )  # it comes again after 0.1 and 0.3 s; SIPp says nothing to that
            prack = request("PRACK", 2, "RAck: [$rseq] 1 INVITE") + recv(200) + recv(200, 'rrs="true"')
            await sipp.caller(
                tmp_path, "prack", begin + wait + prack + ack() + pause(100) + bye(3), it.endpoint.port
            )
            await until(lambda: it.events == ["confirmed", "end:bye"])
            assert it.endpoint.counters["rings_unacknowledged"] == 0
            assert (it.endpoint.counters["retransmits"] >= 2) == bool(repeats)

    run(story())


def test_ringing_that_nobody_acknowledges_ends_the_call(tmp_path: Path) -> None:
    async def story() -> None:
        async with line(lambda call: call.ring(), timing=Timing(0.02, 0.1, 0.2)) as it:
            begin = with_lines(invite(), "Require: 100rel") + recv(100, 'optional="true"') + recv(180)
            script = begin + recv(504, 'timeout="5000"') + sipp.refusal_ack()
            await sipp.caller(tmp_path, "silent", script, it.endpoint.port)
            await until(lambda: not it.endpoint.calls)

    run(story())
