"""PINs of the telephone: hashed, counted before they are compared, locked after five wrong ones."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.oncall.models import Notice
from nightbell.people import pins
from nightbell.people.models import Pin, User
from nightbell.people.pins import BadPin, PinAnswer, check_pin, set_pin
from nightbell.people.roles import Role

NOW = datetime.fromisoformat("2026-11-24T04:00:00+00:00")
PIN, WRONG = "480715", "480716"


@pytest.fixture
def person(house: House) -> User:
    set_pin(house.actor(Role.CLINICIAN, NOW), PIN)
    return house.people[Role.CLINICIAN]


def test_the_right_pin_is_right_and_only_its_hash_is_kept(person: User) -> None:
    assert check_pin(person, PIN, NOW) == PinAnswer.OK
    assert check_pin(person, WRONG, NOW) == PinAnswer.WRONG
    assert PIN not in Pin.objects.get().digest
    assert all(PIN not in bytes(leaf).decode() for leaf in Event.objects.values_list("leaf", flat=True))


def test_five_wrong_ones_lock_for_a_quarter_of_an_hour(person: User) -> None:
    answers = [check_pin(person, WRONG, NOW) for _ in range(5)]
    assert answers == [PinAnswer.WRONG] * 4 + [PinAnswer.LOCKED]
    assert check_pin(person, PIN, NOW + timedelta(minutes=14)) == PinAnswer.LOCKED
    assert check_pin(person, WRONG, NOW + timedelta(minutes=15)) == PinAnswer.WRONG
    assert check_pin(person, PIN, NOW + timedelta(minutes=15)) == PinAnswer.OK
    told = Event.objects.filter(action="pin:check").values_list("outcome", flat=True)
    assert list(told) == ["refused"] * 7 + ["ok"]


def test_each_further_five_lock_for_twice_as_long(house: House, person: User) -> None:
    """Or whoever shows a forged number has 480 tries a day."""
    at = NOW
    for minutes in (15, 30, 60):
        answers = [check_pin(person, WRONG, at, rang_in=True) for _ in range(5)]
        assert answers == [PinAnswer.WRONG] * 4 + [PinAnswer.LOCKED]
        assert check_pin(person, PIN, at + timedelta(minutes=minutes - 1), rang_in=True) == PinAnswer.LOCKED
        at += timedelta(minutes=minutes)
    assert pins.lock_of(5 * 8) == pins.lock_of(pins.MOST_TRIES) == timedelta(days=1)
    for is_new in (False, True):
        if is_new:
            set_pin(house.actor(Role.CLINICIAN, at), PIN)
        assert check_pin(person, PIN, at, rang_in=True) == PinAnswer.OK
        for _ in range(5):
            check_pin(person, WRONG, at, rang_in=True)
        assert Pin.objects.get().in_locked_until == at + pins.LOCK, "it begins anew"


def test_the_count_does_not_outgrow_its_column(person: User) -> None:
    Pin.objects.update(tries=pins.MOST_TRIES, locked_until=None)
    assert [check_pin(person, WRONG, NOW) for _ in range(5)][-1] == PinAnswer.LOCKED
    assert Pin.objects.get().tries == pins.MOST_TRIES


def test_a_right_one_begins_the_count_anew(person: User) -> None:
    for _ in range(3):
        for _ in range(4):
            assert check_pin(person, WRONG, NOW) == PinAnswer.WRONG
        assert check_pin(person, PIN, NOW) == PinAnswer.OK


def test_the_fifth_may_be_right(person: User) -> None:
    for _ in range(4):
        check_pin(person, WRONG, NOW)
    assert check_pin(person, PIN, NOW) == PinAnswer.OK
    assert check_pin(person, PIN, NOW) == PinAnswer.OK


def test_two_at_once_cost_two_tries(person: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reads before the first has counted: it must not have its try for nothing."""
    compare = pins.check_password

    def meanwhile(pin: str, digest: str) -> bool:
        monkeypatch.undo()
        check_pin(person, WRONG, NOW)
        return compare(pin, digest)

    monkeypatch.setattr(pins, "check_password", meanwhile)
    check_pin(person, WRONG, NOW)
    assert Pin.objects.get().tries == 2
    row = Pin.objects.get()
    row.tries -= 1  # as it was read before the other one counted
    assert pins._counted(row, NOW) is None


def test_a_clock_that_ran_ahead_locks_nobody_out_for_a_year(person: User) -> None:
    for _ in range(5):
        check_pin(person, WRONG, NOW + timedelta(days=365))
    assert check_pin(person, PIN, NOW) == PinAnswer.OK


def test_whoever_shows_our_number_locks_ringing_in_alone(person: User) -> None:
    """A caller's number can be forged: that must not take the PIN from who answers our own call."""
    answers = [check_pin(person, WRONG, NOW, rang_in=True) for _ in range(5)]
    assert answers[-1] == PinAnswer.LOCKED
    assert check_pin(person, PIN, NOW, rang_in=True) == PinAnswer.LOCKED
    assert check_pin(person, PIN, NOW) == PinAnswer.OK
    assert check_pin(person, PIN, NOW, rang_in=True) == PinAnswer.LOCKED, "nor does that give new tries"
    assert check_pin(person, PIN, NOW + timedelta(minutes=15), rang_in=True) == PinAnswer.OK
    told = Notice.objects.get()
    assert (told.user, told.kind) == (person, "ways")


def test_a_lock_is_told_to_its_owner_once(person: User) -> None:
    for _ in range(7):
        check_pin(person, WRONG, NOW)
    assert Notice.objects.filter(user=person, kind="ways").count() == 1


def test_who_has_none_or_is_locked_out_has_none(house: House, person: User) -> None:
    assert check_pin(house.people[Role.MANAGER], PIN, NOW) == PinAnswer.NONE
    User.objects.update(is_active=False)
    assert check_pin(person, PIN, NOW) == PinAnswer.NONE


@pytest.mark.parametrize(
    "pin", ["12345", "123456789", "123456", "987654", "111111", "121212", "48071a", "", "٤٨٠٧١٥",
            "310185", "013185", "31121984", "02291984", "20010203", "491491", "57295729"]
)  # fmt: skip
def test_a_pin_that_anybody_tries_first_is_refused(house: House, pin: str) -> None:
    with pytest.raises(BadPin):
        set_pin(house.actor(Role.CLINICIAN, NOW), pin)
    assert not Pin.objects.exists()
