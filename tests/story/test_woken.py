"""A patient calls at night; our own engine wakes the clinician, who keys the PIN, hears it, takes it, and is brought together
with the patient: real processes. On the first night PJSIP is both telephones, the patient's by a carrier with TLS and SRTP; on
the second the patient is SIPp, by a carrier without, and the clinician hangs up first."""

from __future__ import annotations

import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.faults import ledger
from tests.interop import sipp
from tests.interop.test_outbound_calls import Telephone, clip, noise
from tests.interop.wire import Wire, voice_of
from tests.phone.certs import Authority
from tests.sound import Samples, alike
from tests.stack import ROOT, Stack, running, wait_for

pytestmark = pytest.mark.slow
PATIENT, OFFICE, PIN = "6175550142", "15035550100", "295817"
SECOND = "6175550144"
CALLS = "SELECT * FROM oncall_voicecall WHERE purpose = 'alert' ORDER BY started_at"
PREPARE = """
import sys
from datetime import timedelta
from nightbell.server.django_setup import setup
setup()
from nightbell.core.clock import utc_now
from nightbell.line import trunks
from nightbell.line.trunk_rules import Given
from nightbell.oncall import voice
from nightbell.people import pins, risks
from nightbell.people.access import Actor
from nightbell.people.installation import By
from nightbell.people.models import Contact, User
telephone, pin, carrier = sys.argv[1:]
user, now = User.objects.get(login="rivera"), utc_now()
by = By("os:test", now)
pins.set_pin(Actor(user, "127.0.0.1", "test", now), pin)
Contact.objects.create(user=user, kind="voice", address=telephone, created_at=now, verified_at=now, position=1)
risks.accept(by, voice.LISTENING, user.practice_id, "by phone", "They have no other telephone.", now + timedelta(9), "")
trunks.add(by, Given(name="Carrier", kind="address", proxy=carrier, transport="tls", keep_alive=0, preset="other",
                     sources="203.0.113.8"))
"""
# Another carrier, and a message as a phone would have left it.
ANOTHER = """
import sys
from datetime import timedelta
from pathlib import Path
from nightbell.server.django_setup import setup
setup()
from tests.factories import make_capture
from nightbell.core.clock import utc_now
from nightbell.line import trunks
from nightbell.line.trunk_rules import Given
from nightbell.mailbox.models import Mailbox
from nightbell.people.installation import By
from nightbell.people.models import Contact
telephone, carrier, spool, said, patient = sys.argv[1:]
Contact.objects.filter(kind="voice").update(address=telephone)
now = utc_now()
by = By("os:test", now)
for one in trunks.all_trunks():
    trunks.remove(by, one.id)
made = trunks.add(by, Given(name="Plain carrier", kind="address", proxy=carrier, transport="udp", keep_alive=0,
                            preset="other", sources="203.0.113.9"))
trunks.accept_risk(by, made, "They have no other carrier.", now + timedelta(9))
mailbox = Mailbox.objects.filter(practice__code="MS01").order_by("position").first()
make_capture(mailbox, urgent=True, caller=patient, folder=Path(spool), pcm=Path(said).read_bytes())
"""


def _speech(path: Path, seed: int, seconds: int) -> Samples:
    said = noise(seed)[: seconds * 8000]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(said.astype("<i2").tobytes())
    return said


def _prepare(stack: Stack, clinician: Telephone, patient: Telephone) -> None:
    words = (f"sip:rivera@127.0.0.1:{clinician.port}", PIN, f"localhost:{patient.port}")
    subprocess.run(
        [sys.executable, "-c", PREPARE, *words], env=stack.environment, cwd=ROOT, check=True, timeout=60
    )
    wait_for("the trunk on the phone", lambda: stack.events("snapshot_in_force"), 20)
    stack.kill("phone")  # which speaks TLS from its next start on
    wait_for("the next phone", lambda: len(stack.events("phone_ready")) > 1, 20)


def _acts(stack: Stack, message: str) -> list[str]:
    return [
        row["action"]
        for row in ledger.rows(
            stack, "SELECT action FROM audit_event WHERE message = ? ORDER BY seq", message
        )
    ]


@dataclass
class Night:
    """What was said, and what the two telephones heard."""

    stack: Stack
    message: str
    said: Samples
    clinician: Telephone
    patient: Telephone
    ring: dict[str, Any]
    rang_at: float
    at_clinician: Samples
    at_patient: Samples


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    root = tmp_path_factory.mktemp("woken")
    patch = pytest.MonkeyPatch()
    patch.setenv("PJ_SECONDS", "180")
    ca = Authority(root)
    said = _speech(root / "patient-says.wav", 7, 3)
    clinician, patient = Telephone(root, "clinician", "udp", 1), Telephone(root, "patient", "tls", 2, ca)
    try:
        with running(root, NIGHTBELL_SIP_CA=str(ca.file), NIGHTBELL_MODELS=str(root / "none")) as stack:
            yield _lived(stack, root, said, clinician, patient)
    finally:
        for one in (clinician, patient):
            one.process.kill()
        patch.undo()


def _lived(stack: Stack, root: Path, said: Samples, clinician: Telephone, patient: Telephone) -> Night:
    _prepare(stack, clinician, patient)
    clinician.hear("ready")
    stack.call(root / "patient-says.wav", "--digits", "1,0", "--from", PATIENT, "--bind", "127.0.0.2")
    rang_at = float(clinician.hear("from")["at"])
    clinician.hear("up")
    message = ledger.rows(stack, "SELECT id FROM mailbox_message")[0]["id"]
    time.sleep(3.5)  # the first words, which nobody cuts
    clinician.tell("1")
    time.sleep(1.5)
    clinician.tell(PIN + "#")
    wait_for(
        "the PIN", lambda: ledger.rows(stack, "SELECT 1 FROM audit_event WHERE action = 'pin:check'"), 20
    )
    clinician.tell("2")
    wait_for("it to be played", lambda: "message:play" in _acts(stack, message), 15)
    time.sleep(7)  # the tone, what the patient said, and a pause
    clinician.tell("1")
    wait_for("an owner", lambda: "message:acknowledge" in _acts(stack, message), 15)
    patient.hear("ready")
    clinician.tell("4")
    ring = patient.hear("from")
    patient.hear("up")
    wait_for("the bridge", lambda: stack.events("call.joined"), 20)
    clinician.tell("speak")
    patient.tell("speak")
    time.sleep(4.5)
    patient.tell("bye")
    at_patient = patient.heard()
    time.sleep(1.5)
    clinician.tell("1")
    wait_for("the outcome", lambda: "message:close" in _acts(stack, message), 15)
    clinician.tell("bye")
    return Night(stack, message, said, clinician, patient, ring, rang_at, clinician.heard(), at_patient)


def test_the_clinician_heard_the_first_words_and_after_the_pin_the_message(night: Night) -> None:
    assert alike(clip("en/alert-hello"), night.at_clinician) >= 0.99
    assert alike(night.said[2000:18000], night.at_clinician) >= 0.99


def test_the_patient_saw_the_practices_number_and_heard_no_name(night: Night) -> None:
    assert OFFICE in night.ring["from"]
    assert night.ring["secure"]
    assert alike(clip("en/connect-patient"), night.at_patient) >= 0.99


def test_both_heard_each_other(night: Night) -> None:
    assert alike(night.patient.said[4000:28000], night.at_clinician) >= 0.99
    assert alike(night.clinician.said[4000:28000], night.at_patient) >= 0.99


def test_every_step_is_on_record_in_its_order(night: Night) -> None:
    acts = _acts(night.stack, night.message)
    order = (
        "alert:start",
        "message:play",
        "message:acknowledge",
        "call:ask",
        "call:patient",
        "message:reach",
    )
    places = [acts.index(one) for one in order]
    assert places == sorted(places), acts
    assert acts.count("call:patient") == 1
    [back] = ledger.rows(night.stack, "SELECT * FROM oncall_callback")
    assert back["answered_at"] < back["ended_at"]
    [row] = ledger.rows(night.stack, "SELECT state, outcome FROM mailbox_message")
    assert (row["state"], row["outcome"]) == ("closed", "reached")


def test_the_clinicians_telephone_rang_within_five_seconds_of_the_hang_up(night: Night) -> None:
    """By the telephone's own clock, when the INVITE was there."""
    [row] = ledger.rows(night.stack, "SELECT received_at FROM mailbox_message")
    hung_up = datetime.fromisoformat(row["received_at"]).replace(tzinfo=UTC)
    seconds = night.rang_at - hung_up.timestamp()
    print(f"from hang-up to the INVITE: {seconds:.2f} s")
    assert -1 < seconds < 5


def test_no_number_pin_or_key_is_in_any_log(night: Night) -> None:
    log = night.stack.log.read_text()
    assert PATIENT not in log
    assert PIN not in log
    assert '"key"' not in log


@dataclass
class Bridged:
    """The second night: what was said, what was heard, and how SIPp ended."""

    message: str
    said: Samples
    clinician: Telephone
    patient_said: Samples
    at_clinician: Samples
    at_patient: Samples
    sipp_code: int
    sipp_errors: str


@pytest.fixture(scope="module")
def second(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridged]:
    root = tmp_path_factory.mktemp("bridged")
    stack, clinician = night.stack, Telephone(root, "second", "udp", 4)
    patient_said = noise(8)
    speech = voice_of(root / "patient.pcap", patient_said, 6.0, 4.0)
    script = sipp.patient(f".{OFFICE}", speech, sipp.IS_HUNG_UP_ON)
    command, port, media, folder = sipp.prepared(root, "sipp", script, 0, "u1", "-timeout", "90")
    patient = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Wire(media) as wire:
            message, said = _bridged(stack, root, clinician, port)
            at_clinician = clinician.heard()
            code = patient.wait(20)
        errors = "".join(path.read_text("utf-8", "replace") for path in folder.glob("*errors.log"))
        yield Bridged(message, said, clinician, patient_said, at_clinician, wire.samples, code, errors)
    finally:
        for one in (clinician.process, patient):
            one.kill()


def _bridged(stack: Stack, root: Path, clinician: Telephone, carrier: int) -> tuple[str, Samples]:
    """The message, and what it says."""
    said = noise(9)[:24_000]
    (root / "said.pcm").write_bytes(said.astype("<i2").tobytes())
    clinician.hear("ready")
    words = (f"sip:rivera@127.0.0.1:{clinician.port}", f"localhost:{carrier}", str(stack.home / "phone" / "spool"),
             str(root / "said.pcm"), SECOND)  # fmt: skip
    subprocess.run(
        [sys.executable, "-c", ANOTHER, *words], env=stack.environment, cwd=ROOT, check=True, timeout=60
    )
    clinician.hear("up")
    message = ledger.rows(stack, "SELECT id FROM mailbox_message ORDER BY id DESC")[0]["id"]
    time.sleep(3.5)
    clinician.tell("1")
    time.sleep(1.5)
    clinician.tell(PIN + "#")
    checks = "SELECT 1 FROM audit_event WHERE action = 'pin:check'"
    wait_for("the PIN", lambda: len(ledger.rows(stack, checks)) > 1, 20)
    clinician.tell("2")
    wait_for("it to be played", lambda: "message:play" in _acts(stack, message), 15)
    time.sleep(5)
    clinician.tell("1")
    wait_for("an owner", lambda: "message:acknowledge" in _acts(stack, message), 15)
    clinician.tell("4")
    wait_for("the bridge", lambda: len(stack.events("call.joined")) > 1, 20)
    clinician.tell("speak")
    time.sleep(7)  # the patient begins to speak six seconds after the answer
    clinician.tell("bye")
    return message, said


def test_a_patient_at_sipp_saw_the_practices_number_and_was_hung_up_on(second: Bridged) -> None:
    """By the script: any other number in From or P-Asserted-Identity, or no BYE of ours, and SIPp fails."""
    assert second.sipp_code == 0, second.sipp_errors


def test_the_pin_opened_the_message_and_both_heard_each_other(night: Night, second: Bridged) -> None:
    acts = _acts(night.stack, second.message)
    order = ("alert:start", "message:play", "message:acknowledge", "call:ask", "call:patient")
    assert [act for act in acts if act in order] == list(order)
    assert alike(second.said[2000:18_000], second.at_clinician) >= 0.99
    assert alike(second.patient_said[4000:28_000], second.at_clinician) >= 0.99
    assert alike(clip("en/connect-patient"), second.at_patient) >= 0.99
    assert alike(second.clinician.said[4000:28_000], second.at_patient) >= 0.99


def test_neither_number_is_in_any_log(night: Night, second: Bridged) -> None:
    log = night.stack.log.read_text()
    assert SECOND not in log
    assert PIN not in log


AGAIN = """
import sys
from pathlib import Path
from nightbell.server.django_setup import setup
setup()
from tests.factories import make_capture
from nightbell.core.config import load
from nightbell.mailbox.models import Mailbox
from nightbell.people.models import Contact
Contact.objects.filter(kind="voice").update(address=sys.argv[1])
Contact.objects.filter(user__login="rivera", kind="email").delete()  # no other way holds up the next step
mailbox = Mailbox.objects.filter(practice__code="MS01").order_by("position").first()
print(make_capture(mailbox, 1.0, urgent=True, caller="6175550143", folder=Path(sys.argv[2])))
"""


def test_a_worker_killed_during_the_call_loses_no_alert_and_leaves_nobody_on_the_line(
    night: Night, tmp_path: Path
) -> None:
    """After all others: kill -9 while the clinician listens. The next worker ends the call and wakes somebody anew."""
    stack, clinician = night.stack, Telephone(tmp_path, "again", "udp", 3)
    before = len(ledger.rows(stack, CALLS))
    sent = "SELECT 1 FROM oncall_attempt WHERE channel = 'voice' AND state = 'sent' AND receipt = ''"
    try:
        clinician.hear("ready")
        words = (f"sip:rivera@127.0.0.1:{clinician.port}", str(stack.home / "phone" / "spool"))
        subprocess.run(
            [sys.executable, "-c", AGAIN, *words], env=stack.environment, cwd=ROOT, check=True, timeout=60
        )
        clinician.hear("up")
        wait_for("it to be written", lambda: ledger.rows(stack, sent), 20)
        wait_for("the answer too", lambda: ledger.rows(stack, CALLS)[before]["answered_at"], 20)
        stack.kill("worker")
        clinician.hear("done")
        wait_for("another call", lambda: len(ledger.rows(stack, CALLS)) > before + 1, 30)
    finally:
        clinician.process.kill()
    killed = ledger.rows(stack, CALLS)[before]
    assert killed["why"] == "lost"
    [attempt] = ledger.rows(stack, "SELECT * FROM oncall_attempt WHERE id = ?", killed["attempt_id"])
    assert (attempt["state"], attempt["receipt"]) == ("failed", "undelivered")
    ids = [row["id"] for row in ledger.rows(stack, CALLS)]
    assert len(ids) == len(set(ids))
