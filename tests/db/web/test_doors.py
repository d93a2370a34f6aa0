"""Who may come to which page: default deny, log-in, second factor, role, practice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from tests.db.web.conftest import Https, signed_in, spoken_message
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.people.roles import Act, Role, may
from nightbell.web.doors import Door, declared

NOBODY = "01M85Z4AV1M2ZEPJAXKYN2FSHQ"


def patterns(resolver: URLResolver | None = None) -> Iterator[URLPattern]:
    for entry in (resolver or get_resolver()).url_patterns:
        if isinstance(entry, URLResolver):
            yield from patterns(entry)
        else:
            yield entry


def test_every_address_says_who_may_come() -> None:
    silent = [str(p.pattern) for p in patterns() if declared(p.callback) is None and p.name != "api-root"]
    assert silent == []


def test_only_doors_without_patients_are_open() -> None:
    opened = {p.name for p in patterns() if (a := declared(p.callback)) and a.need is Door.OPEN}
    assert opened == {
        "account_login", "mfa_login_webauthn", "account_logout", "account_inactive", "mfa_authenticate", "lost_phone",
        "healthz", "setup", "account_signup", "account_email", "account_set_password", "account_reset_password",
        "account_email_verification_sent", "account_reset_password_done", "account_confirm_login_code",
        "hook_clip", "hook_pause", "oncall_feed", "service_worker",
    }  # fmt: skip


def test_providers_come_by_a_door_of_their_own() -> None:
    hooks = {p.name for p in patterns() if (a := declared(p.callback)) and a.need is Door.HOOK}
    assert hooks == {
        "hook_voice", "hook_step", "hook_taken", "hook_recording", "hook_status", "hook_bye", "hook_receipt",
    }  # fmt: skip


def test_a_view_that_says_nothing_is_refused(
    browser: Callable[[Role], Https], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightbell.web.views import status

    monkeypatch.delattr(status.status, "access")
    assert browser(Role.IT_ADMIN).get("/status/").status_code == 404


def _get(name: str, message_id: str) -> str:
    return reverse(name, args=[message_id]) if name in ("message", "audio") else reverse(name)


PAGES = {
    "message": Act.VIEW,
    "audio": Act.PLAY,
    "pulse": Act.LIST,
    "oncall": Act.SCHEDULE,
    "audit": Act.AUDIT,
    "audit_export": Act.EXPORT,
    "status": Act.STATUS,
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("page", list(PAGES))
def test_each_role_sees_its_pages_and_is_refused_the_others(house: House, page: str, role: Role) -> None:
    message = spoken_message(house)
    answer = signed_in(house.people[role]).get(_get(page, message.id))
    assert (answer.status_code in (200, 206)) == may(role, PAGES[page]), answer.status_code
    if not may(role, PAGES[page]):
        assert answer.status_code == 403
        assert Event.objects.filter(
            log_id=house.practice.id, actor=f"user:{house.people[role].login}", outcome="refused"
        ).exists()


@pytest.mark.parametrize("role", [r for r in Role if may(r, Act.VIEW)])
def test_another_practices_message_looks_like_none(house: House, other: House, role: Role) -> None:
    message = spoken_message(other)
    client = signed_in(house.people[role])
    theirs, none = client.get(f"/m/{message.id}/"), client.get(f"/m/{NOBODY}/")
    assert theirs.status_code == none.status_code == 404
    assert theirs.content == none.content
    if may(role, Act.TAKE):
        for act in ("take", "note", "close", "reopen", "heard"):
            assert (
                client.post(f"/m/{message.id}/{act}", {"text": "x", "outcome": "reached"}).status_code == 404
            )
        assert client.get(f"/m/{message.id}/audio").status_code == 404


@pytest.mark.parametrize(
    "path", ["/", f"/m/{NOBODY}/", f"/m/{NOBODY}/audio", "/audit/", "/oncall/", "/status/", "/account/"]
)
def test_a_stranger_is_sent_to_the_door(house: House, path: str) -> None:
    answer = Https().get(path)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/login/")


def test_a_stranger_changes_nothing(house: House) -> None:
    message = spoken_message(house)
    for act in ("take", "note", "close", "reopen", "heard"):
        assert Https().post(f"/m/{message.id}/{act}").status_code == 302
    message.refresh_from_db()
    assert message.state == "new"


@pytest.mark.parametrize("path", ["/", f"/m/{NOBODY}/", "/audit/", "/more/", "/oncall/"])
def test_a_password_alone_opens_nothing(house: House, path: str) -> None:
    answer = signed_in(house.people[Role.MANAGER], second_factor=False).get(path)
    assert answer.status_code == 302
    assert answer["Location"] == "/account/second-factor/"


def test_a_password_alone_may_set_up_the_second_factor(house: House) -> None:
    client = signed_in(house.people[Role.CLINICIAN], second_factor=False)
    assert b"One more lock" in client.get("/account/second-factor/").content


def test_a_form_without_its_key_is_refused(house: House) -> None:
    message = spoken_message(house)
    client = signed_in(house.people[Role.CLINICIAN])
    client.handler.enforce_csrf_checks = True
    answer = client.post(f"/m/{message.id}/take")
    assert answer.status_code == 403
    assert b"out of date" in answer.content


def test_a_poll_left_open_over_a_sign_out_goes_to_the_door(house: House) -> None:
    answer = Https().get("/pulse/", HTTP_HX_REQUEST="true")
    assert (answer.status_code, answer["HX-Redirect"]) == (204, "/account/login/")


def test_first_pages_of_roles_without_messages(browser: Callable[[Role], Https]) -> None:
    assert browser(Role.COMPLIANCE).get("/")["Location"] == "/audit/"
    assert browser(Role.IT_ADMIN).get("/")["Location"] == "/status/"


@pytest.mark.parametrize("role", list(Role))
def test_the_frame_of_a_page_offers_only_what_the_role_may(
    browser: Callable[[Role], Https], role: Role
) -> None:
    page = browser(role).get("/more/").content.decode()
    assert ("/audit/" in page) == may(role, Act.AUDIT)
    assert ("/status/" in page) == may(role, Act.STATUS)
    assert ("All mailboxes" in page) == may(role, Act.LIST)
