"""Nothing of a message can be in a notification: not by its type, and not in ten thousand of them, to the last byte."""

from __future__ import annotations

import email
import email.policy
import json
import random
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.fakes.fake_out import Taken
from tests.unit.said import message_of, tokens_of

from nightbell.adapters import apprise, letters
from nightbell.adapters.messaging.telnyx import TelnyxSms
from nightbell.adapters.messaging.twilio import TwilioSms
from nightbell.adapters.outbox import OutboxChannel
from nightbell.adapters.push import PushChannel, Vapid
from nightbell.core import gsm7
from nightbell.core.ids import new_token, new_ulid
from nightbell.core.notice import OF_A_MESSAGE, NoticeKind, Notification, Rendered
from nightbell.flow.clips import manifest
from nightbell.oncall.notifications import LANGUAGES, MEDIA, grammar, pattern, render

URL = "https://bell.example"
TEN_THOUSAND, SEED = 10_000, 20261127
WHEN = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


TWILIO = Taken(json.dumps({"sid": "SM" + "0" * 32}).encode())
TELNYX, PUSH = Taken(b'{"data": {"id": "40385f64-5717"}}'), Taken()


def notice(kind: NoticeKind, language: str, token: str = "") -> Notification:
    code = f"{random.Random(token).randrange(10**6):06d}" if kind is NoticeKind.VERIFY else ""
    return Notification(kind, "QX07", token or new_token(), language, code)


def fits(kind: NoticeKind, language: str, medium: str, text: str) -> bool:
    return pattern(kind, language, medium, URL).fullmatch(text) is not None


# Each gives all words that leave by it, having checked that there is nothing else.


def by_mail(rendered: Rendered, kind: NoticeKind, language: str, reference: str) -> str:
    data = letters.compose(rendered, "line@practice.example", "alice@practice.example", reference, WHEN)
    letter = email.message_from_bytes(data, EmailMessage, policy=email.policy.default)
    found = {name: str(value) for name, value in letter.items()}
    subject = found.pop("Subject")
    assert found.pop("Content-Transfer-Encoding") in ("7bit", "8bit", "quoted-printable")
    assert found == {
        "From": "line@practice.example", "To": "alice@practice.example", "Date": "Tue, 24 Nov 2026 03:00:00 +0000",
        "Message-ID": f"<{reference}@practice.example>", "Auto-Submitted": "auto-generated", "MIME-Version": "1.0",
        "Content-Type": 'text/plain; charset="utf-8"',
    }  # fmt: skip
    body = letter.get_content().replace("\r\n", "\n")
    assert fits(kind, language, "subject", subject) and fits(kind, language, "body", body)
    return f"{subject} {body}"


def by_twilio(rendered: Rendered, kind: NoticeKind, language: str, reference: str) -> str:
    out, api = TWILIO, "https://api.twilio.com"
    TwilioSms("AC1", "secret", "+15035550199", URL, api, out).send(rendered, "+15035550148", reference)
    form = dict(parse_qsl(out.body.decode(), strict_parsing=True))
    words = form.pop("Body")
    assert out.url == f"{api}/2010-04-01/Accounts/AC1/Messages.json"
    assert form == {
        "To": "+15035550148", "From": "+15035550199", "ValidityPeriod": "900",
        "StatusCallback": f"{URL}/hooks/twilio/receipt/{reference}",
    }  # fmt: skip
    assert set(out.headers) == {"Authorization", "Content-Type", "Accept"}
    assert fits(kind, language, "short", words)
    return words


def by_telnyx(rendered: Rendered, kind: NoticeKind, language: str, reference: str) -> str:
    out, api = TELNYX, "https://api.telnyx.com"
    TelnyxSms("secret", "+15035550199", "", URL, api, out).send(rendered, "+15035550148", reference)
    asked = json.loads(out.body)
    words = asked.pop("text")
    assert out.url == f"{api}/v2/messages" and out.headers["Idempotency-Key"] == reference
    assert asked == {
        "from": "+15035550199", "to": "+15035550148", "type": "SMS", "encoding": "gsm7", "use_profile_webhooks": False,
        "webhook_url": f"{URL}/hooks/telnyx/receipt/{reference}",
    }  # fmt: skip
    assert set(out.headers) == {"Authorization", "Content-Type", "Accept", "Idempotency-Key"}
    assert fits(kind, language, "short", words)
    return str(words)


class _Still:
    def now(self) -> datetime:
        return WHEN

    def monotonic(self) -> float:
        return 0.0


VAPID = Vapid(ec.generate_private_key(ec.SECP256R1()), "mailto:it@practice.example")


def by_push(rendered: Rendered, kind: NoticeKind, language: str, reference: str) -> str:
    out = PUSH
    PushChannel(VAPID, out, _Still()).send(rendered, "https://push.example/send/abc", reference)
    assert (out.url, out.body) == ("https://push.example/send/abc", b"")
    out.headers.pop("Authorization")
    topic = out.headers.pop("Topic")
    assert re.fullmatch(r"[0-9a-f]{32}", topic)
    assert out.headers in ({"TTL": "900", "Urgency": "high"}, {"TTL": "43200", "Urgency": "normal"})
    return ""


def by_voice(rendered: Rendered, kind: NoticeKind, language: str, reference: str) -> str:
    words = " ".join(rendered.voice)
    assert fits(kind, language, "voice", words)
    return words


class _Other:
    """Apprise as far as the words go that it is given; what it makes of them is in tests/db/oncall/test_bytes_out.py."""

    Apprise = NotifyType = SimpleNamespace(
        instantiate=lambda address, suppress_exceptions: _Other, WARNING="warning", INFO="info"
    )
    verify_certificate, given = True, dict[str, str]()

    @classmethod
    def notify(cls, **given: str) -> bool:
        cls.given = given
        return True


def by_other(rendered: Rendered, kind: NoticeKind, language: str, reference: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apprise, "_library", lambda: _Other)
        sent = apprise.AppriseChannel().send(rendered, "pover://user@token", reference)
    given = dict(_Other.given)
    assert given.pop("notify_type") in ("warning", "info") and set(given) == {"title", "body"}
    assert fits(kind, language, "subject", given["title"]) and fits(
        kind, language, "body", given["body"] + "\n"
    )
    words = f"{given['title']}\n{given['body']}"
    assert sent.sent == words.encode()
    return words


WAYS = (by_mail, by_twilio, by_telnyx, by_push, by_voice, by_other)


def test_ten_thousand_notifications_match_the_grammar_and_share_no_token_with_their_message() -> None:
    generator = random.Random(SEED)
    print(f"seed {SEED}")
    kinds = list(NoticeKind)
    known = {word for kind in NoticeKind for language in LANGUAGES for word in _fixed(kind, language)}
    for count in range(TEN_THOUSAND):
        said = tokens_of(message_of(generator))
        kind, language = kinds[count % len(kinds)], LANGUAGES[count // len(kinds) % 2]
        one, reference = notice(kind, language), new_ulid()
        told = WAYS[count % len(WAYS)](render(one, URL), kind, language, reference)
        # What is random is no word of a message: it is taken out, or one in a million would look like one.
        told = told.replace(one.token, "").replace(one.code or one.token, "")
        assert not said & (tokens_of(told) - known), (said, told)


def _fixed(kind: NoticeKind, language: str) -> set[str]:
    """The constants: a patient may say 'urgent' too."""
    one = render(
        Notification(kind, "QX07", "", language, "0" * 6)
        if kind is NoticeKind.VERIFY
        else notice(kind, language),
        URL,
    )
    return tokens_of(
        f"{one.subject} {one.body.split('http')[0]} {one.short.split('http')[0]} {' '.join(one.voice)} https bell.example n"
    )


def test_a_grammar_that_lets_words_through_would_be_seen() -> None:
    """The test above is able to fail: one word of a message in any medium is not in the grammar."""
    generator = random.Random(SEED)
    for kind in NoticeKind:
        for language in LANGUAGES:
            one = render(notice(kind, language), URL)
            texts = dict(zip(MEDIA, (one.subject, one.body, one.short, " ".join(one.voice)), strict=True))
            for medium, text in texts.items():
                assert fits(kind, language, medium, text)
                word = generator.choice(sorted(tokens_of(message_of(generator))))
                at = generator.randrange(len(text) + 1)
                assert not any(one.fullmatch(text[:at] + f" {word} " + text[at:]) for one in grammar(URL))


def test_another_address_is_not_in_the_grammar() -> None:
    one = render(notice(NoticeKind.URGENT, "en"), "https://elsewhere.example")
    assert not any(each.fullmatch(one.body) for each in grammar(URL))
    assert any(each.fullmatch(one.body) for each in grammar())
    assert len(grammar()) == len(NoticeKind) * len(LANGUAGES) * len(MEDIA)


@pytest.mark.parametrize("kind", list(NoticeKind))
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_has_words_in_every_medium_and_language(kind: NoticeKind, language: str) -> None:
    one = notice(kind, language, "t" * 22)
    words = render(one, URL)
    assert "QX07" in words.subject and "QX07" in words.short
    link = f"{URL}/n/{'t' * 22}"
    assert (link in words.body) is (kind is not NoticeKind.VERIFY)
    length = gsm7.septets(words.short)
    assert length is not None and length <= gsm7.SEGMENT
    assert kind not in OF_A_MESSAGE or words.short.endswith(link)
    # 'practice-name' is the practice's own recording; every other clip is in the package.
    clips = {clip for clip in words.voice if not clip.startswith("~") and not clip.endswith("/practice-name")}
    assert {f"{clip}.ulaw" for clip in clips} <= set(manifest().hashes)
    assert f"{language}/practice-fallback.ulaw" in manifest().hashes
    if one.code:
        assert one.code in words.body and one.code in words.short
        spoken = "".join(clip[len("en/digit-")] for clip in words.voice if "/digit-" in clip)
        assert spoken == one.code * 2 and words.voice[-1].endswith("-end")


def test_an_address_that_is_too_long_for_a_text_is_left_out() -> None:
    for host in ("bell." + "x" * 80 + ".example", "b[" * 35 + ".example", "b\u00e1.example"):
        for language in LANGUAGES:
            words = render(notice(NoticeKind.AGAIN, language), f"https://{host}")
            assert "http" not in words.short and words.short.endswith(".")
            assert pattern(NoticeKind.AGAIN, language, "short").fullmatch(words.short)
            assert f"https://{host}/n/" in words.body


def test_what_has_no_message_leads_to_a_page() -> None:
    for kind in set(NoticeKind) - OF_A_MESSAGE - {NoticeKind.VERIFY}:
        words = render(Notification(kind, "QX07"), URL)
        assert fits(kind, "en", "body", words.body) and f"{URL}/" in words.body and "/n/" not in words.body


def test_notifications_of_one_alert_have_one_topic_which_does_not_show_the_link() -> None:
    topics = {
        render(Notification(kind, "QX07", "t" * 22), URL).topic
        for kind in (NoticeKind.URGENT, NoticeKind.AGAIN)
    }
    assert len(topics) == 1 and "t" * 22 not in topics.pop()
    others = {render(Notification(kind, "QX07"), URL).topic for kind in (NoticeKind.GAP, NoticeKind.SWAP)}
    assert len(others) == 2


@pytest.mark.parametrize("kind", ["email", "sms", "push", "voice", "other"])
def test_the_demo_keeps_the_same_words(kind: str, tmp_path: Path) -> None:
    address = "alice@example.invalid" if kind == "email" else "+15035550148"
    words = render(notice(NoticeKind.URGENT, "es", "t" * 22), URL)
    OutboxChannel(tmp_path, kind=kind).send(words, address, "01JDE8Q4T0ABCDEFGHJKMNPQRS")
    (path,) = tmp_path.iterdir()
    if kind == "email":
        letter = email.message_from_bytes(path.read_bytes(), EmailMessage, policy=email.policy.default)
        assert letter.get_content().replace("\r\n", "\n") == words.body
        return
    head, _, text = path.read_text().partition("\n\n")
    assert head == "To: +15035550148" and path.suffix == f".{kind}"
    wanted = {"sms": words.short, "push": "", "voice": " ".join(words.voice)}
    assert text == wanted.get(kind, f"{words.subject}\n{words.body.strip()}") + "\n"


@pytest.mark.parametrize(
    "fields",
    [
        ("urgent", "AB12", "x" * 22),
        (NoticeKind.URGENT, "Maria Gonzalez", "x" * 22),
        (NoticeKind.URGENT, "AB12", "call 503 555 0148 now!"),
        (NoticeKind.URGENT, "AB12", "short"),
        (NoticeKind.URGENT, "AB12", ""),
        (NoticeKind.URGENT, "AB12", "x" * 22, "fr"),
        (NoticeKind.URGENT, "AB12", "x" * 22, "en", "123456"),
        (NoticeKind.VERIFY, "AB12", "", "en", ""),
        (NoticeKind.VERIFY, "AB12", "", "en", "pain12"),
        (NoticeKind.VERIFY, "AB12", "", "en", "1234567"),
        (NoticeKind.VERIFY, "AB12", "", "en", 123456),
        (NoticeKind.GAP, "AB12", "Tuesday, Dr Patel is ill"),
    ],
)
def test_it_cannot_be_made_with_free_text(fields: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Notification(*fields)  # type: ignore[arg-type]
