"""Trunks as the routing snapshot has them, and what the phone's first challenge taught us. Runs in the worker alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import DatabaseError, transaction

from nightbell.audit.errors import AuditClosed
from nightbell.core.clock import iso
from nightbell.line import trunk_rules as rules
from nightbell.line.models import Trunk
from nightbell.line.state import touch
from nightbell.line.trunks import SECRET, all_trunks
from nightbell.people import risks
from nightbell.people.installation import By, note
from nightbell.sip import digest
from nightbell.sip import trunk as sip
from nightbell.store import vault

RISK, DAMAGED = "risk", "damaged"


def entries(last: Iterable[Mapping[str, Any]], left_out: dict[str, str]) -> list[dict[str, Any]]:
    """One entry a trunk, as sip.trunk reads it. One bad trunk must not cost the others, or the lines: it stays as it was
    (`last`: the entries issued before) or is left out. left_out: id → 'risk' (not accepted), 'damaged' (as before or out).
    """
    accepted = risks.on_record(risks.PLAIN_TRUNK)
    before = {str(one.get("id")): dict(one) for one in last}
    made = []
    for row in Trunk.objects.filter(removed_at=None).order_by("id"):
        plain = row.id in accepted
        if row.transport != "tls" and not plain:
            left_out[row.id] = RISK
            continue
        try:
            made.append(_entry(row, plain))
        except (DatabaseError, AuditClosed):
            raise  # everybody's
        except Exception:
            # Whatever it is (a damaged password, a field that an older version took): the others must go out.
            left_out[row.id] = DAMAGED
            if row.id in before:
                made.append(before[row.id] | {"plain": plain})
    return made


def _entry(row: Trunk, plain: bool) -> dict[str, Any]:
    """Raises BadTrunk, SealError, KeysAway."""
    given = rules.Given(
        name=row.name, kind=row.kind, domain=row.domain, proxy=row.proxy, transport=row.transport, user=row.user,
        sources=" ".join(row.sources), peer_name=row.peer_name, expires=row.expires, keep_alive=row.keep_alive,
        dialled=tuple(row.dialled),
    )  # fmt: skip
    entry = rules.wanted(given, row.id).to_dict() | {"plain": plain, "realm": row.realm, "ha1": _ha1(row)}
    return sip.Trunk.from_dict(entry).to_dict()


def _ha1(row: Trunk) -> dict[str, str]:
    """What the phone answers challenges with; the password itself stays here."""
    if not row.realm or not row.password:
        return {}
    password = vault.open_secret(row.password, SECRET)
    return {name: digest.ha1(name, row.user, row.realm, password) for name in rules.offered(row.algorithms)}


def learn(by: By, states: Mapping[str, Mapping[str, Any]]) -> int:
    """Keep the realm of a carrier's first challenge, and algorithms that it offers in that realm later. Another realm is
    not taken: a stranger who answers in the carrier's place would get a digest to guess at. Returns how many learned.

    states: what phones say, by trunk.
    """
    learned = 0
    for row in Trunk.objects.filter(removed_at=None, pk__in=list(states)).exclude(password=""):
        state = states[row.id]
        realm, offered = str(state.get("realm", ""))[:255], rules.offered(state.get("algorithms"))
        known = rules.offered([*row.algorithms, *offered])
        if (
            not realm
            or not offered
            or row.realm not in ("", realm)
            or (row.realm and known == row.algorithms)
        ):
            continue
        with transaction.atomic():
            same = Trunk.objects.filter(pk=row.pk, revision=row.revision, realm=row.realm)
            if same.update(realm=realm, algorithms=known):
                note(by, "trunk:realm", {"trunk": row.id, "algorithms": known})
                transaction.on_commit(touch)
                learned += 1
    return learned


def stored(left_out: Mapping[str, str]) -> list[dict[str, Any]]:
    """What health is told of each trunk: id, name, realm, plain, until (ISO, '' without an accepted risk), moved (that risk
    was accepted for what it is no longer). left_out: id → why it is not on the phone as it is stored."""
    return [
        {
            "id": one.id, "name": one.name, "realm": one.realm, "plain": one.plain,
            "until": iso(one.risk.until) if one.risk else "", "moved": one.risk_moved,
            "left_out": left_out.get(one.id, ""),
        }
        for one in all_trunks()
    ]  # fmt: skip
