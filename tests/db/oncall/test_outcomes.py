"""What came of a call back: closed, or it stays with its owner and comes back, and after three tries others hear of it."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from tests.db.web.conftest import Https, signed_in
from tests.factories import CALLER, House, make_message

from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.line import promise
from nightbell.mailbox import late, service
from nightbell.mailbox.errors import BadText, NotNow
from nightbell.mailbox.models import Message, State
from nightbell.oncall import outcomes
from nightbell.oncall.models import CallBack, Reach
from nightbell.people import tokens
from nightbell.people.access import Forbidden, NotFound
from nightbell.people.roles import Role


@pytest.mark.parametrize(
    ("outcome", "tries", "minutes"),
    [
        ("no_answer", 1, 5), ("left_word", 1, 15), ("wrong_number", 1, 0), ("left_word", 2, 15), ("left_word", 3, 0),
        ("no_answer", 4, 5), ("no_answer", 6, 0),
        ("reached", 0, None), ("emergency", 0, None), ("no_call_needed", 0, None),
    ],
)  # fmt: skip
def test_when_it_comes_back(outcome: str, tries: int, minutes: int | None) -> None:
    now = utc_now()
    expected = None if minutes is None else now + timedelta(minutes=minutes)
    assert outcomes.comes_back(outcome, tries, now) == expected


def test_a_patient_who_was_not_reached_keeps_the_message_with_its_owner(house: House) -> None:
    message, actor = make_message(house.mailbox, urgent=True), house.actor(Role.CLINICIAN)
    service.acknowledge(actor, message.id)
    noted = outcomes.record(actor, message.id, "no_answer")
    assert noted == outcomes.Noted("acknowledged", 1, actor.now + timedelta(minutes=5))
    message.refresh_from_db()
    assert (message.state, message.owner_id, message.closed_at) == (State.OWNED, actor.user.id, None)
    assert (message.outcome, message.tried_at) == ("no_answer", actor.now)
    row = Event.objects.get(action="message:reach")
    assert (row.message, row.actor, b'"no_answer"' in bytes(row.leaf)) == (message.id, actor.name, True)


def test_the_third_try_is_due_at_once_and_marked_as_told(house: House) -> None:
    message, now = make_message(house.mailbox, urgent=True), utc_now()
    backs = []
    for minute, outcome in enumerate(("no_answer", "left_word", "wrong_number", "left_word")):
        actor = house.actor(Role.CLINICIAN, now + timedelta(minutes=minute))
        noted = outcomes.record(actor, message.id, outcome)
        assert noted.tries == minute + 1
        tried = Reach.objects.latest("number")
        backs.append((tried.back_at == tried.at, tried.told))
    assert backs == [(False, 0), (False, 0), (True, outcomes.THRICE), (False, 0)]
    outcomes.record(house.actor(Role.CLINICIAN, now + timedelta(hours=1)), message.id, "reached")
    assert outcomes.tries_in_vain(message.id) == 0
    assert Reach.objects.latest("at").back_at is None


def test_who_tries_a_message_of_nobodys_becomes_its_owner(house: House) -> None:
    message, actor = make_message(house.mailbox, urgent=True), house.actor(Role.CLINICIAN)
    outcomes.record(actor, message.id, "left_word")
    message.refresh_from_db()
    assert (message.owner_id, message.needs_alert) == (actor.user.id, False)
    colleague = house.actor(Role.FRONT_DESK)
    outcomes.record(colleague, message.id, "no_answer")
    message.refresh_from_db()
    assert message.owner_id == actor.user.id, "a colleague who tries does not take it away"
    assert [one.who for one in outcomes.history(message.id)] == [actor.user.name, colleague.user.name]


@pytest.mark.parametrize("outcome", ["reached", "emergency", "no_call_needed"])
def test_what_settles_it_closes_it(house: House, outcome: str) -> None:
    message, actor = make_message(house.mailbox), house.actor(Role.CLINICIAN)
    assert outcomes.record(actor, message.id, outcome) == outcomes.Noted("closed", 0, None)
    message.refresh_from_db()
    assert (message.state, message.outcome) == (State.CLOSED, outcome)
    with pytest.raises(NotNow):
        outcomes.record(actor, message.id, "no_answer")
    assert Reach.objects.count() == 1


@pytest.mark.parametrize("outcome", ["left_word", "no_answer", "wrong_number"])
def test_no_way_closes_what_did_not_reach_the_patient(house: House, outcome: str) -> None:
    message, actor = make_message(house.mailbox), house.actor(Role.CLINICIAN)
    with pytest.raises(BadText):
        service.close(actor, message.id, outcome)
    message.refresh_from_db()
    assert message.state == State.NEW


def test_one_call_has_one_outcome_and_a_button_pressed_twice_counts_once(house: House) -> None:
    message, actor = make_message(house.mailbox), house.actor(Role.CLINICIAN)
    call = CallBack.objects.create(message=message, user=actor.user, asked_at=actor.now)
    first = outcomes.record(actor, message.id, "no_answer", call=call)
    assert outcomes.record(actor, message.id, "reached", call=call) == first
    outcomes.record(actor, message.id, "no_answer", after=1)
    with pytest.raises(NotNow):
        outcomes.record(actor, message.id, "no_answer", after=1)
    assert Reach.objects.count() == 2


def test_a_close_taken_back_comes_back_to_its_owner(house: House) -> None:
    message, actor = make_message(house.mailbox, urgent=True), house.actor(Role.CLINICIAN)
    outcomes.record(actor, message.id, "reached")
    outcomes.reopen(actor, message.id)
    message.refresh_from_db()
    assert (message.state, message.outcome) == (State.OWNED, "")
    newest = Reach.objects.latest("id")
    assert (newest.outcome, newest.back_at) == ("reopened", actor.now + outcomes.REOPENED_BACK)
    outcomes.reopen(actor, message.id)  # given back: it is nobody's, and rings by itself
    message.refresh_from_db()
    assert (message.state, message.needs_alert, Reach.objects.count()) == (State.NEW, True, 2)


def test_all_or_nothing(house: House) -> None:
    message, actor = make_message(house.mailbox, urgent=True), house.actor(Role.CLINICIAN)
    closed = AuditClosed("x")
    with mock.patch("nightbell.oncall.outcomes.write", side_effect=closed), pytest.raises(AuditClosed):
        outcomes.record(actor, message.id, "left_word")
    message.refresh_from_db()
    assert (message.state, message.outcome, Reach.objects.count()) == (State.NEW, "", 0)


def test_who_may_not(house: House, other: House) -> None:
    message = make_message(house.mailbox)
    with pytest.raises(Forbidden):
        outcomes.record(house.actor(Role.DISPATCHER), message.id, "reached")
    with pytest.raises(NotFound):
        outcomes.record(other.actor(Role.CLINICIAN), message.id, "reached")
    with pytest.raises(BadText):
        outcomes.record(house.actor(Role.CLINICIAN), message.id, "cured")
    assert not Reach.objects.exists()


def test_an_addition_counts_for_the_message_that_it_joins(house: House) -> None:
    first = make_message(house.mailbox)
    marks = ((0, "callback:seen"), (0, f"joins:{first.id}"), (0, "recording"), (0, "part:message"))
    later = make_message(house.mailbox, urgent=True, marks=marks)
    outcomes.record(house.actor(Role.CLINICIAN), later.id, "no_answer")
    assert Reach.objects.get().message_id == first.id
    assert set(Message.objects.values_list("state", flat=True)) == {State.OWNED}


def test_a_voicemail_says_nothing_of_the_practice_but_its_number() -> None:
    for language, begins in (("en", "Hello."), ("es", "Hola."), ("xx", "Hello.")):
        said = outcomes.voicemail_script(language, "(503) 555-0100")
        assert said.startswith(begins) and said.endswith("(503) 555-0100.")
    assert outcomes.voicemail_script("en", "").endswith("the number that you called.")


def test_by_the_pages(house: House) -> None:
    """Noted on the page, which shows the try, when it comes back, and after a wrong number the others that are known."""
    marks = ((0, "callback:2125550199"), (0, "recording"), (0, "part:message"))
    message = make_message(house.mailbox, urgent=True, marks=marks)
    client = signed_in(house.people[Role.CLINICIAN])
    page = f"/m/{message.id}/"
    client.post(f"{page}take")
    shown = client.get(page).content.decode()
    assert "Please call us back at (503) 555-0100." in shown and "Not reached yet" not in shown
    noted = client.post(f"{page}close", {"outcome": "wrong_number", "tries": "0"})
    assert (noted.status_code, noted["Location"]) == (302, f"{page}?did=tried")
    shown = client.get(page).content.decode()
    assert "Not reached yet. Comes back now" in " ".join(shown.split())
    assert (
        f"tel:{CALLER}" in shown and "caller ID" in shown and '<details class="mt-3 text-sm" open>' in shown
    )
    assert client.post(f"{page}close", {"outcome": "no_answer", "tries": "0"}).status_code == 409
    assert client.post(f"{page}close", {"outcome": "cured"}).status_code == 422
    assert (
        client.post(f"{page}close", {"outcome": "reached", "tries": "1"})["Location"] == f"{page}?did=close"
    )
    assert "Called back by" in client.get(page).content.decode()


def test_by_the_api(house: House) -> None:
    message = make_message(house.mailbox)
    bearer = "Bearer " + tokens.issue(house.people[Role.CLINICIAN], "test", utc_now())
    client, address = Https(), f"/api/v1/messages/{message.id}"

    def close(outcome: str) -> dict[str, object]:
        body = {"outcome": outcome}
        answer = client.post(
            f"{address}/close", body, content_type="application/json", HTTP_AUTHORIZATION=bearer
        )
        found: dict[str, object] = answer.json()
        return found | {"status": answer.status_code}

    told = close("no_answer")
    assert (told["status"], told["done"], told["state"], told["tries"]) == (200, False, "acknowledged", 1)
    assert told["back_at"] is not None
    assert client.get(address, HTTP_AUTHORIZATION=bearer).json()["outcome"] == "no_answer"
    told = close("emergency")
    assert (told["done"], told["state"], told["tries"], told["back_at"]) == (True, "closed", 0, None)
    assert close("reached")["status"] == 409
    assert close("cured")["status"] == 422


def test_word_that_was_left_is_a_call_that_came_and_no_answer_is_none(house: House) -> None:
    """What callers are promised counts from calls that came, also where the patient was not reached yet."""
    now = utc_now()
    left, rang = (
        make_message(house.mailbox, urgent=True, answered_at=now - timedelta(hours=hours)) for hours in (2, 1)
    )
    Message.objects.update(promised_by=now)
    called = house.actor(Role.CLINICIAN, now - timedelta(minutes=20))
    outcomes.record(called, left.id, "left_word")
    outcomes.record(called, rang.id, "no_answer")
    rang.refresh_from_db()
    took, oldest = promise._urgent_spans(house.practice, now)
    assert took == [called.now - left.received_at] and oldest == now - rang.received_at
    assert late.find_broken(now) == 1
    assert Message.objects.get(late_at__isnull=False) == rang
