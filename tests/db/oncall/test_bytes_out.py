"""From what patients said to what left: real messages with their words, every way at once, to the last byte (MN-01)."""

from __future__ import annotations

import json
import random
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.db.web.conftest import spoken_message
from tests.factories import House
from tests.fakes.fake_out import Taken
from tests.unit.said import message_of, tokens_of

from nightbell.adapters.messaging.twilio import TwilioSms
from nightbell.adapters.outbox import OutboxChannel
from nightbell.adapters.push import PushChannel, Vapid
from nightbell.audit.models import Event
from nightbell.core.clock import SYSTEM, utc_now
from nightbell.core.log import Log
from nightbell.core.notice import NoticeKind
from nightbell.oncall import escalation
from nightbell.oncall.models import Attempt
from nightbell.oncall.notifications import pattern
from nightbell.people.models import Contact
from nightbell.people.roles import Role

URL, SEED, MESSAGES = "https://bell.example", 20261127, 12
WAYS = {
    "email": "clinician@ab12.example", "sms": "+15035550149", "push": "https://push.example/send/abc",
    "voice": "+15035550149", "other": "pover://u@a",
}  # fmt: skip


def _sender(folder: Path) -> escalation.Sender:
    twilio = Taken(json.dumps({"sid": "SM" + "0" * 32}).encode())
    vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), "mailto:it@practice.example")
    sms = TwilioSms("AC1", "secret", "+15035550199", URL, "https://api.twilio.com", twilio)
    boxes = {kind: OutboxChannel(folder, SYSTEM, kind) for kind in ("email", "voice", "other")}
    return escalation.Sender({**boxes, "sms": sms, "push": PushChannel(vapid, Taken())}, URL)


def words(attempt: Attempt) -> list[tuple[str, str]]:
    """(medium, text) of all that left, with nothing left over."""
    data = bytes(attempt.sent or b"")
    if attempt.channel == "email":
        letter = message_from_bytes(data, EmailMessage, policy=policy.default)
        return [("subject", str(letter["Subject"])), ("body", letter.get_content().replace("\r\n", "\n"))]
    if attempt.channel == "sms":
        return [("short", dict(parse_qsl(data.decode()))["Body"])]
    if attempt.channel == "push":
        assert data.endswith(b"Content-Length: 0\r\n\r\n")
        return []
    head, _, text = data.decode().partition("\n\n")
    assert head == f"To: {attempt.address}"
    if attempt.channel == "voice":
        return [("voice", text.strip())]
    subject, _, body = text.partition("\n")
    return [("subject", subject), ("body", body)]


def test_no_token_of_a_message_leaves_by_any_way(
    house: House, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    generator, now = random.Random(SEED), utc_now()
    print(f"seed {SEED}")
    clinician = house.people[Role.CLINICIAN]
    Contact.objects.filter(user=clinician).delete()
    for kind, address in WAYS.items():
        Contact.objects.create(user=clinician, kind=kind, address=address, created_at=now, verified_at=now)
    sender, said = _sender(tmp_path), {}
    for count in range(MESSAGES):
        type(clinician).objects.filter(pk=clinician.pk).update(language="es" if count % 2 else "en")
        text = message_of(generator)
        message = spoken_message(house, text, doubtful="", urgent=True, seconds=0.3)
        said[message.id] = tokens_of(text) | {"5035550148", "15035550148"}
        for _ in range(3):
            escalation.tick(sender, utc_now(), Log("test"))
    attempts = list(Attempt.objects.filter(state="sent").select_related("alert"))
    assert len(attempts) >= MESSAGES * len(WAYS), "every way of every message"
    for attempt in attempts:
        language = "es" if list(said).index(attempt.alert.message_id) % 2 else "en"
        for medium, text in words(attempt):
            assert pattern(NoticeKind(attempt.kind), language, medium, URL).fullmatch(text), text
        opaque = (attempt.alert.token, attempt.id, attempt.address, house.practice.code)
        data = re.sub(
            "|".join(map(re.escape, opaque)), "", bytes(attempt.sent or b"").decode("utf-8", "replace")
        )
        data = re.sub(r"(Date|Topic|ValidityPeriod|TTL)[:=][^\r\n&]*", "", data)
        shared = said[attempt.alert.message_id] & tokens_of(data)
        assert shared <= ALLOWED, (attempt.channel, shared)
    spoken = set().union(*said.values()) - ALLOWED
    logged = tokens_of(
        capfd.readouterr().err + " ".join(map(str, Event.objects.values_list("leaf", flat=True)))
    )
    assert not {one for one in spoken if not one.isdigit()} & logged


# Words of the constants which a patient may say too.
ALLOWED = {"a", "an", "is", "to", "it", "for", "no", "de", "el", "un", "urgent", "urgente", "call", "still", "waiting", "high", "back", "es", "se", "en", "la", "1", "2", "3"}  # fmt: skip
