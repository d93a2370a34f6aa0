"""The real phone process registered with Kamailio: a call that comes by it is answered and recorded. And what is asked for
a second time: a nonce that has run out, and who we are when we call."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.interop import kamailio, sipp
from tests.interop.test_encrypted_sound import HERE, Street, noise
from tests.interop.test_matrix import ENOUGH, LONGEST, long_enough, samples, sipp_caller
from tests.phone.certs import Authority
from tests.phone.endpoints import CODECS, LOCAL, Line, line, run, until
from tests.phone.house import CALLER, PRACTICE, House, spoken_of
from tests.phone.registrar import PASSWORD, USER, trunk, trunks_of
from tests.phone.test_control import Worker
from tests.ports import free_port
from tests.sound import alike

from nightbell.core.capture import EndReason
from nightbell.phone.transport import Peer
from nightbell.sip.digest import Credentials
from nightbell.sip.transaction import Timing
from nightbell.sip.trunk import Trunk

DOMAIN = "carrier.example"
HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def ha1(algorithm: str) -> str:
    return HASHES[algorithm](f"{USER}:{DOMAIN}:{PASSWORD}".encode()).hexdigest()


@contextlib.asynccontextmanager
async def registered(house: House, one: Trunk, authority: Authority) -> AsyncIterator[None]:
    """The phone, whom nobody of this machine may call but by that trunk."""
    ports = {"NIGHTBELL_RTP_PORTS": "31500-31999"}
    house.settings = ports | house.settings | {"NIGHTBELL_SIP_CA": str(authority.file)}
    house.lines[PRACTICE]["number"] = ""  # the last words are short without
    limits = {"local": False, "drain_seconds": 3}
    (house.folder / "snapshot.json").write_bytes(house.signed(2, trunks=[one.to_dict()], limits=limits))
    await asyncio.to_thread(house.start)
    try:
        worker = await asyncio.to_thread(Worker, house.home / "run" / "control.sock")

        def stands(told: dict[str, Any]) -> bool:
            return bool(told["trunks"].get(one.id, {}).get("state") == "registered")

        await asyncio.to_thread(worker.hear, "health", stands)
        yield
        worker.close()
    finally:
        await asyncio.to_thread(house.stop)


def call_in_clear(street: Street, port: int) -> bool:
    """SIPp, over UDP."""
    caller = sipp_caller(street.root, CALLER, port, "udp", free_port(), "127.0.0.1")
    words, _ = caller.communicate(timeout=60)
    assert caller.returncode == 0, words[-2000:]
    return True


def call_encrypted(street: Street, port: int) -> bool:
    """PJSIP: the carrier hears of the keys, but what it tells us goes by TLS."""
    command = [
        sys.executable,
        str(HERE / "sound_child.py"),
        "pjsip",
        f"sip:{USER}@127.0.0.1:{port}",
        "sdes",
        "PCMU",
    ]
    command += [str(street.speech), str(street.root / "heard.wav"), "0", str(LONGEST), CALLER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdin is not None
        for _ in range(300):
            if long_enough(street):
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                caller.wait(0.1)
        caller.stdin.write("#\n")
        out, _ = caller.communicate(timeout=60)
    told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return bool(told[-1]["gone"])


@pytest.mark.slow
def test_a_call_by_kamailio_is_recorded(tmp_path: Path) -> None:
    async def story(transport: str, algorithm: str) -> None:
        folder = tmp_path / transport
        (folder / "carrier").mkdir(parents=True)
        street, encrypted = Street(folder), transport == "tls"
        async with kamailio.carrier(
            folder / "carrier", street.ca, DOMAIN, "nobody", ha1(algorithm), algorithm
        ) as carrier:
            port = carrier.tls if encrypted else carrier.port
            one = trunk(port, transport=transport, plain=not encrypted, ha1={algorithm: ha1(algorithm)})
            async with registered(street.house, one, street.ca):
                call = call_encrypted if encrypted else call_in_clear
                assert await asyncio.to_thread(call, street, carrier.port), "our BYE did not come"
        (capture,) = street.house.wait_for_captures(1)
        assert (capture.meta.dialled, capture.meta.caller) == (USER, CALLER)
        assert capture.end.reason is EndReason.POUND
        assert [digit.key for digit in capture.digits] == ["0", "#"]
        said = samples(spoken_of(capture), capture.meta.codec)[2000 : 2000 + int(ENOUGH * 8000)]
        assert np.abs(said).mean() > 200
        assert alike(said, noise()) >= 0.99

    async def all_of_them() -> None:
        await asyncio.gather(story("udp", "MD5"), story("tls", "SHA-256"))

    run(all_of_them(), 100)


def overheard(it: Line) -> list[bytes]:
    """What comes in from now on."""
    seen: list[bytes] = []
    hear = it.endpoint.layer.received

    def both(data: bytes, peer: Peer) -> None:
        seen.append(data)
        hear(data, peer)

    it.endpoint.layer.transport._on_message = both
    return seen


def test_a_nonce_that_has_run_out_is_no_wrong_password(tmp_path: Path) -> None:
    """Kamailio's live a second; the registration is renewed after two."""
    hasty = Timing(0.1, 0.8, 1.0, second=0.05)

    async def story() -> None:
        authority = Authority(tmp_path)
        async with kamailio.carrier(
            tmp_path, authority, DOMAIN, USER, ha1("MD5"), grants=60, nonce=1
        ) as carrier:
            one = trunk(carrier.port, ha1={"MD5": ha1("MD5")}, expires=60, keep_alive=0)
            async with line(timing=hasty) as it, trunks_of(it, one) as at_work:
                seen = overheard(it)

                def answers(code: bytes) -> list[bytes]:
                    return [one for one in seen if one.startswith(b"SIP/2.0 " + code) and b" REGISTER" in one]

                def stale() -> list[bytes]:
                    return [one for one in answers(b"401") if b"stale=true" in one.lower()]

                await until(lambda: len(stale()) >= 2 and len(answers(b"200")) >= 3, 12)
                assert at_work.states()[one.id]["state"] == "registered"
                assert b"stale" not in answers(b"401")[0].lower()

    run(story(), 30)


ASKS = """<send><![CDATA[
SIP/2.0 {code} X
[last_Via:]
[last_From:]
[last_To:];tag=[pid]A[call_number]
[last_Call-ID:]
[last_CSeq:]
{who}-Authenticate: Digest realm="carrier.example", nonce="47ebe028cda119c35d4877b383027d28da013815", algorithm=MD5, qop="auth"
Content-Length: 0

]]></send>
<recv request="ACK"/>
<recv request="INVITE"><action>{checks}</action></recv>
"""
# It computes what must stand in Authorization; in Proxy-Authorization (Kamailio computes that) it only looks.
COMPUTED = """<verifyauth assign_to="good" username="5552014567" password="nine lives"/>"""
SEEN = """<ereg regexp="username=.5552014567.,.*response=.[0-9a-f]+" search_in="hdr" header="Proxy-Authorization:"
 check_it="true" assign_to="good"/>"""
JUDGED = """<nop hide="true" test="good" next="granted"/>
<send><![CDATA[
SIP/2.0 403 Forbidden
[last_Via:]
[last_From:]
[last_To:];tag=[pid]A[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
<label id="granted"/>
"""


@pytest.mark.parametrize(("code", "transport"), [(401, "u1"), (407, "t1")])
def test_sipp_asks_who_calls(tmp_path: Path, code: int, transport: str) -> None:
    who, checks = ("WWW", COMPUTED) if code == 401 else ("Proxy", SEEN)
    script = sipp.recv_request("INVITE") + ASKS.format(code=code, who=who, checks=checks) + JUDGED
    script += sipp.answer() + sipp.recv_request("ACK") + sipp.recv_request("BYE") + sipp.reply_200()

    async def story() -> None:
        async with line() as it:
            callee = await sipp.start(tmp_path, "asks", script, 0, transport)
            await asyncio.sleep(0.5)
            leg = await it.endpoint.dial(
                f"sip:doc@127.0.0.1:{callee.port}", LOCAL, CODECS, USER, "tcp" if transport == "t1" else "udp",
                credentials=lambda realm: Credentials.of(USER, realm, PASSWORD),
            )  # fmt: skip
            leg.hangup()
            await callee.done()

    run(story(), 30)
