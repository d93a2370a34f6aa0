"""What pages and API say of calls that went through a call flow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.db.web.conftest import Https
from tests.factories import House, make_message, tone

from nightbell.audit.models import Event
from nightbell.core.clock import iso, utc_now
from nightbell.mailbox.models import Message
from nightbell.people.roles import Role

Browser = Callable[[Role], Https]
GUIDED = (
    (0, "callback:2125550199"), (0, "slow"), (0, "recording"), (0, "part:name"), (1, "part-end"),
    (1.5, "part:dob"), (3, "part-end"),
)  # fmt: skip


def promised(house: House, minutes: int) -> Message:
    until = iso(utc_now() + timedelta(minutes=minutes))
    return make_message(house.mailbox, marks=(*GUIDED, (3, f"promise:within-30-min:{until}")))


def worse(house: House, first: Message) -> Message:
    marks = ((0, f"joins:{first.id}"), (0, "recording"), (0, "part:worse"))
    return make_message(house.mailbox, pcm=tone(2), urgent=True, marks=marks)


def test_the_inbox_says_what_the_call_flow_knew(house: House, browser: Browser) -> None:
    promised(house, 30)
    make_message(house.mailbox, pcm=b"", marks=((0, "stage:menu-again"),))
    make_message(house.mailbox, marks=((0, "test"), (0, "short"), (0, "recording"), (0, "part:message")))
    page = browser(Role.CLINICIAN).get("/").content.decode()
    for words in (
        "needed more time",
        "told: call back by",
        "Hung up at the menu.",
        "test call",
        "short form",
        "(212) 555-0199",
    ):
        assert words in page
    assert 'nb-tag urgent">told' not in page


def test_a_promise_that_was_not_kept_is_in_red(house: House, browser: Browser) -> None:
    promised(house, -5)
    assert 'nb-tag urgent">told: call back by' in browser(Role.CLINICIAN).get("/").content.decode()


def test_a_message_page_jumps_to_the_parts(house: House, browser: Browser) -> None:
    message = promised(house, 30)
    page = browser(Role.CLINICIAN).get(f"/m/{message.id}/").content.decode()
    assert 'data-part="0.00">Name' in page
    assert 'data-part="1.30">Date of birth' in page
    assert "Keyed in by the caller" in page
    plain = make_message(house.mailbox)
    assert "data-part" not in browser(Role.CLINICIAN).get(f"/m/{plain.id}/").content.decode()
    assert "data-part" not in browser(Role.DISPATCHER).get(f"/m/{message.id}/").content.decode()


def test_what_got_worse_stands_under_the_first_message(house: House, browser: Browser) -> None:
    first = make_message(house.mailbox)
    addition = worse(house, first)
    client = browser(Role.CLINICIAN)
    page = client.get(f"/m/{first.id}/").content.decode()
    assert page.count("data-player") == 2
    assert f"/m/{addition.id}/audio" in page
    assert "Got worse, " in page
    assert page.count('id="listen"') == 1
    assert "got worse " in client.get("/").content.decode()
    assert client.get(f"/m/{addition.id}/")["Location"] == f"/m/{first.id}/"


def test_who_only_asked_is_under_done(house: House, browser: Browser) -> None:
    message = make_message(
        house.mailbox, pcm=b"", marks=((0, "stage:status-waiting_open"), (0, "status:waiting_open"))
    )
    client = browser(Role.CLINICIAN)
    assert "Asked how far" not in client.get("/").content.decode()
    assert "we have it, until the practice opens" in client.get("/?view=done").content.decode()
    assert "Asked how far the message is" in client.get(f"/m/{message.id}/").content.decode()


def test_the_api_tells_parts_tags_promises_and_additions(
    house: House, token: Callable[[Role], dict[str, str]]
) -> None:
    first = promised(house, 30)
    addition = worse(house, first)
    client, clinician = Https(), token(Role.CLINICIAN)
    told = client.get(f"/api/v1/messages/{first.id}", **clinician).json()
    assert told["parts"] == [
        {"name": "name", "start_s": 0.0, "end_s": 1.0, "earlier": False},
        {"name": "dob", "start_s": 1.3, "end_s": 2.8, "earlier": False},
    ]
    assert (told["tags"], told["additions"], told["joins"]) == (["relay"], [addition.id], None)
    assert told["promised_by"]
    assert (told["callback_number"], told["callback_number_uncertain"]) == ("2125550199", False)
    rows = client.get("/api/v1/messages", **clinician).json()["items"]
    assert [(row["id"], row["additions"], row["parts"]) for row in rows] == [(first.id, None, None)]
    later = client.get(f"/api/v1/messages/{addition.id}", **clinician).json()
    assert (later["joins"], later["additions"], later["parts"][0]["name"]) == (first.id, [], "worse")
    dispatcher = client.get(f"/api/v1/messages/{first.id}", **token(Role.DISPATCHER)).json()
    assert (dispatcher["parts"], dispatcher["additions"]) == (None, [addition.id])
    make_message(house.mailbox, pcm=b"", marks=((0, "stage:status-left"), (0, "status:left")))
    closed = client.get("/api/v1/messages?state=closed", **clinician).json()["items"]
    assert [(row["kind"], row["tags"]) for row in closed] == [("status", ["status:left"])]
    assert Event.objects.filter(action="message:view", message=addition.id).count() == 3
