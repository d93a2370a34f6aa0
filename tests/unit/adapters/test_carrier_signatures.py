"""Webhook signatures, against the providers' own SDKs in both directions, and the documents against theirs."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from xml.etree.ElementTree import fromstring

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from telnyx import Telnyx
from telnyx.lib.webhook_verification import WebhookVerificationError, verify_webhook_signature
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import VoiceResponse

from nightbell.adapters.carriers.telnyx import TelnyxHook
from nightbell.adapters.carriers.twilio import TwilioHook, decrypt, sign
from nightbell.core.carriers import (
    BadRecording,
    EndCall,
    Gather,
    GoOn,
    KeyDoesNotFit,
    PlayClip,
    RecordCall,
    Verb,
)
from nightbell.core.errors import RefusedStart

NOW = datetime(2026, 11, 27, 16, 0, tzinfo=UTC)
ACCOUNT, TOKEN = "AC" + "0b" * 16, "12345"
URL = "https://nightbell.test/hooks/twilio/voice"
FORM = {"AccountSid": [ACCOUNT], "CallSid": ["CA1"], "From": ["+15035550148"], "Nota": ["ñ &=+", "b", "b"]}

# From the tests of Twilio's own libraries and its page on webhook security: token, address, parameters, signature.
VECTORS = [
    (
        "1c892n40nd03kdnc0112slzkl3091j20",
        "http://www.postbin.org/1ed898x",
        {
            "AccountSid": "AC9a9f9392lad99kla0sklakjs90j092j3", "ApiVersion": "2010-04-01",
            "CallSid": "CAd800bb12c0426a7ea4230e492fef2a4f", "CallStatus": "ringing", "Called": "+15306384866",
            "CalledCity": "OAKLAND", "CalledCountry": "US", "CalledState": "CA", "CalledZip": "94612",
            "Caller": "+15306666666", "CallerCity": "SOUTH LAKE TAHOE", "CallerCountry": "US",
            "CallerName": "CA Wireless Call", "CallerState": "CA", "CallerZip": "89449", "Direction": "inbound",
            "From": "+15306666666", "FromCity": "SOUTH LAKE TAHOE", "FromCountry": "US", "FromState": "CA",
            "FromZip": "89449", "To": "+15306384866", "ToCity": "OAKLAND", "ToCountry": "US", "ToState": "CA",
            "ToZip": "94612",
        },
        "fF+xx6dTinOaCdZ0aIeNkHr/ZAA=",
    ),
    (
        "12345",
        "https://mycompany.com/myapp.php?foo=1&bar=2",
        {
            "CallSid": "CA1234567890ABCDE", "Digits": "1234", "From": "+14158675309", "To": "+18005551212",
            "Caller": "+14158675309",
        },
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    ),
]  # fmt: skip


class Multi(dict[str, list[str]]):
    """A form with repeated names, as the SDK takes it."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


@pytest.mark.parametrize(("token", "url", "params", "signature"), VECTORS)
def test_published_vectors(token: str, url: str, params: dict[str, str], signature: str) -> None:
    assert sign(token, url, {name: [value] for name, value in params.items()}) == signature
    assert RequestValidator(token).compute_signature(url, params) == signature


def genuine(url: str, signature: str, form: dict[str, list[str]] = FORM, body: bytes = b"") -> bool:
    return TwilioHook(ACCOUNT, TOKEN).genuine(url, {"x-twilio-signature": signature}, body, form, NOW)


def test_what_their_sdk_signs_we_take_and_what_we_sign_it_takes() -> None:
    theirs = RequestValidator(TOKEN)
    assert genuine(URL, theirs.compute_signature(URL, Multi(FORM)))
    assert theirs.validate(URL, Multi(FORM), sign(TOKEN, URL, FORM))


@pytest.mark.parametrize(
    "ours", ["https://nightbell.test/h", "https://nightbell.test:443/h", "https://nightbell.test:8443/h?x=1"]
)
@pytest.mark.parametrize(
    "theirs",
    ["https://nightbell.test/h", "https://nightbell.test:443/h", "https://nightbell.test:8443/h?x=1"],
)
def test_with_and_without_port_as_their_sdk_does(ours: str, theirs: str) -> None:
    signature = sign(TOKEN, theirs, FORM)
    assert genuine(ours, signature) is RequestValidator(TOKEN).validate(ours, Multi(FORM), signature)


def test_a_body_that_is_no_form_is_bound_by_its_hash() -> None:
    body = '{"a": "ñ"}'
    validator = RequestValidator(TOKEN)
    url = f"{URL}?bodySHA256={validator.compute_hash(body)}"
    signature = validator.compute_signature(url, {})
    assert genuine(url, signature, {}, body.encode())
    assert not genuine(url, signature, {}, body.encode() + b" ")
    assert not genuine(url.replace("bodySHA256=", "bodySHA256=0"), signature, {}, body.encode())


@pytest.mark.parametrize(
    ("url", "form"),
    [
        (URL + "/", FORM),
        ("http" + URL[5:], FORM),
        (URL, FORM | {"From": ["+15035550149"]}),
        (URL, FORM | {"More": ["x"]}),
        (URL, FORM | {"AccountSid": ["AC" + "0c" * 16]}),
    ],
)
def test_anything_else_is_not_theirs(url: str, form: dict[str, list[str]]) -> None:
    assert not genuine(url, sign(TOKEN, URL, FORM), form)
    assert not genuine(URL, "")
    assert not genuine(URL, sign("other", URL, FORM))


def test_another_accounts_request_is_refused_though_it_is_signed() -> None:
    form = FORM | {"AccountSid": ["AC" + "0c" * 16]}
    assert not genuine(URL, sign(TOKEN, URL, form), form)


class TestTelnyx:
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    body = urlencode({"CallSid": "v3:abcdefgh", "From": "+15035550148", "Nota": "ñ"}).encode()

    def headers(self, at: datetime, body: bytes | None = None) -> dict[str, str]:
        stamp = str(int(at.timestamp()))
        signed = self.key.sign(f"{stamp}|".encode() + (self.body if body is None else body))
        return {"telnyx-timestamp": stamp, "telnyx-signature-ed25519": base64.b64encode(signed).decode()}

    def takes(self, headers: dict[str, str], body: bytes | None = None, now: datetime = NOW) -> bool:
        return TelnyxHook(self.public).genuine("", headers, self.body if body is None else body, {}, now)

    def theirs(self, headers: dict[str, str], body: bytes) -> bool:
        try:
            verify_webhook_signature(body, headers, self.public)
        except WebhookVerificationError:
            return False
        return True

    @pytest.mark.parametrize("minutes", [-6, -4, 0, 4, 6])
    def test_we_take_what_their_sdk_takes(self, minutes: int) -> None:
        now = datetime.now(UTC)
        headers = self.headers(now + timedelta(minutes=minutes))
        assert self.takes(headers, now=now) is self.theirs(headers, self.body) is (abs(minutes) < 5)

    def test_the_client_of_their_sdk_takes_it_too(self) -> None:
        body = b'{"data": {"event_type": "call.hangup", "id": "1"}}'
        headers = self.headers(datetime.now(UTC), body)
        Telnyx(api_key="x", public_key=self.public).webhooks.unwrap(body.decode(), headers=headers)
        assert self.takes(headers, body, datetime.now(UTC))

    def test_anything_else_is_not_theirs(self) -> None:
        now = datetime.now(UTC)
        good = self.headers(now)
        for changed in (
            {"telnyx-timestamp": str(int(now.timestamp()) + 1)}, {"telnyx-timestamp": "x"}, {"telnyx-timestamp": "²"},
            {"telnyx-signature-ed25519": "?"}, {"telnyx-signature-ed25519": ""}, {"telnyx-timestamp": "9" * 400},
        ):  # fmt: skip
            assert not self.takes(good | changed, now=now)
        assert not self.takes(good, self.body + b"&x=1", now)
        assert not self.takes({}, now=now)
        assert self.takes(good, now=now)

    def test_a_key_that_is_none_refuses_the_start(self) -> None:
        with pytest.raises(RefusedStart, match="NIGHTBELL_TELNYX_PUBLIC_KEY"):
            TelnyxHook("abc")


VERBS: tuple[Verb, ...] = (
    PlayClip("https://n/1.wav?a=1&b=2"),
    Gather(("https://n/2.wav",), "https://n/step", 10, 1, False),
    RecordCall("https://n/taken", "https://n/rec", 180, 30),
    GoOn("https://n/taken"),
    EndCall(),
)


def test_the_document_is_what_their_sdk_would_write() -> None:
    theirs = VoiceResponse()
    theirs.play("https://n/1.wav?a=1&b=2")
    theirs.gather(
        input="dtmf", action="https://n/step", method="POST", timeout=10, num_digits=1, finish_on_key=""
    ).play("https://n/2.wav")
    theirs.record(
        action="https://n/taken", method="POST", finish_on_key="#", max_length=180, timeout=30, play_beep=True,
        recording_status_callback="https://n/rec", recording_status_callback_method="POST", trim="do-not-trim",
        recording_status_callback_event="in-progress completed absent",
    )  # fmt: skip
    theirs.redirect("https://n/taken", method="POST")
    theirs.hangup()

    def plain(element: Any) -> Any:
        return element.tag, element.text, element.attrib, [plain(one) for one in element]

    ours = TwilioHook(ACCOUNT, TOKEN).document(VERBS)
    assert plain(fromstring(ours)) == plain(fromstring(str(theirs)))
    assert "transcri" not in ours


def test_telnyx_is_asked_for_one_channel_and_for_no_ears() -> None:
    record = fromstring(
        TelnyxHook(TestTelnyx.public).document((RecordCall("https://n/a", "https://n/b", 60, 0),))
    )[0]
    assert (record.attrib["timeout"], record.attrib["channels"]) == ("0", "single")
    assert not any("transcri" in name for name in record.attrib)


def test_an_encrypted_recording_is_opened_with_the_key_that_it_names() -> None:
    keys = {f"CR{i}": rsa.generate_private_key(65537, 2048) for i in range(2)}
    secret, iv, oaep = (
        bytes(range(32)),
        bytes(12),
        padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
    )
    details = {
        "public_key_sid": "CR1",
        "encrypted_cek": base64.b64encode(keys["CR1"].public_key().encrypt(secret, oaep)).decode(),
        "iv": base64.b64encode(iv).decode(),
    }
    sealed = AESGCM(secret).encrypt(iv, b"RIFF sound", None)

    def private(sid: str) -> bytes:
        return keys[sid].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    assert decrypt(sealed, details, private) == b"RIFF sound"
    for odd in (details | {"iv": "?"}, {}, "[]", "x", 7):
        with pytest.raises(BadRecording):
            decrypt(sealed, odd, private)
    with pytest.raises(BadRecording):
        decrypt(sealed[:-1], details, private)
    for wrong in (lambda _: private("CR0"), lambda _: b"no key", lambda _: b""):
        with pytest.raises(KeyDoesNotFit):  # our trouble: nothing is said of the recording
            decrypt(sealed, details, wrong)
