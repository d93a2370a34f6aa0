"""A clinician of another practice takes nights here: asked, accepted, told, limited to that, and gone when it ends."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from tests.db.web.conftest import signed_in, spoken_message
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message, Shown, State
from nightbell.oncall import (
    covering,
    escalation,
    owners,
    policies,
    schedule,
    schedule_admin,
    service,
    swaps,
    whom,
)
from nightbell.oncall.errors import BadShift, Uncovered
from nightbell.oncall.models import Alert, Attempt, EscalationPolicy, Route, Shift
from nightbell.oncall.roster import on_call_ids
from nightbell.people import contacts, covers, pins
from nightbell.people.access import Actor, Forbidden, NotFound
from nightbell.people.covers import BadCover
from nightbell.people.models import Contact, Cover, User
from nightbell.people.practices import BadPerson, lock_out, person
from nightbell.people.roles import COVERING, Act, Role
from nightbell.server import admin
from nightbell.web.views.inbox import pulse_of

HOUR = timedelta(hours=1)


def self_of(house: House) -> Actor:
    """The clinician of the other practice, as themselves."""
    return house.actor(Role.CLINICIAN)


def cover(house: House, other: House) -> User:
    """Asked by `house`, accepted by the clinician of `other`: their row in `house`."""
    asked = covers.ask(house.actor(Role.MANAGER), other.people[Role.CLINICIAN].login)
    guest = covers.accept(self_of(other), asked.id).guest
    assert guest is not None
    return guest


def there(guest: User) -> Actor:
    """The same person, at work in the practice that they cover."""
    return Actor(User.objects.select_related("practice").get(pk=guest.pk), "192.0.2.9", "session", utc_now())


def put_on_call(house: House, guest: User, hours: int = 12) -> None:
    manager = house.actor(Role.MANAGER)
    schedule.add_override(manager, guest.id, manager.now - HOUR, manager.now + hours * HOUR)


def actions(house: House, start: str) -> list[tuple[str, str]]:
    rows = Event.objects.filter(log_id=house.practice.id, action__startswith=start).order_by("seq")
    return list(rows.values_list("action", "actor"))


def test_asked_accepted_and_only_then_on_call(house: House, other: House) -> None:
    manager, doctor = house.actor(Role.MANAGER), other.people[Role.CLINICIAN]
    asked = covers.ask(manager, doctor.email.upper())
    assert not User.objects.filter(home=doctor).exists(), "nothing is theirs before they accept"
    with pytest.raises(BadShift, match="no such person"):
        schedule.add_override(manager, doctor.id, manager.now, manager.now + HOUR)
    with pytest.raises(NotFound):
        covers.accept(other.actor(Role.MANAGER), asked.id)  # somebody else's
    guest = covers.accept(self_of(other), asked.id).guest
    assert guest is not None and covers.accept(self_of(other), asked.id).guest == guest, "twice is once"
    assert (guest.practice, guest.name, guest.email) == (house.practice, doctor.name, "")
    assert not guest.has_usable_password() and not guest.contacts.exists()
    put_on_call(house, guest)
    assert on_call_ids(house.practice, utc_now()) == [guest.id]
    for one in (house, other):
        assert [row[0] for row in actions(one, "cover:")] == ["cover:ask", "cover:accept"]


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("", "no name was given"),
        ("nobody at all", "no clinician of another practice"),
        ("clinician-ab12", "works in this practice"),
        ("front_desk-cd34", "no clinician of another practice"),
        ("clinician", "no clinician of another practice"),
    ],
)
def test_whom_nobody_can_ask(house: House, other: House, who: str, why: str) -> None:
    with pytest.raises(BadCover) as refused:
        covers.ask(house.actor(Role.MANAGER), who)
    assert why in refused.value.why and refused.value.mend
    assert Event.objects.filter(log_id=house.practice.id, action="cover:ask", outcome="refused").exists()
    with pytest.raises(Forbidden):
        covers.ask(house.actor(Role.CLINICIAN), "clinician-cd34")


def test_a_name_that_two_have_and_who_is_asked_already(house: House, other: House) -> None:
    """A manager of the other practice has the same name: only an address or a log-in tells them apart."""
    other_boss = other.people[Role.MANAGER]
    User.objects.filter(pk=other_boss.pk).update(name=other.people[Role.CLINICIAN].name)
    manager = house.actor(Role.MANAGER)
    with pytest.raises(BadCover, match="more than one"):
        covers.ask(manager, other.people[Role.CLINICIAN].name)
    covers.ask(manager, other_boss.login)
    with pytest.raises(BadCover, match="already"):
        covers.ask(manager, other_boss.login)


def test_they_are_told_in_their_own_ways_with_their_own_pin(house: House, other: House) -> None:
    guest, doctor = cover(house, other), other.people[Role.CLINICIAN]
    pins.set_pin(self_of(other), "493817")
    assert [one.user for one in contacts.ways(guest, utc_now(), True)] == [doctor]
    assert pins.has_pin(guest) and pins.check_pin(guest, "493817", utc_now()) is pins.PinAnswer.OK
    assert actions(house, "pin:") == [("pin:check", f"user:{guest.login}")]
    put_on_call(house, guest)
    message = spoken_message(house)
    escalation.start_due(utc_now())
    escalation.advance_due(utc_now())
    attempt = Attempt.objects.get(alert__message=message)
    assert (attempt.user, attempt.address, attempt.alert.practice) == (guest, doctor.email, house.practice)
    assert {rung.channel for rung in service.ladder(message.id)} == {""}, "by what they are told is their own"
    Contact.objects.filter(user=doctor).update(ended_at=utc_now())
    assert contacts.ways(guest, utc_now(), True) == []
    assert [told for _, told in covers.of_practice(house.actor(Role.MANAGER))] == [False]


def test_they_open_what_they_were_told_of_and_nothing_else(house: House, other: House) -> None:
    guest = cover(house, other)
    before = spoken_message(house)
    escalation.start_due(utc_now())
    escalation.advance_due(utc_now())
    put_on_call(house, guest)
    told = spoken_message(house)
    escalation.start_due(utc_now())
    escalation.advance_due(utc_now())
    calm = spoken_message(house)
    Message.objects.filter(pk=calm.pk).update(urgency="routine")
    actor = there(guest)
    assert [row.id for row in mailbox.inbox(actor).rows] == [told.id]
    assert mailbox.counts(actor)["open"] == 1
    assert mailbox.message(actor, told.id).row.id == told.id
    for hidden in (before, calm):
        for look in (mailbox.message, mailbox.acknowledge, lambda a, m: mailbox.note(a, m, "x")):
            with pytest.raises(NotFound):
                look(actor, hidden.id)
    assert mailbox.acknowledge(actor, told.id).mine
    owners.hand_over(actor, told.id, house.people[Role.MANAGER].id)
    assert mailbox.message(actor, told.id), "who had it may still see it"
    mine = actions(house, "message:")
    assert ("message:acknowledge", f"user:{guest.login}") in mine and (
        "message:view",
        f"user:{guest.login}",
    ) in mine
    refused = Event.objects.filter(log_id=house.practice.id, actor=f"user:{guest.login}", outcome="not_found")
    assert refused.count() == 6
    assert not actions(other, "message:"), "what they do is in the log of the practice whose message it is"
    assert not Shown.objects.exclude(user=guest).exists(), "colleagues need no such row"


def test_a_message_handed_to_them_becomes_theirs_to_see(house: House, other: House) -> None:
    guest = cover(house, other)
    message, clinician = spoken_message(house), house.actor(Role.CLINICIAN)
    mailbox.acknowledge(clinician, message.id)
    with pytest.raises(NotFound):
        mailbox.message(there(guest), message.id)
    owners.hand_over(clinician, message.id, guest.id)
    assert mailbox.message(there(guest), message.id).row.owner is not None


def test_what_they_may_do(house: House, other: House) -> None:
    actor = there(cover(house, other))
    assert {act for act in Act if actor.may(act)} == COVERING
    assert not COVERING & {
        Act.EDIT_SCHEDULE,
        Act.AUDIT,
        Act.UNROUTED,
        Act.NUMBERS,
        Act.EDIT_LINE,
        Act.DELIVERY,
    }
    with pytest.raises(Forbidden):
        schedule.add_override(actor, actor.user.id, actor.now, actor.now + HOUR)


def test_a_step_that_tells_everybody_tells_colleagues(house: House, other: House) -> None:
    guest = cover(house, other)
    steps = [
        {"who": "user", "id": guest.id, "how": [], "wait_s": 60},
        {"who": "all", "id": "", "how": [], "wait_s": 60},
    ]
    policy = EscalationPolicy.objects.create(practice=house.practice, name="x", steps=steps)
    Route.objects.create(practice=house.practice, policy=policy)
    spoken_message(house)
    escalation.start_due(utc_now())
    alert = Alert.objects.select_related("practice", "message", "schedule").get()
    read = policies.read_policy(alert.policy)
    facts = whom.facts(alert, read, utc_now())
    first, second = (policies.tell(read, n, facts, utc_now()) for n in (0, 1))
    assert first.users == (guest.id,), "whom a step names it tells"
    assert guest.id not in second.users and house.people[Role.CLINICIAN].id in second.users


def test_the_end_is_weighed_and_gives_back_what_they_had(house: House, other: House) -> None:
    guest = cover(house, other)
    Shift.objects.all().delete()
    put_on_call(house, guest)
    message = spoken_message(house)
    escalation.start_due(utc_now())
    escalation.advance_due(utc_now())
    mailbox.acknowledge(there(guest), message.id)
    row = Cover.objects.get()
    doctor = self_of(other)
    with pytest.raises(NotFound):
        covering.end(other.actor(Role.MANAGER), row.id)  # their own practice has no say in it
    with pytest.raises(Uncovered):
        covering.end(doctor, row.id)
    assert mailbox.message(there(guest), message.id), "and nothing was changed"
    covering.end(doctor, row.id, doctor.user.name)
    message.refresh_from_db()
    assert (message.state, message.owner, message.needs_alert) == (State.NEW, None, True)
    assert on_call_ids(house.practice, utc_now()) == [] and not User.objects.get(pk=guest.pk).is_active
    assert contacts.ways(User.objects.get(pk=guest.pk), utc_now(), True) == []
    assert pins.check_pin(guest, "493817", utc_now()) is pins.PinAnswer.NONE
    ended = Event.objects.get(log_id=house.practice.id, action="cover:end")
    assert json.loads(bytes(ended.leaf))["detail"]["confirmed"] is True
    assert actions(other, "cover:")[-1] == ("cover:end", doctor.name)
    with pytest.raises(NotFound):
        covering.end(doctor, row.id)


def test_asked_again_nothing_of_before_comes_back(house: House, other: House) -> None:
    first = cover(house, other)
    put_on_call(house, first)
    covering.end(house.actor(Role.MANAGER), Cover.objects.get().id)
    second = cover(house, other)
    assert second != first and second.login == f"{first.login}.2"
    assert on_call_ids(house.practice, utc_now()) == [house.people[Role.CLINICIAN].id]
    assert not mailbox.inbox(there(second)).rows


def test_a_locked_log_in_covers_nowhere(house: House, other: House) -> None:
    guest, doctor = cover(house, other), other.people[Role.CLINICIAN]
    lock_out(doctor, "os:test", utc_now())
    assert not User.objects.get(pk=guest.pk).is_active
    assert Cover.objects.get().ended_by == "os:test"
    assert actions(house, "cover:")[-1] == ("cover:end", "os:test")
    with pytest.raises(BadPerson, match="covers"):
        person(guest.login)  # no command makes a log-in of it


def test_locked_by_command_what_they_own_is_held_before_any_log(
    house: House, other: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes a message locks it, then the log: the other way round the two would wait for each other."""
    guest, doctor = cover(house, other), other.people[Role.CLINICIAN]
    put_on_call(house, guest)
    theirs, own = spoken_message(house), spoken_message(other)
    escalation.start_due(utc_now())
    escalation.advance_due(utc_now())
    mailbox.acknowledge(there(guest), theirs.id)
    mailbox.acknowledge(self_of(other), own.id)
    monkeypatch.setattr(admin, "_ready", lambda config: None)
    with CaptureQueriesContext(connection) as asked:
        admin._disable(load(), Namespace(login=doctor.login))
    queries = [one["sql"] for one in asked.captured_queries]
    log = next(n for n, sql in enumerate(queries) if 'FROM "audit_log"' in sql)
    held = [sql for sql in queries[:log] if 'FROM "mailbox_message"' in sql]
    assert any(guest.id in sql and doctor.id in sql and "ORDER BY" in sql for sql in held)
    assert not Message.objects.filter(state=State.OWNED).exists()


def test_nobody_who_covers_is_the_last_resort(house: House, other: House) -> None:
    guest = cover(house, other)
    with pytest.raises(BadShift, match="may end their covering at any time"):
        schedule_admin.set_last_resort(house.actor(Role.MANAGER), guest.id)


def test_a_swap_can_go_to_them(house: House, other: House) -> None:
    guest, clinician = cover(house, other), house.people[Role.CLINICIAN]
    now = utc_now()
    found = swaps.candidates(house.practice.schedules.get(), clinician, now, now + HOUR)
    assert [(one.user, one.ways) for one in found if one.user == guest] == [(guest, True)]
    swap = swaps.ask(clinician, now, now + HOUR, [guest.id], now, False)
    doctor = signed_in(other.people[Role.CLINICIAN])
    assert b"asks you to take a shift" in doctor.get("/").content
    there_now = doctor.post(f"/account/covering/{Cover.objects.get().id}/go", {"to": "oncall"})
    assert b"I take it" in doctor.get(there_now["Location"]).content
    assert swaps.answer(swap.id, guest, True, now) is swaps.Answered.TAKEN
    assert on_call_ids(house.practice, now) == [guest.id]


# The pages.


def test_the_pages_from_asking_to_going_home(house: House, other: House) -> None:
    manager, doctor = signed_in(house.people[Role.MANAGER]), signed_in(other.people[Role.CLINICIAN])
    page = manager.get("/oncall/plan").content.decode()
    assert "A clinician of another practice on this Nightbell can take nights here" in page
    wrong = manager.post("/oncall/cover/ask", {"who": "Dr Nobody"})
    assert wrong.status_code == 422 and b'value="Dr Nobody"' in wrong.content
    assert manager.post("/oncall/cover/ask", {"who": "clinician-cd34"}).status_code == 302
    row = Cover.objects.get()
    assert b"Another practice asks" in doctor.get("/").content
    assert b"Practice AB12 asks you to cover" in doctor.get("/account/covering/").content
    assert doctor.post(f"/account/covering/{row.id}/go").status_code == 404
    assert doctor.post(f"/account/covering/{row.id}/accept").status_code == 302
    assert b"Has a proved way to be told" in manager.get("/oncall/plan").content
    assert other.people[Role.CLINICIAN].email not in manager.get("/oncall/plan").content.decode()
    guest = covers.guests(other.people[Role.CLINICIAN])[0]
    put_on_call(house, guest)
    theirs, own = spoken_message(house), spoken_message(other)
    escalation.start_due(utc_now())
    escalation.advance_due(utc_now())
    assert doctor.get(f"/m/{theirs.id}/").status_code == 404, "not while in their own practice"
    assert doctor.post(f"/account/covering/{row.id}/go").status_code == 302
    inbox = doctor.get("/").content.decode()
    assert "Covering at" in inbox and theirs.id in inbox and own.id not in inbox
    assert doctor.get(f"/m/{theirs.id}/").status_code == 200
    assert doctor.get(f"/m/{theirs.id}/audio").status_code in (200, 206)
    assert doctor.get(f"/m/{own.id}/").status_code == 404
    assert [doctor.get(path).status_code for path in ("/audit/", "/numbers/", "/line/")] == [403, 403, 403]
    ways = doctor.get("/account/ways/").content.decode()
    assert other.people[Role.CLINICIAN].email in ways, "pages about themselves stay theirs"
    assert doctor.post("/account/covering/back").status_code == 302
    assert own.id in doctor.get("/").content.decode()
    assert ("cover:enter", f"user:{guest.login}") in actions(house, "cover:")


def test_who_else_was_told_and_what_else_came_in_they_do_not_see(house: House, other: House) -> None:
    guest = cover(house, other)
    put_on_call(house, guest)
    theirs = spoken_message(house)
    escalation.start_due(utc_now())
    escalation.advance_due(utc_now())
    Attempt.objects.update(user=house.people[Role.MANAGER], state="sent", sent_at=utc_now(), answer="250 ok")
    doctor, colleague = signed_in(other.people[Role.CLINICIAN]), signed_in(house.people[Role.CLINICIAN])
    doctor.post(f"/account/covering/{Cover.objects.get().id}/go")
    manager = house.people[Role.MANAGER].name
    for path in ("/", f"/m/{theirs.id}/"):
        assert manager in colleague.get(path).content.decode()
        main = doctor.get(path).content.decode().split("<main", 1)[1]
        assert theirs.id in main
        for hidden in (manager, "nb-ladder", "250 ok", "Nobody has been told yet"):
            assert hidden not in main
    before, own = pulse_of(there(guest)), pulse_of(house.actor(Role.CLINICIAN))
    spoken_message(house)
    assert pulse_of(there(guest)) == before and pulse_of(house.actor(Role.CLINICIAN)) != own


def test_the_link_of_a_notification_leads_to_the_right_practice(house: House, other: House) -> None:
    guest = cover(house, other)
    put_on_call(house, guest)
    theirs, own = spoken_message(house), spoken_message(other)
    escalation.start_due(utc_now())
    escalation.advance_due(utc_now())
    token: Callable[[Message], str] = lambda m: Alert.objects.get(message=m).token  # noqa: E731
    doctor = signed_in(other.people[Role.CLINICIAN])
    for message in (theirs, own, theirs):
        answer = doctor.get(f"/n/{token(message)}")
        assert answer["Location"] == f"/m/{message.id}/"
        assert doctor.get(answer["Location"]).status_code == 200
    assert doctor.get(f"/n/{token(own)}").status_code == 302  # home again
    Shown.objects.all().delete()  # they were told of nothing there
    assert doctor.get(f"/n/{token(theirs)}").status_code == 404
    assert doctor.get(f"/m/{own.id}/").status_code == 200, "and they are still at home"
    stranger = signed_in(other.people[Role.FRONT_DESK])
    assert stranger.get(f"/n/{token(theirs)}").status_code == 404
    covering.end(house.actor(Role.MANAGER), Cover.objects.get().id)
    assert doctor.get(f"/m/{theirs.id}/").status_code == 404, "the browser is back home with the next page"
    assert doctor.get(f"/m/{own.id}/").status_code == 200


def test_a_push_that_leads_to_the_wrong_inbox_finds_a_bar_that_leads_on(house: House, other: House) -> None:
    guest = cover(house, other)
    put_on_call(house, guest)
    client = signed_in(other.people[Role.CLINICIAN])
    bar = '<aside class="nb-covering" aria-label="Urgent elsewhere">'
    message = spoken_message(house, urgent=True)
    assert bar not in client.get("/").content.decode(), "they were not told of it"
    escalation.start_due(utc_now())
    page = client.get("/").content.decode()
    assert page.count(bar) == 1 and house.practice.name in page
    cover_id = Cover.objects.get().id
    assert f"/account/covering/{cover_id}/go" in page
    spoken_message(other, urgent=True)
    client.post(f"/account/covering/{cover_id}/go")
    page = client.get("/").content.decode()
    assert page.count(bar) == 1 and f"at {other.practice.name}." in page, (
        "their own practice is another one now"
    )
    client.post("/account/covering/back")
    Message.objects.filter(pk=message.id).update(state=State.OWNED, owner=guest)
    assert bar not in client.get("/").content.decode()


def test_leaving_minutes_alone_asks_for_the_name_on_the_page(house: House, other: House) -> None:
    guest = cover(house, other)
    Shift.objects.all().delete()
    put_on_call(house, guest)
    doctor, row = signed_in(other.people[Role.CLINICIAN]), Cover.objects.get()
    page = doctor.post(f"/account/covering/{row.id}/end")
    assert (
        page.status_code == 422
        and b"type your name" in page.content
        and b"/account/covering/" in page.content
    )
    assert signed_in(house.people[Role.MANAGER]).post(f"/oncall/cover/{row.id}/end").status_code == 422
    assert doctor.post(f"/account/covering/{row.id}/end", {"confirm": "clinician núñez"}).status_code == 302
    assert not covers.of_person(other.people[Role.CLINICIAN])
