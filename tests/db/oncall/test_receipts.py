"""What a provider tells afterwards: in any order, twice, late, false, or before we had written that we sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from tests.db.web.conftest import Https
from tests.factories import House, make_message
from tests.fakes.carrier_api import ACCOUNT, API_KEY, TOKEN
from tests.fakes.fake_messaging import SENDER, FakeMessaging, FakeText, receipt, running

from nightbell.adapters.carriers.telnyx import TelnyxHook
from nightbell.adapters.carriers.twilio import TwilioHook
from nightbell.adapters.messaging.telnyx import TelnyxSms
from nightbell.adapters.messaging.twilio import TwilioSms
from nightbell.adapters.outward import Outward
from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.ids import new_token
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, NoticeKind, Notification, Receipt, Rendered
from nightbell.oncall import policies, receipts, sending
from nightbell.oncall.models import Alert, AlertState, Attempt, AttemptState
from nightbell.oncall.notifications import render
from nightbell.people.models import Contact
from nightbell.people.roles import Role
from nightbell.web.hooks import views

PHONE = "+15035550148"
SID = "SM" + "5" * 32


@pytest.fixture
def alert(house: House) -> Alert:
    """An alert that has told by its first step and waits for its second."""
    now = utc_now()
    return Alert.objects.create(
        practice=house.practice, message=make_message(house.mailbox, urgent=True), token=new_token(),
        policy=policies.freeze(()).to_text(), started_at=now, next_at=now + timedelta(minutes=2), step=1,
    )  # fmt: skip


def contact(house: House, kind: str = "sms", address: str = PHONE) -> Contact:
    return Contact.objects.create(
        user=house.people[Role.CLINICIAN],
        kind=kind,
        address=address,
        created_at=utc_now(),
        verified_at=utc_now(),
    )


def attempt(house: House, alert: Alert, state: str = AttemptState.SENT, **more: object) -> Attempt:
    now = utc_now()
    fields: dict[str, object] = {
        "alert": alert, "step": 0, "user": house.people[Role.CLINICIAN], "kind": "urgent", "channel": "sms",
        "address": PHONE, "state": state, "recorded_at": now, "retry_at": now, "tries": 1,
        "sent": b"x" if state == AttemptState.SENT else None,
        "reference": SID if state == AttemptState.SENT else "",
    }  # fmt: skip
    return Attempt.objects.create(**(fields | more))


def due(alert: Alert, now: datetime) -> bool:
    alert.refresh_from_db()
    return alert.next_at <= now


def rows(action: str) -> int:
    return Event.objects.filter(action=action).count()


def test_undelivered_makes_the_next_step_due_at_once(house: House, alert: Alert) -> None:
    one, now = attempt(house, alert), utc_now()
    assert receipts.note(SID, False, now)
    one.refresh_from_db()
    assert (one.state, one.receipt) == (AttemptState.FAILED, "undelivered")
    assert due(alert, now) and alert.step == 1
    assert rows("notification:undelivered") == 1
    assert not receipts.note(SID, False, now), "twice is once"
    assert rows("notification:undelivered") == 1


@pytest.mark.parametrize("state", [AttemptState.SENT, AttemptState.PENDING])
def test_a_mail_holds_up_nothing_when_every_way_that_wakes_has_failed(
    house: House, alert: Alert, state: str
) -> None:
    now = utc_now()
    attempt(house, alert, state, channel="email", address="a@b.example", reference="")
    attempt(house, alert, channel="push", address="https://push.example/1", reference="push")
    assert receipts.note(attempt(house, alert).reference, False, now)
    assert not due(alert, now), "a push is out"
    assert receipts.note("push", False, now)
    assert due(alert, now) and alert.step == 1


def test_who_was_handed_a_message_has_their_time_while_a_mail_is_out(house: House, alert: Alert) -> None:
    now = utc_now()
    until = now + timedelta(minutes=5)
    Alert.objects.filter(pk=alert.pk).update(handed_until=until)
    attempt(house, alert, channel="email", address="a@b.example", reference="", alone=True)
    assert receipts.note(attempt(house, alert, alone=True).reference, False, now)
    alert.refresh_from_db()
    assert alert.handed_until == until


def test_as_long_as_something_else_of_the_step_is_out_it_waits(house: House, alert: Alert) -> None:
    attempt(house, alert)
    push = attempt(house, alert, channel="push", address="https://push.example/1", reference="")
    now = utc_now()
    receipts.note(SID, False, now)
    assert not due(alert, now)
    Attempt.objects.filter(pk=push.pk).update(reference="other")
    receipts.note("other", False, now)
    assert due(alert, now)


def test_an_alert_that_has_gone_on_is_left_alone(house: House, alert: Alert) -> None:
    attempt(house, alert)
    Alert.objects.update(step=2)
    receipts.note(SID, False, utc_now())
    assert not due(alert, utc_now()), "it told of the step before"


def test_an_alert_with_an_owner_is_left_alone(house: House, alert: Alert) -> None:
    attempt(house, alert)
    Alert.objects.update(state=AlertState.OWNED)
    receipts.note(SID, False, utc_now())
    assert not due(alert, utc_now())


def test_the_last_step_keeps_its_own_pace(house: House, alert: Alert) -> None:
    attempt(house, alert, step=3)
    Alert.objects.update(step=4)
    receipts.note(SID, False, utc_now())
    assert not due(alert, utc_now()), "or it would ring without rest"


def test_what_went_to_an_owner_alone_rings_nobody_else(house: House, alert: Alert) -> None:
    attempt(house, alert, alone=True)
    receipts.note(SID, False, utc_now())
    assert not due(alert, utc_now())


def test_delivered_owns_nothing(house: House, alert: Alert) -> None:
    attempt(house, alert)
    assert receipts.note(SID, True, utc_now())
    alert.refresh_from_db()
    assert alert.state == AlertState.OPEN and alert.owner is None
    assert not due(alert, utc_now()) and rows("notification:delivered") == 1


def test_receipts_in_any_order_end_as_delivered(house: House, alert: Alert) -> None:
    one, now = attempt(house, alert), utc_now()
    for count, order in enumerate(sorted(set(permutations(["sent", "delivered", "delivered", "queued"]))), 1):
        Attempt.objects.update(receipt="", receipt_at=None)
        for status in order:
            receipts.note(SID, {"delivered": True}.get(status), now)
        one.refresh_from_db()
        assert (one.state, one.receipt) == (AttemptState.SENT, "delivered")
        assert not due(alert, now) and rows("notification:delivered") == count


def test_a_phone_that_confirms_late_is_believed(house: House, alert: Alert) -> None:
    one = attempt(house, alert)
    receipts.note(SID, False, utc_now())
    receipts.note(SID, True, utc_now())
    one.refresh_from_db()
    assert (one.state, one.receipt) == (AttemptState.SENT, "delivered")
    receipts.note(SID, False, utc_now())
    one.refresh_from_db()
    assert (one.state, one.receipt) == (AttemptState.SENT, "delivered"), "the other way round it is not"


def test_a_receipt_that_is_quicker_than_our_own_writing_counts(house: House, alert: Alert) -> None:
    """The provider tells while our request still waits for its answer."""
    one, now = attempt(house, alert, AttemptState.PENDING), utc_now()
    assert receipts.note(SID, False, now, attempt=one.id)
    one.refresh_from_db()
    assert one.state == AttemptState.PENDING and one.receipt == "undelivered" and not due(alert, now)
    Attempt.objects.filter(pk=one.pk).update(state=AttemptState.SENT, sent=b"x")
    receipts.settle_all([one.id], now)
    one.refresh_from_db()
    assert one.state == AttemptState.FAILED and due(alert, now)


class Lost:
    """A channel whose far side takes it, and whose answer is lost."""

    name = "sms"

    def __init__(self) -> None:
        self.sent = 0

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        self.sent += 1
        raise ChannelError("Twilio did not answer in time: it may have left", unsure=True)


@pytest.mark.parametrize("told", [True, False])
def test_what_the_provider_told_of_is_not_sent_again(house: House, alert: Alert, told: bool) -> None:
    """The answer was lost, so that we do not know whether it left; then the provider tells of it."""
    one, now, lost = (
        attempt(house, alert, AttemptState.PENDING, tries=0, contact=contact(house)),
        utc_now(),
        Lost(),
    )
    sender = sending.Sender({"sms": lost}, "https://bell.example")
    sending.send_due(sender, now, Log("test"))
    one.refresh_from_db()
    assert (lost.sent, one.state, one.twice) == (1, AttemptState.PENDING, True), (
        "it may come twice, and says so"
    )
    if told:
        assert receipts.note(SID, None, now, attempt=one.id)
    sending.send_due(sender, now + timedelta(minutes=1), Log("test"))
    one.refresh_from_db()
    assert (lost.sent, one.state) == ((1, AttemptState.SENT) if told else (2, AttemptState.PENDING))
    assert one.reference == (SID if told else "")


def test_a_receipt_of_another_text_changes_nothing(house: House, alert: Alert) -> None:
    one = attempt(house, alert)
    for reference, name in (("SM" + "6" * 32, one.id), ("", ""), ("SM" + "6" * 32, ""), (SID, "0" * 26)):
        assert not receipts.note(reference, False, utc_now(), attempt=name)
    one.refresh_from_db()
    assert one.receipt == "" and not due(alert, utc_now())


def test_stop_ends_the_contact(house: House, alert: Alert) -> None:
    way = contact(house)
    attempt(house, alert, contact=way)
    receipts.note(SID, False, utc_now(), stopped=True)
    way.refresh_from_db()
    assert way.ended_at is not None and way.ended_why == "sms stop"
    assert due(alert, utc_now())


# Through the door, as the providers come.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeMessaging]:
    with running(tmp_path_factory.mktemp("texts"), FakeMessaging()) as messaging:
        yield messaging


@pytest.fixture(params=["twilio", "telnyx"])
def provider(request: pytest.FixtureRequest, server: FakeMessaging, monkeypatch: pytest.MonkeyPatch) -> str:
    hooks = {"twilio": TwilioHook(ACCOUNT, TOKEN), "telnyx": TelnyxHook(server.public_key)}
    monkeypatch.setattr(views, "HOOKS", hooks)
    return str(request.param)


@pytest.fixture
def texted(house: House, alert: Alert, server: FakeMessaging, provider: str) -> Callable[[Attempt], FakeText]:
    """Sends an attempt to the fake, with our address as the provider would call it."""
    outward = Outward(provider, private=True, ca_file=server.ca)
    url = load().url
    channel = (
        TwilioSms(ACCOUNT, TOKEN, SENDER, url, server.base, outward)
        if provider == "twilio"
        else TelnyxSms(API_KEY, SENDER, "", url, server.base, outward)
    )

    def send(one: Attempt) -> FakeText:
        words = render(Notification(NoticeKind.URGENT, "AB12", alert.token), url)
        told = channel.send(words, PHONE, one.id)
        Attempt.objects.filter(pk=one.pk).update(
            state=AttemptState.SENT, reference=told.reference, sent=told.sent
        )
        text = server.texts[-1]
        text.callback = f"{url}/hooks/{provider}/receipt/{one.id}"
        return text

    return send


def come(path: str, body: bytes, headers: dict[str, str]) -> int:
    web = Https(raise_request_exception=False, enforce_csrf_checks=True)
    kind = headers.pop("Content-Type")
    return int(web.post(path, body, kind, headers=headers).status_code)


def test_a_signed_receipt_comes_through_the_door(
    house: House, alert: Alert, server: FakeMessaging, provider: str, texted: Callable[[Attempt], FakeText]
) -> None:
    one = attempt(house, alert, AttemptState.PENDING)
    text = texted(one)
    never = "undelivered" if provider == "twilio" else "delivery_failed"
    for status, state, mark in (
        ("sent", AttemptState.SENT, ""), (never, AttemptState.FAILED, "undelivered"),
        ("sent", AttemptState.FAILED, "undelivered"), ("delivered", AttemptState.SENT, "delivered"),
        (never, AttemptState.SENT, "delivered"),
    ):  # fmt: skip
        assert come(*receipt(server, text, status, 30005)) == 204
        one.refresh_from_db()
        assert (one.state, one.receipt) == (state, mark), status


def test_what_is_not_signed_or_names_nobody_changes_nothing(
    house: House, alert: Alert, server: FakeMessaging, provider: str, texted: Callable[[Attempt], FakeText]
) -> None:
    one = attempt(house, alert, AttemptState.PENDING)
    text = texted(one)
    never = "undelivered" if provider == "twilio" else "delivery_failed"
    path, body, headers = receipt(server, text, never)
    assert come(path, body.replace(never.encode(), b"delivered"), dict(headers)) == 403
    name = "X-Twilio-Signature" if provider == "twilio" else "telnyx-signature-ed25519"
    assert come(path, body, headers | {name: "AAAA"}) == 403
    other = attempt(house, alert, AttemptState.PENDING, address="+15035550149")
    text.callback = f"{load().url}/hooks/{provider}/receipt/not-a-ulid"
    assert come(*receipt(server, text, never)) == 204
    one.refresh_from_db()
    other.refresh_from_db()
    assert (one.receipt, other.receipt, one.state) == ("", "", AttemptState.SENT)
    if provider == "telnyx":  # a receipt that somebody kept is too old
        text.callback = f"{load().url}/hooks/{provider}/receipt/{one.id}"
        assert come(*receipt(server, text, never, now=utc_now() - timedelta(minutes=10))) == 403


def test_what_a_person_writes_back_is_kept_nowhere(
    house: House, alert: Alert, server: FakeMessaging, provider: str, texted: Callable[[Attempt], FakeText],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    one = attempt(house, alert, AttemptState.PENDING)
    text = texted(one)
    text.body = "chest pain Quixby"
    assert come(*receipt(server, text, "delivered")) == 204
    out = capfd.readouterr()
    assert "Quixby" not in out.out + out.err + str(list(Event.objects.values_list("leaf", flat=True)))
