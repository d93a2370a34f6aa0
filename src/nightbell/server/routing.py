"""The routing snapshot, as the worker makes it: what every number answers with (DESIGN decision 16)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import DatabaseError, transaction

from nightbell.audit.errors import AuditClosed
from nightbell.core.clock import iso
from nightbell.core.config import Config
from nightbell.core.durable import write_file
from nightbell.core.errors import NightbellError
from nightbell.flow.line import Line
from nightbell.flow.plan import BadPlan, Plan
from nightbell.line import trunk_payload
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


@dataclass
class Trouble:
    """Codes of practices whose callers hear something else than what is in force. damaged: an older plan, theirs cannot
    be read; kept: what they heard last, for their line cannot be made, with the name of the error. trunks: id → why
    it is not on the phone as it is stored (line.trunk_payload)."""

    damaged: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    trunks: dict[str, str] = field(default_factory=dict)


def payload(
    now: datetime,
    channels: bool = True,
    trouble: Trouble | None = None,
    last: Mapping[str, dict[str, Any]] | None = None,
    last_trunks: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """channels: whether there is any way to wake somebody; trouble: what was wrong comes here; last, last_trunks: lines
    and trunks as they were issued before. Everything but version and time, so that a change can be told from a mere
    new second."""
    trouble = trouble if trouble is not None else Trouble()
    epoch = epochs.current()
    if epoch is None:
        raise NightbellError(
            "There is no sealing key epoch", "set-up did not finish", "run: nightbell migrate"
        )
    trying = in_force(now)
    lines: dict[str, Any] = {}
    for practice in Practice.objects.order_by("id"):
        mine = [number for number in trying if number.practice_id == practice.id]
        lines |= _or_last(practice, mine, channels, now, trouble, last or {})
    numbers = {
        one.dialled: {
            "practice": one.mailbox.practice_id,
            "mailbox": one.mailbox_id,
            "line": one.mailbox.practice_id,
            **({"staff": True} if one.staff else {}),
        }
        for one in Number.objects.select_related("mailbox").order_by("dialled")
    }
    trials = {dialled: one for dialled, one in _try_numbers(trying).items() if one["line"] in lines}
    return {
        "epoch": epoch.to_dict(),
        "lines": lines,
        "numbers": numbers | trials,
        "limits": {},
        "trunks": trunk_payload.entries(last_trunks, trouble.trunks),
    }


def _or_last(
    practice: Practice,
    trying: list[TryNumber],
    channels: bool,
    now: datetime,
    trouble: Trouble,
    last: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """The entries of one practice; what it had before when they cannot be made."""
    try:
        found, whole = _lines(practice, trying, channels, now)
    except (DatabaseError, AuditClosed):
        raise  # everybody's
    except Exception as error:
        # Whatever it is (a bad time zone, say): the others' lines must go out.
        trouble.kept[practice.code] = type(error).__name__
        return _last(practice, last, now)
    if not whole:
        trouble.damaged.append(practice.code)
    return found


def _last(practice: Practice, last: Mapping[str, dict[str, Any]], now: datetime) -> dict[str, Any]:
    """What a practice's line was before it could not be made, with no time promised any more; for one that never had
    any the plan of a new practice by the usual clock."""
    entry = last.get(practice.id)
    if entry is None:
        zone = str(Practice._meta.get_field("zone").default)
        entry = {
            "practice": practice.id, "zone": zone, "number": practice.number, "flow": 0, "plan": Plan().to_dict(),
            "holidays": {}, "known_until": now.date().isoformat(), "closures": [], "team": True, "test": False,
        }  # fmt: skip
    return {practice.id: entry | {"promise": {"urgent": "", "routine": ""}}}


def _lines(
    practice: Practice, trying: list[TryNumber], channels: bool, now: datetime
) -> tuple[dict[str, Any], bool]:
    """The entries of one practice, and whether the plan in force could be read: if not, an older one answers. A draft
    that cannot be read is told to who edits it; nobody else hears it."""
    team = channels and somebody(practice, now)
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
            lines[_key(one)] = entry | {"flow": 0, "test": True}
    for made in lines.values():
        Line.from_dict(made)  # the phone refuses all lines for one that is none
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


def publish(config: Config, now: datetime, trouble: Trouble | None = None, able: bool = True) -> bytes:
    """The signed file in force; a new version only when something changed. Written where a phone starts from.

    trouble: as in `payload`; able: False while what comes in becomes no alert, whoever is on call.
    """
    path = config.home / "phone" / "issued.json"
    last = _read(path)
    channels = able and (bool(config.smtp or config.sms) or home.stamp(config) == home.DEMO)
    issued = _read(last.get("text", ""))
    body = payload(now, channels, trouble, issued.get("lines"), issued.get("trunks", ()))
    text = json.dumps(body, sort_keys=True)
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


def _read(what: Path | str) -> dict[str, Any]:
    """A JSON object of a file or a text; nothing when it is none."""
    try:
        found = json.loads(what.read_text("utf-8") if isinstance(what, Path) else what)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
