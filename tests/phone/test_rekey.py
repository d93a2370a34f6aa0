"""A call that is to get new keys and does not: it goes on with the old ones, and no word is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.phone.endpoints import message, phone, run, until
from tests.phone.test_securing import DTLS, PRINT, described
from tests.phone.test_unconfirmed import Lines, lines

from nightbell.core.capture import Codec
from nightbell.phone import association, dtls
from nightbell.phone.caller_sound import Sound
from nightbell.sip import sdp
from nightbell.sip.srtp import Keying, Security

OURS = DTLS.replace(PRINT, dtls.identity().fingerprint.line())


def invite(it: Lines, client: int, sound: int, cseq: int, body: str, to_tag: str = "") -> bytes:
    return message(
        "INVITE", client, cseq, branch=f"z9hG4bKk{cseq}", to_tag=to_tag, uri="sip:15550009999@127.0.0.1",
        body=described("UDP/TLS/RTP/SAVP", body).replace("41000", str(sound)),
    )  # fmt: skip


def test_new_keys_that_fail_neither_end_the_call_nor_cost_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the number is nobody's: the caller was heard."""
    monkeypatch.setattr(association, "SECONDS", 1.0)

    async def story() -> None:
        async with lines(tmp_path) as it, phone(it.endpoint.port) as client:
            wire, sound = await asyncio.get_running_loop().create_datagram_endpoint(
                Sound, local_addr=("127.0.0.1", 0)
            )
            port = wire.get_extra_info("sockname")[1]
            client.send(invite(it, client.port, port, 1, OURS))
            answer = await client.response()
            tag, remote = answer.to.tag, sdp.parse(answer.body)
            client.send(message("ACK", client.port, branch="z9hG4bKa1", to_tag=tag))
            ours = dtls.identity().fingerprint
            theirs = remote.fingerprints
            sound.begin(
                remote, Codec.PCMU, Security(Keying.DTLS, fingerprint=ours, setup="active", theirs=theirs)
            )
            sending = asyncio.create_task(sound.run())
            await sound.keyed.wait()
            await until(lambda: it.phone.health()["rtp"]["received"] > 20)  # type: ignore[index]
            client.send(invite(it, client.port, port, 2, DTLS, tag))
            while (await client.response()).cseq.number != 2:
                pass
            client.send(message("ACK", client.port, 2, branch="z9hG4bKa2", to_tag=tag))
            await until(lambda: it.phone.health()["never_confirmed"] == {"dtls_again_stalled": 1})
            assert it.endpoint.calls == 1
            before = it.phone.health()["rtp"]["received"]  # type: ignore[index]
            await until(lambda: it.phone.health()["rtp"]["received"] > before + 20)  # type: ignore[index]
            client.send(message("BYE", client.port, 3, branch="z9hG4bKb", to_tag=tag))
            await until(lambda: it.captures() == [".cap"])
            sending.cancel()
            sound.close()
            wire.close()

    run(story(), 40)
