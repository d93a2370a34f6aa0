"""Notes for a record system: only by a decision on record, each resource once, and nothing is lost when it is away."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from tests.db.web.conftest import signed_in, spoken_message
from tests.factories import House
from tests.fakes.fake_fhir import HANG, FakeFhir, running

from nightbell.adapters.fhir import FhirRecords
from nightbell.audit.models import Event
from nightbell.compliance import transport
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.errors import RefusedStart
from nightbell.core.log import Log
from nightbell.core.records import Kept, RecordsAway, RecordsRefused
from nightbell.mailbox.models import Message
from nightbell.oncall import outcomes, phone_notes, records
from nightbell.people.access import Forbidden
from nightbell.people.models import RiskAcceptance
from nightbell.people.risk_rules import BadRisk
from nightbell.people.roles import Role
from nightbell.sealing.errors import KeyUnavailable, NoSuchKey, StaleKeyring, Tampered
from nightbell.store.models import Job
from nightbell.store.vault import KeysAway

WHY = "Business associate agreement of 3 May 2026"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeFhir]:
    with running(tmp_path_factory.mktemp("fhir"), FakeFhir()) as fake:
        yield fake


@pytest.fixture
def fake(server: FakeFhir, monkeypatch: pytest.MonkeyPatch) -> FakeFhir:
    for kept in (server.kept, server.answers, server.asked):
        kept.clear()
    server.keeps, server.token = False, "right"
    monkeypatch.setenv("NIGHTBELL_FHIR_URL", server.url + "/fhir")
    return server


def store(fake: FakeFhir, token: str = "right", seconds: float = 5.0) -> FhirRecords:
    return FhirRecords(load().fhir_url, lambda: token, fake.ca, seconds=seconds)


def allow(house: House, days: int = 300) -> None:
    actor = house.actor(Role.MANAGER)
    records.allow(actor, WHY, actor.now + timedelta(days=days))


def signed(house: House) -> tuple[Message, str]:
    message, actor = spoken_message(house, urgent=True), house.actor(Role.CLINICIAN)
    outcomes.record(actor, message.id, "reached")
    return message, phone_notes.sign(actor, message.id, {"patient": "José Ñandú", "reason": "Chest pain"})


def later(hours: float = 0) -> datetime:
    return utc_now() + timedelta(hours=hours)


def run(records_: FhirRecords, hours: float = 0) -> bool:
    with Path("/dev/null").open("w") as nowhere:
        return records.run_one(records_, lambda: later(hours), Log("test", nowhere))


def job() -> Job:
    return Job.objects.get(kind="fhir")


def test_nothing_leaves_without_a_decision(house: House, fake: FakeFhir) -> None:
    signed(house)
    assert not Job.objects.filter(kind="fhir").exists() and not run(store(fake))
    with pytest.raises(BadRisk):
        records.allow(house.actor(Role.MANAGER), "yes", later(9))
    for role in (Role.CLINICIAN, Role.IT_ADMIN, Role.FRONT_DESK):
        with pytest.raises(Forbidden):
            records.allow(house.actor(role), WHY, later(9))
    assert fake.asked == []


def test_a_signed_note_arrives_whole_and_once(house: House, fake: FakeFhir) -> None:
    allow(house)
    message, note = signed(house)
    assert run(store(fake)) and not run(store(fake), 9)
    assert [one["resourceType"] for one in fake.kept] == ["DocumentReference", "Communication"]
    assert [one["identifier"][0]["value"] for one in fake.kept] == [message.id, note]
    assert fake.kept[1]["contained"][0]["name"] == [{"text": "José Ñandú"}]
    assert (job().outcome, job().attempts) == ("done", 1)
    names = list(
        Event.objects.filter(action__startswith="records:", message=message.id).values_list(
            "action", flat=True
        )
    )
    assert sorted(names) == ["records:kept", "records:send"]
    assert "Ñandú" not in str(list(Job.objects.values()))


def test_the_log_has_it_before_it_leaves(house: House, fake: FakeFhir) -> None:
    allow(house)
    signed(house)
    seen = []
    far = mock.Mock()
    far.create.side_effect = lambda *_: (
        seen.append(Event.objects.filter(action="records:send").exists()) or Kept(True, "")
    )
    run(far)
    assert seen == [True, True]


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("answer", [500, 503, 429, HANG])
def test_one_that_is_away_is_tried_again_and_has_it_once(
    house: House, fake: FakeFhir, answer: int, keeps: bool
) -> None:
    """Also where it kept the resource and only its answer was lost."""
    allow(house)
    signed(house)
    fake.answers, fake.keeps = [answer], keeps
    assert run(store(fake, seconds=0.5))
    assert job().ended_at is None and job().last_error
    assert not run(store(fake)), "not at once"
    assert run(store(fake), 1)
    assert job().outcome == "done"
    assert sorted(one["resourceType"] for one in fake.kept) == ["Communication", "DocumentReference"]


def test_killed_after_it_was_sent(house: House, fake: FakeFhir) -> None:
    allow(house)
    signed(house)
    killed = mock.patch("nightbell.oncall.records.jobs.finish", side_effect=SystemExit)
    with killed, pytest.raises(SystemExit):
        run(store(fake))
    assert len(fake.kept) == 2 and job().ended_at is None
    assert not run(store(fake)), "its lease holds"
    assert run(store(fake), 1)
    assert len(fake.kept) == 2 and job().outcome == "done"


def test_a_wrong_token_waits_for_a_person(house: House, fake: FakeFhir) -> None:
    allow(house)
    signed(house)
    for hour in range(9):
        assert run(store(fake, "wrong"), hour)
    assert job().ended_at is None and job().last_error == "the token was refused"
    assert records.trouble(later(9)) == {"late": 1, "failed": 0}
    assert run(store(fake), 10) and job().outcome == "done"


def test_what_is_refused_is_given_up_and_shown(house: House, fake: FakeFhir) -> None:
    allow(house)
    message, _ = signed(house)
    fake.answers = [422]
    assert run(store(fake)) and job().outcome == "dead"
    assert Event.objects.get(action="records:failed").message == message.id
    assert records.stands(house.actor(Role.COMPLIANCE)).failed == 1
    assert (records.trouble(later())["failed"], records.trouble(later(24 * 8))["failed"]) == (1, 0)
    page = signed_in(house.people[Role.MANAGER]).get("/records/").content.decode()
    assert "Signed phone notes go to your record system." in page


def test_withdrawn_expired_or_another_address_holds_it_back(
    house: House, fake: FakeFhir, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(house, days=2)
    signed(house)
    records.withdraw(house.actor(Role.MANAGER))
    assert run(store(fake)) and fake.asked == []
    allow(house, days=2)
    monkeypatch.setenv("NIGHTBELL_FHIR_URL", fake.url + "/elsewhere")
    assert records.stands(house.actor(Role.MANAGER)).moved
    assert run(store(fake), 1) and fake.asked == [], "it was allowed for another address"
    monkeypatch.setenv("NIGHTBELL_FHIR_URL", fake.url + "/fhir")
    assert run(store(fake), 24 * 3) and fake.asked == [], "its time is over"
    allow(house)
    assert run(store(fake), 24 * 3 + 2) and len(fake.kept) == 2


def test_what_is_signed_while_the_permission_has_run_out_waits_for_the_next(
    house: House, fake: FakeFhir
) -> None:
    allow(house)
    RiskAcceptance.objects.update(until=later(-1))
    signed(house)
    assert run(store(fake)) and fake.asked == []
    records.withdraw(house.actor(Role.MANAGER))
    signed(house)
    assert Job.objects.filter(kind="fhir").count() == 1, "withdrawn is no: what is signed then stays here"
    allow(house)
    assert run(store(fake), 1) and len(fake.kept) == 2


def test_another_practice_decides_for_itself(house: House, other: House, fake: FakeFhir) -> None:
    allow(house)
    signed(other)
    assert not Job.objects.filter(kind="fhir").exists()


def test_the_page_of_those_who_decide(house: House, fake: FakeFhir) -> None:
    client = signed_in(house.people[Role.MANAGER])
    assert client.post("/records/allow", {"reason": "no", "until": "2027-01-01"}).status_code == 422
    assert client.post("/records/allow", {"reason": WHY, "until": "soon"}).status_code == 422
    day = (utc_now() + timedelta(days=90)).date().isoformat()
    assert client.post("/records/allow", {"reason": WHY, "until": day}).status_code == 302
    assert WHY in client.get("/records/").content.decode()
    assert client.post("/records/withdraw").status_code == 302
    assert "Nothing goes to a record system." in client.get("/records/").content.decode()
    rows = Event.objects.filter(log_id=house.practice.id, action__startswith="records:")
    assert {"records:allow", "records:withdraw"} <= set(rows.values_list("action", flat=True))


@pytest.mark.parametrize(
    "url", ["http://h/x", "https://", "ftp://h", "https://u:p@h/", "https://h/?a=b", "https://h/#f"]
)
def test_addresses_that_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTBELL_FHIR_URL", url)
    with pytest.raises(RefusedStart):
        load()
    with pytest.raises(RefusedStart):
        FhirRecords(url, lambda: "")


def test_the_way_is_told_in_the_evidence_as_it_is(house: House, fake: FakeFhir) -> None:
    hops = {hop.name: hop for hop in transport.in_transit(load(), later())}
    tls = store(fake)._outward._tls
    assert (hops["Record system"].direction, hops["Record system"].versions) == ("out", "TLS 1.2 or 1.3")
    assert tls.minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls.verify_mode == ssl.CERT_REQUIRED and tls.check_hostname
    assert "Record system" not in {
        hop.name for hop in transport.in_transit(replace(load(), fhir_url=""), later())
    }


def test_what_the_far_side_says_is_not_repeated(fake: FakeFhir) -> None:
    resource = {"resourceType": "Communication", "secret": "José"}
    for status, kind in (
        (500, RecordsAway),
        (400, RecordsRefused),
        (412, RecordsRefused),
        (302, RecordsRefused),
    ):
        fake.answers = [status]
        with pytest.raises(kind) as caught:
            store(fake).create(resource, "identifier=a|b")
        assert "José" not in str(caught.value) and str(status) in str(caught.value)
    with pytest.raises(RecordsRefused):
        store(fake).create({"resourceType": "../x"}, "identifier=a|b")
    with pytest.raises(RecordsAway):
        FhirRecords(load().fhir_url, lambda: "right").create(resource, "identifier=a|b")  # no such authority
    assert json.dumps(fake.kept) == "[]"


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (KeysAway("away"), False), (KeyUnavailable("away"), False), (StaleKeyring("old"), False),
        (Tampered("damaged"), True), (NoSuchKey("gone"), True),
    ],
)  # fmt: skip
def test_without_its_keys_a_note_waits_and_a_damaged_one_is_given_up(
    house: House, fake: FakeFhir, monkeypatch: pytest.MonkeyPatch, error: Exception, ended: bool
) -> None:
    allow(house)
    signed(house)
    with monkeypatch.context() as patched:
        patched.setattr(records, "_resources", mock.Mock(side_effect=error))
        assert run(store(fake))
    assert (job().outcome == "dead", job().ended_at is not None, fake.kept) == (ended, ended, [])
    assert run(store(fake), 1) is not ended
    assert len(fake.kept) == (0 if ended else 2)
