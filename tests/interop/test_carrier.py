"""Trunks against stacks that are not ours: Kamailio as registrar and proxy, SIPp as a plain registrar."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop import kamailio, sipp
from tests.phone.certs import Authority
from tests.phone.endpoints import CODECS, LOCAL, line, run, until
from tests.phone.registrar import PASSWORD, USER, trunk, trunks_of

from nightbell.phone.endpoint import CallFailed
from nightbell.phone.policy import Policy
from nightbell.phone.tls import Tls
from nightbell.sip.digest import Credentials
from nightbell.sip.srtp import Keying
from nightbell.sip.transaction import Timing

DOMAIN = "carrier.example"
BRISK = Timing(0.1, 0.8, 1.0, second=0.02)  # 30 s of keep-alive last 0.6
HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def ha1(algorithm: str) -> str:
    return HASHES[algorithm](f"{USER}:{DOMAIN}:{PASSWORD}".encode()).hexdigest()


def known(realm: str) -> Credentials:
    return Credentials.of(USER, realm, PASSWORD)


@pytest.mark.parametrize(("transport", "algorithm"), [("udp", "MD5"), ("tls", "SHA-256")])
def test_kamailio_registers_us_and_calls_come_by_it(
    tmp_path: Path, authority: Authority, transport: str, algorithm: str
) -> None:
    """And when it is restarted, having forgotten us, calls come again within the minute."""

    async def story() -> None:
        tls = Tls(authority.issue("phone.example"), ca=authority.file)
        async with kamailio.carrier(
            tmp_path, authority, DOMAIN, "nobody", ha1(algorithm), algorithm
        ) as carrier:
            port = carrier.tls if transport == "tls" else carrier.port
            one = trunk(
                port, transport=transport, plain=transport != "tls", ha1={algorithm: ha1(algorithm)},
                # Over UDP only questions find out that it is gone; a connection tells it by itself.
                keep_alive=30 if transport == "udp" else 0,
            )  # fmt: skip
            policy = Policy([one], local=False, resolved={one.id: ["127.0.0.1"]})
            async with (
                line(timing=BRISK, tls=tls, policy=policy) as it,
                line(tls=tls) as caller,
                trunks_of(it, one) as at_work,
            ):

                async def rings() -> None:
                    before = len(it.calls)
                    uri = f"sip:{USER}@{DOMAIN}"
                    caller.endpoint.resolver._hosts[DOMAIN] = ("127.0.0.1",)  # type: ignore[attr-defined]
                    leg = await caller.endpoint.dial(f"{uri}:{port}", LOCAL, CODECS, "5550100", transport)
                    incoming = it.calls[before]
                    assert incoming.dialled == USER
                    assert incoming.trunk is not None and incoming.trunk.id == one.id
                    assert incoming.security.keying is (Keying.SDES if transport == "tls" else Keying.NONE)
                    incoming.hangup()  # our BYE goes back through the carrier, over the same connection
                    await until(lambda: leg.ended)

                await until(lambda: at_work.states()[one.id]["state"] == "registered")
                await rings()
                assert at_work.states()[one.id]["calls"] == 1
                await carrier.stop()
                await until(lambda: at_work.states()[one.id]["state"] == "failed", 6)
                await carrier.start()
                await until(lambda: at_work.states()[one.id]["state"] == "registered", 10)
                await rings()

    run(story(), 40)


def test_kamailio_sees_through_a_wrong_password(tmp_path: Path, authority: Authority) -> None:
    async def story() -> None:
        async with kamailio.carrier(tmp_path, authority, DOMAIN, USER, ha1("MD5")) as carrier:
            one = trunk(carrier.port, ha1={"MD5": "0" * 32})
            async with line(timing=BRISK) as it, trunks_of(it, one) as at_work:
                await until(lambda: at_work.states()[one.id]["state"] == "failed")
                assert (at_work.states()[one.id]["code"], at_work.states()[one.id]["why"]) == (
                    401,
                    "password",
                )

    run(story(), 30)


def test_a_call_through_a_proxy_that_asks_who_we_are(tmp_path: Path, authority: Authority) -> None:
    """407, answered with a new INVITE; the BYE too goes by it."""

    async def story() -> None:
        async with kamailio.carrier(tmp_path, authority, DOMAIN, USER, ha1("MD5")) as carrier:
            one = trunk(carrier.port, ha1={"MD5": ha1("MD5")})
            async with line(timing=BRISK) as it, line() as caller, trunks_of(it, one) as at_work:
                await until(lambda: at_work.states()[one.id]["state"] == "registered")
                caller.endpoint.resolver._hosts[DOMAIN] = ("127.0.0.1",)  # type: ignore[attr-defined]
                uri = f"sip:{USER}@{DOMAIN}:{carrier.port}"

                def place(credentials: Callable[[str], Credentials] | None):  # type: ignore[no-untyped-def]
                    return caller.endpoint.dial(uri, LOCAL, CODECS, USER, credentials=credentials)

                for wrong in (None, lambda realm: Credentials.of(USER, realm, "wrong")):
                    with pytest.raises(CallFailed) as failed:
                        await place(wrong)
                    assert failed.value.code == 407
                assert it.calls == []
                leg = await place(known)
                await until(lambda: it.events == ["confirmed"])
                leg.hangup()
                await until(lambda: it.events == ["confirmed", "end:bye"])

    run(story(), 30)


SIPP_REGISTRAR = """
<recv request="REGISTER"/>
<send><![CDATA[
SIP/2.0 401 Unauthorized
[last_Via:]
[last_From:]
[last_To:];tag=[pid]R[call_number]
[last_Call-ID:]
[last_CSeq:]
WWW-Authenticate: Digest realm="carrier.example", nonce="47ebe028cda119c35d4877b383027d28da013815", opaque="x y", algorithm=MD5, qop="auth"
Content-Length: 0

]]></send>
<recv request="REGISTER">
<action>
<ereg regexp=".*" search_in="hdr" header="Authorization:" assign_to="sent"/>
<verifyauth assign_to="good" username="5552014567" password="nine lives"/>
</action>
</recv>
<nop hide="true" test="good" next="granted"/>
<send><![CDATA[
SIP/2.0 403 Forbidden
[last_Via:]
[last_From:]
[last_To:];tag=[pid]R[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
<label id="granted"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]R[call_number]
[last_Call-ID:]
[last_CSeq:]
[last_Contact:];expires=120
Content-Length: 0

]]></send>
<Reference variables="sent"/>
"""


def test_sipp_believes_our_answer(tmp_path: Path) -> None:
    async def story() -> None:
        peer = await sipp.start(tmp_path, "registrar", SIPP_REGISTRAR, 0)
        one = trunk(peer.port, ha1={"MD5": ha1("MD5")}, keep_alive=0)
        async with line() as it, trunks_of(it, one) as at_work:
            await until(lambda: at_work.states()[one.id]["state"] in ("registered", "failed"))
            assert at_work.states()[one.id]["state"] == "registered"
            await peer.done()

    run(story(), 30)
