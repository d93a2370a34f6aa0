"""Answers to callers who ask how far their message is: each at the same time after its question, whatever it says."""

from __future__ import annotations

import queue
import threading

from nightbell.core import clock
from nightbell.core.clock import iso
from nightbell.core.log import Log
from nightbell.mailbox import status
from nightbell.oncall import service as oncall
from nightbell.server.control import ControlServer, Question
from nightbell.server.loop import let_go

ANSWER_AFTER = 0.7  # seconds: longer than looking takes, so that the time tells nothing
NEXT_LOOK = 0.05


class Answers:
    """One step looks one question up or sends what is due. `asked` is set when a question comes."""

    def __init__(self, control: ControlServer, asked: threading.Event, log: Log) -> None:
        self._control, self._asked, self._log = control, asked, log
        self._ready: list[tuple[float, Question, status.StatusAnswer]] = []

    def step(self) -> bool:
        """Returns whether something is still to be answered."""
        try:
            question = self._control.questions.get_nowait()
            self._ready.append((question.asked + ANSWER_AFTER, question, self._look(question)))
        except queue.Empty:
            if self._ready:
                self._asked.wait(max(0.0, min(NEXT_LOOK, self._ready[0][0] - clock.monotonic())))
                self._asked.clear()
        self._send_due(clock.monotonic())
        return bool(self._ready) or not self._control.questions.empty()

    def _look(self, question: Question) -> status.StatusAnswer:
        """Whatever is wrong, the caller is told what a stranger is told."""
        try:
            return status.ask(
                question.practice, question.number, question.caller, clock.utc_now(), oncall.rings
            )
        except Exception as error:
            self._log.failure("status.failed", error, capture=question.capture)
            let_go(error)
            return status.NONE

    def _send_due(self, now: float) -> None:
        due = [one for one in self._ready if one[0] <= now]
        self._ready = [one for one in self._ready if one[0] > now]
        for _, question, answer in due:
            at = iso(answer.at) if answer.at else None
            self._control.answer(question.phone, question.capture, answer.state, at, answer.ref)
