"""The control channel of a real phone process, with the test as its worker."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.phone.house import House, running, speech, write_wav

pytestmark = pytest.mark.slow


class Worker:
    """The worker's end."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(15)
        self.meet()

    def meet(self) -> None:
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(15)
        self.lines = self.connection.makefile("r")

    def order(self, command: str, data: object = None) -> None:
        self.raw(json.dumps({"command": command, "data": data}))

    def raw(self, line: str) -> None:
        self.connection.sendall(line.encode() + b"\n")

    def hear(self, event: str, true: Callable[[dict[str, Any]], bool] = lambda line: True) -> dict[str, Any]:
        while line := json.loads(self.lines.readline()):
            if line["event"] == event and true(line):
                return dict(line)
        raise AssertionError("closed")

    def close(self) -> None:
        self.lines.close()
        self.connection.close()
        self.listener.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running(tmp_path) as house:
        yield house


def test_it_serves_the_phone_with_snapshots_and_hears_of_calls_and_health(
    house: House, tmp_path: Path
) -> None:
    worker = Worker(house.home / "run" / "control.sock")
    assert worker.hear("hello")["version"] == 1
    health = worker.hear("health")
    assert health["active_calls"] == 0
    assert health["snapshot_version"] == 1
    house.numbers["5557654321"] = {"practice": "P2", "mailbox": "M2"}
    worker.order("snapshot", json.loads(house.signed(2)))
    assert worker.hear("snapshot_in_force")["version"] == 2
    for bad in (house.signed(1), house.signed(9, signer=Ed25519PrivateKey.generate())):
        worker.order("snapshot", json.loads(bad))
        assert worker.hear("snapshot_refused")["version"] == 2
    for rubbish in ("{", "[]", '{"command":"unheard-of"}', '{"command":"snapshot","data":7}'):
        worker.raw(rubbish)
    worker.order("ping")
    worker.hear("pong")
    wav = write_wav(tmp_path / "a.wav", speech(1))
    call = house.call("--digits", "0", wav=wav, background=True, number="5557654321")
    started = worker.hear("call_started")
    assert worker.hear("health", lambda line: line["active_calls"] == 1)["answered"] == 1
    ready = worker.hear("capture_ready")
    assert started["capture"] == ready["capture"] == worker.hear("call_ended")["capture"]
    assert call.wait(20) == 0
    [capture] = house.wait_for_captures(1)
    assert (capture.meta.practice, capture.meta.snapshot) == ("P2", 2)
    assert (house.folder / "snapshot.json").read_bytes() == json.dumps(json.loads(house.signed(2))).encode()
    worker.close()


def test_it_comes_back_to_a_worker_that_was_away_and_tells_what_happened_meanwhile(
    house: House, tmp_path: Path
) -> None:
    wav = write_wav(tmp_path / "a.wav", speech(1))
    assert house.call("--digits", "0", wav=wav).returncode == 0  # without a worker
    worker = Worker(house.home / "run" / "control.sock")
    worker.hear("hello")
    assert worker.hear("capture_ready")["capture"] == house.files("cap")[0].stem
    worker.connection.shutdown(socket.SHUT_RDWR)
    worker.meet()
    worker.hear("hello")
    worker.close()


def test_it_drains_when_told_to(house: House) -> None:
    worker = Worker(house.home / "run" / "control.sock")
    worker.hear("hello")
    worker.order("drain")
    assert house.process is not None
    assert house.process.wait(10) == 0
    house.process = None
    worker.close()
