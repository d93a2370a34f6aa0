"""Trunks of the installation: what is kept, sealed, audited and given to the phone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from tests.db.trunks.conftest import NOW, PASSWORD, PLAIN, REGISTER, WHY, by
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.compliance import transport
from nightbell.core.config import load
from nightbell.line import trunk_payload, trunk_states, trunks
from nightbell.line.models import Trunk
from nightbell.mailbox import epochs
from nightbell.people import risks
from nightbell.people.access import Forbidden, NotFound
from nightbell.people.installation import by_person
from nightbell.people.models import RiskAcceptance
from nightbell.people.risk_rules import BadRisk, Standing, standing
from nightbell.people.roles import Act, Role
from nightbell.server import routing
from nightbell.sip import digest
from nightbell.sip import trunk as sip
from nightbell.sip.trunk import BadTrunk
from nightbell.store import vault
from nightbell.web import trunk_form
from nightbell.web.trunk_words import card

ASKED = {"realm": "carrier.example", "algorithms": ["SHA-256", "MD5", "SHA-256-sess"]}


def entries(last: list[dict[str, Any]] | None = None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """As the phone reads them, through JSON; and what was left out."""
    out: dict[str, str] = {}
    found = json.loads(json.dumps(trunk_payload.entries(last or [], out)))
    for one in found:
        sip.Trunk.from_dict(one)
    return found, out


def actions() -> list[tuple[str, str]]:
    rows = Event.objects.filter(log_id="installation").order_by("seq")
    return [(row.actor, row.action) for row in rows if row.action.startswith(("trunk:", "risk:"))]


def test_the_password_is_sealed_and_leaves_in_no_form(house: House, registering: str) -> None:
    trunk_payload.learn(by(), {registering: ASKED})
    given, _ = entries()
    row = Trunk.objects.get(pk=registering)
    assert vault.open_secret(row.password, trunks.SECRET) == PASSWORD
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM line_trunk")
        stored = repr(cursor.fetchall())
    leaves = b"".join(bytes(event.leaf) for event in Event.objects.all())
    for text in (stored, leaves.decode(), json.dumps(given), repr(REGISTER), repr(trunks.all_trunks())):
        assert PASSWORD not in text


def test_every_change_is_a_row_of_the_installations_log(house: House, registering: str) -> None:
    trunks.change(by(), registering, replace(REGISTER, password="", expires=900))
    trunks.change(by(), registering, replace(REGISTER, password="", expires=900))
    trunks.remove(by(), registering)
    trunks.bring_back(by(), registering)
    trunks.accept_risk(by(), registering, WHY, NOW + timedelta(days=90))
    trunks.withdraw_risk(by(), registering)
    assert actions() == [
        ("os:root", name)
        for name in (
            "trunk:add", "trunk:change", "trunk:remove", "trunk:bring_back", "risk:accept", "risk:withdraw",
        )
    ]  # fmt: skip
    changed = json.loads(bytes(Event.objects.get(action="trunk:change").leaf))
    assert changed["detail"] == {"trunk": registering, "transport": "tls", "fields": ["expires"]}
    accepted = bytes(Event.objects.get(action="risk:accept").leaf)
    assert b"rack" not in accepted and b"reason_sha256" in accepted


def test_the_first_realm_is_taken_and_another_is_not(house: House, registering: str) -> None:
    assert entries()[0][0]["ha1"] == {}
    assert trunk_payload.learn(by(), {registering: {"realm": "", "algorithms": []}}) == 0
    assert trunk_payload.learn(by(), {registering: ASKED}) == 1
    entry = entries()[0][0]
    assert entry["realm"] == "carrier.example"
    assert entry["ha1"] == {
        name: digest.ha1(name, "acme1", "carrier.example", PASSWORD) for name in ("MD5", "SHA-256")
    }
    evil = {"realm": "evil.example", "algorithms": ["SHA-512-256"]}
    assert trunk_payload.learn(by(), {registering: evil}) == 0
    assert entries()[0][0] == entry
    more = ASKED | {"algorithms": ["SHA-512-256"]}
    assert trunk_payload.learn(by(), {registering: more}) == 1, "another algorithm in the same name"
    assert sorted(entries()[0][0]["ha1"]) == ["MD5", "SHA-256", "SHA-512-256"]
    evil = {"realm": "new.example", "algorithms": ["MD5"]}
    with pytest.raises(BadTrunk):
        trunks.accept_realm(by(), registering, "other.example", evil)
    trunks.accept_realm(by(), registering, "new.example", evil)
    entry = entries()[0][0]
    assert (entry["realm"], list(entry["ha1"])) == ("new.example", ["MD5"])


def test_a_password_does_not_follow_to_another_host(house: House, registering: str) -> None:
    trunk_payload.learn(by(), {registering: ASKED})
    for change in (
        {"domain": "sip.evil.example"}, {"user": "other"}, {"proxy": "sip.evil.example"}, {"transport": "udp"},
    ):  # fmt: skip
        with pytest.raises(BadTrunk) as told:
            trunks.change(by(), registering, replace(REGISTER, password="", **change))
        assert told.value.field == "password"
        assert Trunk.objects.get().realm == "carrier.example"
    trunks.change(by(), registering, replace(REGISTER, domain="sip.new.example", password="another"))
    assert Trunk.objects.get().realm == "", "the new carrier's first realm is taken again"
    trunks.change(by(), registering, replace(REGISTER, kind="address", password="", sources="203.0.113.7"))
    assert (Trunk.objects.get().password, Trunk.objects.get().user) == ("", "")


def test_a_password_stays_where_it_goes_to_the_same_server(house: House) -> None:
    by_proxy = replace(REGISTER, proxy="edge.carrier.example:5061")
    made = trunks.add(by(), by_proxy)
    trunks.change(
        by(), made, replace(by_proxy, password="", proxy=" SIP:Edge.carrier.example:5061", expires=900)
    )
    with pytest.raises(BadTrunk):
        trunks.change(by(), made, replace(by_proxy, password="", proxy=""))
    trunks.change(by(), made, replace(by_proxy, transport="udp"))
    trunks.change(by(), made, replace(by_proxy, password="", transport="tcp"))
    trunks.change(by(), made, replace(by_proxy, password=""))
    assert vault.open_secret(Trunk.objects.get().password, trunks.SECRET) == PASSWORD


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": " "}),
        ("name", {"name": "x" * 61}),
        ("kind", {"kind": "pigeon"}),
        ("domain", {"domain": "not a host"}),
        ("domain", {"domain": ""}),
        ("user", {"user": "a b"}),
        ("user", {"user": ""}),
        ("password", {"password": ""}),
        ("password", {"password": "a\nb"}),
        ("password", {"password": "x" * 200}),
        ("proxy", {"proxy": "host:99999"}),
        ("transport", {"transport": "ws"}),
        ("sources", {"sources": "carrier"}),
        ("sources", {"sources": "0.0.0.0/0"}),
        ("sources", {"sources": "2000::/3"}),
        ("sources", {"sources": "224.0.0.0/24"}),
        ("sources", {"kind": "address", "domain": "", "sources": ""}),
        ("certificate name", {"kind": "certificate"}),
        ("expires", {"expires": 5}),
        ("keep-alive", {"keep_alive": 5}),
        ("dialled", {"dialled": ()}),
        ("dialled", {"dialled": ("guess",)}),
    ],
)
def test_what_cannot_be_is_told_with_its_field(house: House, field: str, given: dict[str, Any]) -> None:
    with pytest.raises(BadTrunk) as told:
        trunks.add(by(), replace(REGISTER, **given))
    assert told.value.field == field
    assert told.value.why and told.value.mend
    assert not Trunk.objects.exists() and actions() == []


def test_names_are_told_apart_and_as_people_copy_them(house: House, registering: str) -> None:
    with pytest.raises(BadTrunk, match="another trunk has it"):
        trunks.add(by(), PLAIN.__class__("Carrier", "address", sources="203.0.113.7"))
    made = trunks.add(by(), replace(REGISTER, name="  Second   one ", domain=" SIP:Sip.Carrier.Example. "))
    assert (trunks.named("Second one").id, trunks.one_trunk(made).domain) == (made, "sip.carrier.example")


def test_an_old_page_changes_nothing(house: House, registering: str) -> None:
    revision = Trunk.objects.get().revision
    trunks.change(by(), registering, replace(REGISTER, password="", expires=900), revision)
    with pytest.raises(BadTrunk, match="meanwhile"):
        trunks.change(by(), registering, replace(REGISTER, password="", expires=800), revision)


def test_without_tls_it_is_used_only_once_its_risk_is_accepted(
    house: House, registering: str, plain: str
) -> None:
    assert [one["id"] for one in entries()[0]] == [registering]
    assert entries()[1] == {plain: "risk"}
    trunks.accept_risk(by(), plain, WHY, NOW + timedelta(days=365))
    given, out = entries()
    assert ([one["plain"] for one in given], out) == ([False, True], {})
    assert [one["transport"] for one in given] == ["tls", "udp"]
    trunks.withdraw_risk(by(), plain)
    assert entries(given)[1] == {plain: "risk"}
    assert len(entries(given)[0]) == 1, "what was issued before does not bring it back"
    with pytest.raises(NotFound):
        trunks.withdraw_risk(by(), plain)


def test_when_the_time_is_up_calls_go_on_and_it_is_red(house: House, plain: str) -> None:
    until = NOW + timedelta(days=90)
    trunks.accept_risk(by(), plain, WHY, until)
    row = risks.on_record(risks.PLAIN_TRUNK)[plain]
    day = timedelta(days=1)
    stands = [standing(row.until, NOW + passed) for passed in (59 * day, 60 * day, 90 * day, 400 * day)]
    assert stands == [Standing.GOOD, Standing.SOON, Standing.EXPIRED, Standing.EXPIRED]
    assert entries()[0][0]["plain"] is True
    trunks.accept_risk(by(until + day), plain, WHY, until + 100 * day)
    assert RiskAcceptance.objects.count() == 2
    assert standing(risks.on_record(risks.PLAIN_TRUNK)[plain].until, until + day) is Standing.GOOD


FIVE = ["203.0.113.7", "198.51.100.0/24", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
BOX = replace(PLAIN, domain="box.example", proxy="edge.box.example", sources=" ".join(FIVE))


def evidence() -> transport.Hop:
    return next(hop for hop in transport.in_transit(load(), NOW) if hop.name.startswith("Trunk"))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "certificate", "peer_name": "box.example"},
        {"domain": "other.example"},
        {"proxy": "edge.other.example"},
        {"transport": "tcp"},
        {"sources": " ".join([*FIVE[:4], "100.64.0.0/16"])},
        {"sources": " ".join(FIVE[:4])},
    ],
)
def test_a_risk_is_accepted_for_all_that_decides_who_may_call(house: House, change: dict[str, str]) -> None:
    trunk = trunks.add(by(), BOX)
    trunks.accept_risk(by(), trunk, WHY, NOW + timedelta(days=90))
    trunks.change(by(), trunk, replace(BOX, name="Box", keep_alive=60, sources=" ".join(reversed(FIVE))))
    assert evidence().ok, "the same trunk by another name"
    trunks.change(by(), trunk, replace(BOX, **change))
    assert not evidence().ok and "accepted" in evidence().says
    assert "changed since" in card(trunks.one_trunk(trunk), None, "UTC", NOW).risk
    assert "changed since" in trunk_states.judged(trunk_payload.stored({}), {}, None, True, NOW)[1]
    trunks.accept_risk(by(), trunk, WHY, NOW + timedelta(days=90))
    assert evidence().ok


def test_a_certificates_name_is_part_of_what_was_accepted(house: House) -> None:
    by_name = replace(PLAIN, kind="certificate", peer_name="box.example", sources="")
    trunk = trunks.add(by(), by_name)
    trunks.accept_risk(by(), trunk, WHY, NOW + timedelta(days=90))
    trunks.change(by(), trunk, replace(by_name, peer_name="other.example"))
    assert not evidence().ok


def test_a_risk_is_accepted_for_the_trunk_that_was_shown(house: House, plain: str) -> None:
    shown = trunks.one_trunk(plain).covers
    trunks.change(by(), plain, replace(PLAIN, sources="192.0.2.1"))
    with pytest.raises(BadRisk, match="meanwhile"):
        trunks.accept_risk(by(), plain, WHY, NOW + timedelta(days=90), shown)
    assert not RiskAcceptance.objects.exists()
    trunks.accept_risk(by(), plain, WHY, NOW + timedelta(days=90), trunks.one_trunk(plain).covers)
    kept = bytes(Event.objects.get(action="risk:accept").leaf)
    assert trunks.one_trunk(plain).covers.encode() in kept


def test_saving_what_the_page_drew_keeps_all_of_a_trunk(house: House) -> None:
    for given in (
        replace(REGISTER, sources="203.0.113.0/24", proxy="edge.carrier.example", expires=900),
        replace(
            REGISTER, name="Two", kind="certificate", password="", peer_name="x.example", sources="192.0.2.7"
        ),
        replace(BOX, dialled=("to",)),
    ):
        one = trunks.one_trunk(trunks.add(by(), given))
        values = trunk_form.values_of_trunk(one)
        drawn = {
            field.name: values.get(field.name, "")
            for part in trunk_form.fields(one.kind, values)
            for field in part
        }
        for typed in (drawn, drawn | {"name": "Other"}):
            trunks.change(by(), one.id, trunk_form.given(typed, one.kind, one.preset, values))
        after = trunks.one_trunk(one.id)
        assert after.sources and replace(after, name=one.name) == one
        trunks.remove(by(), one.id)


@pytest.mark.parametrize(
    ("field", "reason", "days"),
    [
        ("reason", "because", 90),
        ("reason", "x" * 1001, 90),
        ("until", WHY, 0),
        ("until", WHY, -1),
        ("until", WHY, 800),
    ],
)
def test_a_risk_without_a_reason_or_an_end_is_not_accepted(
    house: House, plain: str, field: str, reason: str, days: int
) -> None:
    with pytest.raises(BadRisk) as told:
        trunks.accept_risk(by(), plain, reason, NOW + timedelta(days=days))
    assert told.value.field == field
    assert not RiskAcceptance.objects.exists() and entries()[1] == {plain: "risk"}


def test_a_damaged_password_costs_neither_the_trunk_nor_the_others(house: House, registering: str) -> None:
    other = trunks.add(by(), replace(REGISTER, name="Other"))
    trunk_payload.learn(by(), {registering: ASKED, other: ASKED})
    before, _ = entries()
    Trunk.objects.filter(pk=registering).update(password="AAAA")
    now, out = entries(before)
    assert (now, out) == (before, {registering: "damaged"})
    now, out = entries([])
    assert ([one["id"] for one in now], out) == ([other], {registering: "damaged"})


def test_the_phone_gets_them_and_a_change_is_a_new_version(house: House, registering: str) -> None:
    epochs.begin(NOW, "system:test")
    config = load()
    first = json.loads(_text(config))
    assert [one["id"] for one in first["trunks"]] == [registering]
    Trunk.objects.filter(pk=registering).update(password="AAAA", realm="r", algorithms=["MD5"])
    trouble = routing.Trouble()
    routing.publish(config, NOW, trouble)
    assert trouble.trunks == {registering: "damaged"}
    assert json.loads(_text(config))["trunks"] == first["trunks"]


def _text(config: Any) -> str:
    routing.publish(config, NOW)
    return str(json.loads((config.home / "phone" / "issued.json").read_text())["text"])


def test_removed_is_gone_at_once_and_for_a_day_it_can_come_back(house: House, registering: str) -> None:
    trunks.remove(by(), registering)
    assert entries() == ([], {})
    assert trunks.forget_removed(NOW + timedelta(hours=23)) == 0
    trunks.bring_back(by(NOW + timedelta(hours=23)), registering)
    assert Trunk.objects.get().password
    trunks.remove(by(), registering)
    assert trunks.forget_removed(NOW + timedelta(hours=25)) == 1
    assert Trunk.objects.get().password == ""
    with pytest.raises(NotFound):
        trunks.bring_back(by(NOW + timedelta(hours=25)), registering)
    with pytest.raises(NotFound):
        trunks.remove(by(), registering)


def test_only_it_admin_may_change_and_only_compliance_else_may_see(house: House) -> None:
    for role in Role:
        for act, who in (
            (Act.EDIT_TRUNKS, (Role.IT_ADMIN,)),
            (Act.VIEW_TRUNKS, (Role.IT_ADMIN, Role.COMPLIANCE)),
        ):
            if role in who:
                assert by_person(house.actor(role), act).name.startswith("user:")
            else:
                with pytest.raises(Forbidden):
                    by_person(house.actor(role), act)


def test_there_is_an_end_to_how_many(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunks, "MOST", 1)
    trunks.add(by(), REGISTER)
    with pytest.raises(BadTrunk, match="already"):
        trunks.add(by(), replace(REGISTER, name="Two"))
