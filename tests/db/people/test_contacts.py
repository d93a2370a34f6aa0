"""Ways to a person: proved by their owner before use, silent when they want it, ended when they are not theirs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, Receipt, Rendered
from nightbell.mailbox.models import Number
from nightbell.oncall import posting
from nightbell.oncall.models import Notice
from nightbell.oncall.sending import Sender
from nightbell.people import contacts
from nightbell.people.access import NotFound
from nightbell.people.contacts import BadContact
from nightbell.people.models import Contact, Practice, User
from nightbell.people.roles import Role

NOW = datetime.fromisoformat("2026-11-24T04:00:00+00:00")  # 23:00 in New York


@pytest.fixture
def person(house: House) -> User:
    Contact.objects.all().delete()
    return house.people[Role.CLINICIAN]


def _add(house: House, kind: str = "sms", address: str = "+1 (503) 555-0177") -> Contact:
    return contacts.add(house.actor(Role.CLINICIAN, NOW), kind, address)


def _code(contact: Contact) -> str:
    return contacts.code_of(Contact.objects.get(pk=contact.pk))


def test_a_contact_is_used_only_after_its_owner_proved_it(house: House, person: User) -> None:
    actor, contact = house.actor(Role.CLINICIAN, NOW), _add(house)
    assert contact.address == "+15035550177"
    assert contacts.ways(person, NOW, True) == []
    assert contacts.unreachable() == [house.practice.code]
    contacts.send_code(actor, contact.id)
    contacts.prove(actor, contact.id, f" {_code(contact)} ")
    assert [c.id for c in contacts.ways(person, NOW, True)] == [contact.id]
    assert contacts.unreachable() == []
    stored = Contact.objects.get()
    assert (stored.code_sealed, stored.code_digest, stored.code_until) == ("", "", None)
    actions = list(Event.objects.filter(action__startswith="contact:").values_list("action", "outcome"))
    assert actions == [("contact:add", "ok"), ("contact:code", "ok"), ("contact:prove", "ok")]


def test_five_wrong_codes_and_the_right_one_is_of_no_use(house: House, person: User) -> None:
    actor, contact = house.actor(Role.CLINICIAN, NOW), _add(house)
    contacts.send_code(actor, contact.id)
    code = _code(contact)
    wrong = f"{(int(code) + 1) % 10**6:06d}"
    for _ in range(contacts.CODE_TRIES):
        with pytest.raises(BadContact, match="not the code"):
            contacts.prove(actor, contact.id, wrong)
    with pytest.raises(BadContact, match="Too many"):
        contacts.prove(actor, contact.id, code)
    assert contacts.ways(person, NOW, True) == []


@pytest.mark.parametrize("later", [timedelta(minutes=15), timedelta(days=365), -timedelta(days=365)])
def test_a_code_is_good_for_a_quarter_of_an_hour_whatever_the_clock_does(
    house: House, person: User, later: timedelta
) -> None:
    contact = _add(house)
    contacts.send_code(house.actor(Role.CLINICIAN, NOW), contact.id)
    with pytest.raises(BadContact, match="too old"):
        contacts.prove(house.actor(Role.CLINICIAN, NOW + later), contact.id, _code(contact))


def test_codes_are_not_sent_one_after_another(house: House, person: User) -> None:
    contact = _add(house)
    contacts.send_code(house.actor(Role.CLINICIAN, NOW), contact.id)
    first = _code(contact)
    with pytest.raises(BadContact, match="less than a minute"):
        contacts.send_code(house.actor(Role.CLINICIAN, NOW + timedelta(seconds=59)), contact.id)
    contacts.send_code(house.actor(Role.CLINICIAN, NOW + timedelta(seconds=61)), contact.id)
    with pytest.raises(BadContact):
        contacts.prove(house.actor(Role.CLINICIAN, NOW + timedelta(seconds=62)), contact.id, first)


def test_a_code_lies_nowhere_in_the_clear(house: House, person: User) -> None:
    contact = _add(house)
    contacts.send_code(house.actor(Role.CLINICIAN, NOW), contact.id)
    code = _code(contact)
    row = Contact.objects.filter(pk=contact.pk).values().get()
    row.pop("address")
    assert code not in repr(row)
    assert all(code not in bytes(leaf).decode() for leaf in Event.objects.values_list("leaf", flat=True))


def test_tests_are_counted_beside_codes_and_one_is_under_way_at_a_time(house: House, person: User) -> None:
    contact = _add(house)
    Contact.objects.filter(pk=contact.pk).update(verified_at=NOW)
    for number in range(contacts.CODES_AN_HOUR):
        actor = house.actor(Role.CLINICIAN, NOW + timedelta(minutes=number))
        contacts.ask_test(actor, contact.id)
        with pytest.raises(BadContact, match="about to leave"):
            contacts.ask_test(actor, contact.id)
        Contact.objects.filter(pk=contact.pk).update(send_at=None)
    last = house.actor(Role.CLINICIAN, NOW + timedelta(minutes=10))
    with pytest.raises(BadContact, match="No test was sent.*too many"):
        contacts.ask_test(last, contact.id)
    Contact.objects.filter(pk=contact.pk).update(verified_at=None)
    contacts.send_code(last, contact.id)
    assert len(Contact.objects.get(pk=contact.pk).code_times) == contacts.CODES_AN_HOUR + 1


def test_only_ones_own(house: House, person: User) -> None:
    contact, other = _add(house), house.actor(Role.MANAGER, NOW)
    asks: list[Callable[[], object]] = [
        lambda: contacts.send_code(other, contact.id),
        lambda: contacts.prove(other, contact.id, "000000"),
        lambda: contacts.remove(other, contact.id),
        lambda: contacts.silence(other, contact.id, 0, 60),
        lambda: contacts.ask_test(other, contact.id),
    ]
    for ask in asks:
        with pytest.raises(NotFound):
            ask()
    with pytest.raises(BadContact):
        contacts.order(other, [contact.id])


@pytest.mark.parametrize(
    ("minutes", "quiet"), [((22 * 60, 7 * 60), True), ((7 * 60, 22 * 60), False), ((0, 0), False)]
)
def test_silent_hours_never_hold_up_what_is_urgent(
    house: House, person: User, minutes: tuple[int, int], quiet: bool
) -> None:
    contact = _add(house)
    Contact.objects.update(verified_at=NOW)
    contacts.silence(house.actor(Role.CLINICIAN, NOW), contact.id, *minutes)
    assert bool(contacts.ways(person, NOW, urgent=False)) is not quiet
    assert contacts.ways(person, NOW, urgent=True)
    assert contacts.ways(person, NOW + timedelta(hours=12), urgent=False) or not quiet


def test_by_a_zone_that_cannot_be_read_no_hour_is_silent(house: House, person: User) -> None:
    contact = _add(house)
    Contact.objects.update(verified_at=NOW)
    contacts.silence(house.actor(Role.CLINICIAN, NOW), contact.id, 22 * 60, 7 * 60)
    person.practice.zone = "Mars/Olympus"
    assert contacts.ways(person, NOW, urgent=False)


def test_they_are_told_in_the_order_of_their_owner(house: House, person: User) -> None:
    actor = house.actor(Role.CLINICIAN, NOW)
    made = [
        _add(house, "sms", "+15035550177"),
        _add(house, "voice", "+15035550177"),
        _add(house, "email", "a@b.example"),
    ]
    Contact.objects.update(verified_at=NOW)
    ids = [one.id for one in made]
    assert [c.id for c in contacts.ways(person, NOW, True)] == ids
    contacts.order(actor, ids[::-1])
    assert [c.id for c in contacts.ways(person, NOW, True)] == ids[::-1]
    with pytest.raises(BadContact):
        contacts.order(actor, ids[:2])


def test_what_is_not_theirs_is_never_used_again(house: House, person: User) -> None:
    contact = _add(house)
    Contact.objects.update(verified_at=NOW)
    assert contacts.disown(contact.id, "key 9", NOW)
    assert not contacts.disown(contact.id, "key 9", NOW)
    assert contacts.ways(person, NOW, True) == []
    again = _add(house)  # typed once more, it is to be proved once more
    assert again.id == contact.id
    assert Contact.objects.get().verified_at is None
    assert Event.objects.filter(action="contact:disowned").count() == 1


def test_that_a_way_has_ended_is_told_to_its_owner_and_to_the_managers(house: House, person: User) -> None:
    contact = _add(house)
    Contact.objects.filter(pk=contact.pk).update(verified_at=NOW)
    for _ in range(2):
        contacts.disown(contact.id, "key 9", NOW)
    told = sorted(Notice.objects.values_list("user__login", "kind"))
    managers = User.objects.filter(practice=person.practice, role=Role.MANAGER.value)
    assert told == sorted((one.login, "ways") for one in (person, *managers))


def test_who_is_locked_out_is_told_nothing(house: House, person: User) -> None:
    _add(house)
    Contact.objects.update(verified_at=NOW)
    person.is_active = False
    person.save()
    assert contacts.ways(person, NOW, True) == []
    assert list(contacts.usable()) == []


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("sms", "035550177"), ("voice", "+1"), ("voice", "911"), ("email", "nobody"), ("push", "http://push.example/x"),
        ("fax", "+15035550177"), ("other", "mailto"), ("sms", "+1503555017\u0667"), ("email", "a@b.example\nBcc: x@y.example"),
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(house: House, person: User, kind: str, address: str) -> None:
    with pytest.raises(BadContact):
        _add(house, kind, address)


class Pushing:
    """A push service that answers as it is told, and takes the rest."""

    name = "push"

    def __init__(self, *problems: ChannelError) -> None:
        self.problems, self.taken = list(problems), 0

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        if self.problems:
            raise self.problems.pop(0)
        self.taken += 1
        return Receipt(b"", "taken")


def test_a_browser_is_proved_when_its_push_service_took_the_first_push(house: House, person: User) -> None:
    made = contacts.add(
        house.actor(Role.CLINICIAN, NOW), "push", "https://push.example/abc", {"p256dh": "x", "auth": "y"}
    )
    assert contacts.ways(person, NOW, True) == [], "nobody has confirmed it"
    assert not User.objects.filter(contacts.proved(), pk=person.pk).exists()
    with pytest.raises(BadContact, match="carries none"):
        contacts.send_code(house.actor(Role.CLINICIAN, NOW), made.id)
    service = Pushing(ChannelError("busy"))
    for seconds, ways in ((0, []), (31, [made.id]), (62, [made.id])):
        now = NOW + timedelta(seconds=seconds)
        posting.send_codes(Sender({"push": service}, "https://n.example"), now, Log("test"))
        assert [c.id for c in contacts.ways(person, now, True)] == ways
    assert service.taken == 1


@pytest.mark.parametrize("gone", [False, True])
def test_a_browser_that_its_push_service_refuses_is_no_way(house: House, person: User, gone: bool) -> None:
    actor = house.actor(Role.CLINICIAN, NOW)
    made = contacts.add(actor, "push", "https://push.example/abc")
    service = Pushing(ChannelError("refused", permanent=True, gone=gone))
    sender = Sender({"push": service}, "https://n.example")
    for seconds in (0, 31):
        posting.send_codes(sender, NOW + timedelta(seconds=seconds), Log("test"))
    assert contacts.ways(person, NOW, True) == [] and service.taken == 0
    made.refresh_from_db()
    assert (made.ended_at is not None) is gone
    if not gone:
        contacts.ask_test(actor, made.id)
        posting.send_codes(sender, NOW, Log("test"))
        assert [c.id for c in contacts.ways(person, NOW, True)] == [made.id], "it was sent again"


def test_a_first_push_that_nobody_could_send_is_given_up(house: House, person: User) -> None:
    made = contacts.add(house.actor(Role.CLINICIAN, NOW), "push", "https://push.example/abc")
    service = Pushing()
    later = NOW + timedelta(minutes=16)
    posting.send_codes(Sender({"push": service}, "https://n.example"), later, Log("test"))
    made.refresh_from_db()
    assert (made.send_at, made.verified_at, service.taken) == (None, None, 0)


def test_the_keys_of_a_push_are_plain(house: House, person: User) -> None:
    with pytest.raises(BadContact, match="keys"):
        contacts.add(house.actor(Role.CLINICIAN, NOW), "push", "https://push.example/abc", {"auth": "a\x00"})


def test_everybody_had_an_email_and_keeps_it(house: House) -> None:
    """The migration of people who were told by email before there were contacts."""
    from importlib import import_module

    from django.apps import apps
    from django.db import connection

    Contact.objects.all().delete()
    bare = User.objects.create(login="bare", name="B", role=Role.CLINICIAN, practice=house.practice)
    import_module("nightbell.people.migrations.0006_emails_in_use").take_over(
        apps, connection.schema_editor()
    )
    assert Practice.objects.count() == 1
    with_mail = User.objects.exclude(email="")
    assert {(c.user_id, c.address) for c in contacts.usable()} == {(u.id, u.email) for u in with_mail}
    assert contacts.ways(bare, utc_now(), True) == []


def test_taken_away_and_added_anew_a_contact_keeps_its_tries(house: House, person: User) -> None:
    actor, contact = house.actor(Role.CLINICIAN, NOW), _add(house)
    contacts.send_code(actor, contact.id)
    wrong = f"{(int(_code(contact)) + 1) % 10**6:06d}"
    for _ in range(contacts.CODE_TRIES):
        contacts.remove(actor, contact.id)
        assert _add(house).id == contact.id
        with pytest.raises(BadContact, match="not the code"):
            contacts.prove(actor, contact.id, wrong)
    with pytest.raises(BadContact, match="Too many"):
        contacts.prove(actor, contact.id, wrong)
    contacts.remove(actor, contact.id)
    _add(house)
    with pytest.raises(BadContact, match="less than a minute"):
        contacts.send_code(actor, contact.id)


def _send(house: House, contact: Contact, minutes: int, role: Role = Role.CLINICIAN) -> None:
    contacts.send_code(house.actor(role, NOW + timedelta(minutes=minutes)), contact.id)


def test_codes_are_few_an_hour_and_a_day_to_a_person_and_to_a_number(house: House, person: User) -> None:
    ours = [_add(house, kind, f"+1503555013{n}") for n, kind in enumerate(("sms", "voice"))]
    for n in range(5):
        _send(house, ours[n % 2], 3 * n)
    with pytest.raises(BadContact, match="too many"):
        _send(house, ours[0], 15)
    theirs = contacts.add(house.actor(Role.MANAGER, NOW), "voice", ours[0].address)
    for n in range(2):  # three went to this number from somebody else
        _send(house, theirs, 16 + n * 2, Role.MANAGER)
    with pytest.raises(BadContact, match="too many"):
        _send(house, theirs, 21, Role.MANAGER)
    for n in range(15):
        _send(house, ours[1], 90 + 30 * n)
    with pytest.raises(BadContact, match="too many"):
        _send(house, ours[1], 90 + 30 * 15)
    _send(house, ours[1], 60 * 30)
    assert len(Contact.objects.get(pk=ours[1].pk).code_times) <= contacts.CODES_A_DAY


@pytest.mark.parametrize(
    "number", ["+18765550100", "+12425550100", "+442079460000", "+881612345678", "+19005550142", "911"]
)
def test_no_number_is_added_that_would_not_be_dialled(house: House, person: User, number: str) -> None:
    for kind in ("sms", "voice"):
        with pytest.raises(BadContact):
            _add(house, kind, number)


@pytest.mark.parametrize("number", ["+1 503 555 0100", "503-555-0190", "+15035550142"])
def test_a_number_that_is_answered_here_is_no_way_to_a_person(
    house: House, other: House, person: User, number: str
) -> None:
    """Its own practice's, another practice's of this installation, and one that only a line answers."""
    Number.objects.create(dialled="15035550142", mailbox=house.mailbox)
    for kind in ("sms", "voice"):
        with pytest.raises(BadContact, match="answered by this system"):
            _add(house, kind, number)


def test_a_practice_abroad_has_its_own_countrys_numbers(house: House, person: User) -> None:
    Practice.objects.update(number="+442079460000")
    house.people[Role.CLINICIAN].practice.refresh_from_db()
    assert _add(house, "voice", "+44 20 7946 0001").address == "+442079460001"
    with pytest.raises(BadContact, match="abroad"):
        _add(house, "voice", "+1 503 555 0177")
