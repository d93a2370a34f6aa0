"""A fake of a call that a provider carries: it sends signed webhooks, does what the documents say, plays every address
that it is given, and records what its caller says. Written to their published contracts, see carrier_api.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, fromstring

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.fakes.carrier_api import ACCOUNT, TOKEN, FakeApi, FakeRecording, counter, twilio_id
from twilio.request_validator import RequestValidator

from nightbell.flow.clips import manifest
from nightbell.web.callflow_sound import wav

BASE = "https://nightbell.test"


class Post(Protocol):
    """Sends a webhook: path, form, headers. Returns (status, body)."""

    def __call__(self, path: str, form: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]: ...


@dataclass(frozen=True)
class Signer:
    """Signs as the provider does; Twilio's own SDK computes its signature."""

    name: str
    telnyx_key: Ed25519PrivateKey | None = None

    def headers(self, path: str, form: dict[str, str], now: datetime | None = None) -> dict[str, str]:
        if self.name == "twilio":
            return {"X-Twilio-Signature": RequestValidator(TOKEN).compute_signature(BASE + path, form)}
        assert self.telnyx_key is not None
        stamp = str(int((now or datetime.now(UTC)).timestamp()))
        signature = self.telnyx_key.sign(f"{stamp}|{urlencode(form)}".encode())
        return {"telnyx-timestamp": stamp, "telnyx-signature-ed25519": base64.b64encode(signature).decode()}


@dataclass
class Speech:
    """What a caller does at the tone. by: '#', 'hangup', or '' for falling silent. absent: nothing is recorded;
    held_back: the provider does not tell of it."""

    pcm: bytes = b""
    by: str = "#"
    absent: bool = False
    held_back: bool = False


@dataclass
class FakeCall:
    """One call. keys: by a clip of the question, what is pressed there, each once; speeches: one a recording;
    leaves: hangs up when this clip is heard."""

    api: FakeApi
    signer: Signer
    post: Post
    fetch: Callable[[str], tuple[int, str]]
    caller: str = "+15035550148"
    called: str = "+15035550100"
    first: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    speeches: list[Speech] = field(default_factory=list)
    leaves: str = ""
    id: str = ""
    heard: list[str] = field(default_factory=list)
    sent: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    over: bool = False
    callbacks: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        telnyx = self.signer.name == "telnyx"
        self.id = self.id or (f"v3:{next(counter):024d}-fake" if telnyx else twilio_id("CA"))
        self.api.calls[self.id] = {
            "sid": self.id,
            "status": "in-progress",
            "from": self.caller,
            "to": self.called,
        }

    def params(self, **more: str) -> dict[str, str]:
        form = {
            "CallSid": self.id, "AccountSid": ACCOUNT, "From": self.caller, "To": self.called,
            "CallStatus": "in-progress", "Direction": "inbound", "ApiVersion": "2010-04-01",
        }  # fmt: skip
        return form | ({"ForwardedFrom": self.first} if self.first else {}) | more

    def send(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        headers = self.signer.headers(path, form)
        self.sent.append((path, form, headers))
        answer = self.post(path, form, headers)
        self.answers.append(answer)
        return answer

    def again(self, index: int = -1) -> tuple[int, bytes]:
        """The same request once more, to the last byte."""
        return self.post(*self.sent[index])

    def run(self) -> FakeCall:
        """From the first request to the end of the call."""
        path, form = f"/hooks/{self.signer.name}/voice", self.params()
        for _ in range(60):
            status, body = self.send(path, form)
            assert status == 200, (status, body)
            following = self._carry_out(fromstring(body))
            if following is None:
                break
            path, form = following
        self._end()
        return self

    def _end(self) -> None:
        self.over = True
        self.api.calls[self.id]["status"] = "completed"
        self.api.ended.setdefault(self.id, self.api.clock())

    def aside(self, name: str, ago: timedelta, pcm: bytes) -> None:
        """It was never ours: the provider's own way out answered it, and recorded, so long ago."""
        self._end()
        self.api.ended[self.id] -= ago
        self.api.hold(FakeRecording(name, self.id, wav(pcm)))

    def hang_up(self, seconds: int = 30) -> tuple[int, bytes]:
        """The number's status callback."""
        self._end()
        form = self.params(CallStatus="completed", CallDuration=str(seconds))
        return self.send(f"/hooks/{self.signer.name}/status", form)

    def _carry_out(self, document: Element) -> tuple[str, dict[str, str]] | None:
        """Verb by verb. Returns the next request, None at the end of the call."""
        assert document.tag == "Response"
        for verb in document:
            if verb.tag == "Play":
                if self._play(verb):
                    return None
            elif verb.tag == "Gather":
                pressed = self._gather(verb)
                if self.over:
                    return None
                if pressed is not None:
                    return self._local(verb.attrib["action"]), pressed
            elif verb.tag == "Record":
                spoken = self._record(verb)
                if self.over:
                    return None
                if spoken is not None:
                    return self._local(verb.attrib["action"]), spoken
            elif verb.tag == "Redirect":
                return self._local(verb.text or ""), self.params()
            elif verb.tag == "Hangup":
                return None
            else:
                raise AssertionError(f"no verb of theirs: {verb.tag}")
        return None

    def _local(self, url: str) -> str:
        assert url.startswith(BASE + "/hooks/"), url
        return url.removeprefix(BASE)

    def _play(self, verb: Element) -> bool:
        """True when the caller has had enough."""
        status, kind = self.fetch(self._local(verb.text or ""))
        assert (status, kind) == (200, "audio/wav"), verb.text
        name = _names().get((verb.text or "").rsplit("/", 1)[1].removesuffix(".wav"), "")
        self.heard += [name] if name else []
        if self.leaves and name.endswith(self.leaves):
            self._end()
        return self.over

    def _gather(self, verb: Element) -> dict[str, str] | None:
        assert int(verb.attrib["timeout"]) >= 1 and int(verb.attrib["numDigits"]) >= 1
        before = len(self.heard)
        for sound in verb:
            if self._play(sound):
                return None
        for clip in self.heard[before:] or self.heard[-1:]:
            pressed = self.keys.pop(clip.partition("/")[2], None)
            if pressed is not None:
                return self._digits(verb, pressed)
        return None

    def _digits(self, verb: Element, pressed: str) -> dict[str, str]:
        most, finish = int(verb.attrib["numDigits"]), verb.attrib["finishOnKey"]
        digits, ended, _ = pressed.partition("#") if finish == "#" else (pressed, "", "")
        if len(digits) > most:  # the rest is typed into the next question
            self.keys[self.heard[-1].partition("/")[2]] = digits[most:]
        return self.params(Digits=digits[:most], **({"FinishedOnKey": "#"} if ended else {}))

    def _record(self, verb: Element) -> dict[str, str] | None:
        assert verb.attrib["finishOnKey"] == "#"
        assert "transcribe" not in verb.attrib, "nobody else hears the message"
        speech = self.speeches.pop(0) if self.speeches else Speech(by="", absent=True)
        if self.signer.name == "telnyx":
            assert verb.attrib["timeout"] == "0", "silence would be heard by a speech service"
        name = (
            twilio_id("RE")
            if self.signer.name == "twilio"
            else f"{next(counter):08x}-aaaa-bbbb-cccc-000000000000"
        )
        silence = int(verb.attrib["timeout"]) if not speech.by else 0
        pcm = speech.pcm + bytes(16000 * silence)
        callback = self._local(verb.attrib["recordingStatusCallback"])
        if not speech.absent:
            self.api.hold(FakeRecording(name, self.id, wav(pcm)))
        form = self.params(
            RecordingSid=name, RecordingStatus="absent" if speech.absent else "completed",
            RecordingUrl=f"https://api.example/{name}", RecordingDuration=str(len(pcm) // 16000), RecordingChannels="1",
        )  # fmt: skip
        if not speech.held_back:
            self.callbacks.append((callback, form))
        if speech.by == "hangup":
            self._end()
            if self.signer.name == "twilio":
                self.send(self._local(verb.attrib["action"]), form | {"Digits": "hangup"})
            return None
        if speech.absent:
            return None  # nothing was recorded: the next verb
        return form | {"Digits": speech.by}

    def tell(self) -> None:
        """Send the recordings' callbacks, the last one first: their order is not promised."""
        for path, form in reversed(self.callbacks):
            status, _ = self.send(path, form)
            assert status == 204


def _names() -> dict[str, str]:
    return {sha256: file.removesuffix(".ulaw") for file, sha256 in manifest().hashes.items()}
