"""Notices that are no alerts, and the codes that prove a contact: sent once, by the first way that takes them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from tests.db.oncall.test_alerts import Phones, contact
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, NoticeKind, Receipt, Rendered
from nightbell.oncall import notices, posting, receipts, sending
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
    post(night, 1000)
    assert Notice.objects.get().answer == posting.NO_WAY


SID = "SM" + "5" * 32


@pytest.mark.parametrize("early", [False, True])
def test_a_text_that_did_not_arrive_goes_the_next_way(
    house: House, night: Phones, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the provider tells of it after we wrote that it was sent, or before."""
    notice = Notice.objects.get()
    Contact.objects.filter(user=house.people[Role.MANAGER], kind="email").update(position=9)

    def send(rendered: Rendered, address: str, reference: str) -> Receipt:
        assert reference == notice.id, "what the provider is told, and tells"
        assert not early or receipts.note(SID, False, night.now, attempt=notice.id)
        return Receipt(b"x", "taken", SID)

    monkeypatch.setattr(night.pagers["sms"], "send", send)
    assert post(night) == 1
    assert early or not receipts.note("SM" + "6" * 32, False, night.now, attempt=notice.id), "another's"
    assert receipts.note(SID, True, night.now, attempt=notice.id) is False
    assert early or receipts.note(SID, False, night.now, attempt=notice.id)
    assert not receipts.note(SID, False, night.now, attempt=notice.id), "twice is once"
    assert post(night, 1) == 1
    notice.refresh_from_db()
    assert (night.told("email"), notice.state) == (["manager@ab12.example"], NoticeState.SENT)
    assert not receipts.note(SID, False, night.now, attempt=notice.id)
    assert Event.objects.filter(action="notice:undelivered").count() == 1


def test_a_notice_that_arrives_nowhere_is_failed(house: House, night: Phones) -> None:
    Contact.objects.filter(user=house.people[Role.MANAGER], kind="email").update(ended_at=night.now)
    assert post(night) == 1
    Notice.objects.update(reference=SID)
    assert receipts.note(SID, False, night.now)
    assert post(night, 1) == 0
    assert Notice.objects.get().state == NoticeState.FAILED


def test_stop_ends_the_contact_of_a_notice(house: House, night: Phones) -> None:
    Contact.objects.filter(user=house.people[Role.MANAGER], kind="email").update(position=9)
    assert post(night) == 1
    assert receipts.note(SID, None, night.now, attempt=Notice.objects.get().id, stopped=True)
    assert Contact.objects.get(kind="sms").ended_why == "sms stop"


def test_a_test_or_a_code_to_what_is_gone_ends_it(house: House, night: Phones) -> None:
    night.pagers["sms"].problem = ChannelError("410", gone=True)
    mine = Contact.objects.get(kind="sms")
    contacts.ask_test(house.actor(Role.MANAGER, night.now), mine.id)
    desk = contacts.add(house.actor(Role.FRONT_DESK, night.now), "sms", "+15035550174")
    contacts.send_code(house.actor(Role.FRONT_DESK, night.now), desk.id)
    posting.send_codes(night.sender, night.now, LOG)
    assert set(Contact.objects.filter(kind="sms").values_list("ended_why", flat=True)) == {"sms gone"}


def test_a_round_rings_two_telephones_of_a_person_at_most_and_other_ways_are_tried_all(
    house: House, night: Phones
) -> None:
    manager = house.people[Role.MANAGER]
    Contact.objects.filter(user=manager).update(position=9)
    for number in range(5):
        contact(manager, "voice", f"+1503555018{number}", position=number)
    tried: list[str] = []

    def send(rendered: Rendered, address: str, reference: str) -> Receipt:
        tried.append(address[-1])
        raise ChannelError("nobody answered")

    night.pagers["voice"].send = send  # type: ignore[method-assign]
    night.pagers["sms"].problem = night.pagers["email"].problem = ChannelError("451")
    for wait in (0, 3, 6):
        assert post(night, wait) == 0
    assert "".join(tried) == "012304"


def test_silent_hours_put_a_notice_off(house: House, night: Phones) -> None:
    Contact.objects.update(quiet_from=0, quiet_until=1439)
    assert post(night) == 0
    notices.plan(house.people[Role.MANAGER], NoticeKind.LINE_TEST, "test:1", night.now)
    assert post(night, 1) == 1, "one that presses is not"
    Contact.objects.update(quiet_from=None, quiet_until=None)
    assert post(night, 600) == 1


def test_one_that_a_killed_sender_had_is_sent_and_marked(night: Phones) -> None:
    Notice.objects.update(tries=1, retry_at=night.now + posting.NOTICE_LEASE)
    lease = posting.NOTICE_LEASE.total_seconds()
    assert post(night, lease - 60) == 0
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
                post(night, 1000)
    assert len(night.told("email")) == MAX_TRIES
    assert post(night, 1000) == 0
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
