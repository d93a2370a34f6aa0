"""The addresses for providers: what is behind them, and what bad input comes to."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.db.web.conftest import Https
from tests.factories import House
from tests.fakes.carrier import Signer
from tests.fakes.carrier_api import ACCOUNT, TOKEN

from nightbell.adapters.carriers.twilio import TwilioHook
from nightbell.core.config import load
from nightbell.core.errors import RefusedStart
from nightbell.flow.clips import CLIPS, manifest
from nightbell.line.carrier_models import CarrierCall
from nightbell.server import wiring
from nightbell.web.hooks import clips, views

FORM = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def _hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "HOOKS", {"twilio": TwilioHook(ACCOUNT, TOKEN)})


@pytest.fixture
def signed(house: House) -> Callable[..., object]:
    """Posts a form as the provider would; more: of the request."""
    web = Https(raise_request_exception=False)

    def post(path: str, **form: str) -> object:
        given = {"AccountSid": ACCOUNT, "CallSid": "CA" + "5" * 32} | form
        headers = Signer("twilio").headers(path, given)
        return web.post(path, urlencode(given), FORM, headers=headers)

    return post


def test_a_clip_is_served_by_its_content_and_may_be_kept(house: House) -> None:
    web = Https()
    sha256 = manifest().hashes["en/saved.ulaw"]
    answer = web.get(f"/hooks/clip/{sha256}.wav")
    assert (answer.status_code, answer["Content-Type"]) == (200, "audio/wav")
    assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
    assert len(answer.content) == 44 + 2 * (CLIPS / "en/saved.ulaw").stat().st_size
    own = b"RIFF" + bytes(100)
    name = hashlib.sha256(own).hexdigest()
    (load().home / "phone" / "clips" / name).write_bytes(own)
    assert web.get(f"/hooks/clip/{name}.wav").content == own
    assert len(web.get("/hooks/pause/250.wav").content) == 44 + 16 * 250
    for wrong in (
        "clip/abc.wav",
        f"clip/{'0' * 64}.wav",
        "clip/..%2F..%2Fhome.json.wav",
        "pause/2010.wav",
        "pause/255.wav",
    ):
        assert web.get(f"/hooks/{wrong}").status_code == 404


def test_a_recording_that_is_gone_is_heard_in_our_words() -> None:
    base, gone = "https://n", "f" * 64
    ours = clips.address(base, "en/practice-fallback", {})
    assert ours.endswith(f"{manifest().hashes['en/practice-fallback.ulaw']}.wav")
    assert clips.address(base, "en/practice-name", {"en/practice-name": gone}) == ours
    assert clips.address(base, "es/own-greeting-closed", {"es/own-greeting-closed": gone}) == clips.address(
        base, "es/greeting-closed", {}
    )
    assert clips.address(
        base, "en/practice-name", {"en/practice-name": "builtin:demo-practice-1"}
    ).startswith(base)
    assert (clips.address(base, "~5", {}), clips.address(base, "en/nothing", {})) == ("", "")


def test_only_genuine_posts_get_past_the_door(house: House) -> None:
    web = Https(raise_request_exception=False, enforce_csrf_checks=True)
    for path in ("voice", "step/1/0", "taken/1/0", "recording/0", "status", "bye"):
        assert web.get(f"/hooks/twilio/{path}").status_code == 405
        assert web.post(f"/hooks/telnyx/{path}").status_code == 404
        answer = web.post(f"/hooks/twilio/{path}", b"\xff\xfe%%%=&&", FORM)
        assert (answer.status_code, answer.content) == (403, b"")
        assert web.post(f"/hooks/twilio/{path}", b"{", "application/json").status_code == 403
        assert web.post(f"/hooks/twilio/{path}", b"x", "multipart/form-data; boundary=b").status_code in (
            400,
            403,
        )
        assert web.post(f"/hooks/twilio/{path}", bytes(300_000), FORM).status_code in (400, 413)
    assert not CarrierCall.objects.exists()


def test_odd_but_genuine_requests_are_no_error(signed: Callable[..., object]) -> None:
    for path, form in (
        ("step/1/0", {"Digits": "1"}), ("step/99999/99999", {"Digits": "é\x00<"}), ("taken/1/0", {"RecordingDuration": "²"}),
        ("taken/0/0", {"RecordingDuration": "9" * 40, "Digits": "hangup"}), ("bye", {}), ("voice", {"From": "x" * 500}),
    ):  # fmt: skip
        answer = signed(f"/hooks/twilio/{path}", **form)
        assert answer.status_code == 200, path  # type: ignore[attr-defined]
        assert answer.content.startswith(b"<?xml")  # type: ignore[attr-defined]
    for path, form in (
        ("recording/7", {"RecordingStatus": "completed", "RecordingSid": "x" * 300}), ("recording/5000", {}),
        ("status", {"CallStatus": "completed", "CallDuration": "-3"}), ("status", {}),
    ):  # fmt: skip
        assert signed(f"/hooks/twilio/{path}", **form).status_code == 204, path  # type: ignore[attr-defined]


def test_what_is_set_up_and_what_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("settings")
    (folder / "token").write_text("secret\n")
    common = {"NIGHTBELL_HOME": str(folder / "h"), "NIGHTBELL_KEYS": str(folder / "k")}
    config = load(common)
    assert (wiring.hooks(config), wiring.carriers(config)) == ({}, {})
    config = load(
        common | {"NIGHTBELL_TWILIO_ACCOUNT": ACCOUNT, "NIGHTBELL_TWILIO_TOKEN_FILE": str(folder / "token")}
    )
    assert config.twilio_token == "secret"
    assert list(wiring.hooks(config)) == list(wiring.carriers(config)) == ["twilio"]
    with pytest.raises(RefusedStart, match="NIGHTBELL_TWILIO_API"):
        load(common | {"NIGHTBELL_TWILIO_API": "http://api.twilio.com"})
    telnyx = common | {"NIGHTBELL_TELNYX_API_KEY_FILE": str(folder / "token")}
    with pytest.raises(RefusedStart, match="NIGHTBELL_TELNYX_PUBLIC_KEY"):
        wiring.hooks(load(telnyx | {"NIGHTBELL_TELNYX_PUBLIC_KEY": "x"}))
    public = base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    config = load(telnyx | {"NIGHTBELL_TELNYX_PUBLIC_KEY": public})
    assert list(wiring.hooks(config)) == list(wiring.carriers(config)) == ["telnyx"]


@pytest.mark.parametrize(
    "half",
    [
        {"NIGHTBELL_TWILIO_ACCOUNT": ACCOUNT}, {"NIGHTBELL_TWILIO_TOKEN": "secret"},
        {"NIGHTBELL_TELNYX_PUBLIC_KEY": "x"}, {"NIGHTBELL_TELNYX_API_KEY": "secret"},
    ],
)  # fmt: skip
def test_half_a_provider_is_no_provider(half: dict[str, str]) -> None:
    """It would take calls and never fetch what was said, or fetch what nobody can send."""
    (given,) = half
    provider = given.split("_")[1]
    for build in (wiring.hooks, wiring.carriers):
        with pytest.raises(RefusedStart) as refused:
            build(load({"NIGHTBELL_HOME": "/tmp/h", "NIGHTBELL_KEYS": "/tmp/k"} | half))
        assert f" and NIGHTBELL_{provider}_" in str(refused.value), "both are named"
