"""The routing snapshot, as the worker makes it: what every number answers with (DESIGN decision 16)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction

from nightbell.core.clock import iso
from nightbell.core.config import Config
from nightbell.core.durable import write_file
from nightbell.core.errors import NightbellError
from nightbell.flow.plan import BadPlan, Plan
from nightbell.line.calendars import calendar
from nightbell.line.models import TryNumber, Version
from nightbell.line.promise import promise
from nightbell.line.state import draft_plan, first_version, older_plans, plan_of, usual
from nightbell.line.trying import in_force
from nightbell.mailbox import epochs
from nightbell.mailbox.models import Mailbox, Number
from nightbell.oncall.roster import somebody
from nightbell.people.models import Practice
from nightbell.sealing.signed import is_good, sign
from nightbell.server import home
from nightbell.store import vault
from nightbell.store.models import Flag

DRAFT = ":draft"


def payload(now: datetime, channels: bool = True, damaged: list[str] | None = None) -> dict[str, Any]:
    """channels: whether there is any way to wake somebody; damaged: here come the codes of practices whose plan cannot
    be read. Everything but version and time, so that a change can be told from a mere new second."""
    epoch = epochs.current()
    if epoch is None:
        raise NightbellError(
            "There is no sealing key epoch", "set-up did not finish", "run: nightbell migrate"
        )
    trying = in_force(now)
    lines: dict[str, Any] = {}
    for practice in Practice.objects.order_by("id"):
        mine = [number for number in trying if number.practice_id == practice.id]
        found, whole = _lines(practice, mine, channels and somebody(practice, now), now)
        lines |= found
        if not whole and damaged is not None:
            damaged.append(practice.code)
    numbers = {
        one.dialled: {
            "practice": one.mailbox.practice_id,
            "mailbox": one.mailbox_id,
            "line": one.mailbox.practice_id,
        }
        for one in Number.objects.select_related("mailbox").order_by("dialled")
    }
    return {
        "epoch": epoch.to_dict(), "lines": lines, "numbers": numbers | _try_numbers(trying), "limits": {},
    }  # fmt: skip


def _lines(
    practice: Practice, trying: list[TryNumber], team: bool, now: datetime
) -> tuple[dict[str, Any], bool]:
    """The entries of one practice, and whether all its plans could be read: if not, an older one answers."""
    live = first_version(practice, now)
    entry, whole = _in_force(practice, live, team, now)
    lines = {practice.id: entry}
    for one in trying:
        if one.clip:
            lines[_key(one)] = entry | {"flow": 0, "test": True, "studio": one.clip, "language": one.language}
            continue
        try:
            lines[_key(one)] = _line(practice, draft_plan(live), 0, team, now) | {"test": True}
        except BadPlan:
            lines[_key(one)], whole = entry | {"flow": 0, "test": True}, False
    return lines, whole


def _in_force(practice: Practice, live: Version, team: bool, now: datetime) -> tuple[dict[str, Any], bool]:
    """The live version; should it be damaged, the newest that is whole, for patients call whatever is stored.
    With none left it is the usual plan, as version 0."""
    try:
        return _line(practice, plan_of(live), live.number, team, now), True
    except BadPlan:
        for plan, number in older_plans(live):
            try:
                return _line(practice, plan, number, team, now), False
            except BadPlan:  # a state whose holidays are not known any more
                continue
        return _line(practice, usual(practice), 0, team, now), False


def _key(one: TryNumber) -> str:
    """The name of the line that such a number leads to."""
    return f"{one.practice_id}:{one.dialled}" if one.clip else one.practice_id + DRAFT


def _line(practice: Practice, plan: Plan, flow: int, team: bool, now: datetime) -> dict[str, Any]:
    """One entry as flow.line reads it. flow: the version's number. Raises BadPlan: a state without a calendar."""
    days, said = calendar(practice, plan, now), promise(practice, plan, now, team)
    return {
        "practice": practice.id,
        "zone": practice.zone,
        "number": practice.number,
        "flow": flow,
        "plan": plan.to_dict(),
        "holidays": {day.isoformat(): name for day, name in days.holidays.items()},
        "known_until": days.known_until.isoformat(),
        "closures": [
            {"starts": iso(one.starts), "ends": iso(one.ends) if one.ends else None, "visits": one.visits}
            for one in days.closures
        ],
        "team": team,
        "promise": {"urgent": said.urgent, "routine": said.routine},
        "test": False,
    }


def _try_numbers(trying: list[TryNumber]) -> dict[str, Any]:
    """Numbers that lead to a draft or a recording: to the practice's first mailbox, should somebody leave word."""
    found: dict[str, Any] = {}
    for one in trying:
        mailbox = Mailbox.objects.filter(practice_id=one.practice_id).order_by("position", "id").first()
        if mailbox is not None:
            found[one.dialled] = {
                "practice": one.practice_id, "mailbox": mailbox.id, "line": _key(one),
            }  # fmt: skip
    return found


def publish(config: Config, now: datetime, damaged: list[str] | None = None) -> bytes:
    """The signed file in force; a new version only when something changed. Written where a phone starts from.

    damaged: as in `payload`.
    """
    body = payload(now, bool(config.smtp) or home.stamp(config) == home.DEMO, damaged)
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
