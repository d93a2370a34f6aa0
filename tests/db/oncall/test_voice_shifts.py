"""The staff line: a shift is given away by telephone, a stranger never gets in, and who covers is who they are there."""

from __future__ import annotations

import pytest
from tests.db.oncall.test_covering import cover
from tests.db.oncall.test_voice import (
    CELL,
    OTHER_CELL,
    PIN,
    Phone,
    _ring_in,
    _with_phone,
    _woken,
    clinician,
    phone,
)
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.mailbox.models import State
from nightbell.oncall import swaps
from nightbell.oncall.models import Override, Shift, Swap, VoiceCall
from nightbell.people import pins
from nightbell.people.models import User
from nightbell.people.roles import Role

__all__ = ["clinician", "phone"]


def test_a_shift_is_given_away_at_night_by_telephone(house: House, phone: Phone, clinician: User) -> None:
    desk = _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    call = _ring_in(phone, house, "6175550123")
    phone.keys(call, PIN + "#1")
    assert "swap-choose" in phone.said(call)
    phone.keys(call, "1")
    assert phone.said(call)[-1] == "swap-calling"
    phone.calling.step()
    asked = phone.rung()
    user = VoiceCall.objects.get(pk=asked).user
    assert user is not None
    assert user in (desk, house.people[Role.MANAGER])
    phone.leg(asked, "answered")
    phone.keys(asked, "1" + PIN + "#")
    assert "swap-offer" in phone.said(asked)
    assert "shift-ends" in phone.said(asked)
    phone.keys(asked, "1")
    assert phone.said(asked)[-1] in ("swap-yours-now", "swap-yours")
    assert Override.objects.get().user == user
    phone.calling._talks[call].tick(1e12)
    assert "swap-done" in phone.said(call)


def test_who_does_not_answer_goes_to_the_next_at_once(house: House, phone: Phone, clinician: User) -> None:
    _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    _with_phone(house, Role.MANAGER, "+16175550125")
    call = _ring_in(phone, house, "6175550123")
    phone.keys(call, PIN + "#11")
    phone.calling.step()
    first = phone.rung()
    phone.leg(first, "ended", "no_answer")
    swaps.due(utc_now())
    phone.calling.step()
    assert phone.rung() != first
    phone.calling._talks[call].tick(1e12)
    assert "swap-no-answer" in phone.said(call)
    assert not Override.objects.exists()


@pytest.mark.parametrize("caller", ["2125550000", "", "anonymous"])
def test_a_stranger_on_the_staff_line_never_gets_in(
    house: House, phone: Phone, clinician: User, caller: str
) -> None:
    call = _ring_in(phone, house, caller)
    phone.keys(call, (PIN + "#") * 5)
    assert phone.said(call) == ["staff-hello", "pin-enter", *["pin-wrong"] * 4, "pin-locked-staff"]
    assert not Event.objects.filter(action="pin:check").exists(), "nobody's PIN is locked by a stranger"
    assert not Swap.objects.exists()


def test_by_the_answers_nobody_learns_whose_numbers_are_known(
    house: House, phone: Phone, clinician: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stranger, somebody without a PIN and somebody with one, calling three times: the same turns, and as much hashing
    wherever no lock spares it."""
    hashed: list[str] = []
    for name in ("make_password", "check_password"):
        slow = getattr(pins, name)
        monkeypatch.setattr(pins, name, lambda *pin, slow=slow: hashed.append("") or slow(*pin))
    _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    pins.Pin.objects.filter(user=house.people[Role.FRONT_DESK]).delete()
    heard = []
    for caller in ("2125550000", OTHER_CELL, CELL):
        hashed.clear()
        said = []
        for tries in (3, 5, 1):
            call = _ring_in(phone, house, caller)
            phone.keys(call, "111222#" * tries)
            said.append(phone.said(call))
            phone.leg(call, "ended", "hung_up")
        heard.append((said, len(hashed)))
    assert heard[0] == heard[1] == heard[2]
    assert [len(one) for one in heard[0][0]] == [5, 4, 3], (
        "locked at the fifth, and at the first of the next call"
    )
    assert heard[0][1] == 5


def test_who_is_not_on_call_has_nothing_to_give_away(house: House, phone: Phone, clinician: User) -> None:
    Shift.objects.all().delete()
    call = _ring_in(phone, house, "6175550123")
    phone.keys(call, PIN + "#1")
    assert phone.said(call)[-2:] == ["sorry", "goodbye"]


def test_who_covers_from_another_practice_is_rung_takes_it_and_gives_the_shift_away(
    house: House, other: House, phone: Phone
) -> None:
    """By their own telephone and PIN, which the practice that they cover does not know."""
    guest = cover(house, other)
    _with_phone(other, Role.CLINICIAN, CELL)
    Shift.objects.filter(schedule__practice=house.practice).update(user=guest)
    message, _, call = _woken(house, phone)
    phone.leg(call, "answered")
    phone.keys(call, "1" + PIN + "#1")
    message.refresh_from_db()
    assert (message.state, message.owner) == (State.OWNED, guest)
    taken = Event.objects.get(action="message:acknowledge")
    assert (taken.log_id, taken.actor) == (house.practice.id, f"user:{guest.login}")
    phone.leg(call, "ended", "hung_up")
    _with_phone(house, Role.FRONT_DESK, OTHER_CELL)
    inside = _ring_in(phone, house, "6175550123")
    phone.keys(inside, PIN + "#1")
    assert "swap-choose" in phone.said(inside)
    at_home = _ring_in(phone, other, "6175550123")
    phone.keys(at_home, PIN + "#1")
    assert VoiceCall.objects.get(pk=at_home).user == other.people[Role.CLINICIAN], (
        "on each line who they are there"
    )
