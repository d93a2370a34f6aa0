"""Captures of call backs as the phone writes them, and the row of a patient's answer."""

from __future__ import annotations

from pathlib import Path

from django.db import transaction
from tests.factories import House, make_message, tone

from nightbell.core.capture import CaptureMeta, Codec, End, EndReason
from nightbell.core.clock import iso, utc_now
from nightbell.core.config import load
from nightbell.mailbox import epochs, service, talks
from nightbell.mailbox.models import Message
from nightbell.oncall.models import CallBack
from nightbell.people.roles import Role
from nightbell.phone import encode
from nightbell.sealing.capture import CaptureSealer
from nightbell.sealing.spool import SpoolFile

CLINICIAN, PATIENT = tone(1.5, 440.0), tone(2.0, 700.0)


def called_back(house: House, agreed: bool | None = True) -> tuple[Message, CallBack]:
    """A message of the clinician's whose patient was called back, and what they answered; None: nobody asked."""
    message, now = make_message(house.mailbox), utc_now()
    service.acknowledge(house.actor(Role.CLINICIAN), message.id)
    user = house.people[Role.CLINICIAN]
    row = CallBack.objects.create(message=message, user=user, asked_at=now, answered_at=now)
    if agreed is not None:
        with transaction.atomic():
            assert talks.note(message.id, row.id, agreed, now)
    return message, row


def tape(row_id: str, finish: bool = True, head_only: bool = False, practice: str = "") -> Path:
    """A capture in the spool: the clinician speaks, the patient half a second later."""
    epoch = epochs.current() or epochs.begin(utc_now(), "system:test")
    load().spool.mkdir(parents=True, exist_ok=True)
    meta = CaptureMeta(
        capture=row_id, practice=practice, mailbox="", dialled="", caller="", answered_at=iso(utc_now()), language="",
        codec=Codec.PCMU, snapshot=1, talk=True,
    )  # fmt: skip
    sealer, file = CaptureSealer(epoch, meta, 0.0), SpoolFile.create(load().spool, row_id)
    file.append(sealer.header)
    for pcm, first, beside in ((CLINICIAN, 0, False), (PATIENT, 4000, True)):
        packets = [(first + 160 * at, frame) for at, frame in enumerate(encode.frames(pcm, Codec.PCMU))]
        file.append(b"" if head_only else sealer.add_audio(packets, 1.0, beside))
    if not finish:
        file.append(sealer.pad(1e9))
        file.abandon()
        return file.path
    file.append(sealer.finish(End(2500, EndReason.HANG_UP), 1e9))
    return file.finish()
