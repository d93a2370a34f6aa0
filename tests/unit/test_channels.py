"""Which ways to a person there are, by the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.carrier_api import ACCOUNT, TOKEN
from tests.unit.adapters.test_outbox import WORDS

from nightbell.adapters.bounded import BoundedChannel
from nightbell.adapters.messaging.telnyx import TelnyxSms
from nightbell.adapters.messaging.twilio import TwilioSms
from nightbell.adapters.outbox import OutboxChannel
from nightbell.core.config import Config, load
from nightbell.core.errors import RefusedStart
from nightbell.core.notice import Channel, ChannelError
from nightbell.server import wiring

FROM = "+15035550199"
TWILIO = {"NIGHTBELL_TWILIO_ACCOUNT": ACCOUNT, "NIGHTBELL_TWILIO_TOKEN": TOKEN}
TELNYX = {"NIGHTBELL_TELNYX_API_KEY": "KEY-x", "NIGHTBELL_TELNYX_PUBLIC_KEY": "A" * 43 + "="}
REFERENCE = "01JDE8Q4T0ABCDEFGHJKMNPQRS"


def config(folder: Path, **settings: str) -> Config:
    (folder / "keys").mkdir(exist_ok=True)
    return load({"NIGHTBELL_HOME": str(folder / "home"), "NIGHTBELL_KEYS": str(folder / "keys"), **settings})


def inner(channel: Channel) -> Channel:
    assert isinstance(channel, BoundedChannel), "it must not hold up another"
    return channel.inner


def test_a_real_installation_has_what_is_set_up(tmp_path: Path) -> None:
    assert sorted(wiring.channels(config(tmp_path), "real")) == ["other", "push"]
    mail = {"NIGHTBELL_SMTP": "smtp://mail.example", "NIGHTBELL_SMTP_FROM": "line@practice.example"}
    found = wiring.channels(config(tmp_path, NIGHTBELL_SMS_FROM=FROM, **TWILIO, **mail), "real")
    assert sorted(found) == ["email", "other", "push", "sms"]
    assert all(isinstance(one, BoundedChannel) for one in found.values())
    assert isinstance(inner(found["sms"]), TwilioSms)
    assert sorted(wiring.channels(config(tmp_path, **TWILIO), "real")) == ["other", "push"], (
        "nothing to send from"
    )


def test_a_demo_leaves_all_else_in_its_outbox(tmp_path: Path) -> None:
    given = config(tmp_path)
    found = wiring.channels(given, "demo")
    assert sorted(found) == ["email", "other", "push", "sms", "voice"]
    assert all(isinstance(one, OutboxChannel) for one in found.values())
    for kind, channel in found.items():
        channel.send(WORDS, "alice@example.invalid" if kind == "email" else "+15035550148", REFERENCE)
    ends = sorted(path.suffix for path in given.outbox.iterdir())
    assert ends == [".eml", ".other", ".push", ".sms", ".voice"]
    assert not list(given.keys.iterdir()), "a demo pushes to nobody"


def test_text_messages_go_by_the_one_that_is_set_up_or_named(tmp_path: Path) -> None:
    def sms(**more: str) -> Channel:
        return inner(wiring.channels(config(tmp_path, NIGHTBELL_SMS_FROM=FROM, **more), "real")["sms"])

    assert isinstance(sms(**TELNYX), TelnyxSms)
    assert isinstance(sms(**TWILIO, **TELNYX, NIGHTBELL_SMS="telnyx"), TelnyxSms)
    assert isinstance(sms(**TWILIO, **TELNYX, NIGHTBELL_SMS="twilio"), TwilioSms)
    service = {"NIGHTBELL_SMS_FROM": "MG" + "0" * 32}
    assert isinstance(inner(wiring.channels(config(tmp_path, **service, **TWILIO), "real")["sms"]), TwilioSms)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"NIGHTBELL_SMS_FROM": FROM}, "NIGHTBELL_SMS_FROM"),
        ({"NIGHTBELL_SMS_FROM": FROM, **TWILIO, **TELNYX}, "NIGHTBELL_SMS"),
        ({"NIGHTBELL_SMS_FROM": FROM, "NIGHTBELL_SMS": "telnyx", **TWILIO}, "NIGHTBELL_SMS"),
        ({"NIGHTBELL_SMS_FROM": "5035550199", **TWILIO}, "NIGHTBELL_SMS_FROM"),
        ({"NIGHTBELL_SMS_FROM": "MG" + "0" * 32, **TELNYX}, "NIGHTBELL_SMS_FROM"),
        ({"NIGHTBELL_SMS_FROM": FROM, "NIGHTBELL_TWILIO_ACCOUNT": ACCOUNT}, "NIGHTBELL_TWILIO_TOKEN"),
        ({"NIGHTBELL_PUSH_SUBJECT": "the IT person"}, "NIGHTBELL_PUSH_SUBJECT"),
    ],
)
def test_half_a_setting_is_refused_with_its_name(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    with pytest.raises(RefusedStart, match=named) as caught:
        wiring.channels(config(tmp_path, **settings), "real")
    assert TOKEN not in str(caught.value)


def test_pages_and_worker_know_the_same_push_key(tmp_path: Path) -> None:
    given = config(tmp_path)
    key = wiring.vapid_public_key(given)
    assert key == wiring.vapid_public_key(given) and len(key) == 87
    assert [path.name for path in given.keys.iterdir()] == ["vapid.key"]


def test_a_push_address_inside_the_house_is_refused_unless_a_test_asks(tmp_path: Path) -> None:
    def answer(**more: str) -> ChannelError:
        with pytest.raises(ChannelError) as caught:
            wiring.channels(config(tmp_path, **more), "real")["push"].send(
                WORDS, "https://127.0.0.1/x", REFERENCE
            )
        return caught.value

    assert answer().permanent and "private network" in answer().answer
    assert "not reached" in answer(NIGHTBELL_PUSH_LOCAL="1").answer
