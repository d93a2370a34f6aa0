"""The worker process: intake, escalation, speech, upkeep; each in a loop of its own that outlives its errors."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import DatabaseError

from nightbell.audit import signing
from nightbell.compliance import disposal
from nightbell.core import clock, durable
from nightbell.core.config import Config
from nightbell.core.errors import NightbellError
from nightbell.core.log import Log
from nightbell.core.notice import Recogniser
from nightbell.line import carrier_found, carrier_health, carrier_intake, carrier_stand_in, recordings, takeup
from nightbell.line.state import CHANGED
from nightbell.mailbox import epochs, intake, late, playing, transcribe, undecoded
from nightbell.oncall import escalation
from nightbell.sealing import spool
from nightbell.server import health, home, metrics, routing, wiring
from nightbell.server.afterwards import Afterwards
from nightbell.server.alert_loops import AlertLoops
from nightbell.server.answers import Answers
from nightbell.server.calling import Calling
from nightbell.server.control import ControlServer
from nightbell.server.intake_order import Intake
from nightbell.server.line_tests import LineTests
from nightbell.server.loop import Loop, Told, let_go
from nightbell.server.rota_watch import RotaWatch
from nightbell.server.supervisor import Stop
from nightbell.server.trunk_watch import TrunkWatch
from nightbell.store import vault

QUICK = 5.0  # seconds that the alert of an urgent call waits for a decoder
WORDS_LATER = 0.1  # seconds until words look again whether alerts have left
UPKEEP = 2.0
SNAPSHOT_EVERY = (
    10.0  # seconds, unless somebody changed something: what the clock alone changes is told in minutes
)
LINE = 0.1  # seconds between two looks at whether somebody published a change
SWITCH = (
    0.0005  # seconds that a thread may keep the interpreter: whoever holds the write lock gets it back soon
)
CHECKPOINT_EVERY = timedelta(minutes=1)
SWEEP_EVERY, HALF_WRITTEN = timedelta(days=1), timedelta(minutes=10)
ACTOR = "system:worker"
WAKES = ("intake", "alerts", "speech", "upkeep", "ringing", "status", "calls")


class Worker:
    """All loops of one worker process."""

    def __init__(self, config: Config, log: Log) -> None:
        self.config, self.log = config, log
        self.mode = home.require(config)
        self.recogniser: Recogniser = wiring.recogniser(config, log)
        self.unpacker = wiring.unpacker()
        self.held = carrier_intake.Tools(wiring.carriers(config), wiring.decoder(config), config.spool, log)
        self.finder = carrier_found.Finder(self.held)
        self.sender = escalation.Sender(wiring.channels(config, self.mode), config.url)
        self.wakes = {name: threading.Event() for name in WAKES}
        self.control = ControlServer(
            config.control_socket, self.wakes["intake"], self.wakes["ringing"], log, self.wakes["status"]
        )
        self.answers = Answers(self.control, self.wakes["status"], log)
        self.publishing = threading.Lock()
        self.published = (
            False,
            -SNAPSHOT_EVERY,
        )  # whether alerts could be made at the last snapshot, and when (monotonic)
        self.line_seen = 0  # the time of the last change that is on the phones (ns)
        self.line_trouble = routing.Trouble()  # whose callers hear something else than what is in force
        self.trunks = TrunkWatch(config.home, self.control, ACTOR)
        self.next_checkpoint = self.next_sweep = clock.utc_now()
        self.told = Told(log)
        self.intake = Intake(config.spool, self._taken, self.unpacker, wiring.unpacker(QUICK))
        self.after = Afterwards(config, log)
        self.calling = Calling(self.control.order_call, log, self.wakes["calls"], self.control.takes_calls)
        self.control.on_call_event = self.calling.heard
        self.sender = self.calling.sender(self.sender, self.mode == home.DEMO)
        # A demo's numbers are invented: whoever has them must not be called in the evening.
        self.line_tests = LineTests(self.calling, config.spool, calls=self.mode != home.DEMO)
        self.alerts = AlertLoops(
            self.sender, self.wakes["alerts"], log, wiring.heartbeat(config), phone=self.control.lives
        )
        self.loops = [
            Loop("intake", self.intake.step, self.wakes["intake"], log),
            Loop("speech", self.transcribe, self.wakes["speech"], log, idle=2.0),
            Loop("warm", self.warm, self.wakes["ringing"], log, idle=3600, at_once=False),
            Loop("status", self.answers.step, self.wakes["status"], log, idle=3600),
            Loop("upkeep", self.keep_up, self.wakes["upkeep"], log, idle=UPKEEP),
            Loop("line", self.publish_changed, threading.Event(), log, idle=LINE),
            Loop("clips", self.make_clips, threading.Event(), log, idle=0.5),
            Loop("carriers", self.fetch_held, threading.Event(), log, idle=0.5),
            Loop("stand-ins", self.stand_in, threading.Event(), log, idle=1.0),
            Loop("rota", RotaWatch().step, threading.Event(), log, idle=1.0),
            Loop("records", self.after.send, threading.Event(), log, idle=5.0),
            Loop("calls", self.calling.step, self.wakes["calls"], log, idle=0.5),
            Loop("line tests", self.line_tests.step, threading.Event(), log, idle=2.0),
            *self.alerts.loops,
        ]
        self.alerts.watch_over(self.loops)

    def _taken(self, taken: intake.Taken) -> None:
        self.log("intake", capture=taken.capture, outcome=taken.result)
        if taken.urgent:
            self.wakes["alerts"].set()
        self.wakes["speech"].set()
        if taken.result in ("stored", "tidied"):
            self.control.taken(taken.capture, taken.rings)

    def transcribe(self) -> bool:
        """Alerts go first: words take a core, and the database."""
        if self.intake.is_alerting():
            time.sleep(WORDS_LATER)
            return True
        worked = undecoded.run_one(self.unpacker, clock.utc_now, self.log)
        worked = transcribe.run_one(self.recogniser, clock.utc_now, self.log) or worked
        if worked:
            self.wakes["alerts"].set()
        return worked

    def warm(self) -> bool:
        """Runs when a call begins: loading the model takes seconds that the message need not wait."""
        self.recogniser.warm()
        return False

    def keep_up(self) -> bool:
        now = clock.utc_now()
        trouble: dict[str, Any] = {}
        for name, step in (
            ("snapshot", self._snapshot_if_due),
            ("alerts", lambda: escalation.find_forgotten(now)),
            ("calm", lambda: self._calm(now)),
            ("promises", lambda: late.find_broken(now)),
            ("weekly", lambda: self.after.keep_up(now)),
            ("grants", lambda: playing.close_expired(now)),
            ("epochs", self._epochs),
            ("trunks", lambda: self.trunks.keep_up(self.line_trouble.trunks)),
            ("checkpoints", self._checkpoint),
            ("compaction", lambda: disposal.compact_if_due(now)),
            ("sweep", self._sweep),
        ):
            try:
                step()
            except Exception as error:
                trouble[name] = type(error).__name__
                self.told.failure("upkeep.failed", error, name)
                let_go(error)
        now = clock.utc_now()
        report = self.report(trouble)
        health.write(self.config, report, now)
        metrics.update(health.read(self.config, now), report, len(spool.waiting(self.config.spool)))
        return False

    def _calm(self, now: datetime) -> None:
        problems: list[Exception] = []
        escalation.start_calm(now, problems=problems)
        if problems:
            raise problems[0]  # all had their turn

    def _snapshot_if_due(self) -> None:
        able, at = self.published
        if clock.monotonic() - at >= SNAPSHOT_EVERY or able != self._able(clock.utc_now()):
            self._snapshot()

    def _snapshot(self) -> None:
        """Give the phones what they answer with. While the keys are away nothing is given, not even the same again:
        a phone that hears nothing promises no time, and soon no team."""
        try:
            vault.require_keys()
        except NightbellError:
            return  # health tells of it
        trouble = routing.Trouble()
        with self.publishing:
            able = self._able(clock.utc_now())
            self.control.publish(routing.publish(self.config, clock.utc_now(), trouble, able))
            self.published = able, clock.monotonic()
            for code in trouble.damaged:
                if code not in self.line_trouble.damaged:
                    self.log("line.damaged", code=code)
            for code, error in trouble.kept.items():
                if code not in self.line_trouble.kept:
                    self.log("line.kept", code=code, error=error)
            for trunk, why in trouble.trunks.items():
                if trunk not in self.line_trouble.trunks:
                    self.log("trunk.left_out", reason=why)
            self.line_trouble = trouble

    def _able(self, now: datetime) -> bool:
        """Whether what comes in becomes an alert: no closed log, and no capture that nobody could take in."""
        closed = any(loop.trouble in ("AuditClosed", "OperationalError") for loop in self.loops)
        return not closed and not any(
            _age(path, now) > escalation.STANDSTILL for path in spool.waiting(self.config.spool)
        )

    def make_clips(self) -> bool:
        """Recordings by telephone become clips: a second or two each, so in a loop that holds up no change."""
        return takeup.run_one(clock.utc_now, self.log)

    def fetch_held(self) -> bool:
        """What providers recorded becomes messages, and goes from there."""
        if not self.held.carriers:
            return False
        now = clock.utc_now()
        return carrier_intake.run_one(self.held, now) or self.finder.step(now) > 0

    def stand_in(self) -> bool:
        """Apart from the fetching, which a provider may hold up."""
        return carrier_stand_in.write_due(self.held, clock.utc_now())

    def _webhooks(self) -> dict[str, Any] | None:
        """How calls by webhook stand; None where there are none, or nobody can tell."""
        try:
            return carrier_health.report(list(self.held.carriers), clock.utc_now())
        except DatabaseError as error:
            let_go(error)
            return None

    def publish_changed(self) -> bool:
        """A change of what callers hear is on the phones at once, not with the next upkeep."""
        self.trunks.pass_on()
        try:
            changed = (self.config.home / "run" / CHANGED).stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if changed != self.line_seen:
            self._snapshot()
            self.line_seen = changed
        return False

    def _epochs(self) -> None:
        now = clock.utc_now()
        current = epochs.age_of_current(now)
        if current is None or current >= epochs.ROTATE_EVERY:
            epochs.begin(now, ACTOR)
        named = {str(p.get("epoch", "")) for p in self.control.health()}
        epochs.destroy_drained(self.config.spool, named, now, ACTOR)

    def _checkpoint(self) -> None:
        now = clock.utc_now()
        if now >= self.next_checkpoint:
            self.next_checkpoint = now + CHECKPOINT_EVERY
            signing.checkpoint_all(self.config.url, self.config.home / "checkpoints", now)

    def _sweep(self) -> None:
        """At the start and once a day: what a killed process left half done."""
        now = clock.utc_now()
        if now >= self.next_sweep:
            disposal.finish_begun(now)
            gone = durable.sweep(self.config.home, (now - HALF_WRITTEN).timestamp()) + recordings.sweep(now)
            if gone:
                self.log("swept", count=gone)
            self.next_sweep = now + SWEEP_EVERY

    def report(self, trouble: dict[str, Any]) -> dict[str, Any]:
        """What health.write keeps."""
        try:
            vault.require_keys()
            keys = "here"
        except Exception:
            keys = "away"
        try:
            stuck: int | str = escalation.standing_still(clock.utc_now())
            audit = "open"
        except DatabaseError as error:
            let_go(error)
            stuck, audit = "unknown", "closed"
        if any(loop.trouble in ("AuditClosed", "OperationalError") for loop in self.loops):
            audit = "closed"
        return {
            "keys": keys,
            "audit": audit,
            "speech": wiring.speech_state(self.config),
            "standing_still": stuck,
            "channels": sorted(self.sender.channels),
            **self._alerts(),
            "phones": self.control.health(),
            "lines_damaged": self.line_trouble.damaged,
            "lines_kept": self.line_trouble.kept,
            "trunks": self.trunks.stored,
            "webhooks": self._webhooks(),
            "loops": {loop.name: loop.trouble or "ok" for loop in self.loops},
            "trouble": trouble,
        }

    def _alerts(self) -> dict[str, Any]:
        try:
            return self.alerts.report() | self.after.report()
        except DatabaseError as error:
            let_go(error)
            return {}

    def run(self) -> int:
        stop = Stop()
        stop.on_signals()
        self.control.start()
        metrics.start(self.config, self.log)
        for loop in self.loops:
            loop.start()
        self.log("worker.ready")
        while not stop.wait(60.0):
            pass
        for loop in self.loops:
            loop.stopping.set()
            loop.wake.set()
        close = getattr(self.recogniser, "close", None)
        if close is not None:
            close()  # before the joins: its loop may be in the middle of a long message, or of loading the model
        for loop in self.loops:
            loop.join(timeout=5)
        return 0


def _age(path: Path, now: datetime) -> timedelta:
    """Since when a capture lies there; no time at all for one that was just taken."""
    try:
        return now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return timedelta()


def main(config: Config) -> int:
    """Run until told to stop. Every step is safe to be killed at."""
    sys.setswitchinterval(SWITCH)
    return Worker(config, Log("worker")).run()
