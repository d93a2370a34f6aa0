"""Notices that are no alerts, and the codes that prove a contact: sent once, by the first way that takes them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from tests.db.oncall.test_alerts import Phones, contact
from tests.factories import House

from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, NoticeKind
from nightbell.oncall import notices, posting, sending
from nightbell.oncall.models import Notice, NoticeState
from nightbell.oncall.sending import MAX_TRIES
from nightbell.people import contacts
from nightbell.people.models import Contact, Practice
from nightbell.people.roles import Role

LOG = Log("test")
GONE = ChannelError("550", permanent=True)


@pytest.fixture
def night(house: House) -> Phones:
    made = Phones()
    contact(house.people[Role.MANAGER], "sms", "+15035550173")
    notices.plan(house.people[Role.MANAGER], NoticeKind.GAP, "gap:1", made.now)
    return made


def post(night: Phones, seconds: float = 0) -> int:
    night.now += timedelta(seconds=seconds)
    return posting.send_notices(night.sender, night.now, LOG)


def test_one_way_is_enough(house: House, night: Phones) -> None:
    notices.plan(house.people[Role.MANAGER], NoticeKind.GAP, "gap:1", night.now)
    assert post(night) == 1
    assert (night.told("email"), night.told("sms")) == (["manager@ab12.example"], [])
    assert post(night, 1000) == 0
    notice = Notice.objects.get()
    assert (notice.state, notice.channel) == (NoticeState.SENT, "email")
    assert notice.sent


def test_a_way_that_fails_goes_on_with_the_next(night: Phones) -> None:
    night.pagers["email"].problem = ChannelError("451")
    assert post(night) == 1
    assert night.told("sms") == ["+15035550173"]


def test_it_is_tried_again_until_it_cannot_work(night: Phones) -> None:
    for kind in ("email", "sms"):
        night.pagers[kind].problem = ChannelError("451")
    assert post(night) == 0
    night.pagers["sms"].problem = None
    assert post(night, 3) == 1


def test_a_notice_that_never_can_leave_is_failed_and_seen(night: Phones) -> None:
    for kind in ("email", "sms"):
        night.pagers[kind].problem = GONE
    post(night)
    assert Notice.objects.get().state == NoticeState.FAILED
    Notice.objects.update(state="pending")
    Contact.objects.all().delete()
    post(night, 121)
    assert Notice.objects.get().answer == posting.NO_WAY


def test_silent_hours_put_a_notice_off(house: House, night: Phones) -> None:
    Contact.objects.update(quiet_from=0, quiet_until=1439)
    assert post(night) == 0
    notices.plan(house.people[Role.MANAGER], NoticeKind.LINE_TEST, "test:1", night.now)
    assert post(night, 1) == 1, "one that presses is not"
    Contact.objects.update(quiet_from=None, quiet_until=None)
    assert post(night, 600) == 1


def test_one_that_a_killed_sender_had_is_sent_and_marked(night: Phones) -> None:
    Notice.objects.update(tries=1, retry_at=night.now + posting.NOTICE_LEASE)
    assert post(night, 60) == 0
    assert post(night, 61) == 1
    assert "perhaps twice" in Notice.objects.get().answer


def test_a_notice_is_not_sent_for_ever_when_nobody_can_note_that_it_left(
    night: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise ValueError("closed")

    with monkeypatch.context() as patch:
        patch.setattr(posting, "_given", closed)
        for _ in range(MAX_TRIES):
            with pytest.raises(ValueError):
                post(night, 121)
    assert len(night.told("email")) == MAX_TRIES
    assert post(night, 121) == 0
    assert len(night.told("email")) == MAX_TRIES
    notice = Notice.objects.get()
    assert (notice.state, notice.answer) == (NoticeState.FAILED, posting.GIVEN_UP)


def test_codes_and_tests_are_not_sent_for_ever_when_nobody_can_note_that_they_left(
    house: House, night: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise ValueError("closed")

    def minutes(count: int) -> None:
        for _ in range(count * 6):
            night.now += timedelta(seconds=10)
            with suppress(ValueError):
                posting.send_codes(night.sender, night.now, LOG)

    actor = house.actor(Role.CLINICIAN, night.now)
    made = contacts.add(actor, "sms", "+15035550171")
    contacts.send_code(actor, made.id)
    monkeypatch.setattr(posting.audit, "record", closed)
    minutes(20)
    assert 3 <= len(night.told("sms")) <= MAX_TRIES
    Contact.objects.filter(pk=made.pk).update(verified_at=night.now, send_at=night.now)
    night.pagers["sms"].told.clear()
    minutes(20)
    assert len(night.told("sms")) == 1


def test_tests_wait_for_a_channel_that_is_away_but_not_for_ever(house: House, night: Phones) -> None:
    mine = Contact.objects.get(user=house.people[Role.CLINICIAN])
    contacts.ask_test(house.actor(Role.CLINICIAN, night.now), mine.id)
    night.pagers["email"].problem = ChannelError("away", not_yet=True)
    assert posting.send_codes(night.sender, night.now, LOG) == 0
    night.pagers["email"].problem = None
    for minutes, sent in ((1, 1), (60, 0)):
        if not sent:
            Contact.objects.filter(pk=mine.pk).update(send_at=night.now)
        assert posting.send_codes(night.sender, night.now + timedelta(minutes=minutes), LOG) == sent
    assert Contact.objects.get(pk=mine.pk).send_at is None


def test_a_code_leaves_once_and_proves(house: House, night: Phones) -> None:
    actor = house.actor(Role.CLINICIAN, night.now)
    made = contacts.add(actor, "sms", "+15035550171")
    contacts.send_code(actor, made.id)
    code = contacts.code_of(Contact.objects.get(pk=made.pk))
    assert posting.send_codes(night.sender, night.now, LOG) == 1
    assert night.told("sms") == ["+15035550171"]
    stored = Contact.objects.get(pk=made.pk)
    assert (stored.code_sealed, stored.send_at) == ("", None)
    assert posting.send_codes(night.sender, night.now + timedelta(minutes=5), LOG) == 0
    contacts.prove(actor, made.id, code)
    contacts.ask_test(actor, made.id)
    assert posting.send_codes(night.sender, night.now, LOG) == 1
    assert Contact.objects.get(pk=made.pk).tested_at == night.now


def test_a_code_that_could_not_leave_is_tried_again_while_it_is_good(house: House, night: Phones) -> None:
    actor = house.actor(Role.CLINICIAN, night.now)
    made = contacts.add(actor, "sms", "+15035550171")
    contacts.send_code(actor, made.id)
    night.pagers["sms"].problem = ChannelError("503")
    assert posting.send_codes(night.sender, night.now, LOG) == 0
    night.pagers["sms"].problem = None
    later = night.now + timedelta(seconds=31)
    assert posting.send_codes(night.sender, later, LOG) == 1
    contacts.send_code(house.actor(Role.CLINICIAN, later + timedelta(minutes=2)), made.id)
    assert posting.send_codes(night.sender, later + timedelta(hours=1), LOG) == 0
    assert Contact.objects.get(pk=made.pk).code_sealed == "", "it would come too late"


def test_a_way_that_became_a_number_of_ours_is_told_nothing(house: House, night: Phones) -> None:
    Practice.objects.filter(pk=house.practice.pk).update(number="+15035550173")
    night.pagers["email"].problem = ChannelError("451")
    assert post(night) == 0
    assert night.told("sms") == []
    assert sending.OURS in Notice.objects.get().answer
