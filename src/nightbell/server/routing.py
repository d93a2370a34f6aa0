"""The routing snapshot, as the worker makes it: what every number answers with (DESIGN decision 16)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.db.models import Q

from nightbell.core.clock import iso
from nightbell.core.config import Config
from nightbell.core.durable import write_file
from nightbell.core.errors import NightbellError
from nightbell.mailbox import epochs
from nightbell.mailbox.models import Number
from nightbell.oncall.models import Schedule
from nightbell.oncall.roster import on_call_ids
from nightbell.people.models import Practice, User
from nightbell.sealing.signed import is_good, sign
from nightbell.server import home
from nightbell.store import vault
from nightbell.store.models import Flag

PROMISE_MINUTES = 30


def payload(now: datetime, channels: bool = True) -> dict[str, Any]:
    """channels: whether there is any way to wake somebody. Everything but version and time, so that a change can be told from a mere new second."""
    epoch = epochs.current()
    if epoch is None:
        raise NightbellError(
            "There is no sealing key epoch", "set-up did not finish", "run: nightbell migrate"
        )
    on_call = {p.id: channels and _somebody(p, now) for p in Practice.objects.all()}
    numbers: dict[str, Any] = {}
    for number in Number.objects.select_related("mailbox__practice").order_by("dialled"):
        practice = number.mailbox.practice
        numbers[number.dialled] = {
            "practice": practice.id,
            "mailbox": number.mailbox_id,
            "language": practice.language,
            "languages": [practice.language],
            "practice_number": practice.number,
            "greeting": "closed",
            "on_call": on_call[practice.id],
            "promise_minutes": PROMISE_MINUTES,
            "max_seconds": 180,
            "clips": clips_of(practice),
        }
    return {"epoch": epoch.to_dict(), "numbers": numbers, "limits": {}}


def clips_of(practice: Practice) -> dict[str, str]:
    """A practice's own recordings: clip id to content hash, kept in a flag of the practice."""
    flag = Flag.objects.filter(name=f"clips:{practice.id}").first()
    return dict(json.loads(flag.value)) if flag else {}


def _somebody(practice: Practice, now: datetime) -> bool:
    """Whether the line may say that a team is on call: someone can really be told."""
    there = User.objects.filter(pk__in=on_call_ids(practice, now), is_active=True).exclude(email="").exists()
    return (
        there
        or Schedule.objects.filter(
            ~Q(fallback_email="") | (Q(fallback__is_active=True) & ~Q(fallback__email="")), practice=practice
        ).exists()
    )


def publish(config: Config, now: datetime) -> bytes:
    """The signed file in force; a new version only when something changed. Written where a phone starts from."""
    body = payload(now, bool(config.smtp) or home.stamp(config) == home.DEMO)
    text = json.dumps(body, sort_keys=True)
    path = config.home / "phone" / "issued.json"
    try:
        last = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        last = {}
    if last.get("text") == text and "file" in last:
        signed = str(last["file"]).encode()
        _give_first(config, signed)
        return signed
    body |= {"version": _next_version(now), "issued_at": iso(now)}
    signer = Ed25519PrivateKey.from_private_bytes(vault.keyring().get(home.SNAPSHOT_SIGNER, "signer"))
    signed = sign(body, signer)
    write_file(path, json.dumps({"text": text, "file": signed.decode()}).encode())
    _give_first(config, signed)
    return signed


def _give_first(config: Config, signed: bytes) -> None:
    """What a phone starts from, when there is none or it is damaged; later ones the phone keeps itself."""
    folder = config.home / "phone"
    try:
        if is_good((folder / "snapshot.json").read_bytes(), (folder / "trust.pub").read_bytes()):
            return
    except FileNotFoundError:
        pass
    write_file(folder / "snapshot.json", signed)


def _next_version(now: datetime) -> int:
    with transaction.atomic():
        flag, _ = Flag.objects.select_for_update().get_or_create(
            name="snapshot:version", defaults={"value": "0", "changed_at": now}
        )
        version = int(flag.value) + 1
        Flag.objects.filter(pk=flag.pk).update(value=str(version), changed_at=now)
    return version
