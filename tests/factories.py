"""Practices, people and sealed captures for tests, made by the same code that makes them in the product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from django.contrib.auth.hashers import make_password

from nightbell.audit import service as audit
from nightbell.core.capture import AudioPacket, CaptureMeta, Codec, End, EndReason, Mark
from nightbell.core.clock import iso, utc_now
from nightbell.core.config import load
from nightbell.core.ids import new_ulid
from nightbell.core.sound import Unpacker
from nightbell.mailbox import epochs, intake
from nightbell.mailbox.models import Mailbox, Message, Number
from nightbell.oncall.models import Schedule, Shift
from nightbell.people.access import Actor
from nightbell.people.models import Contact, ContactKind, Practice, User
from nightbell.people.roles import Role
from nightbell.phone import encode
from nightbell.sealing.capture import CaptureSealer
from nightbell.sealing.spool import SpoolFile

CALLER = "+15035550148"
PASSWORD = "correct horse battery"


@dataclass
class House:
    """One practice with a person in every role and two mailboxes."""

    practice: Practice
    mailbox: Mailbox
    second: Mailbox
    people: dict[Role, User]

    def actor(self, role: Role, now: datetime | None = None) -> Actor:
        return Actor(self.people[role], "192.0.2.7", f"session-{role}", now or utc_now())


@cache
def _hashed() -> str:
    """Hashing is slow on purpose; once is enough for a test run."""
    return make_password(PASSWORD)


def make_house(code: str = "AB12", number: str = "5035550100", now: datetime | None = None) -> House:
    now = now or utc_now()
    practice = Practice.objects.create(
        code=code, name=f"Practice {code}", zone="America/New_York", number=number, created_at=now,
        takes_unrouted=not Practice.objects.exists(),
    )  # fmt: skip
    audit.open_log(audit.INSTALLATION)
    audit.open_log(practice.id)
    mailbox = Mailbox.objects.create(practice=practice, name="Nurse line")
    second = Mailbox.objects.create(practice=practice, name="Réfills", position=1)
    Number.objects.create(dialled=number, mailbox=mailbox)
    people = {
        role: User(
            login=f"{role.value}-{code}".lower(), password=_hashed(), name=f"{role.value.title()} Núñez", role=role,
            practice=practice, email=f"{role.value}@{code}.example".lower(),
        )
        for role in Role
    }  # fmt: skip
    User.objects.bulk_create(people.values())
    # As people.contacts.enrol makes them; a thousand tests begin here, so there is one question for all of a kind.
    Contact.objects.bulk_create(
        Contact(user=user, kind=ContactKind.EMAIL, address=user.email, created_at=now, verified_at=now)
        for user in people.values()
    )
    schedule = Schedule.objects.create(practice=practice, fallback=people[Role.MANAGER])
    Shift.objects.bulk_create(
        Shift(schedule=schedule, user=people[Role.CLINICIAN], weekday=weekday, start=0, minutes=1440)
        for weekday in range(7)
    )
    return House(practice, mailbox, second, people)


@cache
def tone(seconds: float, hertz: float = 440.0) -> bytes:
    """PCM16 mono 8 kHz."""
    samples = (round(9000 * math.sin(2 * math.pi * hertz * i / 8000)) for i in range(int(seconds * 8000)))
    return b"".join(s.to_bytes(2, "little", signed=True) for s in samples)


def _recorded(marks: Sequence[tuple[float, str]], at: float) -> bool:
    """Whether the phone records at this moment: within a part, or always where none is marked."""
    parts = [(when, name) for when, name in marks if name.startswith("part")]
    last = [name for when, name in parts if when <= at]
    return not parts or (bool(last) and last[-1] != "part-end")


def make_capture(
    mailbox: Mailbox | None,
    seconds: float = 3.0,
    urgent: bool = False,
    caller: str = CALLER,
    pcm: bytes | None = None,
    answered_at: datetime | None = None,
    finish: bool = True,
    folder: Path | None = None,
    marks: Sequence[tuple[float, str]] = (),
    codec: Codec = Codec.PCMU,
    payloads: Sequence[tuple[int, bytes]] | None = None,
) -> Path:
    """A sealed capture in the spool, as the phone writes it. marks: (seconds since the sound began, name).

    payloads: (offset in ticks, payload) in place of what `pcm` is encoded to.
    """
    epoch = epochs.current() or epochs.begin(utc_now(), "system:test")
    folder = folder or load().spool
    folder.mkdir(parents=True, exist_ok=True)
    pcm = tone(seconds) if pcm is None else pcm
    answered = answered_at or utc_now() - timedelta(milliseconds=len(pcm) // 16 + 5000)
    meta = CaptureMeta(
        capture=new_ulid(), practice=mailbox.practice_id if mailbox else "", mailbox=mailbox.id if mailbox else "",
        dialled="5035550100", caller=caller, answered_at=iso(answered), language="en", codec=codec, snapshot=1,
    )  # fmt: skip
    sealer = CaptureSealer(epoch, meta, 0.0)
    file = SpoolFile.create(folder, meta.capture)
    file.append(sealer.header)
    if payloads is None:
        step = codec.clock // 50
        payloads = [(step * at, frame) for at, frame in enumerate(encode.frames(pcm, codec))]
    if urgent:
        file.append(sealer.add(Mark(3000, "urgent"), 3.0))
    file.append(sealer.add(Mark(5000, "stage:record"), 5.0))
    for at, name in marks:
        file.append(sealer.add(Mark(5000 + round(at * 1000), name), 5.0))
    for offset, payload in payloads:
        at = offset / codec.clock
        if not _recorded(marks, at):
            continue  # the phone takes no sound between parts
        file.append(sealer.add(AudioPacket(offset, payload), 5 + at))
    if not finish:
        file.append(sealer.pad(1e9))
        file.abandon()
        return file.path
    file.append(sealer.finish(End(5000 + len(pcm) // 16, EndReason.HANG_UP), 1e9))
    return file.finish()


def make_message(mailbox: Mailbox | None, unpacker: Unpacker | None = None, **options: object) -> Message:
    """A message that came in through the real intake."""
    path = make_capture(mailbox, **options)  # type: ignore[arg-type]
    taken = intake.take_in(path, utc_now(), unpacker)
    assert taken is not None
    assert taken.result == "stored"
    return Message.objects.get(pk=taken.capture)
