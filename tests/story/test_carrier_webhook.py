"""A call that a provider carries, through the real web server and the real worker, to a message and away from there."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from tests.factories import tone
from tests.fakes import carrier as fake
from tests.fakes import carrier_api
from tests.stack import Stack, wait_for


def test_an_urgent_call_by_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = carrier_api.FakeApi()
    with carrier_api.running(tmp_path, api):
        # The worker trusts the provider's certificate as it trusts any: by the system's authorities.
        stack = Stack(
            tmp_path / "stack", NIGHTBELL_TWILIO_ACCOUNT=carrier_api.ACCOUNT, NIGHTBELL_TWILIO_TOKEN=carrier_api.TOKEN,
            NIGHTBELL_TWILIO_API=api.base, SSL_CERT_FILE=api.ca, NIGHTBELL_MODELS=str(tmp_path / "no-models"),
        )  # fmt: skip
        stack.start()
        try:
            monkeypatch.setattr(fake, "BASE", stack.url)
            _story(stack, api)
        finally:
            stack.stop()


def _story(stack: Stack, api: carrier_api.FakeApi) -> None:
    trust = ssl.create_default_context(cafile=str(stack.home / "tls" / "ca.pem"))
    number = stack.uri().partition(":")[2].partition("@")[0]
    with httpx.Client(base_url=stack.url, verify=trust, timeout=15) as web:

        def post(path: str, form: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = web.post(path, content=urlencode(form), headers=headers | kind)
            assert "set-cookie" not in answer.headers
            return answer.status_code, answer.content

        def fetch(path: str) -> tuple[int, str]:
            answer = web.get(path)
            return answer.status_code, answer.headers["Content-Type"]

        call = fake.FakeCall(
            api, fake.Signer("twilio"), post, fetch, called=number,
            keys={"menu-urgent": "1", "callback-seen": "1"}, speeches=[fake.Speech(tone(4.0))],
        ).run()  # fmt: skip
        assert "en/saved" in call.heard
        call.tell()
        assert post("/hooks/twilio/voice", call.params(), {"X-Twilio-Signature": "x"}) == (403, b"")
    found = wait_for(
        "the message", lambda: [one for one in stack.messages() if one["urgency"] == "urgent"], 30
    )
    assert [(one["kind"], one["duration_s"]) for one in found] == [("message", 4.0)]
    wait_for("the provider's copy to go", lambda: len(api.deleted) == 1, 30)
    told = wait_for("the worker to tell of it", lambda: _status(stack), 30)
    assert "twilio: 1 calls in a day" in told
    assert call.caller.lstrip("+") not in stack.log.read_text()


def _status(stack: Stack) -> str:
    """The line about webhooks, once nothing is left to do."""
    command = [sys.executable, "-m", "nightbell.server.cli", "status"]
    out = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=False).stdout
    line = next((one for one in out.splitlines() if " webhooks " in one), "")
    return line if "1 calls" in line and "0 to fetch, 0 to delete" in line else ""
