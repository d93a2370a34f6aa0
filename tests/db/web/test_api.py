"""The API, v1: shapes, scopes, refusals as problem details."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.db.web.conftest import SPOKEN, Https, spoken_message
from tests.factories import CALLER, House, make_message

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.people import tokens
from nightbell.people.models import ApiToken
from nightbell.people.roles import Act, Role, may
from nightbell.web import throttle

Token = Callable[[Role], dict[str, str]]
API = "/api/v1"
NOBODY = "01M85Z4AV1M2ZEPJAXKYN2FSHQ"


@pytest.fixture
def api() -> Https:
    return Https(raise_request_exception=False)


def is_problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status and body["title"] and body["type"]
    return body


def test_it_lists_messages_with_the_fields_of_the_contract(house: House, api: Https, token: Token) -> None:
    message = spoken_message(house)
    body = api.get(f"{API}/messages", **token(Role.CLINICIAN)).json()
    assert body["next"] is None
    (item,) = body["items"]
    assert item["id"] == message.id
    assert (item["kind"], item["state"], item["urgency"]) == ("message", "new", "urgent")
    assert (item["mailbox"], item["callback_number"]) == (house.mailbox.id, CALLER)
    assert item["callback_number_uncertain"] is False
    assert item["duration_s"] == 3.0
    assert item["transcript"]["status"] == "ready"


def test_it_reads_one_message_with_words_and_times(house: House, api: Https, token: Token) -> None:
    message = spoken_message(house)
    body = api.get(f"{API}/messages/{message.id}", **token(Role.CLINICIAN)).json()
    assert body["transcript"]["text"] == SPOKEN
    assert body["transcript"]["words"][3] == {"text": "chest", "start": 0.64, "end": 0.84, "confidence": 0.95}


def test_a_dispatcher_gets_number_and_urgency_alone(house: House, api: Https, token: Token) -> None:
    message = spoken_message(house)
    for path in (f"{API}/messages", f"{API}/messages/{message.id}"):
        answer = api.get(path, **token(Role.DISPATCHER))
        assert CALLER in answer.content.decode()
        assert "chest" not in answer.content.decode() and "Quixby" not in answer.content.decode()
    assert answer.json()["transcript"] is None
    is_problem(api.get(f"{API}/messages/{message.id}/audio", **token(Role.DISPATCHER)), 403)


@pytest.mark.parametrize("role", list(Role))
def test_roles_and_operations_follow_the_table(house: House, api: Https, token: Token, role: Role) -> None:
    message = spoken_message(house)
    one = f"{API}/messages/{message.id}"
    head = token(role)
    calls = {
        Act.LIST: lambda: api.get(f"{API}/messages", **head),
        Act.VIEW: lambda: api.get(one, **head),
        Act.PLAY: lambda: api.get(f"{one}/audio", **head),
        Act.TAKE: lambda: api.post(f"{one}/acknowledge", **head),
        Act.NOTE: lambda: api.post(f"{one}/notes", {"text": "x"}, content_type="application/json", **head),
        Act.CLOSE: lambda: api.post(
            f"{one}/close", {"outcome": "reached"}, content_type="application/json", **head
        ),
        Act.AUDIT: lambda: api.get(f"{API}/audit", **head),
    }
    for act, call in calls.items():
        answer = call()
        if may(role, act):
            assert answer.status_code in (200, 201), (act, answer.content)
        else:
            is_problem(answer, 403)


def test_a_token_is_limited_to_its_scopes(house: House, api: Https) -> None:
    message = spoken_message(house)
    bearer = tokens.issue(house.people[Role.CLINICIAN], "narrow", utc_now(), scopes=[Act.LIST])
    head = {"HTTP_AUTHORIZATION": f"Bearer {bearer}"}
    assert api.get(f"{API}/messages", **head).status_code == 200
    is_problem(api.get(f"{API}/messages/{message.id}", **head), 403)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer nbt_wrong", "Basic YTpi", "Bearer " + "x" * 5000, "nbt_x"]
)
def test_a_wrong_token_is_told_so_and_nothing_else(house: House, api: Https, header: str) -> None:
    answer = api.get(f"{API}/messages", HTTP_AUTHORIZATION=header)
    is_problem(answer, 401)
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_expired_revoked_and_left_are_all_401(house: House, api: Https) -> None:
    doctor, now = house.people[Role.CLINICIAN], utc_now()
    old = tokens.issue(doctor, "old", now, expires_at=now - timedelta(seconds=1))
    gone = tokens.issue(doctor, "gone", now)
    ApiToken.objects.filter(name="gone").update(revoked_at=now)
    for bearer in (old, gone):
        is_problem(api.get(f"{API}/messages", HTTP_AUTHORIZATION=f"Bearer {bearer}"), 401)


def test_a_session_is_no_token(house: House, browser: Callable[[Role], Https]) -> None:
    is_problem(browser(Role.CLINICIAN).get(f"{API}/messages"), 401)


def test_guessing_tokens_is_slowed_but_only_for_the_guesser(house: House, api: Https, token: Token) -> None:
    good = token(Role.CLINICIAN)
    for _ in range(throttle.LIMIT):
        api.get(f"{API}/messages", HTTP_AUTHORIZATION="Bearer nbt_guess", REMOTE_ADDR="198.51.100.9")
    answer = api.get(f"{API}/messages", HTTP_AUTHORIZATION="Bearer nbt_guess", REMOTE_ADDR="198.51.100.9")
    is_problem(answer, 429)
    assert int(answer["Retry-After"]) > 0
    for address in ("198.51.100.9", "198.51.100.10"):
        answer = api.get(f"{API}/messages", **good, REMOTE_ADDR=address)
        assert answer.status_code == 200, "a right token opens, whoever guesses behind the same address"


def test_a_throttle_forgets_after_its_window(db: None) -> None:
    now = utc_now()
    for _ in range(throttle.LIMIT):
        throttle.failed("token", "198.51.100.9", now)
    assert throttle.too_many("token", "198.51.100.9", now)
    assert not throttle.too_many("token", "198.51.100.9", now + throttle.WINDOW + timedelta(seconds=1))


def test_another_practices_message_is_not_found(house: House, other: House, api: Https, token: Token) -> None:
    message = spoken_message(other)
    head = token(Role.CLINICIAN)
    one = f"{API}/messages/{message.id}"
    answers = [
        api.get(one, **head),
        api.get(f"{one}/audio", **head),
        api.post(f"{one}/acknowledge", **head),
        api.post(f"{one}/notes", {"text": "x"}, content_type="application/json", **head),
        api.post(f"{one}/close", {"outcome": "reached"}, content_type="application/json", **head),
        api.get(f"{API}/messages?mailbox={other.mailbox.id}", **head),
    ]
    nobody = api.get(f"{API}/messages/{NOBODY}", **head)
    for answer in (*answers, api.get(f"{API}/messages/..%2f..", **head)):
        is_problem(answer, 404)
    assert answers[0].content == nobody.content


def test_acknowledge_is_told_to_the_second_with_who_was_first(house: House, api: Https, token: Token) -> None:
    one = f"{API}/messages/{spoken_message(house).id}/acknowledge"
    first = api.post(one, **token(Role.CLINICIAN))
    assert first.json()["state"] == "acknowledged"
    assert api.post(one, **token(Role.CLINICIAN)).status_code == 200, "the same person again is no conflict"
    body = is_problem(api.post(one, **token(Role.FRONT_DESK)), 409)
    assert body["owner"] == house.people[Role.CLINICIAN].name


def test_notes_and_close_go_through(house: House, api: Https, token: Token) -> None:
    message = spoken_message(house)
    one, head = f"{API}/messages/{message.id}", token(Role.CLINICIAN)
    assert (
        api.post(f"{one}/notes", {"text": "Stent 2024"}, content_type="application/json", **head).status_code
        == 201
    )
    assert (
        api.post(f"{one}/close", {"outcome": "reached"}, content_type="application/json", **head).status_code
        == 200
    )
    body = api.get(one, **head).json()
    assert body["notes"][0]["text"] == "Stent 2024"
    assert (body["state"], body["outcome"]) == ("closed", "reached")
    is_problem(api.post(f"{one}/close", {"outcome": "reached"}, content_type="application/json", **head), 409)
    assert [m["id"] for m in api.get(f"{API}/messages?state=closed", **head).json()["items"]] == [message.id]
    assert api.get(f"{API}/messages?state=new", **head).json()["items"] == []


def test_it_does_not_close_what_got_worse_since_it_was_read(house: House, api: Https, token: Token) -> None:
    message = make_message(house.mailbox)
    one, head = f"{API}/messages/{message.id}", token(Role.CLINICIAN)
    api.post(f"{one}/acknowledge", **head)
    make_message(house.mailbox, urgent=True, marks=((0, f"joins:{message.id}"), (0, "recording")))

    def close(**more: object) -> Any:
        body = {"outcome": "reached"} | more
        return api.post(f"{one}/close", body, content_type="application/json", **head)

    assert is_problem(close(), 409)["title"] == "It got worse since you opened it"
    is_problem(close(seen=[]), 409)
    is_problem(close(seen="all"), 422)
    seen = api.get(one, **head).json()["additions"]
    assert close(seen=seen).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["state=secret", "cursor=zzz", "limit=0", "limit=9999", "limit=x", "state=", "mailbox=" + "x" * 27],
)
def test_wrong_parameters_are_named_without_repeating_them(
    house: House, api: Https, token: Token, query: str
) -> None:
    answer = api.get(f"{API}/messages?{query}", **token(Role.CLINICIAN))
    body = is_problem(answer, 422)
    assert body["errors"][0]["field"] in query
    assert "secret" not in answer.content.decode() and "zzz" not in answer.content.decode()


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '{"text": 5}', '{"text": ""}', '{"outcome": "cured"}', '"x"']
)
def test_wrong_bodies_are_refused(house: House, api: Https, token: Token, body: str) -> None:
    one = f"{API}/messages/{spoken_message(house).id}"
    for what in ("notes", "close"):
        answer = api.post(f"{one}/{what}", body, content_type="application/json", **token(Role.CLINICIAN))
        assert answer.status_code in (400, 422), answer.content
        assert answer["Content-Type"] == "application/problem+json"


def test_lists_go_on_where_they_ended(house: House, api: Https, token: Token) -> None:
    ids = {make_message(house.mailbox, seconds=1.2).id for _ in range(5)}
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        body = api.get(f"{API}/messages?limit=2&cursor={cursor}", **token(Role.CLINICIAN)).json()
        seen += [item["id"] for item in body["items"]]
        cursor = body["next"]
    assert set(seen) == ids and len(seen) == 5


def test_sound_comes_by_range(house: House, api: Https, token: Token) -> None:
    message = spoken_message(house)
    head = token(Role.CLINICIAN)
    whole = api.get(f"{API}/messages/{message.id}/audio", **head)
    assert whole["Content-Type"] == "audio/wav" and whole.content[:4] == b"RIFF"
    part = api.get(f"{API}/messages/{message.id}/audio", HTTP_RANGE="bytes=10-19", **head)
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert Event.objects.filter(action="message:play").count() == 1


def test_the_audit_answers_by_user_message_and_time(house: House, api: Https, token: Token) -> None:
    message = spoken_message(house)
    start = utc_now()
    api.get(f"{API}/messages/{message.id}", **token(Role.CLINICIAN))
    head = token(Role.COMPLIANCE)
    login = house.people[Role.CLINICIAN].login
    items = api.get(f"{API}/audit?user={login}", **head).json()["items"]
    assert [(i["actor"], i["action"], i["message"], i["outcome"]) for i in items] == [
        (f"user:{login}", "message:view", message.id, "ok")
    ]
    assert set(items[0]) == {"time", "actor", "action", "message", "outcome", "source"}
    assert (
        api.get(f"{API}/audit?user={login}&to={start.isoformat().replace('+', '%2B')}", **head).json()[
            "items"
        ]
        == []
    )
    assert len(api.get(f"{API}/audit?message={message.id}", **head).json()["items"]) >= 3
    today = start.astimezone().date()
    assert api.get(
        f"{API}/audit?from={today - timedelta(days=1)}&to={today + timedelta(days=1)}", **head
    ).json()["items"]
    assert api.get(f"{API}/audit?from={today + timedelta(days=3)}", **head).json()["items"] == []


@pytest.mark.parametrize(
    "query",
    ["from=yesterday", "to=2026-13-40", "from=2026-11-24T03:00", "cursor=-1", "message=x", "cursor=٣"],
)
def test_a_wrong_audit_query_is_refused(house: House, api: Https, token: Token, query: str) -> None:
    is_problem(api.get(f"{API}/audit?{query}", **token(Role.COMPLIANCE)), 422)


def test_practices_audit_only_themselves(house: House, other: House, api: Https, token: Token) -> None:
    theirs = spoken_message(other)
    body = api.get(f"{API}/audit?message={theirs.id}", **token(Role.COMPLIANCE)).json()
    assert [i["action"] for i in body["items"]] == ["audit:query"], "only the question itself"


def test_the_description_is_for_those_with_a_key(house: House, api: Https, token: Token) -> None:
    is_problem(api.get(f"{API}/openapi.json"), 401)
    body = api.get(f"{API}/openapi.json", **token(Role.IT_ADMIN)).json()
    assert set(body["paths"]) == {
        "/api/v1/messages", "/api/v1/messages/{message_id}", "/api/v1/messages/{message_id}/audio",
        "/api/v1/messages/{message_id}/acknowledge", "/api/v1/messages/{message_id}/notes",
        "/api/v1/messages/{message_id}/close", "/api/v1/audit", "/api/v1/oncall",
    }  # fmt: skip


def test_the_description_tells_the_media_type_of_refusals(house: House, api: Https, token: Token) -> None:
    body = api.get(f"{API}/openapi.json", **token(Role.CLINICIAN)).json()
    refusal = body["paths"]["/api/v1/messages"]["get"]["responses"]["403"]
    assert list(refusal["content"]) == ["application/problem+json"]


def test_an_unknown_address_below_the_api_is_a_problem_too(api: Https, db: None) -> None:
    is_problem(api.get(f"{API}/nothing"), 404)


def test_trouble_is_a_problem_without_its_text(
    house: House, api: Https, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightbell.web import api as module

    def broken(*args: Any, **more: Any) -> None:
        raise ZeroDivisionError("Rosa Delgado")

    monkeypatch.setattr(module.mailbox, "inbox", broken)
    answer = api.get(f"{API}/messages", **token(Role.CLINICIAN))
    body = is_problem(answer, 500)
    assert body["instance"].startswith("urn:nightbell:error:") and "Rosa" not in answer.content.decode()
