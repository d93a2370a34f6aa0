"""Calls that the worker orders, from the real phone process to telephones that are not ours: PJSIP and SIPp."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.interop import sipp
from tests.interop.test_encrypted_sound import alike, of_file
from tests.interop.wire import Wire, voice_of
from tests.phone.certs import Authority
from tests.phone.desks import Stand, person, stand
from tests.phone.endpoints import run, until
from tests.phone.house import CALLER, DIALLED, PRACTICE, House
from tests.phone.registrar import secrets_of, trunk
from tests.phone.test_control import Worker
from tests.ports import free_port
from tests.sound import Samples, correlation

from nightbell.core.capture import AudioPacket, Codec
from nightbell.core.ids import new_ulid
from nightbell.mailbox import rules
from nightbell.phone import encode, voice
from nightbell.sip import g711
from nightbell.sip.trunk import Kind

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
OFFICE, CLINICIAN, PATIENT = "+15552014567", "+16175550123", "+16175550142"


def noise(seed: int) -> Samples:
    sound = np.random.default_rng(seed).normal(0, 5000, 4 * 8000)
    return np.asarray(np.convolve(sound, np.ones(4) / 4, "same"))


def side(packets: Sequence[AudioPacket]) -> Samples:
    """One side of a recorded call back."""
    line = rules.lay_out(packets, Codec.PCMU)
    return np.frombuffer(g711.decode(line, Codec.PCMU), "<i2").astype(np.float64)


def clip(name: str) -> Samples:
    sound = b"".join(voice.packaged(name, Codec.PCMU))
    return np.frombuffer(g711.decode(sound, Codec.PCMU), "<i2").astype(np.float64)


class Telephone:
    """PJSIP, rung by us."""

    def __init__(self, root: Path, name: str, way: str, seed: int, ca: Authority | None = None) -> None:
        self.port, self.said, self.file = free_port(), noise(seed), root / f"{name}-heard.wav"
        speech = root / f"{name}.wav"
        with wave.open(str(speech), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(self.said.astype("<i2").tobytes())
        command = [sys.executable, str(HERE / "answer_child.py"), str(self.port), way]
        command += ["sdes" if ca else "none", "PCMU", str(speech), str(self.file)]
        if ca is not None:
            pair = ca.issue("localhost")
            command += [str(pair.certificate), str(pair.key)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self, word: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{") and word in (said := json.loads(line)):
                return dict(said)
        raise AssertionError(f"no {word!r}")

    def heard(self) -> Samples:
        self.hear("done")
        self.process.wait(5)
        return of_file(self.file)


class Street:
    """The phone, its worker, and a trunk by TLS."""

    def __init__(self, root: Path, processes: int = 1) -> None:
        self.house, self.ca, self.root = House(root), Authority(root), root
        self.house.processes = processes
        self.house.settings["NIGHTBELL_SIP_CA"] = str(self.ca.file)
        self.house.numbers["5550109"] = {
            "practice": PRACTICE,
            "mailbox": "",
            "line": PRACTICE,
            "staff": True,
        }
        pair = self.ca.issue("127.0.0.1", "localhost")  # without one nothing listens where a BYE may come
        (self.house.folder / "tls").mkdir()
        pair.certificate.rename(self.house.folder / "tls" / "sip.pem")
        pair.key.rename(self.house.folder / "tls" / "sip.key")
        self.clinician = Telephone(root, "clinician", "tls", 1, self.ca)
        self.trunk = {
            "id": new_ulid(), "name": "Carrier", "kind": "address", "proxy": f"localhost:{self.clinician.port}",
            "keep_alive": 0,
        }  # fmt: skip
        (self.house.folder / "snapshot.json").write_bytes(self.house.signed(1, trunks=[self.trunk]))
        self.house.start()
        self.worker = Worker(self.house.home / "run" / "control.sock")

    def close(self) -> None:
        self.worker.close()
        self.clinician.process.kill()
        if self.house.process is not None:
            self.house.process.kill()
            self.house.process.wait()

    def place(self, to: str, **more: Any) -> str:
        data = {"call": new_ulid(), "to": to, "caller": OFFICE, "trunk": "", "practice": PRACTICE, "language": "en",
                "ring_s": 8, "max_s": 30}  # fmt: skip
        self.worker.order("place_call", data | more)
        return str((data | more)["call"])

    def hear(
        self, event: str, true: Callable[[dict[str, Any]], bool] = lambda one: True, seconds: float = 12
    ) -> dict[str, Any]:
        """As the worker's, with a limit: health comes for ever."""
        ends, passed = time.monotonic() + seconds, []
        while time.monotonic() < ends:
            line = json.loads(self.worker.lines.readline())
            if line["event"] == event and true(line):
                return dict(line)
            if line["event"] != "health":
                passed.append(line)
        raise AssertionError(f"no {event!r} but {passed}")

    def leg(self, call: str, state: str) -> dict[str, Any]:
        return self.hear("leg", lambda one: one["call"] == call and one["state"] == state)

    def call(self, number: str, wav: Path, *options: str) -> subprocess.Popen[str]:
        """Somebody calls us, by TLS as the trunk has to."""
        uri = f"sips:{number}@127.0.0.1:{self.house.port + 1}"
        return subprocess.Popen(
            [sys.executable, "-m", "nightbell.phone.caller", uri, "--wav", str(wav), "--from", CALLER, "--json",
             "--ca", str(self.ca.file), *options],
            env=self.house.environment(), text=True, stdout=subprocess.PIPE,
        )  # fmt: skip

    def say(self, call: str, token: int, *clips: str) -> None:
        self.worker.order("say", {"call": call, "token": token, "clips": clips, "barge_in": True})
        self.hear("said", lambda one: one["call"] == call and one["token"] == token)


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "engines"])
def street(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    street = Street(tmp_path_factory.mktemp("outbound"), request.param)
    try:
        yield street
    finally:
        street.close()


def test_a_clinician_by_tls_and_a_patient_are_brought_together(street: Street, tmp_path: Path) -> None:
    """Once as ever, and once on record as a patient has agreed to it."""
    record = new_ulid() if street.house.processes > 1 else ""
    clinician, patient = street.clinician, Telephone(tmp_path, "patient", "udp", 2)
    try:
        patient.hear("ready")
        clinician.hear("ready")
        mine = street.place(CLINICIAN, trunk=street.trunk["id"])
        assert street.leg(mine, "answered")["encrypted"] is True
        ring = clinician.hear("from")
        assert ring["secure"]
        assert OFFICE in ring["from"]
        clinician.hear("up")
        street.say(mine, 1, "~500", "en/alert-hello")
        clinician.tell("1")
        assert street.hear("key") == {"event": "key", "call": mine, "key": "1"}
        theirs = street.place(f"sip:patient@127.0.0.1:{patient.port}")
        assert street.leg(theirs, "answered")["encrypted"] is False
        patient.hear("up")
        street.worker.order("join", {"a": mine, "b": theirs} | ({"record": record} if record else {}))
        street.hear("joined")
        clinician.tell("speak")
        patient.tell("speak")
        time.sleep(4.4)
        clinician.tell("2")
        assert street.hear("key")["call"] == mine
        clinician.tell("bye")
        assert street.leg(mine, "ended")["why"] == "hung_up"
        street.hear("parted")
        street.say(theirs, 2, "en/thank-you", "~500")
        street.worker.order("hang_up", {"call": theirs})
        assert street.leg(theirs, "ended")["why"] == "ended"
        at_clinician, at_patient = clinician.heard(), patient.heard()
        assert alike(clip("en/alert-hello"), at_clinician) >= 0.99
        assert alike(patient.said[4000:28000], at_clinician) >= 0.99
        assert alike(clinician.said[4000:28000], at_patient) >= 0.99
        assert alike(clip("en/thank-you"), at_patient) >= 0.99
    finally:
        patient.process.kill()
    kept = street.house.wait_for_captures(1 if record else 0)
    for capture in kept:
        assert (capture.meta.capture, capture.meta.talk, capture.complete) == (record, True, True)
        assert alike(clinician.said[4000:28000], side(capture.packets)) >= 0.98
        assert alike(patient.said[4000:28000], side(capture.beside)) >= 0.98
        (street.house.spool / f"{record}.cap").unlink()
    assert not [one for one in street.house.spool.iterdir() if one.name != ".reserve"]
    log = (street.house.home / "phone.log").read_text()
    assert CLINICIAN[1:] not in log
    assert '"key"' not in log


RINGING = sipp.answer(180, body=False)
ACK = sipp.recv_request("ACK")
REFUSED = {
    code: sipp.recv_request("INVITE") + RINGING + sipp.answer(code, body=False) + ACK for code in (486, 603)
}
SILENT = (
    sipp.recv_request("INVITE") + RINGING + sipp.recv_request("CANCEL") + sipp.reply_200()
    + """<send retrans="500"><![CDATA[
SIP/2.0 487 X
[last_Via:]
[last_From:]
[last_To:];tag=[pid]U[call_number]
[last_Call-ID:]
CSeq: 1 INVITE
Content-Length: 0

]]></send>
"""
    + ACK
)  # fmt: skip
CHALLENGE = """<send><![CDATA[
SIP/2.0 401 Unauthorized
[last_Via:]
[last_From:]
[last_To:];tag=[pid]R[call_number]
[last_Call-ID:]
[last_CSeq:]
WWW-Authenticate: Digest realm="carrier.example", nonce="47ebe028cda1", algorithm=MD5, qop="auth"
Content-Length: 0

]]></send>
"""
PROVEN = """<recv request="INVITE"><action>
<ereg regexp="sip:.15552014567@carrier.example" search_in="hdr" header="From:" check_it="true" assign_to="1"/>
<verifyauth assign_to="good" username="5552014567" password="nine lives"/>
<log message="[$1]"/>
</action></recv>
<nop hide="true" test="good" next="granted"/>
"""
REFUSAL = sipp.answer(403, body=False) + ACK
ASKS = (
    sipp.recv_request("INVITE") + CHALLENGE + ACK + PROVEN + REFUSAL + '<label id="granted"/>\n' + RINGING
    + sipp.answer().replace("m=audio 41000", "m=audio [media_port]") + ACK + sipp.recv_request("BYE")
    + sipp.reply_200()
)  # fmt: skip


@pytest.mark.parametrize("leaves", ["patient", "clinician"])
def test_a_patient_at_sipp_sees_the_office_and_both_hear_each_other(tmp_path: Path, leaves: str) -> None:
    """SIPp speaks from a file, and what it hears is taken off the wire. Either of them hangs up first."""
    theirs, mine = noise(6)[:16_000], noise(5)[:16_000]
    speech = voice_of(tmp_path / "patient.pcap", theirs, 0.4)
    then = sipp.pause(3600) + sipp.HANGS_UP if leaves == "patient" else sipp.IS_HUNG_UP_ON

    async def story() -> None:
        async with stand(tmp_path) as it, person() as clinician:
            script = sipp.patient(f".{OFFICE[1:]}", speech, then)
            patient = await sipp.start(tmp_path, "patient", script, 0)
            it.trunks.follow(
                [trunk(patient.port, kind=Kind.ADDRESS, sources=("127.0.0.1",), keep_alive=0, ha1={})]
            )
            calls = {"clinician": await it.up(clinician)}
            await asyncio.sleep(0.3)
            with Wire(patient.media) as wire:
                calls["patient"] = it.place(PATIENT)
                await it.hear("leg", call=calls["patient"], state="answered")
                it.desk.order("join", {"a": calls["clinician"], "b": calls["patient"]})
                await it.hear("joined")
                clinician.sound.say(encode.frames(mine.astype("<i2").tobytes(), Codec.PCMU))
                if leaves == "clinician":
                    await until(lambda: len(wire.heard) >= 100 and len(clinician.sound.heard) >= 125, 8)
                    assert clinician.call is not None
                    clinician.call.hangup()
                assert (await it.hear("leg", 8, call=calls[leaves], state="ended"))["why"] == "hung_up"
                await it.hear("parted")
                if leaves == "clinician":
                    it.desk.order("hang_up", {"call": calls["patient"]})
                await patient.done()
            assert correlation(theirs[800:15_200], clinician.sound.samples)[0] >= 0.99
            assert correlation(mine[800:15_200], wire.samples)[0] >= 0.99

    run(story())


def test_sipp_as_a_carrier_asks_who_we_are_and_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it:
            carrier = await sipp.start(tmp_path, "carrier", ASKS, 0)
            await asyncio.sleep(0.3)
            one = trunk(
                carrier.port, kind=Kind.ADDRESS, sources=("127.0.0.1",), keep_alive=0, ha1=secrets_of()
            )
            it.trunks.follow([one])
            call = it.place(CLINICIAN)
            await it.hear("leg", call=call, state="answered")
            it.desk.order("hang_up", {"call": call})
            await carrier.done()

    run(story())


def test_sipp_is_busy_refuses_or_lets_it_ring(tmp_path: Path) -> None:
    async def story() -> None:
        async with stand(tmp_path) as it:
            await rung(it)

    async def rung(it: Stand) -> None:
        named = {"busy": REFUSED[486], "refused": REFUSED[603], "silent": SILENT}
        phones = {name: await sipp.start(tmp_path, name, script, 0) for name, script in named.items()}
        await asyncio.sleep(0.5)
        calls = {name: it.place(f"sip:x@127.0.0.1:{one.port}", ring_s=2) for name, one in phones.items()}
        for name, why in (("busy", "busy"), ("refused", "refused"), ("silent", "no_answer")):
            assert (await it.hear("leg", call=calls[name], state="ended"))["why"] == why
        for one in phones.values():
            await one.done()

    run(story())


def test_somebody_who_rings_the_staff_line_is_driven_by_the_worker_and_called_by_none_else(
    street: Street, tmp_path: Path
) -> None:
    """And a patient's call is what it was; nobody who calls can have us place a call."""
    wav = tmp_path / "short.wav"
    with wave.open(str(wav), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(noise(3)[:8000].astype("<i2").tobytes())
    before = len(street.house.files("cap"))
    call = street.call("5550109", wav, "--speak-after", "2")
    came = street.hear("leg")
    assert came["encrypted"] is True
    assert (came["state"], came["dialled"], came["caller"], came["practice"]) == (
        "incoming",
        "5550109",
        CALLER,
        PRACTICE,
    )
    street.say(came["call"], 1, "en/staff-hello")
    street.worker.connection.shutdown(2)  # the worker is started anew
    street.worker.meet()
    assert street.hear("hello")["legs"] == [came["call"]]
    assert street.hear("health")["staff_legs"] == 1
    street.worker.order("hang_up", {"call": came["call"]})
    assert street.leg(came["call"], "ended")["why"] == "ended"
    call.wait(20)
    assert len(street.house.files("cap")) == before
    patient = street.call(DIALLED, wav, "--speak-after", "1")
    street.hear("call_started")
    street.hear("capture_ready")
    assert patient.wait(20) == 0
    street.house.wait_for_captures(before + 1)
