"""The set-up link of a real installation works once and makes a practice that can take a call."""

from __future__ import annotations

import argparse
from datetime import timedelta

import pytest
from django.test import Client

from nightbell.audit import service as audit
from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.mailbox.models import Number
from nightbell.people import first_run
from nightbell.people.models import Practice, User
from nightbell.sealing.kit import parse_kit
from nightbell.sealing.provider import FileKeyProvider
from nightbell.server import admin, home

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
