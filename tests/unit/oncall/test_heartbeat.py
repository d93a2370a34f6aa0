"""Nightbell tells the outside that it lives only while all of it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.https_server import Quiet, serving

from nightbell.adapters.heartbeat import HttpsHeartbeat
from nightbell.core.config import load
from nightbell.core.errors import RefusedStart
from nightbell.core.notice import ChannelError
from nightbell.oncall.heartbeat import Going, may_beat, silent

WELL = (Going("alerts", 0.4, 0.5), Going("speech", 300.0, 2.0), Going("send-sms", 1.0, 1.0))


def test_it_beats_while_all_is_well() -> None:
    assert may_beat(0, 5.0, WELL)
    assert may_beat(0, 5.0, (*WELL, Going("heartbeat", 60.0, 60.0, "ChannelError"))), (
        "or it would never beat again"
    )


@pytest.mark.parametrize(
    ("found", "age", "loops"),
    [
        (1, 5.0, WELL),
        (None, 5.0, WELL),
        (0, 31.0, WELL),
        (0, 5.0, (*WELL, Going("alerts", 61.0, 0.5))),
        (0, 5.0, (*WELL, Going("speech", 903.0, 2.0))),
        (0, 5.0, (*WELL, Going("send-voice", 62.0, 1.0))),
        (0, 5.0, (*WELL, Going("upkeep", 1.0, 2.0, "OperationalError"))),
    ],
)
def test_whatever_is_wrong_there_is_no_beat(found: int | None, age: float, loops: tuple[Going, ...]) -> None:
    assert not may_beat(found, age, loops)


def test_a_loop_that_is_allowed_to_sleep_is_not_silent() -> None:
    assert silent([Going("heartbeat", 60.0, 60.0), Going("status", 3000.0, 3600.0)]) == []


class Listener(Quiet):
    beats: list[tuple[str, str, bytes]] = []
    status = 200

    def do_POST(self) -> None:
        self.beats.append((self.path, str(self.headers.items()), self.body()))
        self.answer(self.status)


def test_a_beat_is_an_empty_post_over_verified_tls(tmp_path: Path) -> None:
    Listener.beats, Listener.status = [], 200
    with serving(tmp_path, Listener) as (url, ca):
        HttpsHeartbeat(f"{url}/ping/secret-uuid", ca)()
        [(path, headers, body)] = Listener.beats
        assert (path, body) == ("/ping/secret-uuid", b"")
        assert "Content-Length', '0'" in headers
        with pytest.raises(ChannelError):
            HttpsHeartbeat(f"{url}/ping/secret-uuid")()  # an authority that nobody vouched for
        assert len(Listener.beats) == 1
        Listener.status = 404
        with pytest.raises(ChannelError) as refused:
            HttpsHeartbeat(f"{url}/ping/secret-uuid", ca)()
        assert "secret-uuid" not in str(refused.value)


def test_a_listener_that_is_away_is_an_error_without_its_address() -> None:
    with pytest.raises(ChannelError) as refused:
        HttpsHeartbeat("https://127.0.0.1:9/secret-uuid", seconds=2)()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://hc.example/x", "https://", "https://user:pw@hc.example/x", "hc.example/x"]
)
def test_only_https_is_taken(url: str) -> None:
    with pytest.raises(RefusedStart):
        load({"NIGHTBELL_HEARTBEAT_URL": url})


def test_the_address_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://hc.example/secret-uuid\n")
    config = load({"NIGHTBELL_HEARTBEAT_URL_FILE": str(tmp_path / "url")})
    assert config.heartbeat == "https://hc.example/secret-uuid"
    assert "secret-uuid" not in repr(config)
