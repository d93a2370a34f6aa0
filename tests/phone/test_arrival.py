"""A real phone process behind a carrier: registered, told who was dialled first and whether the caller's number is true."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from tests.phone.endpoints import Phone, message, offer, phone, run, until
from tests.phone.house import CALLER, DIALLED, PRACTICE, House
from tests.phone.registrar import USER, registrar, trunk
from tests.phone.test_control import Worker

from nightbell.core.capture import Capture

pytestmark = pytest.mark.slow
KEY = ec.generate_private_key(ec.SECP256R1())


def vouching(house: House) -> None:
    """A certificate in the phone's folder, as the installer puts it there."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SHAKEN")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key()).serial_number(5)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1)).sign(KEY, SHA256())
    )  # fmt: skip
    (house.folder / "stir").mkdir()
    (house.folder / "stir" / "c.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def identity(caller: str, dialled: str) -> str:
    def coded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    parts: tuple[dict[str, Any], ...] = (
        {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": "https://sti.example/c.pem"},
        {
            "attest": "A",
            "dest": {"tn": [dialled]},
            "iat": int(time.time()),
            "orig": {"tn": caller},
            "origid": "x",
        },
    )
    signed = ".".join(coded(json.dumps(part).encode()) for part in parts)
    r, s = decode_dss_signature(KEY.sign(signed.encode(), ec.ECDSA(SHA256())))
    token = coded(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return f"Identity: {signed}.{token};info=<https://sti.example/c.pem>;alg=ES256;ppt=shaken\r\n"


async def called(client: Phone, number: int, extra: str) -> None:
    """A call to the trunk's own user, answered, and ended by the caller."""
    ids: dict[str, Any] = {"call_id": f"c{number}", "from_tag": f"f{number}"}
    text = message(
        "INVITE",
        client.port,
        body=offer(),
        extra=extra,
        uri=f"sip:{USER}-trunk@127.0.0.1",
        branch=f"z9hG4bKi{number}",
        **ids,
    ).replace(b"sip:5550100@127.0.0.1>;tag", f"sip:+1{CALLER}@carrier.example>;tag".encode())
    client.send(text)
    answer = await client.response()
    assert answer.code == 200, answer.reason
    client.send(message("ACK", client.port, branch=f"z9hG4bKk{number}", to_tag=answer.to.tag, **ids))
    await asyncio.sleep(0.3)
    client.send(message("BYE", client.port, 2, branch=f"z9hG4bKb{number}", to_tag=answer.to.tag, **ids))
    assert (await client.response()).code == 200


def marks(capture: Capture) -> set[str]:
    return {mark.name for mark in capture.marks if mark.name.startswith(("attest:", "diverted:"))}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_it_registers_takes_forwarded_calls_and_takes_the_registration_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: str
) -> None:
    house = House(tmp_path)
    environment = house.environment()
    monkeypatch.setattr(house, "environment", lambda: environment | {"NIGHTBELL_PHONE_PROCESSES": processes})
    vouching(house)

    async def story() -> None:
        async with registrar() as carrier, phone(house.port) as client:
            one = trunk(carrier.port)
            limits = {"drain_seconds": 3, "local": False}
            (house.folder / "snapshot.json").write_bytes(
                house.signed(1, trunks=[one.to_dict()], limits=limits)
            )
            await asyncio.to_thread(house.start)
            await until(lambda: carrier.bound == {USER: 600}, 10)
            worker = await asyncio.to_thread(Worker, house.home / "run" / "control.sock")
            health = await asyncio.to_thread(
                worker.hear, "health", lambda line: line["trunks"][one.id]["state"] == "registered"
            )
            assert health["trunks"][one.id]["algorithms"] == ["SHA-256", "MD5"]
            way = f"Diversion: <sip:+1{DIALLED}@carrier.example>;reason=no-answer\r\n"
            await called(client, 1, way + identity(f"1{CALLER}", f"1{DIALLED}"))
            await called(client, 2, identity("15550001111", f"1{DIALLED}"))
            await called(
                client, 3, f"P-Asserted-Identity: <sip:+1{CALLER}@c>;verstat=TN-Validation-Passed-B\r\n"
            )
            # A new snapshot without the trunk: the registration is taken back, and nobody is let in any more.
            worker.order("snapshot", json.loads(house.signed(2, trunks=[], limits=limits)))
            await until(lambda: carrier.bound == {USER: 0}, 10)
            client.send(message("OPTIONS", client.port, branch="z9hG4bKo"))
            with pytest.raises(TimeoutError):
                await client.response(0.3)
            worker.close()

    try:
        house.numbers[f"1{DIALLED}"] = house.numbers[DIALLED]
        run(story(), 40)
        captures = sorted(house.wait_for_captures(3), key=lambda one: one.meta.answered_at)
    finally:
        house.stop()
    first, second, third = captures
    assert (first.meta.practice, first.meta.dialled, first.meta.caller) == (
        PRACTICE,
        f"+1{DIALLED}",
        f"+1{CALLER}",
    )
    assert marks(first) == {"diverted:no-answer", "attest:verified:A"}
    assert second.meta.practice == third.meta.practice == ""  # nobody's number: unrouted, not lost
    assert marks(second) == {"attest:failed:-"}
    assert marks(third) == {"attest:verified:B"}


def test_a_call_that_the_line_ends_says_why(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def story() -> None:
        async with phone(house.port) as client:
            (house.folder / "snapshot.json").write_bytes(house.signed(1, limits={"drain_seconds": 0}))
            await asyncio.to_thread(house.start)
            client.send(message("INVITE", client.port, body=offer(), uri=house.uri))
            answer = await client.response()
            client.send(message("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            stopping = asyncio.create_task(asyncio.to_thread(house.stop))
            bye = await client.request(18)
            assert (bye.method, bye.get("reason")) == ("BYE", 'SIP;cause=503;text="the line ends the call"')
            await stopping

    run(story(), 40)
