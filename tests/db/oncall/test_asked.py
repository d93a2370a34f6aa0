"""Who is asked to cover, or to take a shift, is told of it once in their own ways, as long as there is something to answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from tests.db.oncall.test_alerts import Phones
from tests.factories import House

from nightbell.core.log import Log
from nightbell.core.notice import NoticeKind, Notification
from nightbell.oncall import covering, posting, swaps
from nightbell.oncall.models import Notice, NoticeState, Swap
from nightbell.oncall.notifications import render
from nightbell.people import covers
from nightbell.people.covers import BadCover
from nightbell.people.models import Contact, Cover
from nightbell.people.roles import Role

THEIRS = "clinician@cd34.example"


def post(night: Phones, seconds: float = 0) -> int:
    night.now += timedelta(seconds=seconds)
    return posting.send_notices(night.sender, night.now, Log("test"))


def ask(house: House, other: House) -> Cover:
    return covering.ask(house.actor(Role.MANAGER), other.people[Role.CLINICIAN].login)


def test_who_is_asked_to_cover_is_told_once(house: House, other: House) -> None:
    ask(house, other)
    with pytest.raises(BadCover):
        ask(house, other)
    night = Phones()
    assert (post(night), post(night, 600)) == (1, 0)
    [(address, words, _)] = night.pagers["email"].told
    assert (address, Notice.objects.get().practice) == (THEIRS, other.practice)
    assert words == "Nightbell CD34: asked to cover", "who asks is not in it"
    told = render(Notification(NoticeKind.COVER, "CD34"), "https://bell.example")
    assert told.body.endswith(f"https://bell.example{reverse('covering')}\n")


@pytest.mark.parametrize("end", ["taken back", "declined", "accepted", "locked"])
def test_nobody_is_told_of_what_needs_no_answer_any_more(house: House, other: House, end: str) -> None:
    row, doctor = ask(house, other), other.people[Role.CLINICIAN]
    if end == "accepted":
        covers.accept(other.actor(Role.CLINICIAN), row.id)
    elif end == "locked":
        covers.end_all(doctor, "os:test", row.asked_at)
    else:
        covering.end(
            house.actor(Role.MANAGER) if end == "taken back" else other.actor(Role.CLINICIAN), row.id
        )
    night = Phones()
    assert (post(night), night.told("email")) == (0, [])
    assert (Notice.objects.get().state, Notice.objects.get().answer) == ("failed", posting.NOT_NEEDED)
    ask(house, other) if end in ("taken back", "declined") else None
    assert post(night, 1) == (1 if end in ("taken back", "declined") else 0), "asked anew they are told anew"


def test_silent_hours_hold_a_request_up_and_a_dead_sender_marks_it(house: House, other: House) -> None:
    Contact.objects.filter(address=THEIRS).update(quiet_from=0, quiet_until=1439)
    ask(house, other)
    night = Phones()
    assert post(night) == 0
    Contact.objects.filter(address=THEIRS).update(quiet_from=None, quiet_until=None)
    Notice.objects.update(tries=1, answer="", retry_at=night.now)  # its sender was killed
    assert post(night, 1) == 1
    assert Notice.objects.get().answer.endswith("perhaps twice")


@pytest.mark.parametrize(("hours", "told"), [(2, 1), (20, 0)])
def test_a_shift_that_begins_soon_is_asked_for_in_silent_hours(house: House, hours: int, told: int) -> None:
    boss, night = house.people[Role.MANAGER], Phones()
    clinician = house.actor(Role.CLINICIAN, night.now)
    Contact.objects.filter(user=boss).update(quiet_from=0, quiet_until=1439)
    swap = swaps.ask_by_page(
        clinician, clinician.user.id, night.now, night.now + timedelta(hours=30), [boss.id]
    )
    Notice.objects.all().delete()
    Swap.objects.update(starts_at=night.now + timedelta(hours=hours))
    swaps.notices.plan(boss, swaps.NoticeKind.SWAP, f"swap:{swap.id}:ask:1", night.now)
    assert (post(night), len(night.told("email"))) == (told, told)


def test_a_swap_that_was_withdrawn_or_taken_asks_nobody(house: House) -> None:
    boss, desk, night = house.people[Role.MANAGER], house.people[Role.FRONT_DESK], Phones()
    clinician = house.actor(Role.CLINICIAN, night.now)
    hours = timedelta(hours=3)
    swap = swaps.ask_by_page(clinician, clinician.user.id, night.now, night.now + hours, [desk.id, boss.id])
    swaps.withdraw(clinician, swap.id)
    assert (post(night), night.told("email")) == (0, [])
    second = swaps.ask_by_page(clinician, clinician.user.id, night.now, night.now + hours, [desk.id, boss.id])
    assert (post(night, 1), night.told("email")) == (1, ["front_desk@ab12.example"])
    night.now += swaps.WAIT
    assert swaps.due(night.now) == 1, "silent: the next one is asked"
    swaps.answer(second.id, desk, True, night.now)
    post(night)
    assert sorted(night.told("email")[1:]) == ["clinician@ab12.example", "front_desk@ab12.example"]
    assert Notice.objects.filter(state=NoticeState.FAILED, answer=posting.NOT_NEEDED).count() == 2
