"""Alerts against real servers that refuse: what each answer does to the contact, to the attempt and to the next step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.factories import House, make_message
from tests.fakes import fake_messaging, fake_push
from tests.fakes.carrier_api import ACCOUNT, TOKEN
from tests.fakes.fake_messaging import SENDER, FakeMessaging
from tests.fakes.fake_push import FakePush
from tests.ports import free_port

from nightbell.adapters.messaging.twilio import TwilioSms
from nightbell.adapters.outward import Outward
from nightbell.adapters.push import PushChannel, Vapid
from nightbell.adapters.smtp import SmtpChannel
from nightbell.core.clock import utc_now
from nightbell.core.log import Log
from nightbell.oncall import escalation
from nightbell.oncall.models import Alert, Attempt, AttemptState
from nightbell.people.models import Contact
from nightbell.people.roles import Role

PHONE, URL = "+15035550148", "https://bell.example"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeMessaging, FakePush]]:
    with (
        fake_messaging.running(tmp_path_factory.mktemp("texts"), FakeMessaging()) as texts,
        fake_push.running(tmp_path_factory.mktemp("push"), FakePush()) as push,
    ):
        yield texts, push


class Night:
    """A clinician with three ways, and an urgent message."""

    def __init__(self, house: House, servers: tuple[FakeMessaging, FakePush]) -> None:
        self.texts, self.push = servers
        for kept in (
            self.texts.texts,
            self.texts.answers,
            self.texts.stopped,
            self.push.answers,
            self.push.taken,
        ):
            kept.clear()
        vapid = Vapid(ec.generate_private_key(ec.SECP256R1()), "mailto:it@practice.example")
        texting = Outward("Twilio", private=True, ca_file=self.texts.ca)
        pushing = Outward("the push service", private=True, ca_file=self.push.ca)
        channels = {
            "sms": TwilioSms(ACCOUNT, TOKEN, SENDER, URL, self.texts.base, texting),
            "push": PushChannel(vapid, pushing),
            "email": SmtpChannel(
                f"smtp://127.0.0.1:{free_port()}", "line@practice.example"
            ),  # nobody listens
        }
        self.sender, self.now = escalation.Sender(channels, URL), utc_now()
        user = house.people[Role.CLINICIAN]
        Contact.objects.filter(user=user).delete()
        addresses = {
            "push": self.push.subscribe("alice", vapid.public), "sms": PHONE, "email": "clinician@ab12.example",
        }  # fmt: skip
        for kind, address in addresses.items():
            Contact.objects.create(
                user=user, kind=kind, address=address, created_at=self.now, verified_at=self.now
            )
        make_message(house.mailbox, urgent=True)

    def tick(self, seconds: float = 0) -> dict[str, Attempt]:
        """One round; gives the first step's attempts by way."""
        self.now += timedelta(seconds=seconds)
        escalation.tick(self.sender, self.now, Log("test"))
        return {one.channel: one for one in Attempt.objects.filter(step=0)}


@pytest.fixture
def night(house: House, servers: tuple[FakeMessaging, FakePush]) -> Night:
    return Night(house, servers)


def next_at() -> datetime:
    return Alert.objects.get().next_at


def ended() -> dict[str, str]:
    return dict(Contact.objects.exclude(ended_at=None).values_list("kind", "ended_why"))


def test_one_way_that_fails_leaves_the_others_and_the_pace_alone(night: Night) -> None:
    tried = night.tick()
    assert [tried[kind].state for kind in ("push", "sms")] == [AttemptState.SENT] * 2
    assert tried["email"].state == AttemptState.PENDING and "not reached" in tried["email"].answer
    assert tried["sms"].reference == night.texts.texts[0].id and tried["push"].sent
    assert next_at() > night.now, "two ways are out"
    assert ended() == {}


def test_stop_and_an_ended_subscription_end_the_contacts_and_the_step(night: Night) -> None:
    night.texts.stopped.add(PHONE)
    night.push.answers.append((410, {}))
    tried = night.tick()
    assert [tried[kind].state for kind in ("push", "sms")] == [AttemptState.FAILED] * 2
    assert ended() == {"push": "push gone", "sms": "sms gone"}
    assert next_at() <= night.now, "the mail may still get through, and wakes nobody"
    for _ in range(4):
        night.tick(31)
    assert Alert.objects.get().step > 1, "nothing of it got through: the next step did not wait for its time"
    assert night.texts.texts == [] and night.push.taken == []


def test_a_busy_service_is_left_alone_as_long_as_it_asks(night: Night) -> None:
    night.texts.answers.append((429, 20429))
    assert night.tick()["sms"].state == AttemptState.PENDING
    night.tick(5)
    assert night.texts.texts == [], "it asked for seven seconds"
    assert night.tick(3)["sms"].state == AttemptState.SENT and len(night.texts.texts) == 1


def test_an_answer_that_was_lost_is_marked_as_perhaps_twice(night: Night) -> None:
    night.texts.answers.append(fake_messaging.cuts)
    assert night.tick()["sms"].twice
    tried = night.tick(3)
    assert (tried["sms"].state, tried["sms"].twice, len(night.texts.texts)) == (AttemptState.SENT, True, 2)
