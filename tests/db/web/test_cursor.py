"""Paging through an inbox in which others work meanwhile: each message once, none left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.db.web.conftest import Https
from tests.db.web.test_api import API, is_problem
from tests.factories import House, make_message

from nightbell.core.clock import utc_now
from nightbell.mailbox import service
from nightbell.mailbox.models import Message, State
from nightbell.people.roles import Role

Token = Callable[[Role], dict[str, str]]


def page(head: dict[str, str], cursor: str = "", state: str = "open") -> Any:
    return Https().get(f"{API}/messages?limit=2&state={state}&cursor={cursor}", **head).json()


def ids(body: Any) -> list[str]:
    return [item["id"] for item in body["items"]]


@pytest.fixture
def five(house: House) -> list[str]:
    """In the order of the inbox: two urgent ones first."""
    return [make_message(house.mailbox, seconds=1.2, urgent=n < 2).id for n in range(5)]


def taken(house: House, pk: str) -> None:
    service.acknowledge(house.actor(Role.FRONT_DESK), pk)


def closed(house: House, pk: str) -> None:
    service.close(house.actor(Role.FRONT_DESK), pk, "reached")


def destroyed(house: House, pk: str) -> None:
    Message.objects.filter(pk=pk).update(state=State.DISPOSED)


def heard(house: House, pk: str) -> None:
    from nightbell.mailbox import playing

    playing.sound(house.actor(Role.FRONT_DESK), pk, 0, 100)


@pytest.mark.parametrize("change", [taken, closed, destroyed, heard])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_happens_to_a_message_moves_no_other(
    house: House, token: Token, five: list[str], change: Callable[[House, str], None], which: int
) -> None:
    head = token(Role.CLINICIAN)
    first = page(head)
    change(house, five[which])  # 1 is the message that the cursor names
    second = page(head, first["next"])
    third = page(head, second["next"]) if second["next"] else {"items": []}
    still = [pk for pk in five if pk != five[which] or change in (taken, heard) or which < 2]
    assert ids(first) + ids(second) + ids(third) == still


def test_closed_messages_are_paged_from_the_newest(house: House, token: Token, five: list[str]) -> None:
    for pk in five:
        closed(house, pk)
    head = token(Role.CLINICIAN)
    first = page(head, state="closed")
    service.reopen(house.actor(Role.CLINICIAN), ids(first)[1])
    second = page(head, first["next"], "closed")
    assert ids(first) + ids(second) + ids(page(head, second["next"], "closed")) == five[::-1]


@pytest.mark.parametrize(
    "cursor", ["zzz", "01M85Z4AV1M2ZEPJAXKYN2FSHQ", "1.5.1.01M85Z4AV1M2ZEPJAXKYN2FSHQ", "1.0.1."]
)
def test_what_is_no_cursor_is_refused(
    house: House, token: Token, browser: Callable[[Role], Https], cursor: str
) -> None:
    is_problem(Https().get(f"{API}/messages?cursor={cursor}", **token(Role.CLINICIAN)), 422)
    assert browser(Role.CLINICIAN).get(f"/?cursor={cursor}").status_code == 404


@pytest.mark.parametrize("far", [0, 99999999999999999])
def test_a_made_up_cursor_is_no_crash(
    house: House, other: House, token: Token, browser: Callable[[Role], Https], far: int
) -> None:
    theirs = make_message(other.mailbox, seconds=1.2).id
    cursor = f"{far}.0.{far}.{theirs}"
    assert page(token(Role.CLINICIAN), cursor)["items"] == []
    assert browser(Role.CLINICIAN).get(f"/?cursor={cursor}").status_code == 200


def test_the_cursor_is_of_the_readers_time(house: House, five: list[str]) -> None:
    """Two pages a while apart keep the order of the first."""
    actor = house.actor(Role.CLINICIAN)
    first = service.inbox(actor, limit=1)
    taken(house, five[0])
    later = house.actor(Role.CLINICIAN)
    assert later.now >= actor.now and utc_now() >= later.now
    assert [row.id for row in service.inbox(later, limit=9, cursor=first.next or "").rows] == five[1:]
