"""Orders for calls to staff go to the phone that has the call; what phones tell of them is checked."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.server.call_events import call_event, legs_of
from nightbell.server.control import ControlServer

CALL, OTHER = new_ulid(), new_ulid()
LEG = {"event": "leg", "call": CALL, "state": "ringing", "code": 180, "why": "", "encrypted": False}
INCOMING = LEG | {"state": "incoming", "dialled": "5550109", "caller": "+16175550123", "practice": OTHER}


@pytest.mark.parametrize(
    "event",
    [
        LEG,
        INCOMING,
        INCOMING | {"caller": "", "practice": ""},
        {"event": "key", "call": CALL, "key": "#"},
        {"event": "said", "call": CALL, "token": 3},
        {"event": "joined", "a": CALL, "b": OTHER},
        {"event": "parted", "a": CALL, "b": OTHER},
    ],
)
def test_it_takes_what_the_phone_tells_and_nothing_beside_it(event: dict[str, Any]) -> None:
    assert call_event(event | {"more": "5551234"}) == event


@pytest.mark.parametrize(
    "event",
    [
        LEG | {"call": "x"},
        LEG | {"state": "dancing"},
        LEG | {"state": []},
        LEG | {"code": True},
        LEG | {"code": 700},
        LEG | {"why": "because"},
        LEG | {"encrypted": 1},
        INCOMING | {"caller": "Mary Jones"},
        INCOMING | {"caller": "1" * 41},
        INCOMING | {"practice": "../x"},
        {"event": "key", "call": CALL, "key": "11"},
        {"event": "key", "call": CALL, "key": ""},
        {"event": "said", "call": CALL, "token": "3"},
        {"event": "joined", "a": CALL},
    ],
)
def test_it_takes_no_other(event: dict[str, Any]) -> None:
    assert call_event(event) is None


def test_it_reads_the_legs_of_a_phone_that_is_back() -> None:
    assert legs_of({"legs": [CALL, 7, "x", OTHER]}) == [CALL, OTHER]
    assert legs_of({"legs": "x"}) == legs_of({}) == []


class Exchange:
    """The worker's end and two phones."""

    def __init__(self, path: Path) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.log = io.StringIO()
        self.control = ControlServer(path, threading.Event(), threading.Event(), Log("test", self.log))
        self.control.on_call_event = lambda phone, event: self.told.append((phone, event))
        self.control.start()
        self.phones = []
        for number in (1, 2):
            phone = socket.socket(socket.AF_UNIX)
            phone.settimeout(5)
            phone.connect(str(path))
            self.phones.append(phone)
            self.up(number - 1, event="hello", version=1)

    def up(self, phone: int, **event: Any) -> None:
        """Say it, and wait until it was taken."""
        count = len(self.told) + len(self.log.getvalue())
        self.phones[phone].sendall(json.dumps(event).encode() + b"\n")
        self.until(lambda: len(self.told) + len(self.log.getvalue()) > count)

    def until(self, true: Any) -> None:
        ends = time.monotonic() + 5
        while not true():
            assert time.monotonic() < ends
            time.sleep(0.005)

    def down(self, phone: int) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\n"):
            data += self.phones[phone].recv(4096)
        return dict(json.loads(data))


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    it = Exchange(tmp_path / "s")
    yield it
    for phone in it.phones:
        phone.close()


def test_an_order_goes_to_the_phone_that_has_the_call(exchange: Exchange) -> None:
    control = exchange.control
    assert not control.order_call("say", {"call": CALL})
    exchange.up(1, **(LEG | {"state": "incoming", "dialled": "1", "caller": "2", "practice": ""}))
    assert control.order_call("say", {"call": CALL, "token": 1})
    assert exchange.down(1) == {"command": "say", "data": {"call": CALL, "token": 1}}
    # A call of its own goes to the one with the fewest, one beside another to where that is.
    assert control.order_call("place_call", {"call": OTHER}, beside=CALL)
    assert exchange.down(1)["data"] == {"call": OTHER}
    third = new_ulid()
    assert control.order_call("place_call", {"call": third})
    assert exchange.down(0)["data"] == {"call": third}
    assert control.order_call("place_call", {"call": third})  # the same call again
    assert exchange.down(0)["data"] == {"call": third}
    assert control.order_call("join", {"a": OTHER, "b": CALL})
    assert exchange.down(1)["command"] == "join"
    exchange.up(1, **(LEG | {"state": "ended", "why": "hung_up"}))
    assert not control.order_call("hush", {"call": CALL})
    with pytest.raises(ValueError, match="no order"):
        control.order_call("snapshot", {})


def test_a_draining_phone_gets_no_new_call(exchange: Exchange) -> None:
    for number in (0, 1):
        exchange.phones[number].sendall(b'{"event":"health","draining":true}\n')
    exchange.until(lambda: all(one.get("draining") for one in exchange.control.health()))
    assert not exchange.control.order_call("place_call", {"call": CALL})
    assert not exchange.control.takes_calls()


def test_a_phone_that_has_not_said_hello_gets_no_call_yet(tmp_path: Path) -> None:
    """Its hello names the calls that it has: one that was ordered before would be forgotten with it."""
    control = ControlServer(tmp_path / "s", threading.Event(), threading.Event(), Log("test", io.StringIO()))
    hellos: list[dict[str, Any]] = []
    control.on_call_event = lambda phone, event: hellos.append(event)
    control.start()
    with socket.socket(socket.AF_UNIX) as phone:
        phone.connect(str(tmp_path / "s"))
        ends = time.monotonic() + 5
        while not control.health() and time.monotonic() < ends:
            time.sleep(0.005)
        assert len(control.health()) == 1
        assert not control.takes_calls()
        assert not control.order_call("place_call", {"call": CALL})
        phone.sendall(b'{"event":"hello","version":1,"draining":false}\n')
        while not hellos and time.monotonic() < ends:
            time.sleep(0.005)
        assert control.takes_calls()
        assert control.order_call("place_call", {"call": CALL})
        assert control.order_call("hang_up", {"call": CALL})


def test_it_tells_of_a_phone_that_comes_and_goes_and_survives_who_listens(exchange: Exchange) -> None:
    names = [phone for phone, _ in exchange.told]
    exchange.up(0, event="hello", legs=[CALL])
    assert exchange.told[-1] == (names[0], {"event": "hello", "legs": [CALL]})
    exchange.up(0, event="key", call=CALL, key="12")
    assert '"control_call_event_malformed"' in exchange.log.getvalue()
    exchange.up(0, event="key", call=CALL, key="4")
    assert exchange.told[-1] == (names[0], {"event": "key", "call": CALL, "key": "4"})
    heard = exchange.control.on_call_event
    exchange.control.on_call_event = lambda phone, event: 1 / 0
    exchange.up(0, event="said", call=CALL, token=1)
    assert "control_call_event_failed" in exchange.log.getvalue()
    exchange.control.on_call_event = heard
    exchange.phones[0].close()
    exchange.until(lambda: exchange.told[-1] == (names[0], {"event": "gone", "legs": [CALL]}))
    assert not exchange.control.order_call("hang_up", {"call": CALL})
    assert CALL not in exchange.log.getvalue()
