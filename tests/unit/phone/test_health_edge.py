"""What a phone says of itself is checked where it comes in: nothing behind it need mistrust a field."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.server import control, health, metrics
from nightbell.server.control import ControlServer, checked

GOOD = {
    "version": 1,
    "active_calls": 3,
    "uptime": 1.5,
    "snapshot_age": 0,
    "draining": False,
    "epoch": new_ulid(),
    "sip": {"calls": 3},
    "lines": {new_ulid(): 7},
}


def test_it_keeps_what_is_right() -> None:
    assert checked(GOOD) == (GOOD, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("active_calls", value) for value in ("7", None, -1, True, 1.5, [], {}, 10**40)),
        *(("snapshot_age", value) for value in ("0", float("nan"), float("inf"), -0.1, None)),
        *(("sip", value) for value in ([], {"calls": "many"}, {"calls": {"calls": 1}})),
        ("lines", {new_ulid(): "seven"}),
        ("epoch", "../../etc"),
        ("epoch", 7),
        ("draining", "no"),
    ],
)
def test_it_leaves_out_and_names_what_is_wrong(name: str, value: object) -> None:
    good, wrong = checked(GOOD | {name: value})
    assert wrong == [name]
    assert good == {key: kept for key, kept in GOOD.items() if key != name}


def test_it_neither_keeps_nor_names_what_it_does_not_know() -> None:
    assert checked({"5550100": "a patient", "active_calls": 1}) == ({"active_calls": 1}, [])


class Channel:
    """A worker's end with one phone on it, driven by hand."""

    def __init__(self, path: Path) -> None:
        self.log = io.StringIO()
        self.server = ControlServer(path, threading.Event(), threading.Event(), Log("test", self.log))
        self.server.start()
        self.phone = socket.socket(socket.AF_UNIX)
        self.phone.connect(str(path))

    def say(self, line: str) -> None:
        self.phone.sendall(line.encode() + b"\n")

    def until(self, true: Callable[[], bool]) -> None:
        ends = time.monotonic() + 5
        while not true():
            assert time.monotonic() < ends
            time.sleep(0.01)


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    channel = Channel(tmp_path / "control.sock")
    yield channel
    channel.phone.close()


def judged(phones: list[dict[str, object]]) -> bool:
    return bool(health._phones(phones)["ok"])


def test_a_wrong_report_turns_health_red_is_told_once_and_breaks_nothing(channel: Channel) -> None:
    server = channel.server
    for _ in range(3):
        channel.say(json.dumps({"event": "health", **GOOD, "active_calls": "many"}))
    channel.say(json.dumps({"event": "health", **GOOD, "active_calls": "many", "pid": 9}))
    channel.until(lambda: any(p.get("pid") == 9 for p in server.health()))
    assert not judged(server.health())
    assert channel.log.getvalue().count("control_health_wrong") == 1
    assert "many" not in channel.log.getvalue()
    metrics.update({"checks": {}}, {"phones": server.health()}, 0)
    channel.say(json.dumps({"event": "health", **GOOD}))
    channel.until(lambda: judged(server.health()))


def test_it_bears_lines_of_any_kind(channel: Channel) -> None:
    lines = ["[" * 60_000, "9" * 60_000, "7", "[]", '{"event": ["health"]}', '{"event": {}}', "\x00"]
    for line in [*lines, json.dumps({"event": "health", "pid": 9})]:
        channel.say(line)
    channel.until(lambda: any(p.get("pid") == 9 for p in channel.server.health()))
    assert channel.log.getvalue().count("control_line_malformed") >= 4


def test_a_phone_lives_that_has_said_hello_and_speaks(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, now = channel.server, time.monotonic
    assert not server.lives(), "it has said nothing"
    channel.say(json.dumps({"event": "hello", "version": 1, "legs": []}))
    channel.until(server.lives)
    with monkeypatch.context() as later:
        later.setattr(control.clock, "monotonic", lambda: now() + control.PHONE_LIVES_S)
        assert not server.lives(), "it is silent"
    channel.phone.close()
    channel.until(lambda: not server.lives())
