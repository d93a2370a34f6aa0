"""Whoever takes their own ways away, or adds one: nobody is on call by oversight without any, and the others learn of it."""

from __future__ import annotations

import pytest
from tests.db.web.conftest import signed_in
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.oncall import lost_ways
from nightbell.oncall.errors import LastWay
from nightbell.oncall.models import Notice, Shift
from nightbell.people import contacts
from nightbell.people.access import NotFound
from nightbell.people.models import Contact
from nightbell.people.roles import Role


def mine(house: House, role: Role = Role.CLINICIAN) -> Contact:
    return Contact.objects.get(user=house.people[role], ended_at=None)


def told() -> set[str]:
    return set(Notice.objects.values_list("user__role", flat=True))


def test_the_last_way_of_somebody_on_duty_goes_only_under_their_name(house: House) -> None:
    actor, one = house.actor(Role.CLINICIAN), mine(house)
    for typed in ("", "Manager Núñez"):
        with pytest.raises(LastWay):
            lost_ways.take_away(actor, one.id, typed)
    assert mine(house) == one and not Notice.objects.exists()
    lost_ways.take_away(actor, one.id, " clinician  núñez")
    assert not contacts.ways(actor.user, actor.now, True)
    assert Role.MANAGER in told()
    assert b'"confirmed":true' in bytes(Event.objects.get(action="contact:remove").leaf)


def test_who_is_not_on_duty_or_has_another_is_not_asked(house: House) -> None:
    actor, one, now = house.actor(Role.CLINICIAN), mine(house), utc_now()
    with pytest.raises(NotFound):
        lost_ways.take_away(house.actor(Role.MANAGER), one.id)
    lost_ways.take_away(house.actor(Role.FRONT_DESK), mine(house, Role.FRONT_DESK).id)
    assert told() == set()
    Contact.objects.create(
        user=actor.user, kind="sms", address="+15035550171", created_at=now, verified_at=now
    )
    lost_ways.take_away(actor, one.id)
    assert told() == {Role.CLINICIAN}, "by what is left to them"
    Shift.objects.all().delete()
    lost_ways.take_away(actor, mine(house).id)
    assert told() == {Role.CLINICIAN}


def test_the_others_learn_of_one_that_was_added(house: House) -> None:
    contacts.add(house.actor(Role.CLINICIAN), "sms", "+15035550171")
    contacts.add(house.actor(Role.CLINICIAN), "voice", "+15035550171")
    assert Notice.objects.get().user == house.people[Role.CLINICIAN]


def test_the_page_asks_for_the_name(house: House) -> None:
    client, one = signed_in(house.people[Role.CLINICIAN]), mine(house)
    page = client.post(f"/account/ways/{one.id}/remove")
    assert page.status_code == 422 and "To be told by nothing, type your name" in page.content.decode()
    assert client.post(f"/account/ways/{one.id}/remove", {"confirm": "Clinician Núñez"}).status_code == 302
    assert mine_is_gone(one)


def mine_is_gone(one: Contact) -> bool:
    one.refresh_from_db()
    return one.ended_at is not None
