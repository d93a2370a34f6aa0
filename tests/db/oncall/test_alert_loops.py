"""The worker's loops of alerts: the auditor turns health red and silences the heartbeat, and a dead loop ends all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.db.oncall.test_alerts import Phones
from tests.factories import House, make_message

from nightbell.core import clock
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError
from nightbell.oncall import posting
from nightbell.oncall.models import Alert
from nightbell.people.models import Contact
from nightbell.server import health
from nightbell.server.alert_loops import DEAD_S, AlertLoops


class Time:
    def __init__(self) -> None:
        self.at, self.seconds = clock.utc_now(), 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.seconds

    def goes(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    made = Time()
    monkeypatch.setattr(clock, "utc_now", made.now)
    monkeypatch.setattr(clock, "monotonic", made.monotonic)
    yield made


class Loops:
    def __init__(self) -> None:
        self.beats, self.ended, self.phone = 0, 0, True
        self.night = Phones()
        self.made = AlertLoops(
            self.night.sender, threading.Event(), Log("test"), self._beat, self._end, lambda: self.phone
        )

    def _beat(self) -> None:
        self.beats += 1

    def _end(self) -> None:
        self.ended += 1

    def round(self, time: Time, working: bool = True) -> None:
        time.goes(5)
        for loop in self.made.loops:
            if working or (loop.name not in ("alerts", "notices") and not loop.name.startswith("send")):
                loop.beat = time.seconds
        if working:
            while self.made.escalate():
                self.made.send()
            self.made.send()
            self.made.post()
        self.made.look()
        self.made.beat()


def test_codes_and_tests_have_a_loop_of_their_own(loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {loop.name: loop.step for loop in loops.made.loops}
    asked: list[str] = []
    for name in ("send_notices", "send_codes"):
        monkeypatch.setattr(posting, name, lambda *_, limit, name=name: asked.append(name) or 0)
    steps["notices"]()
    assert asked == ["send_notices"]
    steps["codes"]()
    assert asked == ["send_notices", "send_codes"]


@pytest.fixture
def loops(house: House, time: Time) -> Loops:
    return Loops()


def checks(loops: Loops) -> dict[str, bool]:
    report = loops.made.report()
    config = load()
    health.write(config, report, clock.utc_now())
    return {name: bool(c["ok"]) for name, c in health.read(config, clock.utc_now())["checks"].items()}


def test_while_all_goes_on_it_beats_and_is_green(house: House, time: Time, loops: Loops) -> None:
    make_message(house.mailbox, urgent=True)
    for _ in range(30):
        loops.round(time)
    assert loops.beats == 30
    assert loops.night.told("email")
    assert (checks(loops)["auditor"], checks(loops)["reachable"]) == (True, True)


def test_without_a_phone_that_lives_the_outside_hears_nothing(time: Time, loops: Loops) -> None:
    """Or the line is dead, nobody can call, and whoever listens outside is told that all goes on."""
    loops.round(time)
    loops.phone = False
    loops.round(time)
    assert loops.beats == 1
    loops.phone = True
    loops.round(time)
    assert loops.beats == 2


def test_while_no_channel_reaches_anybody_the_outside_hears_nothing(
    house: House, time: Time, loops: Loops
) -> None:
    """Every loop goes round and nothing stands still; and yet nobody is woken."""
    loops.round(time)
    before = loops.beats
    make_message(house.mailbox, urgent=True)
    for pager in loops.night.sender.channels.values():
        pager.problem = ChannelError("the mail server is gone", permanent=True)  # type: ignore[attr-defined]
    for _ in range(20):
        loops.round(time)
    assert checks(loops)["auditor"] is True
    assert loops.beats < before + 4
    for pager in loops.night.sender.channels.values():
        pager.problem = None  # type: ignore[attr-defined]
    for _ in range(80):
        loops.round(time)
    assert loops.beats > before + 20


def test_a_loop_that_stands_still_is_red_and_silent_within_a_minute(
    house: House, time: Time, loops: Loops
) -> None:
    make_message(house.mailbox, urgent=True)
    loops.round(time)
    time.goes(115)
    loops.round(time)
    Alert.objects.update(next_at=time.at)
    before = loops.beats
    for _ in range(12):
        loops.round(time, working=False)
    assert checks(loops)["auditor"] is False
    assert before <= loops.beats < before + 9, "the outside hears nothing more"
    loops.round(time)
    loops.round(time)
    assert checks(loops)["auditor"] is True


def test_a_loop_of_alerts_that_never_comes_back_ends_the_process(time: Time, loops: Loops) -> None:
    for loop in loops.made.loops:
        loop._ident = 1  # as if it had been started
        loop.is_alive = lambda: True  # type: ignore[method-assign]
        loop.beat = time.seconds
    loops.made.look()
    assert loops.ended == 0
    time.goes(DEAD_S + 1)
    loops.made.look()
    assert loops.ended >= 1


def test_an_auditor_that_cannot_look_is_red(
    house: House, time: Time, loops: Loops, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops.round(time)

    def broken(now: datetime) -> None:
        raise OSError

    monkeypatch.setattr(loops.made._watch, "look", broken)
    with pytest.raises(OSError):
        loops.made.look()
    before = loops.beats
    loops.made.beat()
    assert (loops.beats, checks(loops)["auditor"]) == (before, False)


def test_a_practice_in_which_nobody_can_be_told_is_red(house: House, time: Time, loops: Loops) -> None:
    loops.round(time)
    Contact.objects.update(verified_at=None)
    assert checks(loops)["reachable"] is False


def test_the_worker_has_its_heartbeat_from_the_settings(tmp_path: Path) -> None:
    from nightbell.server import wiring

    assert wiring.heartbeat(load({})) is None
    assert wiring.heartbeat(load({"NIGHTBELL_HEARTBEAT_URL": "https://hc.example/x"})) is not None
