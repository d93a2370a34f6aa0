"""Encrypted calls within their dialog, and those whose keys never come or are wrong."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.phone.certs import Authority
from tests.phone.endpoints import LOCAL, line, message, phone, run, until
from tests.phone.house import CALLER, HandCaller, House, running, sound_of, speech
from tests.phone.test_endpoint_tls import over_tls, secured

from nightbell.core.capture import Capture, Codec
from nightbell.phone import wav
from nightbell.phone.policy import Policy
from nightbell.phone.protection import Protection
from nightbell.phone.tls import Tls
from nightbell.sealing.capture import open_capture
from nightbell.sip import sdp
from nightbell.sip.srtp import Fingerprint, Keying, SrtpKeys
from nightbell.sip.trunk import Kind, Trunk

HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
PRINT = Fingerprint("sha-256", bytes(range(32))).line()
DTLS = f"a=fingerprint:{PRINT}\r\na=setup:actpass\r\n"


def sdes(key: str, tag: int = 1) -> str:
    return f"a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{key * 40}\r\n"


def described(protocol: str, more: str = "", formats: str = "0") -> str:
    return HEAD + f"m=audio 41000 {protocol} {formats}\r\n" + more


class InDialog:
    """A caller by hand: each `again` is a re-INVITE with its ACK."""

    def __init__(self, client: Any) -> None:
        self.client, self.cseq, self.tag = client, 0, ""

    async def again(self, body: str) -> Any:
        self.cseq += 1
        port, branch = self.client.port, f"z9hG4bKs{self.cseq}"
        self.client.send(message("INVITE", port, self.cseq, branch=branch, to_tag=self.tag, body=body))
        while (answer := await self.client.response()).cseq.number != self.cseq:
            pass  # an old one, repeated
        tag = answer.to.tag
        if answer.code == 200:
            self.tag = tag
            self.client.send(message("ACK", port, self.cseq, branch=branch + "a", to_tag=tag))
        else:
            self.client.send(message("ACK", port, self.cseq, branch=branch, to_tag=tag))
        await asyncio.sleep(0.02)
        return answer


def test_an_encrypted_call_gets_new_keys_and_never_none() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            caller = InDialog(client)
            first = sdp.parse((await caller.again(described("RTP/SAVP", sdes("A")))).body)
            call = it.calls[0]
            assert call.security.keys is not None
            assert call.security.keys.theirs == b"\0" * 30
            same = sdp.parse((await caller.again(described("RTP/SAVP", sdes("A")))).body)
            assert same.crypto == first.crypto
            plain = await caller.again(described("RTP/AVP"))
            assert plain.code == 488
            assert "stays so" in plain.get("warning")
            assert call.security.keys is not None
            assert not call.ended
            new = sdp.parse((await caller.again(described("RTP/SAVP", sdes("B", 3)))).body)
            assert new.crypto[0].tag == 3
            assert new.crypto[0].key != first.crypto[0].key
            assert call.security.keys.theirs != b"\0" * 30
            assert (
                it.events.count("media:41000:sendrecv") == 3 - 1
            )  # of the three that were taken, two came later

    run(story())


def test_a_handshake_goes_on_with_the_same_certificate() -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            caller = InDialog(client)
            answer = await caller.again(described("UDP/TLS/RTP/SAVP", DTLS))
            first = sdp.parse(answer.body)
            assert (first.setup, first.protocol) == ("passive", "UDP/TLS/RTP/SAVP")
            before = it.calls[0].security
            await caller.again(described("UDP/TLS/RTP/SAVP", DTLS))
            assert it.calls[0].security is before
            other = DTLS.replace("00:01", "FF:01")
            assert (await caller.again(described("UDP/TLS/RTP/SAVP", other))).code == 200
            assert it.calls[0].security is not before
            assert (await caller.again(described("RTP/AVP"))).code == 488

    run(story())


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (described("RTP/SAVP", sdes("A"), "18"), "PCMU, PCMA, G722 and opus"),
        (described("RTP/SAVP"), "AES_CM_128_HMAC_SHA1_80"),
        (
            described("RTP/SAVP", sdes("A").replace("\r\n", " UNENCRYPTED_SRTP\r\n")),
            "AES_CM_128_HMAC_SHA1_80",
        ),
        (described("UDP/TLS/RTP/SAVP", DTLS.replace("actpass", "holdconn")), "actpass"),
    ],
)
def test_a_refusal_says_what_to_offer(body: str, why: str) -> None:
    async def story() -> None:
        async with line() as it, phone(it.endpoint.port) as client:
            refused = await InDialog(client).again(body)
            assert refused.code == 488
            assert why in refused.get("warning")
            assert not it.calls

    run(story())


@pytest.mark.parametrize("keying", Keying)
def test_we_call_ourselves_encrypted(keying: Keying) -> None:
    async def story() -> None:
        async with line() as it, line() as caller:
            call = await caller.endpoint.dial(it.uri, LOCAL, (Codec.G722, Codec.PCMU), security=keying)
            ours, theirs = call.security, it.calls[0].security
            assert ours.keying is theirs.keying is keying
            assert call.codec is Codec.G722
            if keying is Keying.SDES:
                assert ours.keys is not None
                assert theirs.keys is not None
                assert (ours.keys.ours, ours.keys.theirs) == (theirs.keys.theirs, theirs.keys.ours)
            call.hangup()
            await until(lambda: "end:bye" in it.events)

    run(story())


TRUNK = Trunk("T1", "Carrier", Kind.ADDRESS, sources=("127.0.0.1",))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.mark.parametrize(
    ("policy", "body", "code"),
    [
        (Policy([TRUNK], local=False), described("RTP/AVP"), 488),
        (Policy([TRUNK], local=False), described("RTP/AVP", sdes("A")), 200),
        (Policy([TRUNK], local=False), described("RTP/SAVP", sdes("A")), 200),
        (Policy([TRUNK], local=False), described("UDP/TLS/RTP/SAVP", DTLS), 200),
        (Policy([replace(TRUNK, plain=True)], local=False), described("RTP/AVP"), 200),
    ],
)
def test_a_trunk_that_is_not_plain_gets_no_plain_sound(
    authority: Authority, policy: Policy, body: str, code: int
) -> None:
    async def story() -> None:
        tls = Tls(authority.issue("127.0.0.1"))
        async with line(tls=tls, policy=policy) as it, secured(it, authority.client()) as client:
            client.send(over_tls("INVITE", client.port, body=body))
            answer = await client.response()
            assert answer.code == code
            if code == 200:
                assert it.calls[0].security.secured is ("a=" in body)
            else:
                assert "RTP/SAVP" in answer.get("warning")

    run(story())


@pytest.mark.parametrize("plain", [False, True])
def test_who_lets_us_offer_is_offered_keys_over_tls(authority: Authority, plain: bool) -> None:
    async def story() -> None:
        policy = Policy([replace(TRUNK, plain=plain)], local=False)
        tls = Tls(authority.issue("127.0.0.1"))
        async with line(tls=tls, policy=policy) as it, secured(it, authority.client()) as client:
            client.send(over_tls("INVITE", client.port))
            answer = await client.response()
            offered = sdp.parse(answer.body)
            assert offered.protocol == ("RTP/AVP" if plain else "RTP/SAVP")
            theirs = next(one for one in offered.crypto if one.suite == "AES_CM_128_HMAC_SHA1_80")
            body = described(offered.protocol, sdes("A", theirs.tag))
            client.send(over_tls("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag, body=body))
            await until(lambda: "confirmed" in it.events)
            keys = it.calls[0].security.keys
            assert keys is not None
            assert (keys.ours, keys.theirs) == (theirs.key, bytes(30))

    run(story())


def test_a_late_answer_without_keys_ends_the_call_unless_plain_is_allowed(authority: Authority) -> None:
    async def story(plain: bool) -> None:
        policy = Policy([replace(TRUNK, plain=plain)], local=False)
        tls = Tls(authority.issue("127.0.0.1"))
        async with line(tls=tls, policy=policy) as it, secured(it, authority.client()) as client:
            client.send(over_tls("INVITE", client.port))
            answer = await client.response()
            body = described("RTP/AVP")
            client.send(over_tls("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag, body=body))
            if plain:
                await until(lambda: "confirmed" in it.events)
                assert not it.calls[0].security.secured
            else:
                await until(lambda: "end:bye" in it.events)
                assert not any(event.startswith("media") for event in it.events)

    run(story(False))
    run(story(True))


# Whole calls against the real phone process.


class Encrypted(HandCaller):
    """With keys; the voice is one's own."""

    keying = Keying.SDES

    async def __aenter__(self) -> Encrypted:
        await self.endpoint.start()
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self.sound, local_addr=("127.0.0.1", 0)
        )
        local = self.transport.get_extra_info("sockname")[:2]
        self.leg = await self.endpoint.dial(
            self.house.uri, local, (Codec.PCMU,), self.caller, security=self.keying
        )
        self.leg.on_end = lambda reason: self.ended.set()
        return self


def capture_of(house: House, caller: str) -> Capture:
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        for path in house.files("cap"):
            capture = open_capture(path.read_bytes(), house.private)
            if capture.meta.caller == caller:
                return capture
        time.sleep(0.05)
    raise AssertionError("no capture")


@pytest.mark.slow
def test_calls_without_their_keys(tmp_path: Path) -> None:
    async def wrong_from_the_tone_on(house: House) -> None:
        """Who takes over a call's address, but has not its keys, puts no word into the message."""
        async with Encrypted(house, "5552017301") as caller:
            sound, leg = caller.sound, caller.leg
            sound.begin(leg.remote, leg.codec, leg.security)
            sending = asyncio.create_task(sound.run())
            await asyncio.sleep(0.5)
            sound.press("0")
            await until(lambda: sound.ear.over, 20)
            sound.say(wav.frames(speech(1, 1), Codec.PCMU))
            await sound.idle.wait()
            keys = leg.security.keys
            assert keys is not None
            sound._protection = Protection(SrtpKeys(keys.profile, bytes(len(keys.ours)), keys.theirs))
            sound.say(wav.frames(speech(1, 2), Codec.PCMU))
            await sound.idle.wait()
            sending.cancel()

    async def never_any(house: House) -> None:
        """A handshake that is agreed on and never begun: the line hangs up, and the call is one that was missed."""
        Caller = type("Caller", (Encrypted,), {"keying": Keying.DTLS})
        async with Caller(house, "5552017302") as caller:
            begun = time.monotonic()
            async with asyncio.timeout(15):
                await caller.ended.wait()
            assert time.monotonic() - begun > 9

    async def another_certificate(house: House) -> None:
        Caller = type("Caller", (Encrypted,), {"keying": Keying.DTLS})
        async with Caller(house, "5552017303") as caller:
            security = caller.leg.security
            wrong = type(security)(Keying.DTLS, setup="active", theirs=(Fingerprint("sha-256", b"x" * 32),))
            caller.sound.begin(caller.leg.remote, caller.leg.codec, wrong)
            await until(lambda: caller.sound.failed == "stranger", 5)

    with running(tmp_path) as house:

        async def all_of_them() -> None:
            await asyncio.gather(wrong_from_the_tone_on(house), never_any(house), another_certificate(house))

        run(all_of_them(), 40)
        recorded = sound_of(capture_of(house, "5552017301"))
        assert speech(1, 1) in recorded
        pieces = [speech(1, 2)[at : at + 160] for at in range(0, 8000, 160)]
        assert not any(piece in recorded for piece in pieces)
        missed = capture_of(house, "5552017302")
        assert missed.complete
        assert missed.packets == ()
        assert house.wait_for_log("call_never_confirmed")["outcome"] == "missed"
        assert CALLER not in (house.home / "phone.log").read_text()
