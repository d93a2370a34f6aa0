"""The pages of carriers: what is typed wrong is told at its field, what is dangerous asks who you are again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.db.trunks.conftest import PLAIN, REGISTER, WHY
from tests.db.web.conftest import Https, signed_in
from tests.factories import PASSWORD, House

from nightbell.audit.models import Event
from nightbell.core.clock import iso, utc_now
from nightbell.core.config import load
from nightbell.line import trunks
from nightbell.line.models import Trunk
from nightbell.people.installation import By
from nightbell.people.models import RiskAcceptance
from nightbell.people.roles import Role
from nightbell.web import context

FORM = {
    "preset": "telnyx", "kind": "register", "name": "Carrier", "domain": "sip.carrier.example", "user": "acme1",
    "password": "s3cret-of-the-trunk", "transport": "tls", "expires": "600", "keep_alive": "30", "dialled": "to, request",
}  # fmt: skip


@pytest.fixture
def it(house: House) -> Https:
    return signed_in(house.people[Role.IT_ADMIN])


@pytest.fixture
def fresh(it: Https, house: House) -> Https:
    """Somebody who proved a moment ago who they are."""
    session = it.session
    session["account_authentication_methods"] = [
        {"method": "password", "at": utc_now().timestamp(), "reauthenticated": True}
    ]
    session["account_authentication_methods_user"] = house.people[Role.IT_ADMIN].pk
    session.save()
    return it


@pytest.fixture
def trunk(house: House) -> str:
    return trunks.add(By("os:root", utc_now()), REGISTER)


@pytest.fixture
def phone(trunk: str) -> Iterator[Callable[..., None]]:
    """Puts words into the phone's mouth."""
    state = {
        "state": "registered",
        "code": 200,
        "since": iso(utc_now()),
        "realm": "",
        "algorithms": ["MD5"],
        "why": "",
    }

    def says(**said: Any) -> None:
        context.HEALTH = lambda: {
            "ok": True,
            "checks": {},
            "phones": [{"trunks": {trunk: state | said}, "age_s": 2.0}],
        }

    yield says
    context.HEALTH = None


def body(response: Any) -> str:
    return re.sub(r"\s+", " ", response.content.decode())


def test_one_is_added_and_its_password_is_on_no_page(it: Https) -> None:
    answer = it.post("/trunks/add", FORM)
    row = Trunk.objects.get()
    assert answer["Location"] == f"/trunks/?did=added#t-{row.id}"
    assert (row.dialled, row.preset, row.made_by[:5]) == (["to", "request"], "telnyx", "user:")
    for path in ("/trunks/", "/trunks/states", f"/trunks/{row.id}", "/evidence/transport"):
        page = it.get(path)
        assert page.status_code == 200, path
        assert FORM["password"] not in body(page) and row.password not in body(page)


@pytest.mark.parametrize(
    ("field", "typed", "told"),
    [
        ("name", "", "1 to 60 characters"),
        ("domain", "<script>", "is not a host name"),
        ("user", "a b", "characters that no SIP user has"),
        ("password", "", "registering needs it"),
        ("password", "x" * 5000, "too long"),
        ("transport", "pigeon", "choose tls"),
        ("expires", "-1", "no number of seconds"),
        ("expires", "٣", "no number of seconds"),
        ("keep_alive", "5", "out of range"),
        ("dialled", "guess", "unknown"),
        ("proxy", "host:0", "is no port"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(it: Https, field: str, typed: str, told: str) -> None:
    answer = it.post("/trunks/add", FORM | {field: typed})
    assert answer.status_code == 422
    text = body(answer)
    part = text[text.index(f'id="h-{field}"') :]
    assert told.lower() in part[: part.index("</p>")].lower()
    assert "<script>" not in text.replace("<script src", "").replace('<script type="module"', "")
    assert FORM["password"] not in text
    assert not Trunk.objects.exists()


def test_addresses_are_read_as_people_paste_them(it: Https) -> None:
    typed = FORM | {
        "preset": "bandwidth",
        "kind": "address",
        "sources": "203.0.113.7;\r\n 198.51.100.0/24,203.0.113.7",
    }
    assert it.post("/trunks/add", typed).status_code == 302
    assert Trunk.objects.get().sources == ["203.0.113.7", "198.51.100.0/24"]
    wrong = it.post("/trunks/add", typed | {"name": "Two", "sources": "carrier"})
    assert "is no address" in body(wrong)


def test_a_kind_that_the_carrier_does_not_have_is_not_taken(it: Https) -> None:
    assert 'name="kind" value="address"' in body(it.get("/trunks/add?preset=twilio&kind=register"))
    assert 'name="kind" value="address"' in body(it.get("/trunks/add?preset=no-such"))
    assert "54.172.60.0/30" in body(it.get("/trunks/add?preset=twilio"))


def test_the_states_are_told_in_words(it: Https, phone: Callable[..., None]) -> None:
    for said, told in (
        ({}, "Registered since"),
        ({"rtt_ms": 23.4}, "23 ms"),
        ({"state": "failed", "code": 403, "why": "refused"}, "Check that the account is active"),
        ({"state": "failed", "code": 407, "why": "password"}, "does not believe user and password"),
        ({"state": "failed", "code": 404, "why": "refused"}, "does not know this user"),
        ({"state": "failed", "code": 0, "why": "no-answer"}, "does not answer"),
        ({"state": "failed", "code": 0, "why": "unresolved"}, "leads nowhere"),
        ({"state": "failed", "code": 500, "why": "refused"}, "trouble of its own (500)"),
        ({"state": "failed", "code": 488, "why": "refused"}, "refuses us (488)"),
        ({"state": "unreachable", "since": "2026-11-27T00:00:00Z"}, "Not registered since"),
        ({"state": "registering"}, "has not answered yet"),
        ({"state": "off"}, "Waits for calls"),
    ):
        phone(**said)
        assert told in body(it.get("/trunks/states")), said


def test_an_old_word_is_not_taken_for_the_state_of_now(
    it: Https, trunk: str, phone: Callable[..., None]
) -> None:
    phone()
    fresh, told = context.HEALTH, body(it.get("/trunks/states"))
    assert fresh is not None and "Registered since" in told
    context.HEALTH = lambda: {**fresh(), "at": iso(utc_now() - timedelta(minutes=3))}
    told = body(it.get("/trunks/states"))
    assert "Registered since" not in told and "The phone was heard 182 s ago" in told


def test_another_realm_is_shown_and_only_what_is_asked_now_is_taken(
    it: Https, trunk: str, phone: Callable[..., None]
) -> None:
    Trunk.objects.update(realm="carrier.example", algorithms=["MD5"])
    phone(realm="carrier.example")
    assert "another realm" not in body(it.get("/trunks/"))
    phone(realm="evil.example", state="failed", why="realm", code=401)
    assert "evil.example" in body(it.get("/trunks/"))
    assert it.post(f"/trunks/{trunk}/realm", {"realm": "third.example"}).status_code == 422
    assert Trunk.objects.get().realm == "carrier.example"
    assert it.post(f"/trunks/{trunk}/realm", {"realm": "evil.example"}).status_code == 302
    assert Trunk.objects.get().realm == "evil.example"
    assert Event.objects.filter(action="trunk:realm", log_id="installation").count() == 1


def test_removed_and_back_again(it: Https, trunk: str) -> None:
    answer = it.post(f"/trunks/{trunk}/remove")
    page = body(it.get(answer["Location"]))
    assert "No carrier can reach this line yet" in page and f"/trunks/{trunk}/back" in page
    assert it.get(f"/trunks/{trunk}").status_code == 404
    assert it.post(f"/trunks/{trunk}/back").status_code == 302
    assert it.get(f"/trunks/{trunk}").status_code == 200
    it.post(f"/trunks/{trunk}/remove")
    it.post("/trunks/add", FORM)
    taken = it.post(f"/trunks/{trunk}/back")
    assert (taken.status_code, "another trunk has it" in body(taken)) == (422, True)


def test_two_who_change_at_once_are_told(it: Https, trunk: str) -> None:
    page = body(it.get(f"/trunks/{trunk}"))
    revision = re.search(r'name="revision" value="(\d+)"', page)
    assert revision is not None
    typed = FORM | {"password": "", "revision": revision[1]}
    assert it.post(f"/trunks/{trunk}", typed | {"expires": "900"}).status_code == 302
    assert "meanwhile" in body(it.post(f"/trunks/{trunk}", typed | {"expires": "800"}))
    assert Trunk.objects.get().expires == 900


def test_what_a_page_did_not_ask_stays_as_it_is(it: Https, house: House) -> None:
    made = trunks.add(By("os:root", utc_now()), replace(REGISTER, sources="203.0.113.0/24"))
    assert "203.0.113.0/24" in body(it.get(f"/trunks/{made}")), "an address more than the server's is drawn"
    assert it.post(f"/trunks/{made}", FORM | {"password": "", "expires": "900"}).status_code == 302
    assert (Trunk.objects.get().expires, Trunk.objects.get().sources) == (900, ["203.0.113.0/24"])
    assert it.post(f"/trunks/{made}", FORM | {"password": "", "sources": ""}).status_code == 302
    assert Trunk.objects.get().sources == []
    many = [f"2001:db8:{n:x}:1111:2222:3333:4444:5555" for n in range(0x1000, 0x1100)]
    assert (
        it.post(f"/trunks/{made}", FORM | {"password": "", "sources": "\r\n".join(many)}).status_code == 302
    )
    assert Trunk.objects.get().sources == many


def test_asking_now_leaves_word_for_the_worker(it: Https, trunk: str) -> None:
    asked = load().home / "run" / trunks.ASKED
    it.post(f"/trunks/{trunk}/ask")
    assert asked.read_text() == trunk
    asked.unlink()
    assert it.post("/trunks/01ARZ3NDEKTSV4RRFFQ69G5FAV/ask").status_code == 404
    assert not asked.exists()


def test_a_risk_is_accepted_only_by_who_proved_again_who_they_are(it: Https, trunk: str) -> None:
    typed = {"reason": WHY, "until": f"{utc_now() + timedelta(days=90):%Y-%m-%d}"}
    typed["covers"] = trunks.one_trunk(trunk).covers
    for answer in (it.get(f"/trunks/{trunk}/risk"), it.post(f"/trunks/{trunk}/risk", typed)):
        assert answer.status_code == 302 and "/account/confirm/" in answer["Location"]
    assert not RiskAcceptance.objects.exists()
    assert it.post(answer["Location"], {"password": "wrong"}).status_code == 200
    assert not RiskAcceptance.objects.exists()
    assert it.post(answer["Location"], {"password": PASSWORD}).status_code == 302
    assert RiskAcceptance.objects.get().subject == trunk, "what was sent before goes on"
    assert it.get(f"/trunks/{trunk}/risk").status_code == 200


def test_a_risk_is_accepted_shown_and_withdrawn(fresh: Https, house: House) -> None:
    plain = trunks.add(By("os:root", utc_now()), PLAIN)
    shown = {"covers": trunks.one_trunk(plain).covers}
    assert "Not in use" in body(fresh.get("/trunks/"))
    assert f'name="covers" value="{shown["covers"]}"' in body(fresh.get(f"/trunks/{plain}/risk"))
    until = f"{utc_now() + timedelta(days=90):%Y-%m-%d}"
    for typed, told in (
        ({"reason": "short", "until": until}, "Nobody could judge"),
        ({"reason": WHY, "until": "tomorrow"}, "cannot be read"),
        ({"reason": WHY, "until": "2020-01-01"}, "The day is past"),
        ({"reason": WHY, "until": "9999-12-31"}, "cannot be read"),
        ({"reason": WHY, "until": "2099-12-31"}, "two years"),
        ({}, "cannot be read"),
    ):
        answer = fresh.post(f"/trunks/{plain}/risk", shown | typed)
        assert (answer.status_code, told in body(answer)) == (422, True), typed
    good = {"reason": WHY, "until": until}
    for old in ({}, {"covers": "0" * 64}):
        assert "changed this trunk meanwhile" in body(fresh.post(f"/trunks/{plain}/risk", good | old))
    assert not RiskAcceptance.objects.exists()
    assert fresh.post(f"/trunks/{plain}/risk", good | shown).status_code == 302
    for path in ("/trunks/", "/evidence/transport", f"/trunks/{plain}/risk"):
        assert "a cable of its own" in body(fresh.get(path)), path
    compliance = signed_in(house.people[Role.COMPLIANCE])
    assert "a cable of its own" in body(compliance.get("/evidence/transport"))
    assert "btn-primary" not in body(compliance.get("/trunks/"))
    assert fresh.post(f"/trunks/{plain}/withdraw").status_code == 302
    assert "a cable of its own" not in body(fresh.get("/evidence/transport"))
    assert RiskAcceptance.objects.get().ended_by.startswith("user:it_admin")


def test_the_evidence_is_json_that_a_machine_can_read(house: House) -> None:
    from nightbell.compliance import transport

    now = utc_now()
    plain = trunks.add(By("os:root", now), PLAIN)
    trunks.accept_risk(By("os:root", now), plain, WHY, now + timedelta(days=40))
    found = json.loads(
        json.dumps(transport.bundle(transport.in_transit(load(), now), {plain: {"refused_plain": 4}}, now))
    )
    trunk = next(one for one in found["in_transit"] if one["name"] == "Trunk Old box")
    assert (trunk["encrypted"], trunk["ok"], trunk["risk"]["standing"]) == (False, True, "good")
    assert (trunk["risk"]["reason"], found["refused_unencrypted"]) == (WHY, 4)
    later = transport.in_transit(load(), now + timedelta(days=41))
    trunk_later = next(one for one in later if one.name == "Trunk Old box")
    assert not trunk_later.ok and "ended on" in trunk_later.says
    Trunk.objects.update(sources=["192.0.2.1"])
    moved = next(one for one in transport.in_transit(load(), now) if one.name == "Trunk Old box")
    assert not moved.ok and "changed since that was accepted: it is 192.0.2.1 by UDP now" in moved.says
    assert moved.risk and moved.risk.about == "203.0.113.7, 198.51.100.0/24 by UDP"


@pytest.mark.parametrize(
    ("url", "ok", "encrypted"),
    [
        ("postgresql://u:p@db.example/nb", False, False),
        ("postgresql://u:p@db.example/nb?sslmode=prefer", False, False),
        ("postgresql://u:p@db.example/nb?sslmode=verify-full", True, True),
        ("postgresql://u:p@127.0.0.1:5433/nb", True, False),
    ],
)
def test_a_database_beyond_this_machine_must_be_encrypted(url: str, ok: bool, encrypted: bool) -> None:
    from nightbell.compliance import transport

    hop = transport._database("Database", url)
    assert (hop.ok, hop.encrypted) == (ok, encrypted)
    assert "u:p" not in repr(hop)


def test_each_way_out_that_is_set_up_is_told(house: House) -> None:
    from nightbell.compliance import transport

    config = replace(
        load(), smtp="smtp://u:p@mail.example", key_provider="aws-kms:arn", twilio_account="AC1", twilio_token="t",
        telnyx_public_key="k", telnyx_api_key="a",
        database="postgresql://u:p@db.example/nb?sslmode=require", keyring="sqlite",
    )  # fmt: skip
    hops = transport.in_transit(config, utc_now())
    assert [one.name for one in hops if one.direction == "out"] == [
        "Notifications by mail", "Database", "Calls by Twilio's webhook", "Calls by Telnyx's webhook", "Key service (aws-kms)",
    ]  # fmt: skip
    assert all(one.encrypted and one.ok for one in hops if one.direction == "out")
    assert "u:p" not in repr(hops)
