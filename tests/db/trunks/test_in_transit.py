"""What the evidence says of encryption is what the code sets, and what is half set up is not shown as good."""

from __future__ import annotations

import os
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.db.trunks.conftest import NOW
from tests.factories import House

from nightbell.adapters.carriers.wire import Wire
from nightbell.adapters.outward import Outward
from nightbell.adapters.smtp import SmtpChannel
from nightbell.adapters.transit import TransitProvider
from nightbell.compliance import transport
from nightbell.core.config import Config, load
from nightbell.people.models import Contact
from nightbell.people.roles import Role
from nightbell.server import cli


def told(config: Config) -> dict[str, transport.Hop]:
    return {hop.name: hop for hop in transport.in_transit(config, NOW)}


def test_pages_are_served_by_the_version_that_is_told(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    (tmp_path / "server.key").touch()
    monkeypatch.setattr(cli.home, "require", lambda *_: None)
    monkeypatch.setattr(cli, "check_keys_apart", lambda *_: None)
    monkeypatch.setattr(os, "nice", lambda *_: 0)
    monkeypatch.setattr(os, "execv", lambda _, arguments: ran.extend(arguments))
    cli._web(replace(load(), keys=tmp_path), None)  # type: ignore[arg-type]
    assert told(load())["Pages and API"].versions == "TLS 1.3"
    assert ran[ran.index("--ssl-protocol-min") + 1] == "tls1.3"


def test_what_goes_out_goes_by_the_version_that_is_told(house: House) -> None:
    clients: list[tuple[str, Any]] = [
        ("Notifications by mail", SmtpChannel("smtp://mail.example", "a@b.example")),
        ("Key service (transit)", TransitProvider("https://keys.example/transit/key", lambda: "token")),
        ("Calls by Twilio's webhook", Wire("https://api.example", ())),
    ]
    config = replace(
        load(), smtp="smtp://mail.example", key_provider="transit:https://keys.example/transit/key",
        twilio_account="AC1", twilio_token="t",
    )  # fmt: skip
    for name, client in clients:
        assert told(config)[name].versions == "TLS 1.2 or 1.3"
        assert "certificate is verified" in told(config)[name].peer
        assert client._tls.minimum_version == ssl.TLSVersion.TLSv1_2, name
        assert client._tls.verify_mode == ssl.CERT_REQUIRED and client._tls.check_hostname, name


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("smtp://u:p@mail.example:587", "SMTP, STARTTLS required"),
        ("smtps://u:p@mail.example", "SMTP over TLS"),
    ],
)
def test_mail_is_told_as_it_goes(house: House, url: str, protocol: str) -> None:
    assert told(replace(load(), smtp=url))["Notifications by mail"].protocol == protocol


def test_ways_to_staff_are_told_as_far_as_they_are_used(house: House) -> None:
    before = set(told(load()))
    user, address = house.people[Role.CLINICIAN], "pover://user@token"
    proved = {"user": user, "created_at": NOW, "verified_at": NOW}
    Contact.objects.create(kind="push", address="https://push.example/a", **proved | {"verified_at": None})
    assert set(told(load())) == before, "not used before it is proved"
    Contact.objects.create(kind="push", address="https://push.example/b", **proved)
    Contact.objects.create(kind="other", address=address, **proved)
    found = told(replace(load(), sms="twilio"))
    texts, push = found["Text messages by Twilio"], found["Push to browsers"]
    assert "in the clear" in texts.says and "empty" in push.says
    assert "the practice's choice" in found["Other services (pover)"].says
    assert address.partition("://")[2] not in str(found)
    client = Outward("it")
    assert client._tls.minimum_version == ssl.TLSVersion.TLSv1_2 and texts.versions == "TLS 1.2 or 1.3"
    assert client._tls.verify_mode == ssl.CERT_REQUIRED and client._tls.check_hostname


@pytest.mark.parametrize(
    ("name", "half", "whole"),
    [
        ("Telnyx", {"telnyx_public_key": "k"}, {"telnyx_public_key": "k", "telnyx_api_key": "a"}),
        ("Telnyx", {"telnyx_api_key": "a"}, {"telnyx_public_key": "k", "telnyx_api_key": "a"}),
        ("Twilio", {"twilio_account": "AC1"}, {"twilio_account": "AC1", "twilio_token": "t"}),
    ],
)
def test_a_provider_that_is_half_set_up_is_not_good(
    house: House, name: str, half: dict[str, Any], whole: dict[str, Any]
) -> None:
    hop = f"Calls by {name}'s webhook"
    assert hop not in told(load())
    assert not told(replace(load(), **half))[hop].ok
    assert "half" in told(replace(load(), **half))[hop].says
    assert told(replace(load(), **whole))[hop].ok
