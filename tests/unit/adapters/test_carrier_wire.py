"""What the worker asks of a provider: bounded in size and time, verified, and only of hosts on the list."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from tests.fakes.carrier_api import ACCOUNT, API_KEY, TOKEN, FakeApi, FakeRecording, running, twilio_id

from nightbell.adapters.carriers import telnyx as telnyx_adapter
from nightbell.adapters.carriers.telnyx import TelnyxCarrier
from nightbell.adapters.carriers.twilio import TwilioCarrier
from nightbell.adapters.carriers.wire import Wire
from nightbell.core.carriers import BadRecording, CarrierAway, NotThere
from nightbell.core.clock import utc_now
from nightbell.web.callflow_sound import wav

SOUND = wav(bytes(range(256)) * 100)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeApi]:
    with running(tmp_path_factory.mktemp("carrier"), FakeApi()) as api:
        yield api


@pytest.fixture
def api(server: FakeApi) -> FakeApi:
    for kept in (server.calls, server.recordings, server.answers, server.ended):
        kept.clear()  # type: ignore[attr-defined]
    return server


def twilio(api: FakeApi, seconds: float = 5.0, ca: str | None = None) -> TwilioCarrier:
    return TwilioCarrier(ACCOUNT, TOKEN, Wire(api.base, (), api.ca if ca is None else ca, seconds=seconds))


def held(api: FakeApi, **more: object) -> str:
    one = FakeRecording(twilio_id("RE"), twilio_id("CA"), SOUND, **more)  # type: ignore[arg-type]
    api.hold(one)
    return one.id


def answering(
    body: bytes, length: int | None, kind: str = "audio/wav"
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


def test_it_fetches_and_deletes_once(api: FakeApi) -> None:
    name, carrier = held(api), twilio(api)
    assert carrier.fetch(name) == SOUND
    carrier.delete(name)
    carrier.delete(name)
    with pytest.raises(NotThere):
        carrier.fetch(name)


@pytest.mark.parametrize(
    ("status", "error"), [("processing", CarrierAway), ("absent", NotThere), ("failed", NotThere)]
)
def test_what_is_not_ready_is_waited_for(api: FakeApi, status: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        twilio(api).fetch(held(api, status=status))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (500, CarrierAway), (429, CarrierAway), (403, CarrierAway), (404, NotThere), (410, NotThere),
        (answering(SOUND[:100], len(SOUND)), CarrierAway),
        (answering(b"", 2**31), BadRecording),
        (answering(b"<html>", 6, "text/html"), BadRecording),
    ],
)  # fmt: skip
def test_odd_answers(api: FakeApi, answer: int, error: type[Exception]) -> None:
    api.answers["file"] = [answer]
    with pytest.raises(error):
        twilio(api).fetch(held(api))


def test_a_file_that_comes_drop_by_drop_is_left(api: FakeApi) -> None:
    def drops(handler: BaseHTTPRequestHandler) -> None:
        answering(b"", len(SOUND))(handler)
        try:
            for at in range(100):
                handler.wfile.write(SOUND[at : at + 100])
                time.sleep(0.05)
        except OSError:
            return

    api.answers["file"] = [drops]
    began = time.monotonic()
    with pytest.raises(CarrierAway, match="too long"):
        twilio(api, seconds=0.2).fetch(held(api))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "target",
    [
        "https://169.254.169.254/latest", "http://localhost:1/x", "file:///etc/passwd", "https://evil.example/x",
        "https://twilio.com.evil.example/x", "https://user@10.0.0.1/", "//127.0.0.1/x", "https://nottwilio.com/",
    ],
)  # fmt: skip
def test_it_goes_nowhere_else(api: FakeApi, target: str) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    api.answers["file"] = [elsewhere]
    carrier = TwilioCarrier(ACCOUNT, TOKEN, Wire(api.base, (".twilio.com",), api.ca))
    with pytest.raises(BadRecording, match="list"):
        carrier.fetch(held(api))


def test_a_link_of_telnyx_is_followed_without_credentials(api: FakeApi) -> None:
    name = "0000abcd-aaaa-bbbb-cccc-000000000000"
    api.hold(FakeRecording(name, "v3:call-0001", SOUND))
    assert TelnyxCarrier(API_KEY, Wire(api.base, (), api.ca)).fetch(name) == SOUND


def test_a_certificate_that_nobody_signed_is_not_talked_to(api: FakeApi) -> None:
    with pytest.raises(CarrierAway, match="SSLCertVerificationError"):
        twilio(api, ca="").fetch(held(api))


@pytest.mark.parametrize("name", ["../../Calls", "RE1", "", "RE" + "0" * 31 + "/"])
def test_a_name_that_is_none_of_theirs_is_not_asked_for(api: FakeApi, name: str) -> None:
    asked = len(api.asked)
    for carrier in (twilio(api), TelnyxCarrier(API_KEY, Wire(api.base, (), api.ca))):
        with pytest.raises(NotThere):
            carrier.fetch(name)
        with pytest.raises(NotThere):
            carrier.delete(name)
    assert len(api.asked) == asked


def test_an_answer_whose_headers_come_drop_by_drop_is_left(api: FakeApi) -> None:
    def drops(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for at in range(60):
                handler.wfile.write(b"X-%d: 1\r\n" % at)
                time.sleep(0.05)
        except OSError:
            return

    api.answers["json"] = [drops]
    began = time.monotonic()
    with pytest.raises(CarrierAway, match="too long"):
        twilio(api, seconds=0.2).recordings(twilio_id("CA"))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("s3.amazonaws.com", True), ("recordings.s3.amazonaws.com", True), ("s3.us-east-1.amazonaws.com", True),
        ("telephony-recorder-prod.s3.eu-central-1.amazonaws.com", True), ("s3-us-west-2.amazonaws.com", True),
        ("cdn.telnyx.com", True), ("ec2-1-2-3-4.compute-1.amazonaws.com", False), ("amazonaws.com", False),
        ("abc.execute-api.us-east-1.amazonaws.com", False), ("s3.amazonaws.com.evil.example", False),
        ("evils3.amazonaws.com", False), ("s3.execute-api.amazonaws.com", False), ("telnyx.com", False),
    ],
)  # fmt: skip
def test_the_hosts_of_telnyxs_links(host: str, may: bool) -> None:
    assert Wire(telnyx_adapter.API, telnyx_adapter.MEDIA)._may("https", host, None) is may


def test_telnyx_forgets_a_call_and_its_recordings_tell_the_numbers(api: FakeApi) -> None:
    carrier = TelnyxCarrier(API_KEY, Wire(api.base, (), api.ca))
    call = "v3:call-0002-fake"
    for api.forgotten in (404, 422):
        with pytest.raises(NotThere):
            carrier.facts(call)
    api.calls[call] = {"from": "+15035550148", "to": "+15035550100"}
    api.hold(FakeRecording("0000abcd-aaaa-bbbb-cccc-000000000001", call, SOUND))
    assert carrier.facts(call).over is False
    api.ended[call] = utc_now() - timedelta(minutes=11)
    for api.forgotten in (404, 422):
        facts = carrier.facts(call)
        assert (facts.over, facts.ring.caller, facts.ring.called) == (True, "+15035550148", "+15035550100")
        assert facts.began is not None
    api.forgotten = 500
    with pytest.raises(CarrierAway):
        carrier.facts(call)
    api.forgotten = 404
