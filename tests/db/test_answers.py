"""Answers over the control channel: to the phone that asked, at a fixed time, whatever goes wrong."""

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
from tests.factories import CALLER, House, make_message

from nightbell.core import clock
from nightbell.core.clock import iso
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.mailbox import status
from nightbell.mailbox.models import Message
from nightbell.server.answers import ANSWER_AFTER, Answers
from nightbell.server.control import MOST_QUESTIONS, ControlServer

NUMBER = "5035550148"
LEFT = ((0, "callback:seen"), (0, "recording"), (0, "part:message"))


class Line:
    """The worker's end, stepped by hand in the test's own thread (and its database), and phones on it."""

    def __init__(self, path: Path) -> None:
        self.path, self.log, self.asked = path, io.StringIO(), threading.Event()
        log = Log("test", self.log)
        self.control = ControlServer(path, threading.Event(), threading.Event(), log, self.asked)
        self.control.start()
        self.answers = Answers(self.control, self.asked, log)
        self.phones: list[socket.socket] = []

    def phone(self) -> socket.socket:
        phone = socket.socket(socket.AF_UNIX)
        phone.settimeout(5)
        phone.connect(str(self.path))
        self.phones.append(phone)
        return phone

    def ask(self, phone: socket.socket, practice: str, /, **change: object) -> str:
        said = {
            "event": "status",
            "capture": new_ulid(),
            "practice": practice,
            "number": NUMBER,
            "caller": CALLER[1:],
        }
        phone.sendall(json.dumps(said | change).encode() + b"\n")
        return str(said["capture"])

    def work(self) -> None:
        assert self.asked.wait(5)
        self.asked.clear()
        ends = time.monotonic() + 5
        while self.answers.step():
            assert time.monotonic() < ends


def heard(phone: socket.socket) -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        line += phone.recv(1)
    answer: dict[str, Any] = json.loads(line)
    return answer


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path / "c.sock")
    yield line
    for phone in line.phones:
        phone.close()


def test_the_phone_that_asked_is_told_and_no_number_is_logged(house: House, line: Line) -> None:
    message: Message = make_message(house.mailbox, marks=LEFT)
    other, phone = line.phone(), line.phone()
    capture = line.ask(phone, house.practice.id)
    line.work()
    assert heard(phone) == {
        "command": "status",
        "data": {
            "capture": capture,
            "state": "waiting_open",
            "at": iso(message.received_at),
            "ref": message.id,
        },
    }
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(1)
    assert NUMBER not in line.log.getvalue()


@pytest.mark.parametrize("number", [NUMBER, "2125550199"])
def test_every_answer_takes_the_same_time(house: House, line: Line, number: str) -> None:
    make_message(house.mailbox, marks=LEFT)
    phone = line.phone()
    began = clock.monotonic()
    line.ask(phone, house.practice.id, number=number)
    line.work()
    heard(phone)
    assert ANSWER_AFTER <= clock.monotonic() - began < ANSWER_AFTER + 0.5


def test_many_questions_do_not_wait_for_each_other(house: House, line: Line) -> None:
    phone = line.phone()
    began = clock.monotonic()
    captures = [line.ask(phone, house.practice.id) for _ in range(10)]
    line.work()
    while line.answers.step():
        pass
    assert [heard(phone)["data"]["capture"] for _ in captures] == captures
    assert clock.monotonic() - began < 2 * ANSWER_AFTER


def test_an_error_is_told_as_to_a_stranger(house: House, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(NUMBER)

    monkeypatch.setattr(status, "ask", broken)
    phone = line.phone()
    line.ask(phone, house.practice.id)
    line.work()
    assert heard(phone)["data"]["state"] == "none"
    assert "status.failed" in line.log.getvalue()
    assert NUMBER not in line.log.getvalue()


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": "+15035550148"},
        {"number": 5035550148},
        {"caller": None},
        {"practice": "x"},
        {"number": "5" * 21},
    ],
)
def test_a_question_that_is_none_is_answered_like_one(line: Line, wrong: dict[str, object]) -> None:
    phone = line.phone()
    line.ask(phone, new_ulid(), **wrong)
    assert heard(phone)["data"]["state"] == "none"
    assert line.control.questions.empty()
    assert NUMBER not in line.log.getvalue()


def test_a_flood_of_questions_is_refused_and_not_kept(line: Line) -> None:
    phone = line.phone()
    for _ in range(MOST_QUESTIONS + 1):
        last = line.ask(phone, new_ulid())
    assert heard(phone)["data"]["capture"] == last
    assert line.control.questions.qsize() == MOST_QUESTIONS


def test_all_phones_hear_that_a_capture_was_taken_in(line: Line) -> None:
    phones = [line.phone(), line.phone()]
    ends = time.monotonic() + 5
    while len(line.control.health()) < 2 and time.monotonic() < ends:
        time.sleep(0.01)
    capture = new_ulid()
    line.control.taken(capture, True)
    told = {"command": "taken", "data": {"capture": capture, "rings": True}}
    assert [heard(phone) for phone in phones] == [told, told]
