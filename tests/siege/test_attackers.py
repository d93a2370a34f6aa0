"""Floods, injected sound, forged ends, old messages again, and orders to call elsewhere, while calls are recorded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from tests.phone.endpoints import Phone, message, offer, phone
from tests.phone.house import DIALLED, HandCaller, House, running
from tests.siege.under import Speakers, Watch, speaking, traces

from nightbell.core.clock import monotonic
from nightbell.sip.rtp import RtpPacket, pack

HERE = "127.0.0.2"  # the attacker's address
FLOOD_S, A_SECOND = 2.5, 2000
CALLS = 8  # of others, placed in the flood


def bound() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((HERE, 0))
    one.setblocking(False)
    return one


async def flood(house: House) -> int:
    """INVITE, OPTIONS and REGISTER in turn from one source, for a while; how many left."""
    uri, sent, began = f"sip:{DIALLED}@127.0.0.1:{house.port}", 0, monotonic()
    with contextlib.closing(bound()) as wire:
        here = wire.getsockname()[1]
        while monotonic() - began < FLOOD_S:
            while sent < (monotonic() - began) * A_SECOND:
                method = ("INVITE", "OPTIONS", "REGISTER")[sent % 3]
                named = {
                    "call_id": f"f{sent}",
                    "branch": f"z9hG4bKf{sent}",
                    "from_tag": f"f{sent}",
                    "uri": uri,
                }
                with contextlib.suppress(OSError):
                    wire.sendto(
                        message(method, here, body=offer(9) if method == "INVITE" else "", **named),
                        ("127.0.0.1", house.port),
                    )
                sent += 1
            await asyncio.sleep(0.005)
            with contextlib.suppress(OSError):
                while True:
                    wire.recv(65_536)
    return sent


async def answered_in_the_flood(house: House) -> list[float]:
    """Milliseconds to the answer of calls of somebody else."""
    times = []
    for number in range(CALLS):
        began = monotonic()
        async with HandCaller(house, f"555201800{number}"):
            times.append((monotonic() - began) * 1000)
    return sorted(times)


async def inject(speakers: Speakers, seconds: float) -> int:
    """Sound that looks like the callers', from another socket, at every port of theirs; with their SSRC too."""
    sent, began = 0, monotonic()
    with contextlib.closing(bound()) as wire:
        while monotonic() - began < seconds:
            for caller in speakers.callers:
                for ssrc in (9, 77):
                    packet = RtpPacket(0, False, sent & 0xFFFF, 5000 + sent * 160, ssrc, b"\x00" * 160)
                    with contextlib.suppress(OSError):
                        wire.sendto(pack(packet), caller.target)
            sent += 1
            await asyncio.sleep(0.01)
    return sent


async def forged_ends(house: House, client: Phone, caller: HandCaller) -> None:
    """BYE and CANCEL for a call of somebody else, with its Call-ID, without its tags; and then orders to call elsewhere."""
    dialog = caller.leg.dialog
    assert dialog is not None
    known = {"call_id": dialog.call_id, "uri": f"sip:{DIALLED}@127.0.0.1:{house.port}"}
    for number, (method, tag) in enumerate(
        (("BYE", "guess"), ("BYE", ""), ("CANCEL", ""), ("UPDATE", "guess"), ("INVITE", "guess"))
    ):
        body = offer(9) if method in ("UPDATE", "INVITE") else ""
        client.send(
            message(method, client.port, 9, branch=f"z9hG4bKx{number}", to_tag=tag, body=body, **known)
        )
        answer = await client.response()
        assert answer.code >= 400, (method, answer.code)


async def orders(house: House, client: Phone, caller: HandCaller) -> None:
    dialog = caller.leg.dialog
    assert dialog is not None
    uri = f"sip:{DIALLED}@127.0.0.1:{house.port}"
    away = "Refer-To: <sip:5550000000@192.0.2.1>\r\nReferred-By: <sip:a@b>\r\n"
    client.send(message("REFER", client.port, branch="z9hG4bKr", call_id="r", extra=away, uri=uri))
    assert (await client.response()).code in (405, 501)
    taken = f"Replaces: {dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}\r\nRequire: replaces\r\n"
    client.send(
        message("INVITE", client.port, branch="z9hG4bKq", call_id="q", extra=taken, body=offer(9), uri=uri)
    )
    assert (await client.response()).code == 420
    moved = message("INVITE", client.port, branch="z9hG4bKs", call_id="s", uri=uri).replace(
        b"INVITE sip:" + uri[4:].encode() + b" SIP/2.0", b"SIP/2.0 302 Moved"
    )
    client.send(moved)
    bye = message("BYE", client.port, 2, branch="z9hG4bKb", call_id="q", to_tag="x", uri=uri)
    client.send(bye)
    assert (await client.response()).code == 481


async def again(house: House, client: Phone) -> None:
    """An old INVITE word for word: the same answer again, and no second call."""
    invite = message(
        "INVITE",
        client.port,
        branch="z9hG4bKo",
        call_id="old",
        body=offer(9),
        uri=f"sip:{DIALLED}@127.0.0.1:{house.port}",
    )
    client.send(invite)
    first = await client.response()
    for _ in range(20):
        client.send(invite)
    await asyncio.sleep(0.2)
    tags = {
        data
        for data in client.pending()
        if data.startswith(b"SIP/2.0 200") and first.to.tag.encode() not in data
    }
    assert tags == set()


def test_calls_go_on_whatever_others_do(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        async with Watch(house) as watch, speaking(house, 3) as speakers:
            sent, times, injected = await asyncio.gather(
                flood(house), answered_in_the_flood(house), inject(speakers, FLOOD_S)
            )
            print(
                f"{sent} in {FLOOD_S} s; INVITE to 200 in ms: median {times[CALLS // 2]:.1f}, longest {times[-1]:.1f}; {injected} frames"
            )
            assert sent > A_SECOND
            async with phone(house.port) as client:
                await forged_ends(house, client, speakers.callers[0])
                await orders(house, client, speakers.callers[0])
                await again(house, client)
            sip = (await watch.next())["sip"]
            assert sip["throttled"] > sent / 2
            assert not sip.get("dialled"), "the phone called nobody"
            assert not sip.get("errors")
            assert not any(caller.ended.is_set() for caller in speakers.callers)
        speakers.assert_kept()

    with running(tmp_path) as house:
        asyncio.run(story(house))
        assert traces(house) == []
