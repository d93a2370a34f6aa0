"""The masked call back from a message's page: who may ask for it, what the page says meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.db.web.conftest import Https
from tests.factories import House, make_message

from nightbell.core.clock import utc_now
from nightbell.line.models import Trunk
from nightbell.mailbox import service
from nightbell.mailbox.models import Message
from nightbell.oncall import callback, voice
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.models import CallBack
from nightbell.people.models import Contact
from nightbell.people.roles import Role

CELL = "+16175550123"


@pytest.fixture
def mine(house: House) -> Message:
    """A message that the clinician has, with a proved telephone and a carrier."""
    now, user = utc_now(), house.people[Role.CLINICIAN]
    Contact.objects.create(user=user, kind="voice", address=CELL, created_at=now, verified_at=now)
    Trunk.objects.create(
        name="Carrier",
        preset="other",
        kind="address",
        made_at=now,
        made_by="x",
        changed_at=now,
        changed_by="x",
    )
    message = make_message(house.mailbox)
    service.acknowledge(house.actor(Role.CLINICIAN), message.id)
    return message


def test_the_page_rings_ones_own_telephone_and_tells_how_it_stands(
    house: House, mine: Message, browser: Callable[[Role], Https]
) -> None:
    client = browser(Role.CLINICIAN)
    page = client.get(f"/m/{mine.id}/").content.decode()
    assert "(503) 555-0100" in page
    assert "Your phone rings first, then theirs. Not recorded." in page
    assert f'action="/m/{mine.id}/call"' in page
    answer = client.post(f"/m/{mine.id}/call")
    assert (answer.status_code, answer["Location"]) == (302, f"/m/{mine.id}/#outcome")
    row = CallBack.objects.get()
    assert "about to ring" in client.get(f"/m/{mine.id}/call/news").content.decode()
    assert "a call is under way" in client.post(f"/m/{mine.id}/call").content.decode()
    same = client.get(f"/m/{mine.id}/call/news?was=asked")
    assert (same.status_code, same.content) == (204, b""), "what is known already is not read out again"
    voice.plan(house.practice.id, Purpose.CALLBACK, utc_now(), callback=row)
    news = client.get(f"/m/{mine.id}/call/news?was=asked").content.decode()
    assert news.count("Press 1") == 2, "in the sheet, and in the dock of a phone"
    assert '<div id="dock-call" hx-swap-oob="true">' in news
    assert "every 2s" in news
    callback.answered(row.id, utc_now())
    callback.end(row.id, "hung_up", utc_now())
    news = client.get(f"/m/{mine.id}/call/news").content.decode()
    assert "Say below how it ended" in news
    assert "every 2s" not in news
    assert 'href="#how"' in news and "Call again" in news
    assert CELL not in news + page


def test_without_a_telephone_or_a_carrier_it_is_a_number_to_dial(
    house: House, mine: Message, browser: Callable[[Role], Https]
) -> None:
    Trunk.objects.all().delete()
    page = browser(Role.CLINICIAN).get(f"/m/{mine.id}/").content.decode()
    assert "The call leaves from your own phone" in page
    assert "call back" not in page.replace("Call back", "")
    assert f"/m/{mine.id}/call" not in page


def test_only_its_owner_may_ask(house: House, mine: Message, browser: Callable[[Role], Https]) -> None:
    assert browser(Role.FRONT_DESK).post(f"/m/{mine.id}/call").status_code == 409
    assert browser(Role.DISPATCHER).post(f"/m/{mine.id}/call").status_code == 403
    assert not CallBack.objects.exists()


def test_whoever_else_opens_it_sees_first_that_it_has_an_owner(
    house: House, mine: Message, browser: Callable[[Role], Https]
) -> None:
    page = browser(Role.FRONT_DESK).get(f"/m/{mine.id}/").content.decode()
    owner = house.people[Role.CLINICIAN].name
    assert f">{owner}</b> since" in page and f"{owner} has this since" in page
    assert "btn btn-primary nb-big" not in page, "to call is no longer the next step"
