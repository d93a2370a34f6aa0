"""Limits on log-ins: what they refuse is in the log, sparingly, and they count a person, not a spelling."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from tests.db.web.test_accounts import code, guess
from tests.db.web.test_factors import password, rows
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.people.models import User
from nightbell.web import accounts, throttle
from nightbell.web.models import Knock

FROM = "198.51.100.9"


def limits(log_id: str) -> list[str]:
    found = [row.get("detail", {}) for row in rows("login_failed", log_id)]
    return [detail["limit"] for detail in found if "limit" in detail]


def test_what_the_limit_refuses_is_one_row_a_minute(house: House, doctor: User) -> None:
    guess(doctor, 5, FROM)
    assert limits(house.practice.id) == []
    guess(doctor, 10, FROM)
    assert limits(house.practice.id) == ["address"]
    assert rows("login_failed", house.practice.id)[-1]["actor"] == f"user:{doctor.login}"
    Knock.objects.update(since=F("since") - timedelta(minutes=1))
    guess(doctor, 10, FROM)
    assert limits(house.practice.id) == ["address"] * 2
    assert not any(b"wrong wrong" in bytes(event.leaf) for event in Event.objects.all())


def test_names_that_nobody_has_are_one_row_together(house: House) -> None:
    for n in range(30):
        guess(User(login=f"typed-{n}"), 1, FROM)
    assert limits("installation") == ["address"]
    assert len(rows("login_failed", "installation")) == 11  # ten tries a minute, and the one of the limit
    assert not any(b"typed-" in bytes(event.leaf) for event in Event.objects.all())


def test_the_limit_over_all_addresses_is_told_once(house: House, doctor: User, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"login_failed_anywhere": "2/h/key"}
    for n in range(8):
        guess(doctor, 1, f"198.51.100.{n}")
    assert limits(house.practice.id) == ["anywhere"]


def test_the_limit_on_codes_is_told_once(house: House, doctor: User) -> None:
    for _ in range(8):
        password(doctor).post("/account/code/", {"code": f"{(int(code()) + 1) % 10**6:06d}"})
    assert len(rows("second_factor_failed", house.practice.id)) == 5
    assert limits(house.practice.id) == ["codes"]


def test_a_row_that_cannot_be_written_is_not_held_for_written(
    house: House,
    doctor: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nightbell.audit.errors import AuditClosed

    def closed(*args: object, **more: object) -> str:
        raise AuditClosed("closed")

    guess(doctor, 5, FROM)
    monkeypatch.setattr(accounts.audit, "record", closed)
    with pytest.raises(AuditClosed):
        accounts.note_limited(_request(), doctor, "address", FROM)
    monkeypatch.undo()
    guess(doctor, 1, FROM)
    assert limits(house.practice.id) == ["address"]


def _request() -> Any:
    from django.test import RequestFactory

    return RequestFactory().post("/account/login/")


def test_tries_are_counted_by_the_person_not_by_the_spelling(doctor: User) -> None:
    spellings = (doctor.login, doctor.login.upper(), doctor.login.title())
    assert {accounts._limit_key({"username": typed}) for typed in spellings} == {f"user:{doctor.pk}"}
    nobody = ("STRASSE", "straße", "Strasse")
    assert len({accounts._limit_key({"username": typed}) for typed in nobody}) == 1
    assert accounts._limit_key({"username": f"user:{doctor.pk}"}) != f"user:{doctor.pk}"


def test_first_is_asked_anew_after_its_time(db: None) -> None:
    now, minute = utc_now(), timedelta(minutes=1)
    assert throttle.first("x", "a", now, minute)
    assert not throttle.first("x", "a", now + timedelta(seconds=59), minute)
    assert throttle.first("x", "b", now, minute)
    assert throttle.first("x", "a", now + minute, minute)
    assert throttle.first("x", "c", now + timedelta(hours=1), minute)
    assert Knock.objects.count() == 1, "what is old is swept out"
