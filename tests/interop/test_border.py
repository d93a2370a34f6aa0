"""DTLS-SRTP with a third and a fourth foreign stack: rtpengine at the border of a carrier with Kamailio before it, and aiortc.

PJSIP calls the carrier in clear. What the carrier brings to us comes over the TLS of our registration, with sound that
rtpengine encrypts. All calls at once: of either stack one begins the handshake, and one waits for us to begin.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from tests.interop import aiortc_caller, kamailio
from tests.interop.aiortc_caller import Made
from tests.interop.rtpengine import engine
from tests.interop.test_encrypted_sound import ENOUGH, HERE, SECONDS, Street, noise, of_file
from tests.interop.test_kamailio_calls import DOMAIN, ha1, registered
from tests.interop.test_matrix import LONGEST, long_enough, samples
from tests.phone.endpoints import run
from tests.phone.house import spoken_of
from tests.phone.registrar import USER, trunk
from tests.sound import alike

from nightbell.core.capture import EndReason
from nightbell.phone import voice

# By the caller's number: the part of rtpengine in the handshake (see kamailio.ENGINE).
BEHIND = {"5552017801": "active", "5552017802": "passive"}
OURS = {"5552017801", "5550101"}  # calls that we end
ALL = (*BEHIND, *aiortc_caller.CALLERS)


def speak(street: Street, port: int, number: str) -> bool:
    """PJSIP, in clear and by the carrier. Whether we hung up."""
    ours, heard = number in OURS, street.root / f"{number}.wav"
    command = [sys.executable, str(HERE / "sound_child.py"), "pjsip", f"sip:{USER}@127.0.0.1:{port}", "none"]
    command += ["PCMU", str(street.speech), str(heard), "0", str(LONGEST if ours else SECONDS), number]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
        while ours and caller.poll() is None and number not in long_enough(street):
            with suppress(subprocess.TimeoutExpired):
                caller.wait(0.2)
        out, _ = caller.communicate("#\n" if ours else None, timeout=LONGEST + 20)
    told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return bool(told[-1].get("gone"))


async def by_the_carrier(street: Street, folder: Path) -> tuple[dict[str, Made], list[str]]:
    """The calls, and rtpengine's part in each handshake."""
    async with (
        engine(folder) as relay,
        kamailio.carrier(folder, street.ca, DOMAIN, "nobody", ha1("MD5"), engine=relay.port) as carrier,
    ):
        street.house.settings |= {"NIGHTBELL_RTP_PORTS": "32400-32699"}
        one = trunk(carrier.tls, transport="tls", plain=False, ha1={"MD5": ha1("MD5")})
        async with registered(street.house, one, street.ca):
            gone = await asyncio.gather(
                *(asyncio.to_thread(speak, street, carrier.port, number) for number in BEHIND)
            )
    captures = {one.meta.caller: one for one in street.house.wait_for_captures(len(BEHIND))}
    made = {
        number: Made(of_file(street.root / f"{number}.wav"), ended, captures.get(number))
        for number, ended in zip(BEHIND, gone, strict=True)
    }
    return made, relay.parts()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Made], list[str]]:
    streets = [Street(tmp_path_factory.mktemp(name)) for name in ("border", "aiortc")]
    folder = tmp_path_factory.mktemp("carrier")

    async def all_of_them() -> tuple[dict[str, Made], list[str]]:
        (behind, parts), others = await asyncio.gather(
            by_the_carrier(streets[0], folder), aiortc_caller.calls(streets[1])
        )
        return behind | others, parts

    return run(all_of_them(), 100)


@pytest.mark.slow
@pytest.mark.parametrize("number", ALL)
def test_sound_both_ways(made: tuple[dict[str, Made], list[str]], number: str) -> None:
    call, ours = made[0][number], number in OURS
    assert call.capture is not None, "it never came to a call"
    assert call.gone == ours
    assert call.capture.end.reason is (EndReason.POUND if ours else EndReason.HANG_UP)
    assert [digit.key for digit in call.capture.digits] == (["0", "#"] if ours else ["0"])
    codec = call.capture.meta.codec
    said = samples(spoken_of(call.capture), codec)[2000 : 2000 + int(ENOUGH * 8000)]
    assert len(said) == ENOUGH * 8000 and np.abs(said).mean() > 200
    assert alike(said, noise()) >= 0.99
    words = b"".join(voice.packaged("en/notice-recorded", codec))
    assert alike(samples(words, codec), call.heard) >= 0.99


@pytest.mark.slow
def test_either_side_began_a_handshake(made: tuple[dict[str, Made], list[str]]) -> None:
    """And there was no other sound: the trunk takes none in clear."""
    assert made[1] == ["active", "passive"]
