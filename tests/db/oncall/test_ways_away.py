"""Whoever takes their own ways away, or adds one: nobody is on call by oversight without any, and the others learn of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.db.web.conftest import signed_in
from tests.factories import House, make_message

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, NoticeKind, Receipt, Rendered
from nightbell.oncall import lost_ways, notices, posting, sending
from nightbell.oncall.errors import LastWay
from nightbell.oncall.models import Alert, Attempt, Notice, Shift
from nightbell.oncall.sending import Sender
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


def pushed(house: House, **more: Any) -> Contact:
    now = utc_now()
    return Contact.objects.create(
        user=house.people[Role.CLINICIAN], kind="push", address="https://push.example/1", created_at=now,
        verified_at=now, position=1, **more,
    )  # fmt: skip


def attempt(house: House, way: Contact, state: str, answer: str, step: int = 0) -> None:
    """A message that rang, and what came of telling this way."""
    now = utc_now()
    alert = Alert.objects.first() or Alert.objects.create(
        practice=house.practice, message=make_message(house.mailbox, urgent=True), token="t" * 22, policy="[]",
        started_at=now, next_at=now,
    )  # fmt: skip
    Attempt.objects.create(
        alert=alert, step=step, user=way.user, contact=way, kind="urgent", channel=way.kind, address=way.address,
        state=state, answer=answer, recorded_at=now, retry_at=now,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["alert", "notice", "test"])
def test_a_push_by_which_nothing_ever_came_is_no_way_left(house: House, how: str) -> None:
    actor, mail, push = house.actor(Role.CLINICIAN), mine(house), pushed(house)
    if how == "alert":
        attempt(house, push, "failed", "the push service refused it")
    elif how == "notice":
        notices.plan(push.user, NoticeKind.GAP, "gap:1", utc_now())
        Notice.objects.update(state="failed", contact=push, answer="the push service refused it")
    else:
        contacts.ask_test(house.actor(Role.CLINICIAN), push.id)
        assert (
            posting.send_codes(Sender({"push": Refusing()}, "https://n.example"), utc_now(), Log("worker"))
            == 0
        )
    with pytest.raises(LastWay, match="the only way that has reached you"):
        lost_ways.take_away(actor, mail.id)
    lost_ways.take_away(actor, push.id)
    assert mine(house) == mail, "a dead one goes without a name"


@pytest.mark.parametrize("how", ["untried", "arrived", "not tried", "tested", "added anew"])
def test_a_push_that_may_work_is_one(house: House, how: str) -> None:
    actor, mail, push = house.actor(Role.CLINICIAN), mine(house), pushed(house)
    if how != "untried":
        attempt(house, push, "failed", sending.NOT_NEEDED if how == "not tried" else "refused")
    if how == "arrived":
        attempt(house, push, "sent", "taken", step=1)
    elif how == "tested":
        Contact.objects.filter(pk=push.pk).update(tested_at=utc_now())
    elif how == "added anew":
        Contact.objects.filter(pk=push.pk).update(created_at=utc_now())
    lost_ways.take_away(actor, mail.id)
    assert mine(house) == push


def test_the_last_of_several_that_lead_nowhere_goes_under_the_name_too(house: House) -> None:
    actor, push = house.actor(Role.CLINICIAN), pushed(house)
    attempt(house, push, "failed", "refused")
    lost_ways.take_away(actor, mine_of(house, "email").id, "Clinician Núñez")
    assert Role.MANAGER in told()
    with pytest.raises(LastWay):
        lost_ways.take_away(actor, push.id)


def test_one_that_its_service_says_is_gone_is_none(house: House) -> None:
    actor, mail, push = house.actor(Role.CLINICIAN), mine(house), pushed(house)
    contacts.ask_test(house.actor(Role.CLINICIAN), push.id)
    posting.send_codes(Sender({"push": Refusing(gone=True)}, "https://n.example"), utc_now(), Log("worker"))
    with pytest.raises(LastWay, match="the only way to tell you"):
        lost_ways.take_away(actor, mail.id)


def mine_of(house: House, kind: str) -> Contact:
    return Contact.objects.get(user=house.people[Role.CLINICIAN], kind=kind, ended_at=None)


class Refusing:
    """A push service that takes nothing."""

    name = "push"

    def __init__(self, gone: bool = False) -> None:
        self.gone = gone

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        raise ChannelError("the push service refused it", permanent=True, gone=self.gone)


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
