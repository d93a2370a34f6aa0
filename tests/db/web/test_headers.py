"""What every answer carries, static files, and answers to trouble."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from tests.db.web.conftest import Https, spoken_message
from tests.factories import CALLER, House

from nightbell.audit.errors import AuditClosed
from nightbell.people.roles import Role
from nightbell.store.vault import KeysAway
from nightbell.web import static_files
from nightbell.web.views import message as message_view


def test_every_page_forbids_inline_code_and_caches(browser: Callable[[Role], Https]) -> None:
    for path in ("/", "/account/login/", "/nowhere/", "/oncall/"):
        answer = browser(Role.CLINICIAN).get(path)
        policy = answer["Content-Security-Policy"]
        assert "script-src 'self'" in policy and "unsafe" not in policy
        assert "no-store" in answer["Cache-Control"]
        assert answer["Referrer-Policy"] == "same-origin"
        assert answer["X-Frame-Options"] == "DENY"
        assert "microphone=()" in answer["Permissions-Policy"]


def test_no_page_has_inline_styles_or_scripts(house: House, browser: Callable[[Role], Https]) -> None:
    message = spoken_message(house, urgent=True)
    client = browser(Role.MANAGER)
    for path in ("/", f"/m/{message.id}/", "/audit/", "/oncall/", "/account/", "/more/", "/nowhere"):
        page = client.get(path).content.decode()
        assert "<style" not in page and " style=" not in page and " onclick=" not in page
        assert page.count("<script") == page.count("<script src=") + page.count('<script type="module" src=')


def test_titles_and_addresses_hold_nothing_of_a_patient(
    house: House, browser: Callable[[Role], Https]
) -> None:
    message = spoken_message(house)
    page = browser(Role.CLINICIAN).get(f"/m/{message.id}/").content.decode()
    assert "<title>Message · Nightbell</title>" in page
    assert CALLER[2:] not in page.split("</title>")[0]


def test_static_files_are_kept_for_ever_under_their_mark() -> None:
    answer = Https().get(static_files.address("nightbell.css"))
    assert answer.status_code == 200
    assert answer["Cache-Control"].endswith("immutable")
    assert Https().get("/static/nightbell.css")["Cache-Control"] == "public, no-cache"
    again = Https().get("/static/nightbell.css", HTTP_IF_NONE_MATCH=answer["ETag"])
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["../settings.py", "..%2fsettings.py", "js/../../apps.py", "/etc/passwd", "", "js/", "nope.css"]
)
def test_static_serves_nothing_outside(name: str) -> None:
    assert Https().get("/static/" + name).status_code == 404


def test_static_takes_only_reading() -> None:
    assert Https().post("/static/nightbell.css").status_code == 405


def test_allauths_scripts_are_served() -> None:
    for name in ("mfa/js/webauthn.js", "account/js/onload.js", "django_htmx/htmx-2.min.js"):
        assert Https().get("/static/" + name).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (AuditClosed("The log cannot be written"), 503, "Calls are still answered and recorded"),
        (OperationalError("attempt to write a readonly database"), 503, "Reading is closed"),
        (OperationalError("database or disk is full"), 503, "Reading is closed"),
        (KeysAway("no keys"), 503, "keys of this system"),
        (ZeroDivisionError("SECRET of Rosa Delgado"), 500, "Number to quote"),
    ],
)
def test_trouble_is_told_without_its_text(
    house: House,
    browser: Callable[[Role], Https],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    words: str,
) -> None:
    def broken(*args: Any) -> None:
        raise error

    monkeypatch.setattr(message_view.mailbox, "message", broken)
    answer = browser(Role.CLINICIAN).get("/m/01M85Z4AV1M2ZEPJAXKYN2FSHQ/")
    assert answer.status_code == status
    assert words in answer.content.decode()
    told = answer.content.decode() + capsys.readouterr().err
    assert "Rosa" not in told and "SECRET" not in told


def test_healthz_needs_no_log_in_and_tells_no_names(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from nightbell.web import context

    report = {"ok": False, "checks": {"keys": {"ok": False, "says": "the key file of Rosa is away"}}}
    monkeypatch.setattr(context, "HEALTH", lambda: report)
    answer = Https().get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "needs attention", "ok": False, "checks": {"keys": False}}


def test_a_demo_says_so_on_every_page(
    house: House, browser: Callable[[Role], Https], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightbell.web import context

    client = browser(Role.CLINICIAN)
    assert b"nb-demo" not in client.get("/").content
    monkeypatch.setattr(context, "is_demo", lambda home: True)
    for path in ("/", "/account/login/", "/oncall/", "/account/lost-phone/"):
        assert b"nb-demo" in client.get(path).content or path == "/account/login/"
    assert b"nb-demo" in Https().get("/account/login/").content
