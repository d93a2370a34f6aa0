"""Log-in through allauth: password and code, no sign-up, everything in the log, seeds sealed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from tests.db.web.conftest import SECRET, Https, signed_in
from tests.factories import PASSWORD, House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.people.models import User
from nightbell.people.roles import Role


def code(secret: str = SECRET, steps: int = 0) -> str:
    """RFC 6238, SHA-1, six digits, 30 s."""
    counter = struct.pack(">Q", int(utc_now().timestamp()) // 30 + steps)
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


def actions(house: House) -> list[tuple[str, str, str]]:
    found = Event.objects.filter(log_id=house.practice.id, action__startswith="session:").order_by("seq")
    return [(e.actor, e.action.removeprefix("session:"), e.outcome) for e in found]


def test_password_and_code_open_the_inbox_and_are_in_the_log(house: House, doctor: User) -> None:
    client = Https()
    first = client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
    assert first["Location"].startswith("/account/code/")
    assert client.get("/")["Location"].startswith("/account/login/"), "a password alone is not a log-in"
    second = client.post("/account/code/", {"code": code()})
    assert second["Location"] == "/"
    assert client.get("/").status_code == 200
    client.post("/account/logout/")
    assert client.get("/").status_code == 302
    who = f"user:{doctor.login}"
    assert actions(house) == [(who, "login", "ok"), (who, "logout", "ok")]


def test_it_comes_back_to_where_the_notification_pointed(doctor: User) -> None:
    client = Https()
    client.post(
        "/account/login/?next=/oncall/", {"login": doctor.login, "password": PASSWORD, "next": "/oncall/"}
    )
    assert client.post("/account/code/", {"code": code()})["Location"] == "/oncall/"


def test_it_never_goes_to_another_house_after_log_in(doctor: User) -> None:
    client = Https()
    client.post(
        "/account/login/", {"login": doctor.login, "password": PASSWORD, "next": "https://evil.example/"}
    )
    assert client.post("/account/code/", {"code": code()})["Location"] == "/"


def test_wrong_passwords_are_logged_without_what_was_typed(house: House, doctor: User) -> None:
    client = Https()
    answer = client.post("/account/login/", {"login": doctor.login, "password": "hunter2 hunter2"})
    assert answer.status_code == 200 and b"not correct" in answer.content
    client.post("/account/login/", {"login": "my-password-in-the-wrong-field", "password": "x"})
    assert actions(house) == [(f"user:{doctor.login}", "login_failed", "refused")]
    unknown = Event.objects.get(log_id="installation", action="session:login_failed")
    assert unknown.actor == "user:unknown"
    assert not any(
        b"wrong-field" in bytes(e.leaf) or b"hunter2" in bytes(e.leaf) for e in Event.objects.all()
    )


def test_wrong_codes_are_logged_and_open_nothing(house: House, doctor: User) -> None:
    client = Https()
    client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
    wrong = f"{(int(code()) + 1) % 10**6:06d}"
    assert client.post("/account/code/", {"code": wrong}).status_code == 200
    assert (f"user:{doctor.login}", "second_factor_failed", "refused") in actions(house)
    assert client.get("/").status_code == 302


def test_a_code_works_once(doctor: User) -> None:
    used = code()
    for expected in (302, 200):
        client = Https()
        client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
        assert client.post("/account/code/", {"code": used}).status_code == expected


def guess(doctor: User, times: int, address: str) -> None:
    for _ in range(times):
        wrong = {"login": doctor.login, "password": "wrong wrong wrong"}
        Https().post("/account/login/", wrong, REMOTE_ADDR=address)


def gets_to_the_code(doctor: User, address: str) -> bool:
    right = {"login": doctor.login, "password": PASSWORD}
    answer = Https().post("/account/login/", right, REMOTE_ADDR=address)
    return bool(answer.headers.get("Location", "").startswith("/account/code/"))


def test_guessing_is_slowed(doctor: User) -> None:
    guess(doctor, 5, "198.51.100.9")
    assert not gets_to_the_code(doctor, "198.51.100.9"), "the right password is not even tried now"


def test_a_stranger_who_guesses_locks_nobody_out(doctor: User) -> None:
    guess(doctor, 30, "198.51.100.9")
    assert gets_to_the_code(doctor, "203.0.113.7")


def test_one_address_cannot_try_many_log_ins(house: House, doctor: User) -> None:
    for person in (*house.people.values(), *house.people.values()):
        guess(person, 1, "198.51.100.9")
    assert not gets_to_the_code(doctor, "198.51.100.9")


def test_guessing_from_many_addresses_is_slowed_too(doctor: User, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = settings.ACCOUNT_RATE_LIMITS | {"login_failed_anywhere": "6/h/key"}
    for n in range(3):
        assert gets_to_the_code(doctor, f"203.0.113.{n}"), "right passwords are not counted"
    for n in range(6):
        guess(doctor, 1, f"198.51.100.{n}")
    assert not gets_to_the_code(doctor, "203.0.113.7")


def test_the_limit_on_codes_is_of_the_person(doctor: User) -> None:
    """Whoever guesses codes knows the password already: changing the address must not help."""
    for n in range(6):
        client = Https(REMOTE_ADDR=f"198.51.100.{n}")
        client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
        client.post("/account/code/", {"code": f"{(int(code()) + 1) % 10**6:06d}"})
    client = Https(REMOTE_ADDR="198.51.100.99")
    client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
    assert client.post("/account/code/", {"code": code()}).status_code != 302


def test_somebody_who_left_cannot_come_in(doctor: User) -> None:
    User.objects.filter(pk=doctor.pk).update(is_active=False)
    answer = Https().post("/account/login/", {"login": doctor.login, "password": PASSWORD})
    assert "/account/code/" not in answer.headers.get("Location", "")
    assert Https().get("/").status_code == 302


def test_a_session_ends_when_its_person_is_locked_out(doctor: User) -> None:
    client = signed_in(doctor)
    assert client.get("/").status_code == 200
    User.objects.filter(pk=doctor.pk).update(is_active=False)
    assert client.get("/").status_code == 302


@pytest.mark.parametrize(
    "name", ["account_signup", "account_email", "account_reset_password", "account_set_password"]
)
def test_nobody_signs_up_or_resets_by_mail(house: House, name: str) -> None:
    assert Https().get(f"/account/none/{name}/").status_code == 404
    assert Https().post(f"/account/none/{name}/", {"username": "mallory"}).status_code in (404, 405)
    assert not User.objects.filter(login="mallory").exists()


def test_setting_up_the_app_seals_its_seed_and_is_logged(
    house: House, django_capture_on_commit_callbacks: Any
) -> None:
    person = house.people[Role.FRONT_DESK]
    client = Https()
    assert client.post("/account/login/", {"login": person.login, "password": PASSWORD})["Location"] == "/"
    assert client.get("/")["Location"] == "/account/second-factor/"
    page = client.get("/account/app/").content.decode()
    assert '<svg class="nb-qr"' in page and "style=" not in page
    secret = page.split('class="nb-mono break-all">')[1].split("<")[0]
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post("/account/app/", {"code": code(secret)})
    assert answer["Location"] == "/account/recovery/"
    assert client.get("/").status_code == 200
    stored = Authenticator.objects.get(user=person, type="totp").data["secret"]
    assert secret not in stored and base64.urlsafe_b64decode(stored)
    assert (f"user:{person.login}", "authenticator_added", "ok") in actions(house)


def codes_on(page: str) -> list[str]:
    return re.findall(r"<li>([0-9]{8})</li>", page)


def test_recovery_codes_are_shown_once_at_enrolment(house: House) -> None:
    person = house.people[Role.FRONT_DESK]
    client = Https()
    client.post("/account/login/", {"login": person.login, "password": PASSWORD})
    page = client.get("/account/app/").content.decode()
    assert "ten recovery codes" in page
    secret = page.split('class="nb-mono break-all">')[1].split("<")[0]
    told = client.post("/account/app/", {"code": code(secret)}, follow=True).content.decode()
    first = codes_on(told)
    assert len(first) == 10 and "shown this once" in told
    again = client.get("/account/recovery/").content.decode()
    assert codes_on(again) == [] and "10 of 10 are unused" in again
    assert client.get("/account/recovery/download/").status_code in (403, 404)
    fresh = codes_on(client.post("/account/recovery/new/", follow=True).content.decode())
    assert len(fresh) == 10 and not set(fresh) & set(first)
    client.post("/account/logout/")
    client.post("/account/login/", {"login": person.login, "password": PASSWORD})
    assert client.post("/account/code/", {"code": fresh[0]})["Location"] == "/"
    assert "9 left" in client.get("/account/").content.decode()


def test_who_has_no_recovery_codes_is_told(doctor: User) -> None:
    page = signed_in(doctor).get("/account/").content.decode()
    assert "0 left. Make some" in page


def test_the_last_second_factor_cannot_be_taken_off(doctor: User) -> None:
    client = Https()
    client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
    client.post("/account/code/", {"code": code()})
    client.post("/account/app/remove/")
    assert Authenticator.objects.filter(user=doctor, type="totp").exists()


def test_an_old_session_must_prove_itself_before_it_changes_locks(doctor: User) -> None:
    client = signed_in(doctor)
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": utc_now().timestamp() - 301}]
    session.save()
    assert client.get("/account/passkeys/add/")["Location"].startswith("/account/confirm/")
    again = "/account/confirm/?next=/account/passkeys/add/"
    assert b"nb-error" not in client.get(again).content
    assert client.post(again, {"password": "wrong wrong wrong"}).status_code == 200
    assert client.post(again, {"password": PASSWORD})["Location"] == "/account/passkeys/add/"
    assert client.get("/account/passkeys/add/").status_code == 200


@pytest.mark.parametrize(
    "path", ["", "password/", "passkeys/", "passkeys/add/", "sessions/", "app/remove/", "recovery/new/"]
)
def test_every_page_of_ones_own_log_in_renders(doctor: User, path: str) -> None:
    client = Https()
    client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
    client.post("/account/code/", {"code": code()})
    answer = client.get("/account/" + path)
    assert answer.status_code == 200, answer.headers.get("Location")
    assert b"nb-rail" in answer.content


def test_changing_the_password_is_logged(house: House, doctor: User) -> None:
    client = Https()
    client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
    client.post("/account/code/", {"code": code()})
    new = {"oldpassword": PASSWORD, "password1": "a much longer secret", "password2": "a much longer secret"}
    client.post("/account/password/", new)
    assert (f"user:{doctor.login}", "password_changed", "ok") in actions(house)
    doctor.refresh_from_db()
    assert doctor.check_password("a much longer secret")


def test_a_closed_log_lets_nobody_in(doctor: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from nightbell.audit.errors import AuditClosed
    from nightbell.web import accounts

    def closed(*args: object, **more: object) -> str:
        raise AuditClosed("closed")

    monkeypatch.setattr(accounts.audit, "record", closed)
    client = Https(raise_request_exception=False)
    client.post("/account/login/", {"login": doctor.login, "password": PASSWORD})
    assert client.post("/account/code/", {"code": code()}).status_code == 503
    monkeypatch.undo()
    assert client.get("/").status_code == 302, "nobody is inside whose coming is not in the log"


def test_the_lost_phone_page_needs_no_log_in(house: House, other: House) -> None:
    page = Https().get("/account/lost-phone/").content.decode()
    assert "You lost your phone" in page
    assert house.people[Role.MANAGER].name not in page, "two practices: strangers learn no names"


def test_passkey_log_in_offers_a_challenge_for_our_address(browser: Callable[[Role], Https]) -> None:
    answer = Https().get("/account/passkey/login/", HTTP_ACCEPT="application/json")
    options = answer.json()["request_options"]["publicKey"]
    assert options["rpId"] and options["userVerification"]
