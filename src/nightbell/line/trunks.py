"""Trunks of the installation: made, changed, removed and brought back; each change a row in the installation's log."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from nightbell.core.config import load
from nightbell.core.durable import write_file
from nightbell.core.ids import is_ulid, new_ulid
from nightbell.line import trunk_rules as rules
from nightbell.line.models import Trunk
from nightbell.line.presets import preset
from nightbell.line.state import touch
from nightbell.line.trunk_rules import Given
from nightbell.people import risks
from nightbell.people.access import NotFound
from nightbell.people.installation import By, note
from nightbell.people.models import RiskAcceptance
from nightbell.people.risk_rules import BadRisk
from nightbell.sip import trunk as sip
from nightbell.sip.trunk import BadTrunk, Kind
from nightbell.store import vault

MOST = 20
SECRET = "trunk-password"  # noqa: S105 (the name of a place)
BRING_BACK = timedelta(hours=24)  # as long the password of a removed trunk is kept
ASKED = "trunk-asked"  # in <home>/run: the id of a trunk that somebody wants tried now


@dataclass(frozen=True, slots=True)
class TrunkView:
    """A trunk for pages and terminal, without its password. about, covers: what a risk would be accepted for, in words and
    as a hash (trunk_rules.covers); brief: the words with the first networks alone; risk: the acceptance on record, also an expired one."""

    id: str
    name: str
    preset: str
    kind: str
    domain: str
    proxy: str
    transport: str
    user: str
    has_password: bool
    realm: str
    sources: tuple[str, ...]
    peer_name: str
    expires: int
    keep_alive: int
    dialled: tuple[str, ...]
    changed_at: datetime
    changed_by: str
    about: str
    brief: str
    covers: str
    risk: RiskAcceptance | None

    @property
    def plain(self) -> bool:
        """Whether unencrypted calls are taken."""
        return self.risk is not None

    @property
    def needs_risk(self) -> bool:
        """Whether it cannot be used before its risk is accepted."""
        return self.transport != "tls" and self.risk is None

    @property
    def risk_moved(self) -> bool:
        """Whether the risk was accepted for what this trunk is no longer."""
        return self.risk is not None and self.risk.covers != self.covers


def all_trunks() -> list[TrunkView]:
    """Those in use, in the order in which they were made."""
    risk = risks.on_record(risks.PLAIN_TRUNK)
    found = Trunk.objects.filter(removed_at=None).order_by("id")
    return [_view(row, risk.get(row.id)) for row in found]


def one_trunk(trunk_id: str) -> TrunkView:
    """Raises NotFound."""
    found = next((one for one in all_trunks() if one.id == trunk_id), None)
    if found is None:
        raise _missing()
    return found


def named(text: str) -> TrunkView:
    """By id or by name, for the command line. Raises NotFound."""
    found = [one for one in all_trunks() if text in (one.id, one.name)]
    if not found:
        raise NotFound(f"There is no trunk {text[:60]!r}", "", "run: nightbell trunk list")
    return found[0]


def _view(row: Trunk, risk: RiskAcceptance | None) -> TrunkView:
    return TrunkView(
        row.id, row.name, row.preset, row.kind, row.domain, row.proxy, row.transport, row.user, bool(row.password),
        row.realm, tuple(row.sources), row.peer_name, row.expires, row.keep_alive, tuple(row.dialled), row.changed_at,
        row.changed_by, about(row), about(row, rules.MOST_SHOWN), covers(row), risk,
    )  # fmt: skip


def about(row: Trunk, most: int | None = None) -> str:
    """In words; most: networks that are named, None for all."""
    return rules.about(row.domain, row.proxy, list(row.sources), row.transport, row.peer_name, most)


def covers(row: Trunk) -> str:
    return rules.covers(row.kind, row.domain, row.proxy, row.transport, row.sources, row.peer_name)


def add(by: By, given: Given) -> str:
    """A new trunk; returns its id. Without TLS it is not used before its risk is accepted. Raises BadTrunk."""
    described = rules.wanted(given, new_ulid())
    rules.check_new(described)
    with transaction.atomic():
        _free_name(described.name, "")
        if Trunk.objects.filter(removed_at=None).count() >= MOST:
            raise BadTrunk("name", f"there are {MOST} already", "remove those that you do not use")
        row = Trunk(id=described.id, made_at=by.now, made_by=by.name, preset=preset(given.preset).id)
        changed = _write(row, described, given.password, by)
        detail = {"trunk": row.id, "kind": row.kind, "transport": row.transport, "fields": changed}
        _noted(by, "trunk:add", detail)
    return row.id


def change(by: By, trunk_id: str, given: Given, revision: int | None = None) -> None:
    """Raises NotFound, BadTrunk; revision: as it was read, None for whatever is there."""
    described = rules.wanted(given, trunk_id if is_ulid(trunk_id) else new_ulid())
    rules.check_new(described)
    with transaction.atomic():
        row = _locked(trunk_id)
        if revision is not None and revision != row.revision:
            raise BadTrunk(
                "name", "somebody changed this trunk meanwhile", "reload the page and change it again"
            )
        _free_name(described.name, row.id)
        changed = _write(row, described, given.password, by)
        if changed:
            detail = {"trunk": row.id, "transport": row.transport, "fields": changed}
            _noted(by, "trunk:change", detail)


def remove(by: By, trunk_id: str) -> None:
    """No more calls by it from now on; it can be brought back for a day. Raises NotFound."""
    with transaction.atomic():
        row = _locked(trunk_id)
        Trunk.objects.filter(pk=row.pk).update(removed_at=by.now)
        _noted(by, "trunk:remove", {"trunk": row.id})


def bring_back(by: By, trunk_id: str) -> None:
    """Undo a removal; one that is there stays. Raises NotFound once the day is over, BadTrunk when its name is taken."""
    with transaction.atomic():
        row = Trunk.objects.select_for_update().filter(pk=trunk_id).first()
        if row is not None and row.removed_at is None:
            return
        if row is None or row.removed_at is None or row.removed_at <= by.now - BRING_BACK:
            raise _missing()
        _free_name(row.name, row.id)
        Trunk.objects.filter(pk=row.pk).update(removed_at=None)
        _noted(by, "trunk:bring_back", {"trunk": row.id})


def forget_removed(now: datetime) -> int:
    """Passwords of trunks that were removed a day ago go for good. Returns how many."""
    old = Trunk.objects.filter(removed_at__lte=now - BRING_BACK).exclude(password="")
    return old.update(password="", realm="", algorithms=[])


def accept_realm(by: By, trunk_id: str, realm: str, state: dict[str, object]) -> None:
    """Answer a carrier in the name of another realm from now on. state: what the phone says of this trunk now; it must
    still name that realm. Raises NotFound, BadTrunk."""
    if not realm or state.get("realm") != realm:
        raise BadTrunk("realm", "the carrier does not ask for that one now", "reload the page")
    with transaction.atomic():
        row = _locked(trunk_id)
        row.realm, row.algorithms = realm[:255], rules.offered(state.get("algorithms"))
        row.save(update_fields=["realm", "algorithms"])
        _noted(by, "trunk:realm", {"trunk": row.id, "algorithms": list(row.algorithms)})


def accept_risk(by: By, trunk_id: str, reason: str, until: datetime, shown: str | None = None) -> None:
    """Let calls of this trunk come unencrypted, on record. shown: `covers` of what the person was shown, None for whatever
    is there. Raises NotFound, risks.BadRisk."""
    with transaction.atomic():
        row = _locked(trunk_id)
        if shown is not None and shown != covers(row):
            raise BadRisk("reason", "somebody changed this trunk meanwhile", "look at what it is now")
        risks.accept(by, risks.PLAIN_TRUNK, row.id, about(row), reason, until, covers(row))
        transaction.on_commit(touch)


def withdraw_risk(by: By, trunk_id: str) -> None:
    """Unencrypted calls are refused from now on; a trunk without TLS takes none at all. Raises NotFound."""
    with transaction.atomic():
        risks.withdraw(by, risks.PLAIN_TRUNK, _locked(trunk_id).id)
        transaction.on_commit(touch)


def ask(trunk_id: str) -> None:
    """Have the phone ask the carrier now. The answer comes with the phone's next words. Raises NotFound."""
    found = one_trunk(trunk_id)
    with contextlib.suppress(OSError):
        write_file(load().home / "run" / ASKED, found.id.encode())


def _missing() -> NotFound:
    return NotFound("There is no such trunk", "it was removed", "go to the list of trunks")


def _locked(trunk_id: str) -> Trunk:
    row = Trunk.objects.select_for_update().filter(pk=trunk_id, removed_at=None).first()
    if row is None:
        raise _missing()
    return row


def _free_name(name: str, but: str) -> None:
    if Trunk.objects.filter(removed_at=None, name=name).exclude(pk=but).exists():
        raise BadTrunk("name", "another trunk has it", "choose a name that tells them apart")


_PLAIN_FIELDS = ("name", "domain", "proxy", "transport", "user", "peer_name", "expires", "keep_alive")


def _write(row: Trunk, described: sip.Trunk, password: str, by: By) -> list[str]:
    """Put a description into a row and save it. Returns the names of what changed."""
    asked_anew = rules.goes_elsewhere((row.user, row.domain, row.proxy, row.transport), described)
    new = {name: getattr(described, name) for name in _PLAIN_FIELDS} | {
        "kind": described.kind.value,
        "sources": list(described.sources),
        "dialled": [one.value for one in described.dialled],
    }
    changed = [name for name, value in new.items() if getattr(row, name) != value]
    for name, value in new.items():
        setattr(row, name, value)
    changed += _password(row, described, password, asked_anew)
    if changed:
        row.revision = (row.revision or 0) + 1
        row.changed_at, row.changed_by = by.now, by.name
        row.save()
    return changed


def _password(row: Trunk, described: sip.Trunk, password: str, asked_anew: bool) -> list[str]:
    """Seal it. It does not go elsewhere (trunk_rules.goes_elsewhere) unless somebody types it again: who may change a
    trunk cannot read its password, and must not learn it by pointing the trunk to a server of their own."""
    if described.kind is not Kind.REGISTER:
        gone = bool(row.password)
        row.password = row.realm = ""
        row.algorithms = []
        return ["password"] if gone else []
    if asked_anew:
        row.realm, row.algorithms = "", []
    if not password and (asked_anew or not row.password):
        why = (
            "registering needs it"
            if not row.password
            else "it must be typed again for another domain, server or user, or to go without TLS"
        )
        raise BadTrunk("password", why, "copy it from your carrier's page")
    if not password:
        return []
    row.password = vault.seal_secret(rules.checked_password(password), SECRET)
    return ["password"]


def _noted(by: By, action: str, detail: Mapping[str, object]) -> None:
    note(by, action, detail)
    transaction.on_commit(touch)
