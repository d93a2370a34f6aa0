"""What people and the worker do about calls, one act a process, so that it can die in the middle of it.

python -m tests.faults.acts prepare ADDRESS | leave | take MESSAGE | hand MESSAGE | ask MESSAGE | reach MESSAGE | untried | send MINUTES
Runs in the environment of an installation; NIGHTBELL_KILL_AT says where it dies. `prepare` and `leave` print
the ids of their messages.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.stack import ROOT, Stack

if TYPE_CHECKING:
    from nightbell.people.access import Actor

CODE = "HL02"  # the demo's second practice: the calls of the others are the first one's


def act(stack: Stack, *given: str, point: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = (
        stack.environment | more | ({"NIGHTBELL_KILL_AT": point} if point else {})
    )
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.acts", *given],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def lease(stack: Stack, seconds: int) -> None:
    """Have what a sender holds be due in so many seconds: in the past, as half a minute later; else nobody takes it."""
    due = f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{seconds:+d} seconds')"
    with (
        closing(sqlite3.connect(stack.home / "db" / "nightbell.sqlite3", timeout=20)) as connection,
        connection,
    ):
        connection.execute(f"UPDATE oncall_attempt SET retry_at = {due} WHERE state = 'pending'")


class Busy(threading.Thread):
    """A telephone at 127.0.0.1 that is always busy. rung: Call-IDs of the calls that reached it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.rung: list[str] = []
        self._wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._wire.bind(("127.0.0.1", 0))
        self.uri = f"sip:kim@127.0.0.1:{self._wire.getsockname()[1]}"
        self.start()

    def ring(self, call: str) -> None:
        self.rung.append(call)

    def run(self) -> None:
        from nightbell.sip.message import Request, build_response, parse

        while True:
            data, sender = self._wire.recvfrom(65_536)
            message = parse(data)
            if isinstance(message, Request) and message.method == "INVITE":
                if message.get("call-id") not in self.rung:
                    self.ring(message.get("call-id"))
                self._wire.sendto(build_response(486, message.headers, "busy"), sender)


def _prepare(address: str) -> None:
    from tests.factories import make_message

    from nightbell.core.clock import utc_now
    from nightbell.mailbox import service
    from nightbell.mailbox.models import Mailbox
    from nightbell.oncall import phone_notes, records
    from nightbell.oncall.models import Schedule
    from nightbell.people.models import Contact
    from nightbell.people.roles import Role

    now, clinician, manager = utc_now(), _actor(Role.CLINICIAN), _actor(Role.MANAGER)
    Contact.objects.create(
        user=clinician.user, kind="voice", address=address, created_at=now, verified_at=now
    )
    steps = [{"who": "on_call", "id": "", "how": ["voice"], "wait_s": 600}]
    steps.append({"who": "user", "id": clinician.user.id, "how": ["voice"], "wait_s": 600})
    Schedule.objects.filter(practice__code=CODE).update(steps=steps)
    mailbox = Mailbox.objects.get(practice__code=CODE)
    made = {
        name: make_message(mailbox, urgent=True, pcm=bytes(32_000)).id
        for name in ("rings", "asked", "tried", "lies")
    }
    for name in ("asked", "tried", "lies"):
        service.acknowledge(clinician, made[name])
    records.allow(manager, "Business associate agreement of 3 May 2026", now + timedelta(days=90))
    phone_notes.sign(clinician, made["tried"], {"patient": "Ana Ruiz", "reason": "a cough"})
    print(json.dumps(made))


def _actor(role: str) -> Actor:
    from nightbell.core.clock import utc_now
    from nightbell.people.access import Actor
    from nightbell.people.models import User

    user = User.objects.select_related("practice").get(practice__code=CODE, role=role)
    return Actor(user, "127.0.0.1", "test", utc_now())


def _send(minutes: int) -> None:
    """A worker's look at the notes that are due, so many minutes from now."""
    from nightbell.core.clock import utc_now
    from nightbell.core.config import load
    from nightbell.core.log import Log
    from nightbell.oncall import records
    from nightbell.server import wiring

    store = wiring.records(load())
    assert store is not None
    records.run_one(store, lambda: utc_now() + timedelta(minutes=minutes), Log("worker"))


def main() -> None:
    from nightbell.server.django_setup import setup

    setup()
    from nightbell.core.clock import utc_now
    from nightbell.mailbox import service
    from nightbell.mailbox.models import Mailbox
    from nightbell.oncall import callback, outcomes, owners

    what, *given = sys.argv[1:]
    if what == "prepare":
        _prepare(given[0])
    elif what == "leave":
        from tests.factories import make_message

        print(make_message(Mailbox.objects.get(practice__code=CODE), urgent=True).id)
    elif what == "take":
        service.acknowledge(_actor("clinician"), given[0])
    elif what == "hand":
        owners.hand_over(_actor("clinician"), given[0], _actor("manager").user.id)
    elif what == "ask":
        callback.ask(_actor("clinician"), given[0])
    elif what == "reach":
        outcomes.record(_actor("clinician"), given[0], "no_answer", after=0)
    elif what == "untried":  # a worker's look at what lies with its owner, in two hours
        owners.come_back(utc_now() + timedelta(hours=2))
    elif what == "send":
        _send(int(given[0]))


if __name__ == "__main__":
    main()
