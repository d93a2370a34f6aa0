"""Text messages against fakes of two providers: what is taken, refused, stopped, lost on the way, and told afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

import pytest
from tests.fakes.carrier_api import ACCOUNT, API_KEY, TOKEN
from tests.fakes.fake_messaging import SENDER, FakeMessaging, cuts, hangs, receipt, running

from nightbell.adapters.carriers.telnyx import TelnyxHook
from nightbell.adapters.carriers.twilio import TwilioHook
from nightbell.adapters.messaging.telnyx import TelnyxSms
from nightbell.adapters.messaging.twilio import TwilioSms
from nightbell.adapters.outward import Outward
from nightbell.core.clock import utc_now
from nightbell.core.notice import Channel, ChannelError, Delivery, NoticeKind, Notification, Rendered
from nightbell.oncall.notifications import render

REFERENCE, OTHER = "01JDE8Q4T0ABCDEFGHJKMNPQRS", "01JDE8Q4T0ABCDEFGHJKMNPQRT"
PHONE = "+15035550148"
WORDS = render(Notification(NoticeKind.URGENT, "QX07", "t" * 22), "https://bell.example")
Make = Callable[..., Channel]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeMessaging]:
    with running(tmp_path_factory.mktemp("texts"), FakeMessaging()) as messaging:
        yield messaging


@pytest.fixture
def fake(server: FakeMessaging) -> FakeMessaging:
    for kept in (server.texts, server.answers, server.stopped, server.unknown, server.keys):
        kept.clear()  # type: ignore[attr-defined]
    return server


@pytest.fixture(params=["twilio", "telnyx"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sms(fake: FakeMessaging, provider: str) -> Make:
    def make(url: str = "https://bell.example", secret: str = "", seconds: float = 5.0) -> Channel:
        outward = Outward(provider.title(), private=True, ca_file=fake.ca, seconds=seconds)
        if provider == "twilio":
            return TwilioSms(ACCOUNT, secret or TOKEN, SENDER, url, fake.base, outward)
        return TelnyxSms(secret or API_KEY, SENDER, "", url, fake.base, outward)

    return make


def failure(
    one: Channel, address: str = PHONE, words: Rendered = WORDS, reference: str = REFERENCE
) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        one.send(words, address, reference)
    return caught.value


def test_a_text_is_taken_with_our_words_and_an_address_for_its_receipt(
    fake: FakeMessaging, sms: Make, provider: str
) -> None:
    told = sms().send(WORDS, PHONE, REFERENCE)
    (text,) = fake.texts
    assert (text.to, text.body, told.reference) == (PHONE, WORDS.short, text.id)
    assert text.callback == f"https://bell.example/hooks/{provider}/receipt/{REFERENCE}"
    assert told.sent == text.raw, "what is kept is what left"
    assert TOKEN.encode() not in told.sent and API_KEY.encode() not in told.sent


@pytest.mark.parametrize("url", ["https://localhost:8443", "https://10.0.0.7", "https://[::1]:8443"])
def test_no_receipt_is_asked_for_where_a_provider_cannot_come(
    fake: FakeMessaging, sms: Make, url: str
) -> None:
    sms(url).send(WORDS, PHONE, REFERENCE)
    assert fake.texts[0].callback == ""


def test_who_answered_stop_is_never_written_to_again(fake: FakeMessaging, sms: Make) -> None:
    fake.stopped.add(PHONE)
    error = failure(sms())
    assert error.gone and error.permanent and fake.texts == []


def test_a_number_that_is_none_is_not_tried_again(fake: FakeMessaging, sms: Make) -> None:
    fake.unknown.add(PHONE)
    error = failure(sms())
    assert error.permanent and not error.gone and not error.unsure
    assert PHONE not in error.answer


def test_a_wrong_credential_is_not_tried_again(fake: FakeMessaging, sms: Make) -> None:
    error = failure(sms(secret="another"))
    assert error.permanent and "401" in error.answer and "another" not in error.answer


@pytest.mark.parametrize(("status", "unsure"), [(429, False), (500, True), (503, True)])
def test_a_provider_in_trouble_is_tried_again(
    fake: FakeMessaging, sms: Make, status: int, unsure: bool
) -> None:
    fake.answers.append((status, 20429))
    error = failure(sms())
    assert (error.permanent, error.unsure) == (False, unsure)
    assert error.after_s == (7.0 if status == 429 else 0.0)
    assert str(status) in error.answer and "5035550148" not in error.answer, "their words are not ours"


@pytest.mark.parametrize("lost", [hangs, cuts])
def test_a_lost_answer_is_not_taken_for_a_failure(
    fake: FakeMessaging, sms: Make, provider: str, lost: Callable[..., None]
) -> None:
    fake.answers.append(lost)
    error = failure(sms(seconds=0.3))
    assert error.unsure and not error.permanent and len(fake.texts) == 1
    again = sms().send(WORDS, PHONE, REFERENCE)
    # Telnyx knows our key and gives the first answer again; Twilio has none, which `unsure` says.
    assert len(fake.texts) == (1 if provider == "telnyx" else 2)
    assert again.reference == fake.texts[-1].id
    sms().send(WORDS, PHONE, OTHER)
    assert len(fake.texts) == (2 if provider == "telnyx" else 3), "another attempt is another text"


@pytest.mark.parametrize(
    ("address", "reference", "words"),
    [
        ("5035550148", REFERENCE, WORDS), ("+15035550148\r\nX: y", REFERENCE, WORDS), ("", REFERENCE, WORDS),
        ("alice@example.invalid", REFERENCE, WORDS), (PHONE, "../x", WORDS), (PHONE, REFERENCE, Rendered("a", "b")),
        (PHONE, REFERENCE, Rendered("a", "b", "x" * 161)), (PHONE, REFERENCE, Rendered("a", "b", "sesión")),
    ],
)  # fmt: skip
def test_what_is_no_number_or_does_not_fit_never_leaves(
    fake: FakeMessaging, sms: Make, address: str, reference: str, words: Rendered
) -> None:
    assert failure(sms(), address, words, reference).permanent and fake.texts == []


def test_nobody_is_reached_nothing_has_left(provider: str) -> None:
    outward = Outward("it", private=True, seconds=1.0)
    channel: Channel = (
        TwilioSms(ACCOUNT, TOKEN, SENDER, "https://b.example", "https://localhost:9", outward)
        if provider == "twilio"
        else TelnyxSms(API_KEY, SENDER, "", "https://b.example", "https://localhost:9", outward)
    )
    error = failure(channel)
    assert not error.unsure and not error.permanent


def test_a_server_that_cannot_show_who_it_is_gets_nothing(fake: FakeMessaging) -> None:
    outward = Outward("Twilio", private=True)  # trusts public authorities alone
    error = failure(TwilioSms(ACCOUNT, TOKEN, SENDER, "https://b.example", fake.base, outward))
    assert "certificate" in error.answer and fake.texts == []


def _told(fake: FakeMessaging, provider: str, status: str, code: int = 0) -> Delivery | None:
    path, body, headers = receipt(fake, fake.texts[-1], status, code)
    hook = TwilioHook(ACCOUNT, TOKEN) if provider == "twilio" else TelnyxHook(fake.public_key)
    params = parse_qs(body.decode()) if provider == "twilio" else {}
    lower = {name.lower(): value for name, value in headers.items()}
    assert hook.genuine(f"https://bell.example{path}", lower, body, params, utc_now())
    assert not hook.genuine(
        f"https://bell.example{path}", lower, body + b" ", {"AccountSid": ["x"]}, utc_now()
    )
    return hook.told(body, params)


def test_receipts_say_whether_it_arrived(fake: FakeMessaging, sms: Make, provider: str) -> None:
    sms().send(WORDS, PHONE, REFERENCE)
    never = "undelivered" if provider == "twilio" else "delivery_failed"
    stop = 21610 if provider == "twilio" else 40300
    name = fake.texts[-1].id
    assert _told(fake, provider, "sent") == Delivery(name, None)
    assert _told(fake, provider, "queued") == Delivery(name, None)
    assert _told(fake, provider, "delivered") == Delivery(name, True)
    assert _told(fake, provider, never, 30005) == Delivery(name, False)
    assert _told(fake, provider, never, stop) == Delivery(name, False, stopped=True)
    assert _told(fake, provider, "something new") == Delivery(name, None)
    assert _told(fake, provider, "delivery_unconfirmed") == Delivery(name, None)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"{}", b'{"data": 1}', b'{"data": {"payload": {"direction": "inbound", "id": "40385f64"}}}',
        b'{"data": {"payload": {"direction": "outbound", "id": "../..", "to": []}}}',
        json.dumps({"data": {"payload": {"direction": "outbound", "id": "a" * 36, "to": 7}}}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_receipt_says_nothing(fake: FakeMessaging, body: bytes) -> None:
    assert TelnyxHook(fake.public_key).told(body, {}) is None
    assert (
        TwilioHook(ACCOUNT, TOKEN).told(body, {"MessageSid": ["SM1"], "MessageStatus": ["delivered"]}) is None
    )
