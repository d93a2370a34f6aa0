"""The inbox and the message page: what is shown, what is written down, what is changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.db.web.conftest import SPOKEN, Https, signed_in, spoken_message
from tests.factories import House, make_message

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.mailbox.models import Message
from nightbell.oncall import escalation
from nightbell.oncall.models import Alert
from nightbell.people.roles import Act, Role, may
from nightbell.store import vault


def events(house: House, action: str) -> list[Event]:
    return list(Event.objects.filter(log_id=house.practice.id, action=action).order_by("seq"))


def test_an_empty_inbox_says_that_nobody_waits(browser: Callable[[Role], Https]) -> None:
    assert "Nobody is waiting." in browser(Role.FRONT_DESK).get("/").content.decode()


def test_the_inbox_shows_number_words_and_reason(house: House, browser: Callable[[Role], Https]) -> None:
    spoken_message(house)
    page = browser(Role.CLINICIAN).get("/").content.decode()
    assert "(503) 555-0148" in page
    assert "Hello I have" in page
    assert '<span class="nb-flag">chest pain</span>' in page


def test_a_dispatcher_sees_number_and_urgency_but_no_words(
    house: House, browser: Callable[[Role], Https]
) -> None:
    message = spoken_message(house, urgent=True)
    client = browser(Role.DISPATCHER)
    for path in ("/", f"/m/{message.id}/"):
        page = client.get(path).content.decode()
        assert "(503) 555-0148" in page and "Urgent" in page
        for word in ("Hello", "chest", "Quixby", "<audio", "nb-wave"):
            assert word not in page
        assert "I have this" not in page


def test_one_look_at_the_inbox_is_one_row_that_names_its_messages(
    house: House, browser: Callable[[Role], Https]
) -> None:
    first, second = spoken_message(house), make_message(house.second)
    browser(Role.CLINICIAN).get("/")
    (event,) = events(house, "message:list")
    leaf = bytes(event.leaf).decode()
    assert first.id in leaf and second.id in leaf


def test_one_look_at_a_message_is_one_row(house: House, browser: Callable[[Role], Https]) -> None:
    message = spoken_message(house)
    browser(Role.CLINICIAN).get(f"/m/{message.id}/")
    assert [e.message for e in events(house, "message:view")] == [message.id]
    assert events(house, "message:play") == []  # looking is not listening


def test_an_urgent_message_without_owner_stands_above_with_its_ladder(
    house: House, browser: Callable[[Role], Https]
) -> None:
    message = spoken_message(house, urgent=True)
    escalation.start_due(utc_now())
    page = browser(Role.CLINICIAN).get("/").content.decode()
    assert f'data-alert data-id="{message.id}"' in page
    assert "Nobody owns this yet" in page and "nb-ladder" in page
    assert "An urgent message has no owner." in page
    browser(Role.CLINICIAN).post(f"/m/{message.id}/take")
    page = browser(Role.CLINICIAN).get("/").content.decode()
    assert "data-alert" not in page
    assert "No urgent message is without an owner." in page


def test_an_old_page_does_not_close_what_got_worse_since(
    house: House, browser: Callable[[Role], Https]
) -> None:
    first, client = make_message(house.mailbox, urgent=True), browser(Role.CLINICIAN)
    client.post(f"/m/{first.id}/take")
    worse = ((0, f"joins:{first.id}"), (0, "recording"), (0, "part:worse"))
    addition = make_message(house.mailbox, urgent=True, marks=worse)
    answer = client.post(f"/m/{first.id}/close", {"outcome": "reached"})
    assert answer.status_code == 409
    assert "It got worse since you opened it" in answer.content.decode()
    assert set(Message.objects.values_list("state", "urgency")) == {("new", "urgent")}
    client.post(f"/m/{first.id}/take")
    page = client.get(f"/m/{first.id}/").content.decode()
    assert page.count(f'<input type="hidden" name="seen" value="{addition.id}">') == 1
    answer = client.post(f"/m/{first.id}/close", {"outcome": "reached", "seen": addition.id})
    assert answer.status_code == 302
    assert set(Message.objects.values_list("state", flat=True)) == {"closed"}


def test_a_page_with_an_addition_that_cannot_be_opened_is_shown(
    house: House, browser: Callable[[Role], Https]
) -> None:
    first = make_message(house.mailbox)
    worse = ((0, f"joins:{first.id}"), (0, "recording"), (0, "part:worse"))
    addition = make_message(house.mailbox, urgent=True, marks=worse)
    vault.keyring().destroy(addition.id)
    answer = browser(Role.CLINICIAN).get(f"/m/{first.id}/")
    assert answer.status_code == 200
    assert "cannot be opened whole" in answer.content.decode()


def test_the_transcript_marks_flags_doubts_and_numbers(
    house: House, browser: Callable[[Role], Https]
) -> None:
    message = spoken_message(house)
    page = browser(Role.CLINICIAN).get(f"/m/{message.id}/").content.decode()
    flag = page.split('class="nb-flag">')[1].split("</span></span>")[0]
    assert "chest" in flag and "pain" in flag
    doubt = page.split('title="30 % sure">')[1].split("(unsure)")[0]
    assert "Quixby" in doubt
    assert 'aria-label="Number: 503 555 0148, play at 0:02"' in page
    assert "Spoken and caller ID agree" in page


def test_a_number_said_otherwise_than_the_carriers_is_pointed_out(
    house: House, browser: Callable[[Role], Https]
) -> None:
    message = spoken_message(house, text=SPOKEN.replace("0148", "0149"))
    page = browser(Role.CLINICIAN).get(f"/m/{message.id}/").content.decode()
    assert "Heard in the message: (503) 555-0149" in page


@pytest.mark.parametrize(
    ("marks", "told"),
    [
        (("attest:verified:A",), "The carrier vouches for this number"),
        (("attest:failed:-",), "This number may be false"),
        (("attest:failed:-", "callback:seen"), "This number may be false"),  # it is the one that called
        (("attest:verified:A", "callback:2125550199"), ""),  # that one the carrier knows nothing of
        (("attest:verified:B",), ""),
        ((), ""),
    ],
)
def test_beside_a_number_stands_what_the_carrier_says_of_it(
    house: House, browser: Callable[[Role], Https], marks: tuple[str, ...], told: str
) -> None:
    message = make_message(house.mailbox, marks=tuple((0, one) for one in ("recording", *marks)))
    for role in (Role.CLINICIAN, Role.COMPLIANCE):
        page = browser(role).get(f"/m/{message.id}/").content.decode()
        for words in ("The carrier vouches for this number", "This number may be false"):
            assert (words in page) is (words == told and role is Role.CLINICIAN)
        assert page.count("number may be false") <= 1, "not in a tag as well"


def test_words_that_look_like_markup_stay_words(house: House, browser: Callable[[Role], Https]) -> None:
    message = spoken_message(house, text="<script>alert(1)</script> <b>bold</b>")
    for path in ("/", f"/m/{message.id}/"):
        page = browser(Role.CLINICIAN).get(path).content.decode()
        assert "<script>alert" not in page and "<b>bold" not in page
        assert "&lt;script&gt;" in page


def test_taking_calling_and_closing_a_message(house: House, browser: Callable[[Role], Https]) -> None:
    message = spoken_message(house)
    client = browser(Role.CLINICIAN)
    answer = client.post(f"/m/{message.id}/take")
    assert answer["Location"] == f"/m/{message.id}/?did=take"
    page = client.get(answer["Location"]).content.decode()
    assert "You have this since" in page and 'href="tel:+15035550148"' in page and "Undo" in page
    client.post(f"/m/{message.id}/close", {"outcome": "reached"})
    message.refresh_from_db()
    assert (message.state, message.outcome) == ("closed", "reached")
    assert "Reopen" in client.get(f"/m/{message.id}/").content.decode()
    assert "Reached" in client.get("/?view=done").content.decode()
    client.post(f"/m/{message.id}/reopen")
    message.refresh_from_db()
    assert message.state == "acknowledged"


def test_the_second_who_takes_learns_who_was_first(house: House, browser: Callable[[Role], Https]) -> None:
    message = spoken_message(house)
    browser(Role.CLINICIAN).post(f"/m/{message.id}/take")
    answer = browser(Role.FRONT_DESK).post(f"/m/{message.id}/take")
    assert answer.status_code == 409
    assert house.people[Role.CLINICIAN].name in answer.content.decode()
    message.refresh_from_db()
    assert message.owner == house.people[Role.CLINICIAN]


def test_closing_needs_an_outcome_that_exists(house: House, browser: Callable[[Role], Https]) -> None:
    message = spoken_message(house)
    client = browser(Role.CLINICIAN)
    for outcome in ("", "cured", "reached\x00"):
        assert client.post(f"/m/{message.id}/close", {"outcome": outcome}).status_code == 422
    message.refresh_from_db()
    assert message.state == "new"


def test_a_note_is_sealed_and_shown(house: House, browser: Callable[[Role], Https]) -> None:
    message = spoken_message(house)
    client = browser(Role.CLINICIAN)
    client.post(f"/m/{message.id}/note", {"text": "Stent 2024.\nLow threshold <b>."})
    page = client.get(f"/m/{message.id}/").content.decode()
    assert "Stent 2024.\nLow threshold &lt;b&gt;." in page
    assert b"Stent" not in bytes(message.notes.get().text_sealed)
    assert client.post(f"/m/{message.id}/note", {"text": "  "}).status_code == 422
    assert client.post(f"/m/{message.id}/note", {"text": "x" * 4001}).status_code == 422


def test_a_link_in_a_notification_leads_to_its_message_after_log_in(house: House, other: House) -> None:
    message = spoken_message(house, urgent=True)
    escalation.start_due(utc_now())
    token = Alert.objects.get().token
    assert Https().get(f"/n/{token}")["Location"] == f"/account/login/?next=/n/{token}"
    answer = signed_in(house.people[Role.CLINICIAN]).get(f"/n/{token}")
    assert answer["Location"] == f"/m/{message.id}/"
    assert signed_in(other.people[Role.CLINICIAN]).get(f"/n/{token}").status_code == 404
    assert signed_in(house.people[Role.CLINICIAN]).get("/n/" + "x" * 22).status_code == 404


def test_the_pulse_is_silent_until_something_changed(house: House, browser: Callable[[Role], Https]) -> None:
    client = browser(Role.CLINICIAN)
    page = client.get("/").content.decode()
    address = page.split('hx-get="')[1].split('"')[0].replace("&amp;", "&")
    before = Event.objects.count()
    assert client.get(address).status_code == 204
    make_message(house.mailbox, urgent=True)
    answer = client.get(address)
    assert "1 urgent, no owner" in answer.content.decode()
    assert "555" not in answer.content.decode()
    assert (
        Event.objects.filter(actor__startswith="user:").count() == 1
    )  # the inbox itself; a pulse reads nothing
    assert before == 1 or before > 0


def test_the_inbox_pages_through_many_messages(
    house: House, browser: Callable[[Role], Https], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightbell.web.views import inbox

    monkeypatch.setattr(inbox, "PAGE", 2)
    ids = {make_message(house.mailbox, seconds=1.2, caller=f"+1503555014{n}").id for n in range(5)}
    client, seen, address = browser(Role.CLINICIAN), set(), "/"
    for _ in range(3):
        page = client.get(address).content.decode()
        seen |= {part.split('"')[0] for part in page.split('data-row data-id="')[1:]}
        more = page.split('class="btn btn-outline" href="/?')
        address = "/?" + more[1].split('"')[0].replace("&amp;", "&") if len(more) > 1 else ""
    assert seen == ids and address == ""


@pytest.mark.parametrize(
    "query", ["view=secret", "mailbox=../../x", "cursor=zzz", "mailbox=01M85Z4AV1M2ZEPJAXKYN2FSHQ"]
)
def test_a_made_up_view_is_not_found(browser: Callable[[Role], Https], query: str) -> None:
    assert browser(Role.CLINICIAN).get("/?" + query).status_code == 404


def test_a_manager_alone_sees_calls_that_went_astray(house: House, browser: Callable[[Role], Https]) -> None:
    make_message(None)
    assert "Unrouted" in browser(Role.MANAGER).get("/?view=unrouted").content.decode()
    assert browser(Role.CLINICIAN).get("/?view=unrouted").status_code == 403


def test_a_missed_call_has_no_player(house: House, browser: Callable[[Role], Https]) -> None:
    message = make_message(house.mailbox, pcm=b"")
    page = browser(Role.CLINICIAN).get(f"/m/{message.id}/").content.decode()
    assert "<audio" not in page and "possible missed patient" in page
    assert browser(Role.CLINICIAN).get(f"/m/{message.id}/audio").status_code == 404


def test_roles_that_play_are_those_of_the_table(house: House) -> None:
    message = spoken_message(house)
    for role in Role:
        page = signed_in(house.people[role]).get(f"/m/{message.id}/")
        assert (b"<audio" in page.content) == (may(role, Act.PLAY) and may(role, Act.VIEW))
    assert Message.objects.count() == 1


def test_a_note_that_is_refused_keeps_its_words(house: House, clinician: Https) -> None:
    told = make_message(house.mailbox)
    answer = clinician.post(f"/m/{told.id}/note", {"text": "Call <her> back\x07"})
    page = answer.content.decode()
    assert answer.status_code == 422 and "control character" in page and "Call &lt;her&gt; back" in page
    assert clinician.post(f"/m/{told.id}/note", {"text": "Call her back"}).status_code == 302


def test_a_message_of_ones_own_is_not_handed_over_to_oneself(house: House, clinician: Https) -> None:
    told = make_message(house.mailbox)
    clinician.post(f"/m/{told.id}/take")
    answer = clinician.post(f"/m/{told.id}/hand-over", {"to": house.people[Role.CLINICIAN].id})
    assert answer.status_code == 409 and "yours already" in answer.content.decode()
