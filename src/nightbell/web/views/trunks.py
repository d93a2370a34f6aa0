"""Carriers: which trunks there are and how they stand, for who installs the system and who watches over it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from nightbell.compliance import transport
from nightbell.core.clock import parse_iso
from nightbell.core.config import load
from nightbell.line import trunk_states, trunks
from nightbell.line.models import Trunk
from nightbell.line.presets import PRESETS, preset
from nightbell.people.installation import by_person
from nightbell.people.risk_rules import USUAL, BadRisk, end_of, last_day
from nightbell.people.roles import Act
from nightbell.sip.trunk import BadTrunk
from nightbell.web import context, trunk_form
from nightbell.web.doors import actor_of, allows, ulid_or_nothing
from nightbell.web.trunk_words import KINDS, card

_DID = {
    "added": "Added. The phone has it within seconds.",
    "changed": "Changed. The phone has it within seconds.",
    "back": "It is back.",
    "asked": "The phone asks the carrier now.",
    "realm": "We answer in that name from now on.",
    "accepted": "The risk is accepted, on record.",
    "withdrawn": "Withdrawn. Unencrypted calls are refused.",
}


def _states(now: datetime) -> Mapping[str, Mapping[str, Any]]:
    """What phones say of trunks, by trunk; 'age_s' counts from now, also when the worker has been silent since."""
    health = context.HEALTH() if context.HEALTH is not None else {}
    at = str(health.get("at", ""))
    since = max(0.0, (now - parse_iso(at)).total_seconds()) if at else 0.0
    found = trunk_states.merged(health.get("phones", []))
    return {trunk: said | {"age_s": said["age_s"] + since} for trunk, said in found.items()}


def _cards(request: HttpRequest) -> list[Any]:
    actor = actor_of(request)
    states = _states(actor.now)
    zone = actor.user.practice.zone
    return [card(one, states.get(one.id), zone, actor.now) for one in trunks.all_trunks()]


@require_GET
@allows(Act.VIEW_TRUNKS)
def listed(request: HttpRequest) -> HttpResponse:
    """`/trunks/`: each with its live state. `?remove=ID` asks before it removes."""
    return _list(request)


def _list(request: HttpRequest, trouble: BadTrunk | None = None) -> HttpResponse:
    did = request.GET.get("did", "")
    toast = {"text": _DID[did]} if did in _DID else None
    gone = ulid_or_nothing(request.GET.get("gone", ""))
    if gone and Trunk.objects.filter(pk=gone).exclude(removed_at=None).exists():
        toast = {"text": "Removed. No more calls come by it.", "undo": reverse("trunk_back", args=[gone])}
    found = {
        "here": "trunks",
        "cards": _cards(request),
        "presets": PRESETS,
        "may_edit": actor_of(request).may(Act.EDIT_TRUNKS),
        "ask": ulid_or_nothing(request.GET.get("remove", "")),
        "toast": toast,
        "trouble": trouble,
    }
    return render(request, "pages/trunks.html", found, status=422 if trouble else 200)


@require_GET
@allows(Act.VIEW_TRUNKS)
def states(request: HttpRequest) -> HttpResponse:
    """`/trunks/states`: the cards alone, asked for again and again by the page."""
    found = {"cards": _cards(request), "may_edit": actor_of(request).may(Act.EDIT_TRUNKS)}
    return render(request, "parts/trunk_cards.html", found)


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_TRUNKS)
def add(request: HttpRequest) -> HttpResponse:
    """`/trunks/add?preset=telnyx&kind=register`: choose a carrier, then fill in what it needs."""
    asked = request.POST if request.method == "POST" else request.GET
    if "preset" not in asked:
        return render(request, "pages/trunk_add.html", {"here": "trunks", "presets": PRESETS})
    chosen = preset(asked.get("preset", ""))
    kinds = [one.value for one in chosen.kinds]
    kind = asked.get("kind", "")
    kind = kind if kind in kinds else kinds[0]
    trouble = None
    values = trunk_form.values_of_preset(chosen, kind)
    if request.method == "POST":
        values = request.POST.dict()
        try:
            given = trunk_form.given(request.POST, kind, chosen.id)
            made = trunks.add(by_person(actor_of(request), Act.EDIT_TRUNKS), given)
            return _after_saving(made, "added")
        except BadTrunk as error:
            trouble = error
    first, fine = trunk_form.fields(kind, values, trouble)
    found = {
        "here": "trunks", "preset": chosen, "kind": kind, "kinds": [(one, KINDS[one]) for one in kinds],
        "fields": first, "fine": fine, "trouble": trouble, "loose": _loose(trouble, first + fine),
    }  # fmt: skip
    return render(request, "pages/trunk_form.html", found, status=422 if trouble else 200)


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_TRUNKS)
def edit(request: HttpRequest, trunk_id: str) -> HttpResponse:
    """`/trunks/ID`."""
    one = trunks.one_trunk(ulid_or_nothing(trunk_id))
    values, trouble = trunk_form.values_of_trunk(one), None
    if request.method == "POST":
        values = request.POST.dict()
        try:
            given = trunk_form.given(request.POST, one.kind, one.preset, trunk_form.values_of_trunk(one))
            revision = request.POST.get("revision", "")
            known = int(revision) if revision.isascii() and revision.isdigit() and len(revision) < 9 else None
            trunks.change(by_person(actor_of(request), Act.EDIT_TRUNKS), one.id, given, known)
            return _after_saving(one.id, "changed")
        except BadTrunk as error:
            trouble = error
    first, fine = trunk_form.fields(one.kind, values, trouble, one.has_password)
    found = {
        "here": "trunks", "preset": preset(one.preset), "kind": one.kind, "kinds": [(one.kind, KINDS[one.kind])],
        "fields": first, "fine": fine, "trouble": trouble, "loose": _loose(trouble, first + fine), "one": one,
        "revision": values.get("revision") or Trunk.objects.get(pk=one.id).revision,
    }  # fmt: skip
    return render(request, "pages/trunk_form.html", found, status=422 if trouble else 200)


def _loose(trouble: BadTrunk | None, drawn: list[trunk_form.Field]) -> bool:
    """Whether what is wrong belongs to no field that is drawn."""
    return trouble is not None and not any(field.error for field in drawn)


def _after_saving(trunk_id: str, did: str) -> HttpResponse:
    if trunks.one_trunk(trunk_id).needs_risk:
        return HttpResponseRedirect(reverse("trunk_risk", args=[trunk_id]))
    return _back(did, trunk_id)


def _back(did: str, trunk_id: str = "") -> HttpResponse:
    place = f"#t-{trunk_id}" if trunk_id else ""
    return HttpResponseRedirect(f"{reverse('trunks')}?did={did}{place}")


@require_POST
@allows(Act.EDIT_TRUNKS)
def remove(request: HttpRequest, trunk_id: str) -> HttpResponse:
    found = ulid_or_nothing(trunk_id)
    trunks.remove(by_person(actor_of(request), Act.EDIT_TRUNKS), found)
    return HttpResponseRedirect(f"{reverse('trunks')}?gone={found}")


@require_POST
@allows(Act.EDIT_TRUNKS)
def back(request: HttpRequest, trunk_id: str) -> HttpResponse:
    """Undo a removal, within a day."""
    try:
        trunks.bring_back(by_person(actor_of(request), Act.EDIT_TRUNKS), ulid_or_nothing(trunk_id))
    except BadTrunk as error:
        return _list(request, error)
    return _back("back", trunk_id)


@require_POST
@allows(Act.EDIT_TRUNKS)
def ask(request: HttpRequest, trunk_id: str) -> HttpResponse:
    """Ask the carrier now; what it answers stands on the card within seconds."""
    trunks.ask(ulid_or_nothing(trunk_id))
    return _back("asked", trunk_id)


@require_POST
@allows(Act.EDIT_TRUNKS)
def realm(request: HttpRequest, trunk_id: str) -> HttpResponse:
    """Answer in the name of the realm that the page showed, if the carrier still asks for it."""
    found, by = ulid_or_nothing(trunk_id), by_person(actor_of(request), Act.EDIT_TRUNKS)
    try:
        trunks.accept_realm(
            by, found, request.POST.get("realm", "")[:255], dict(_states(by.now).get(found, {}))
        )
    except BadTrunk as error:
        return _list(request, error)
    return _back("realm", found)


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_TRUNKS)
def risk(request: HttpRequest, trunk_id: str) -> HttpResponse:
    """`/trunks/ID/risk`: let calls be unencrypted, for a reason and a time. Asks who you are again."""
    raise_if_reauthentication_required(request, app="nightbell")
    one, now, trouble = trunks.one_trunk(ulid_or_nothing(trunk_id)), actor_of(request).now, None
    values = {"reason": one.risk.reason if one.risk else "", "until": f"{now + USUAL:%Y-%m-%d}"}
    if request.method == "POST":
        values = {name: request.POST.get(name, "")[:2000] for name in values}
        try:
            by = by_person(actor_of(request), Act.EDIT_TRUNKS)
            shown = request.POST.get("covers", "")
            trunks.accept_risk(by, one.id, values["reason"], _end_of(values["until"]), shown)
            return _back("accepted", one.id)
        except BadRisk as error:
            trouble = error
    found = {"here": "trunks", "one": one, "values": values, "trouble": trouble, "now": now}
    found["last_day"] = last_day(one.risk.until) if one.risk else None
    return render(request, "pages/trunk_risk.html", found, status=422 if trouble else 200)


def _end_of(text: str) -> datetime:
    """The end of a day, UTC. Raises BadRisk."""
    try:
        return end_of(date.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        raise BadRisk("until", "the day cannot be read", "write it as 2027-11-30") from None


@require_POST
@allows(Act.EDIT_TRUNKS)
def withdraw(request: HttpRequest, trunk_id: str) -> HttpResponse:
    """Unencrypted calls are refused again; a trunk without TLS is out of use."""
    one = trunks.one_trunk(ulid_or_nothing(trunk_id))
    if one.risk is not None:
        trunks.withdraw_risk(by_person(actor_of(request), Act.EDIT_TRUNKS), one.id)
    return _back("withdrawn", one.id)


@require_GET
@allows(Act.VIEW_TRUNKS)
def evidence(request: HttpRequest) -> HttpResponse:
    """`/evidence/transport`: how everything travels, read off the running system."""
    now = actor_of(request).now
    hops = transport.in_transit(load(), now)
    found = transport.bundle(hops, _states(now), now)
    return render(
        request,
        "pages/evidence_transport.html",
        {"here": "evidence", "hops": hops, "found": found, "now": now},
    )
