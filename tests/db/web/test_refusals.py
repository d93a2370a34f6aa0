"""Refusals before any view: never a bare page of the framework, never text where JSON was promised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from tests.db.web.conftest import HOST, Https, signed_in, spoken_message
from tests.db.web.test_api import API, is_problem
from tests.factories import PASSWORD, House

from nightbell.people.roles import Role

Token = Callable[[Role], dict[str, str]]


def is_page(answer: Any, status: int, words: str) -> None:
    page = answer.content.decode()
    assert answer.status_code == status, page
    assert 'class="nb-wordmark"' in page and words in page
    assert answer["Content-Security-Policy"] and answer["Cache-Control"] == "no-store"


def test_a_wrong_host_is_a_page(db: None) -> None:
    is_page(Https().get("/", HTTP_HOST="evil.example"), 400, "The request cannot be read")
    is_problem(Https().get(f"{API}/messages", HTTP_HOST="evil.example"), 400)


@pytest.mark.parametrize(
    ("method", "path"), [("post", "/audit/"), ("get", "/oncall/shift"), ("put", "/status/")]
)
def test_a_wrong_method_is_a_page(browser: Callable[[Role], Https], method: str, path: str) -> None:
    role = {"/audit/": Role.COMPLIANCE, "/status/": Role.IT_ADMIN}.get(path, Role.MANAGER)
    answer = getattr(browser(role), method)(path)
    is_page(answer, 405, "This address does not do that")
    assert answer["Allow"]


def test_a_form_without_its_key_is_a_page(house: House) -> None:
    signed = signed_in(house.people[Role.MANAGER])
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = signed.cookies
    is_page(strict.post("/oncall/shift", {}, secure=True, HTTP_HOST=HOST), 403, "This form is out of date")


def test_too_much_at_once_is_a_page(house: House) -> None:
    client = signed_in(house.people[Role.MANAGER])
    is_page(client.post("/oncall/shift", {"x": "y" * 300_000}), 413, "too much at once")


def test_codes_that_may_not_be_had_are_a_page(house: House) -> None:
    """allauth raises a bare PermissionDenied or Http404 here."""
    client = Https()
    person = house.people[Role.FRONT_DESK]
    client.post("/account/login/", {"login": person.login, "password": PASSWORD})
    is_page(client.get("/account/recovery/download/"), 404, "There is nothing here")


@pytest.mark.parametrize(
    ("method", "path"),
    [("delete", "messages"), ("post", "audit"), ("get", "messages/x/close"), ("put", "messages/x")],
)
def test_a_wrong_method_is_a_problem(house: House, token: Token, method: str, path: str) -> None:
    answer = getattr(Https(), method)(f"{API}/{path}", **token(Role.CLINICIAN))
    body = is_problem(answer, 405)
    assert answer["Allow"] and answer["Allow"] in body["detail"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_body_of_another_kind_is_a_problem(house: House, token: Token, kind: str) -> None:
    one = f"{API}/messages/{spoken_message(house).id}"
    answer = Https().generic(
        "POST", f"{one}/close", '{"outcome": "reached"}', content_type=kind, **token(Role.CLINICIAN)
    )
    assert "application/json" in is_problem(answer, 415)["detail"]
    assert Https().get(one, **token(Role.CLINICIAN)).json()["state"] == "new"


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"outcome": '])
def test_an_unreadable_body_is_a_problem(house: House, token: Token, body: bytes) -> None:
    path = f"{API}/messages/{spoken_message(house).id}/close"
    answer = Https().generic(
        "POST", path, body, content_type="application/json; charset=utf-8", **token(Role.CLINICIAN)
    )
    is_problem(answer, 400)


def test_a_role_without_messages_learns_nothing_of_ids(house: House, other: House, token: Token) -> None:
    """403 for its own mailbox, another practice's and none at all: the role is asked before the id."""
    head = token(Role.IT_ADMIN)
    theirs = spoken_message(other)
    for box in (house.mailbox.id, other.mailbox.id, "01M85Z4AV1M2ZEPJAXKYN2FSHQ"):
        is_problem(Https().get(f"{API}/messages?mailbox={box}", **head), 403)
    for what in (theirs.id, "01M85Z4AV1M2ZEPJAXKYN2FSHQ", "nonsense"):
        is_problem(Https().get(f"{API}/messages/{what}", **head), 403)
        is_problem(Https().get(f"{API}/messages/{what}/audio", **head), 403)
        is_problem(Https().post(f"{API}/messages/{what}/acknowledge", **head), 403)
