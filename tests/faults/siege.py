"""Continuous calls to one installation while its parts are killed at seeded random moments."""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass, field

import httpx
from tests.callers import Callers, plan
from tests.faults import ledger
from tests.stack import Stack, wait_for

from nightbell.core.clock import parse_iso

PARTS = ("phone", "worker", "web")
READY = {"phone": "phone_ready", "worker": "worker.ready"}


@dataclass
class Report:
    """kills and restart seconds by part; views: reads that were answered with PHI."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    restarts_s: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})
    views: int = 0
    verdict: ledger.Verdict = field(default_factory=ledger.Verdict)


class Siege:
    """lines: callers that call again and again. Everything random follows from `seed`."""

    def __init__(self, stack: Stack, seed: int, lines: int = 4, first_call: int = 1) -> None:
        self.stack, self.random, self.lines = stack, random.Random(seed), lines
        self.report = Report()
        self._stop = threading.Event()
        self._next = first_call
        self._lock = threading.Lock()

    def run(self, kills: int) -> Report:
        """Kill each part so many times, let everything settle, and compare."""
        with Callers(self.stack.uri()) as callers:
            threads = [threading.Thread(target=self._line, args=(callers,)) for _ in range(self.lines)]
            threads.append(threading.Thread(target=self._read))
            for thread in threads:
                thread.start()
            try:
                order = [part for part in PARTS for _ in range(kills)]
                self.random.shuffle(order)
                for part in order:
                    self._kill(part, callers)
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join(90)
            wait_for("the last part to be back", self._web_answers, 60)
            wait_for("all captures and alerts to settle", lambda: ledger.settled(self.stack), 90)
            self.report.verdict = ledger.judge(self.stack, callers.calls)
        return self.report

    def _line(self, callers: Callers) -> None:
        while not self._stop.is_set():
            with self._lock:
                number, self._next = self._next, self._next + 1
                call = plan(number, self.random.uniform(2.4, 6.0), self.random.random() < 0.5)
                gap = self.random.uniform(0.1, 1.5)
            callers.place(call).result(120)
            self._stop.wait(gap)

    def _read(self) -> None:
        """A clinician who opens messages all the time, whatever is killed meanwhile."""
        with self.stack.client("clinician") as client:
            while not self._stop.wait(0.3):
                try:
                    items = client.get("/messages").json()["items"]
                    if items and client.get(f"/messages/{items[-1]['id']}").status_code == 200:
                        self.report.views += 1
                except (httpx.HTTPError, ValueError, KeyError):
                    continue

    def _kill(self, part: str, callers: Callers) -> None:
        self._stop.wait(self.random.uniform(0.5, 3.0))
        if part == "phone":  # a phone that nobody is talking to has nothing to lose
            wait_for("somebody to speak", lambda: callers.speaking(2.05), 60, 0.02)
            self._stop.wait(self.random.uniform(0.0, 0.8))
        started, died = len(self.stack.events("part.started")), time.time()
        os.kill(self.stack.pid(part), 9)
        if part == "phone":
            callers.phone_died(died)
        self.report.kills[part] += 1
        wait_for(f"{part} to be started again", lambda: self._started(part, started), 60, 0.05)
        self.report.restarts_s[part].append(
            wait_for(f"{part} to be ready", lambda: self._ready(part, died), 120, 0.05)
        )

    def _started(self, part: str, before: int) -> bool:
        return any(e["kind"] == part for e in self.stack.events("part.started")[before:])

    def _ready(self, part: str, died: float) -> float:
        """Seconds from the kill until the part works again, 0.0 while it does not."""
        if part == "web":
            return time.time() - died if self._web_answers() else 0.0
        times = [parse_iso(e["at"]).timestamp() for e in self.stack.events(READY[part])]
        return max(0.0, times[-1] - died) if times else 0.0

    def _web_answers(self) -> bool:
        try:
            with self.stack.client("clinician") as client:
                return client.get("/messages", params={"limit": 1}).status_code == 200
        except httpx.HTTPError:
            return False
