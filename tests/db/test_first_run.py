"""The set-up link of a real installation works once and makes a practice that can take a call."""

from __future__ import annotations

import argparse
import re
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from django.test import Client
from tests.db.web.conftest import signed_in
from tests.factories import House

from nightbell.audit import service as audit
from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.core.notice import Receipt, Rendered
from nightbell.mailbox.models import Number
from nightbell.oncall import last_resorts, posting, standing, whom
from nightbell.oncall.sending import Sender
from nightbell.people import contacts, first_run
from nightbell.people.access import Actor
from nightbell.people.models import Contact, Practice, User
from nightbell.people.roles import Role
from nightbell.sealing.kit import parse_kit
from nightbell.sealing.provider import FileKeyProvider
from nightbell.server import admin, health, home
from nightbell.server import first_run as terminal
from nightbell.server.alert_loops import AlertLoops

GOOD = {
    "practice": "Clínica Ñandú", "zone": "America/Chicago", "number": "+13125550100", "name": "Inés Ortiz",
    "login": "ines", "email": "ines@clinic.example", "password": "correct horse battery",
}  # fmt: skip


@pytest.fixture
def link(db: None) -> str:
    audit.open_log(audit.INSTALLATION)
    return f"/setup/{first_run.issue(load().home, utc_now())}"


def test_it_makes_the_first_practice_once(link: str) -> None:
    client = Client()
    assert client.get(link, secure=True).status_code == 200
    assert client.post(link, GOOD, secure=True).status_code == 302
    assert Practice.objects.get().zone == "America/Chicago"
    assert User.objects.get().role == "manager"
    assert Number.objects.get().dialled == "13125550100"
    assert client.get(link, secure=True).status_code == 404


@pytest.mark.parametrize(
    "wrong", [{"zone": "Mars/North"}, {"number": "call us"}, {"password": "short"}, {"login": "a b"}]
)
def test_it_says_what_is_wrong_and_makes_nothing(link: str, wrong: dict[str, str]) -> None:
    answer = Client().post(link, GOOD | wrong, secure=True)
    assert answer.status_code == 422
    assert b"nb-error" in answer.content
    assert not Practice.objects.exists()


def test_an_old_or_guessed_link_is_no_page(link: str) -> None:
    assert Client().get("/setup/guess", secure=True).status_code == 404
    first_run.issue(load().home, utc_now() - timedelta(days=2))
    assert Client().get(link, secure=True).status_code == 404


def test_who_comes_second_with_the_same_link_makes_nothing(
    link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_run, "good", lambda *_: True)  # both looked before either had done
    assert Client().post(link, GOOD, secure=True).status_code == 302
    second = GOOD | {"practice": "Second", "login": "second", "number": "+13125550101"}
    assert Client().post(link, second, secure=True).status_code == 404
    assert [p.name for p in Practice.objects.all()] == [GOOD["practice"]]


def test_a_link_whose_work_failed_is_still_good(link: str) -> None:
    with pytest.raises(RuntimeError), first_run.used_once(load().home):
        raise RuntimeError("the disk is full")
    assert Client().post(link, GOOD, secure=True).status_code == 302


def test_the_log_keeps_that_the_recovery_kit_was_printed(
    db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    audit.open_log(audit.INSTALLATION)
    home.write_stamp(load(), home.DEMO, utc_now())
    key = load().keys / "kek.key"
    if not key.exists():
        FileKeyProvider.create(key)
    assert admin._keys_kit(load(), argparse.Namespace()) == 0
    assert parse_kit(capsys.readouterr().out) == FileKeyProvider(key).read()
    assert Event.objects.filter(action="keys:kit").count() == 1


class Mail:
    """A channel that keeps what left."""

    name = "email"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        self.sent.append((address, rendered.subject + rendered.body))
        return Receipt(b"", "250 ok")


def _checks() -> dict[str, str]:
    """What is red of the ways to people, as health has it from the worker's own report."""
    loops = AlertLoops(Sender({}, ""), threading.Event(), Log("test"))
    health.write(load(), loops.report(), utc_now())
    found = health.read(load(), utc_now())["checks"]
    return {name: found[name]["says"] for name in ("reachable", "last_resort") if not found[name]["ok"]}


def test_the_first_email_is_used_once_its_owner_typed_in_the_code_that_went_there(
    link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightbell.web.views.setup.load", lambda: replace(load(), smtp="smtp://mail.example"))
    assert Client().post(link, GOOD, secure=True).status_code == 302
    manager, practice, now = User.objects.get(), Practice.objects.get(), utc_now()
    assert whom.of([manager], whom.URGENT, now).ways == ()
    assert set(_checks()) == {"reachable", "last_resort"}
    assert "reaches nobody" in _checks()["last_resort"]
    assert manager.name in terminal.greeting(load(), now)
    mail = Mail()
    posting.send_codes(Sender({"email": mail}, "https://bell.example"), now, Log("test"))
    [(address, text)] = mail.sent
    assert address == GOOD["email"]
    [code] = re.findall(r"\b[0-9]{6}\b", text)
    contacts.prove(Actor(manager, "192.0.2.7", "s", now), Contact.objects.get().id, code)
    assert [way.address for way in whom.of([manager], whom.URGENT, now).ways] == [GOOD["email"]]
    assert (_checks(), standing.trouble(practice, now).last) == ({}, None)
    assert "last resort" not in terminal.greeting(load(), now)


def test_without_a_mail_server_no_code_is_claimed_and_it_is_said_at_every_place(link: str) -> None:
    client = Client()
    assert "NIGHTBELL_SMTP" in client.get(link, secure=True).content.decode()
    assert client.post(link, GOOD, secure=True).status_code == 302
    contact = Contact.objects.get()
    assert (contact.verified_at, contact.send_at, contact.code_until) == (None, None, None)
    greeting = terminal.greeting(load(), utc_now())
    assert "NIGHTBELL_SMTP is not set" in greeting
    assert "an alert that nobody takes reaches nobody" in greeting


def test_a_last_resort_that_was_never_proved_is_red_though_others_can_be_told(house: House) -> None:
    manager = house.people[Role.MANAGER]
    assert _checks() == {}
    Contact.objects.filter(user=manager).update(verified_at=None)
    assert set(_checks()) == {"last_resort"}
    assert house.practice.code in _checks()["last_resort"]
    assert manager.name not in str(_checks())
    page = signed_in(manager).get("/").content.decode()
    assert "The last resort cannot be told" in page
    assert "Prove your email" in page
    theirs = signed_in(house.people[Role.CLINICIAN]).get("/").content.decode()
    assert "The last resort cannot be told" in theirs
    assert "Prove your email" not in theirs
    assert "has not proved any way" in terminal.fallback(
        manager.login, "os:test", utc_now(), "https://b.example"
    )
    second = User.objects.create(
        login="second",
        name="Another Manager",
        practice=house.practice,
        role=Role.MANAGER.value,
        email="a@b.example",
    )
    contacts.enrol(second, utc_now(), verified=True)
    assert "other managers are told" in _checks()["last_resort"]


def test_a_practice_whose_last_resort_nobody_named_is_told_of(house: House) -> None:
    house.practice.schedules.update(fallback=None)
    [found] = last_resorts.untold(house.practice.id)
    assert (found.code, found.name, found.managers) == (house.practice.code, "", True)
    house.practice.schedules.all().delete()
    assert [one.code for one in last_resorts.untold()] == [house.practice.code]
