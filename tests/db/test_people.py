"""Practices and people by the command line's functions: whole or not at all, and each change a row."""

from __future__ import annotations

import pytest
from tests.db.web.conftest import Https, signed_in
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.mailbox.models import Number
from nightbell.oncall.founding import found, set_fallback
from nightbell.oncall.models import Schedule
from nightbell.people import tokens
from nightbell.people.models import Practice
from nightbell.people.practices import BadPerson, add_user, lock_out, person, start_anew
from nightbell.people.roles import Role

OS = "os:tester"


def test_a_practice_is_made_with_number_and_schedule(house: House) -> None:
    made = found("Clínica", "America/Chicago", "+1 312-555-0100", OS, utc_now())
    assert Number.objects.get(mailbox__practice=made).dialled == "13125550100"
    assert Schedule.objects.filter(practice=made).exists()


@pytest.mark.parametrize("number", ["5035550100", "+503 555 0100", "abc def!", "", "1"])
def test_a_number_that_is_taken_or_none_makes_nothing(house: House, number: str) -> None:
    before = Practice.objects.count()
    with pytest.raises(BadPerson):
        found("Second", "America/Chicago", number, OS, utc_now())
    assert Practice.objects.count() == before


def test_a_fallback_is_somebody_who_can_be_told(house: House, other: House) -> None:
    set_fallback(house.practice, house.people[Role.CLINICIAN], OS, utc_now())
    assert Schedule.objects.get(practice=house.practice).fallback == house.people[Role.CLINICIAN]
    with pytest.raises(BadPerson):
        set_fallback(house.practice, other.people[Role.MANAGER], OS, utc_now())
    assert Event.objects.filter(action="schedule:fallback").count() == 1


def test_a_locked_out_person_is_out_at_once(house: House) -> None:
    user = house.people[Role.CLINICIAN]
    client, bearer = signed_in(user), tokens.add(user, "script", OS, utc_now())
    assert client.get("/").status_code == 200
    lock_out(user, OS, utc_now())
    assert client.get("/").status_code == 302
    headers = {"HTTP_AUTHORIZATION": "Bearer " + bearer}
    assert Https().get("/api/v1/messages", **headers).status_code == 401


def test_a_reset_takes_the_second_factor_and_ends_sessions(house: House) -> None:
    user = house.people[Role.CLINICIAN]
    client = signed_in(user)
    start_anew(user, "another long password", OS, utc_now())
    assert client.get("/").status_code == 302
    again = person(user.login)
    assert again.check_password("another long password")
    assert signed_in(again, second_factor=False).get("/")["Location"] == "/account/second-factor/"


def test_a_revoked_token_opens_nothing(house: House) -> None:
    user = house.people[Role.MANAGER]
    bearer = tokens.add(user, "script", OS, utc_now())
    assert tokens.authenticate(bearer, utc_now(), "") is not None
    assert tokens.revoke(user, "script", OS, utc_now()) == 1
    assert tokens.authenticate(bearer, utc_now(), "") is None


def test_an_address_that_is_none_is_refused(house: House) -> None:
    with pytest.raises(BadPerson):
        add_user(
            house.practice, "x", "X", "clinician", "not an email", "correct horse battery", OS, utc_now()
        )
    with pytest.raises(BadPerson):
        person("nobody")
