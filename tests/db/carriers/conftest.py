"""A practice, its providers, and a worker that is run by hand."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client
from tests.factories import House, tone
from tests.fakes.carrier import FakeCall, Signer, Speech
from tests.fakes.carrier_api import ACCOUNT, API_KEY, TOKEN, FakeApi, running

from nightbell.adapters.carriers.telnyx import TelnyxCarrier, TelnyxHook
from nightbell.adapters.carriers.twilio import TwilioCarrier, TwilioHook
from nightbell.adapters.carriers.wire import Wire
from nightbell.core.carriers import Carrier
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.flow.plan import Plan
from nightbell.line import carrier_intake, carrier_stand_in, service
from nightbell.line.carrier_models import CarrierCall, Stage
from nightbell.mailbox import intake, playing
from nightbell.mailbox.models import Message
from nightbell.people.roles import Role
from nightbell.sealing import spool
from nightbell.server import home, routing, wiring
from nightbell.web.hooks import views

SPOKEN = tone(6.0, 523.0)
TELNYX_KEY = Ed25519PrivateKey.generate()


class Crash(BaseException):
    """The worker dies here."""


@dataclass
class Desk:
    """One practice, its providers, and a worker that is run by hand. now: the worker's clock."""

    house: House
    api: FakeApi
    tools: carrier_intake.Tools
    keys: Path
    now: datetime = field(default_factory=utc_now)

    def call(self, provider: str = "twilio", **options: Any) -> FakeCall:
        client = Client()

        def post(path: str, form: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
            answer = client.post(
                path, urlencode(form), "application/x-www-form-urlencoded", secure=True,
                HTTP_HOST="nightbell.test", headers=headers,
            )  # fmt: skip
            return answer.status_code, answer.content

        def fetch(path: str) -> tuple[int, str]:
            answer = client.get(path, secure=True, HTTP_HOST="nightbell.test")
            assert "public" in answer["Cache-Control"] and not answer.cookies
            return answer.status_code, answer["Content-Type"]

        return FakeCall(self.api, Signer(provider, TELNYX_KEY), post, fetch, **options)

    def work(self, seconds: float = 0.0, rounds: int = 30) -> None:
        """The worker's loops, until nothing is due. seconds: that pass before."""
        self.now = max(self.now, utc_now()) + timedelta(seconds=seconds)
        for _ in range(rounds):
            worked = carrier_stand_in.write_due(self.tools, self.now)
            worked = carrier_intake.run_one(self.tools, self.now) or worked
            for path in spool.waiting(self.tools.folder):
                intake.take_in(path, self.now, wiring.unpacker())
                worked = True
            if not worked:
                waiting = CarrierCall.objects.filter(
                    stage=Stage.SPOOLED, due_at__lte=self.now + timedelta(seconds=5)
                )
                if not waiting.exists():
                    return
                self.now += timedelta(seconds=5)

    def heard(self, message: Message) -> bytes:
        return playing.sound(self.house.actor(Role.CLINICIAN), message.id, 0, 10**8).data[44:]


@pytest.fixture
def _migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test database is: to find that out again takes half a second, and a hundred tests would do so.
    tests/db/line/test_snapshot.py and others prepare a database with all that belongs to it."""
    monkeypatch.setattr("django.core.management.call_command", lambda *name, **how: None)


@pytest.fixture
def desk(house: House, _migrated: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    config = load()
    for path in config.spool.glob("*"):
        path.unlink()
    stamp = config.home / "home.json"
    stamped = stamp.exists()
    home.write_stamp(config, home.DEMO, utc_now())  # somebody can be woken
    home.prepare_database(config, utc_now())
    routing.publish(config, utc_now())
    (config.home / "run" / "health.json").write_text("{}")
    public = base64.b64encode(TELNYX_KEY.public_key().public_bytes_raw()).decode()
    hooks = {"twilio": TwilioHook(ACCOUNT, TOKEN), "telnyx": TelnyxHook(public)}
    monkeypatch.setattr(views, "HOOKS", hooks)
    with running(tmp_path, FakeApi()) as api:
        keys = tmp_path / "recording-keys"
        keys.mkdir()
        wire = Wire(api.base, (), api.ca, seconds=5.0)
        carriers: dict[str, Carrier] = {
            "twilio": TwilioCarrier(ACCOUNT, TOKEN, wire, keys),
            "telnyx": TelnyxCarrier(API_KEY, wire),
        }
        log = Log("test", stream=(tmp_path / "log").open("w"))
        tools = carrier_intake.Tools(carriers, wiring.decoder(config), config.spool, log)
        desk = Desk(house, api, tools, keys)
        api.clock = lambda: desk.now
        yield desk
    if not stamped:
        stamp.unlink(missing_ok=True)


def publish(desk: Desk, plan: Plan) -> None:
    actor = desk.house.actor(Role.MANAGER)
    service.publish(actor, service.save(actor, 0, plan))
    routing.publish(load(), utc_now())


def left(desk: Desk, urgent: bool = False, provider: str = "twilio") -> FakeCall:
    """A call that has left a message, which the provider holds."""
    keys = {"menu-urgent": "1"} if urgent else {"menu-routine": "2"}
    call = desk.call(provider, keys=keys, speeches=[Speech(SPOKEN)]).run()
    call.tell()
    return call
