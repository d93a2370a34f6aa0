"""Second factors: a code counts once in all its time, and every log-in that opens nothing is in the log."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.core.cache import cache
from tests.db.web.conftest import SECRET, Https
from tests.factories import PASSWORD, House

from nightbell.audit.models import Event
from nightbell.people.models import User
from nightbell.people.roles import Role
from nightbell.web import factors

NOON = 1_795_521_600  # the start of a half minute


class Time:
    """The clock of allauth's codes. To move it is also to let its own marks run out."""

    now = float(NOON)

    def time(self) -> float:
        return self.now

    def go_on(self, seconds: int) -> None:
        self.now += seconds
        cache.clear()

    def code(self, steps: int = 0, secret: str = SECRET) -> str:
        return totp.format_hotp_value(totp.hotp_value(secret, int(self.now) // 30 + steps))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(totp, "time", SimpleNamespace(time=made.time))
    return made


def password(user: User) -> Https:
    client = Https(raise_request_exception=False)
    client.post("/account/login/", {"login": user.login, "password": PASSWORD})
    return client


def comes_in(user: User, code: str) -> bool:
    return bool(password(user).post("/account/code/", {"code": code}).status_code == 302)


def rows(action: str, log_id: str) -> list[dict[str, Any]]:
    found = Event.objects.filter(log_id=log_id, action=f"session:{action}").order_by("seq")
    return [json.loads(bytes(event.leaf)) for event in found]


def test_a_code_counts_once_in_all_its_time(doctor: User, time: Time) -> None:
    ahead = time.code(1)  # of a phone whose clock is half a minute early: good for 90 s
    assert comes_in(doctor, ahead)
    for _ in range(2):
        time.go_on(30)
        assert not comes_in(doctor, ahead), f"used at noon, taken again {time.now - NOON} s later"
    assert comes_in(doctor, time.code()), "the next one is as good as ever"
    assert not comes_in(doctor, time.code(-1)), "an earlier one than the last may have been seen"


def test_of_two_at_once_one_counts(doctor: User, time: Time) -> None:
    stale = Authenticator.objects.get(user=doctor)
    assert [factors.spend(stale, time.code()) for _ in range(2)] == [True, False]
    assert Authenticator.objects.get(user=doctor).data["secret"] == stale.data["secret"]


def test_a_used_code_is_a_wrong_try(doctor: User, time: Time) -> None:
    used = time.code()
    assert comes_in(doctor, used)
    time.go_on(30)
    for _ in range(5):
        assert not comes_in(doctor, used)
    assert not comes_in(doctor, time.code()), "five wrong ones: the person has to wait"


def test_a_code_of_the_log_in_proves_nothing_again(doctor: User, time: Time) -> None:
    client, used = password(doctor), time.code()
    client.post("/account/code/", {"code": used})
    time.go_on(30)
    again = "/account/confirm/code/?next=/account/passkeys/add/"
    assert client.post(again, {"code": used}).status_code == 200
    assert client.post(again, {"code": time.code()})["Location"] == "/account/passkeys/add/"
    assert not comes_in(doctor, time.code()), "nor the other way round"


def test_the_code_of_the_setting_up_opens_no_log_in(house: House, time: Time) -> None:
    person = house.people[Role.FRONT_DESK]
    client = password(person)
    secret = client.get("/account/app/").content.decode().split('class="nb-mono break-all">')[1].split("<")[0]
    first = time.code(0, secret)
    assert client.post("/account/app/", {"code": first}).status_code == 302
    assert not comes_in(person, first)
    time.go_on(30)
    assert not comes_in(person, first)
    assert comes_in(person, time.code(0, secret))


def passkey(user_handle: str) -> str:
    handle = base64.urlsafe_b64encode(user_handle.encode()).decode().rstrip("=")
    said = base64.urlsafe_b64encode(b'{"type":"webauthn.get","challenge":"AA","origin":"https://x"}').decode()
    response = {"clientDataJSON": said.rstrip("="), "authenticatorData": "A" * 52, "signature": "AA"}
    inner = response | {"userHandle": handle}
    return json.dumps({"id": "AA", "rawId": "AA", "type": "public-key", "response": inner})


def knock(credential: str, address: str = "198.51.100.9") -> int:
    client = Https(raise_request_exception=False, REMOTE_ADDR=address)
    client.get("/account/passkey/login/", HTTP_ACCEPT="application/json")
    return client.post("/account/passkey/login/", {"credential": credential}).status_code


def test_a_passkey_that_opens_nothing_is_in_the_log(house: House, doctor: User) -> None:
    assert knock(passkey(doctor.id)) == 302
    (row,) = rows("login_failed", house.practice.id)
    assert (row["actor"], row["outcome"], row["detail"]) == (
        f"user:{doctor.login}",
        "refused",
        {"with": "passkey"},
    )


@pytest.mark.parametrize(
    "credential",
    ["", "{", "null", "[]", '{"id":"x"}', '{"id":"x","response":1}', "[" * 5000, passkey("nobody"), passkey("\x00")],
)  # fmt: skip
def test_what_no_passkey_sends_is_refused_and_in_the_log(house: House, credential: str) -> None:
    assert knock(credential) == 302
    (row,) = rows("login_failed", "installation")
    assert row["actor"] == "user:unknown"


@pytest.mark.parametrize("credential", ['{"id":"x"}', "[" * 5000])
def test_a_broken_passkey_as_second_step_is_a_wrong_one(house: House, doctor: User, credential: str) -> None:
    assert password(doctor).post("/account/code/", {"credential": credential}).status_code == 200
    assert len(rows("second_factor_failed", house.practice.id)) == 1


def test_a_passkey_log_in_that_opens_is_no_failure(
    house: House, doctor: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Authenticator.objects.create(user=doctor, type=Authenticator.Type.WEBAUTHN, data={"name": "Key"})
    monkeypatch.setattr(factors.PasskeyLoginForm, "clean_credential", lambda form: made)
    assert knock(passkey(doctor.id)) == 302
    assert len(rows("login", house.practice.id)) == 1 and not rows("login_failed", house.practice.id)


def test_a_flood_of_passkeys_does_not_fill_the_log(house: House) -> None:
    assert [knock("{}") for _ in range(20)] == [302] * 10 + [429] * 10
    details = [row["detail"] for row in rows("login_failed", "installation")]
    assert details == [{"with": "passkey"}] * 10 + [{"limit": "passkeys"}]
