"""Browsers without a browser: Django's client, signed in as a role, over https."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from tests.factories import House, make_message

from nightbell.core.clock import utc_now
from nightbell.core.log import Log
from nightbell.core.notice import Hearing, Word
from nightbell.mailbox import transcribe
from nightbell.mailbox.models import Message
from nightbell.people import tokens
from nightbell.people.models import User
from nightbell.people.roles import Role

HOST = "localhost"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class Https(Client):
    """Every request over https to an allowed host."""

    def generic(self, *args: Any, **more: Any) -> Any:
        more["secure"] = True
        more.setdefault("HTTP_HOST", HOST)
        return super().generic(*args, **more)


def give_totp(user: User) -> None:
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import TOTP

    if not Authenticator.objects.filter(user=user).exists():
        TOTP.activate(user, SECRET)


def signed_in(user: User, second_factor: bool = True) -> Https:
    if second_factor:
        give_totp(user)
    client = Https(raise_request_exception=False)
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


@pytest.fixture(autouse=True)
def _no_throttle_left_over(db: None) -> None:
    cache.clear()


@pytest.fixture
def doctor(house: House) -> User:
    """A clinician with a second factor."""
    give_totp(house.people[Role.CLINICIAN])
    return house.people[Role.CLINICIAN]


@pytest.fixture
def browser(house: House) -> Callable[[Role], Https]:
    return lambda role: signed_in(house.people[role])


@pytest.fixture
def manager(browser: Callable[[Role], Https]) -> Https:
    return browser(Role.MANAGER)


@pytest.fixture
def clinician(browser: Callable[[Role], Https]) -> Https:
    return browser(Role.CLINICIAN)


@pytest.fixture
def token(house: House) -> Callable[[Role], dict[str, str]]:
    """Request headers of a token with all the rights of a role."""
    return lambda role: {
        "HTTP_AUTHORIZATION": "Bearer " + tokens.issue(house.people[role], "test", utc_now())
    }


class Scripted:
    """A recogniser that always hears the same."""

    def __init__(self, text: str, doubtful: str = "") -> None:
        self.text, self.doubtful = text, doubtful

    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
        words = self.text.split()
        step = len(pcm) / 16000 / max(1, len(words))
        heard = [
            Word(" " + w, i * step, (i + 0.9) * step, 0.3 if w == self.doubtful else 0.95)
            for i, w in enumerate(words)
        ]
        return Hearing("en", tuple(heard), "scripted")


SPOKEN = "Hello I have chest pain since Quixby called my number is 503 555 0148"


def spoken_message(house: House, text: str = SPOKEN, doubtful: str = "Quixby", **options: Any) -> Message:
    """A message that came in and got its words."""
    message = make_message(house.mailbox, **options)
    with Path("/dev/null").open("w") as nowhere:
        assert transcribe.run_one(Scripted(text, doubtful), utc_now, Log("test", nowhere))
    return Message.objects.get(pk=message.pk)
