"""The messages behind bench/oncall: bursts of them, one alone, one that rings; and what a letter or a commit costs bare."""

from __future__ import annotations

import argparse
import json
import os
import re
import smtplib
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.acts import Busy
from tests.faults.fill import fill
from tests.faults.ledger import quantile, rows, spool
from tests.ports import free_port
from tests.stack import ROOT, Stack, running, wait_for

from nightbell.core.clock import parse_iso, utc_now
from nightbell.server import tls

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from aiosmtpd.controller import Controller

TOLD_S, RINGS_S = 1.0, 5.0  # limits: hang-up to the channel at p99, and to the ringing telephone
SPOKE_S = 2.0
SENDERS = 3  # as many letters at once as the worker sends
# Durable ones on a message's way: key, row, alert, step, lease; the letter's sixth comes after it left. Messages that
# come at once share them; the peer is what they would cost one after the other.
COMMITS = 5
SETTLE_S = 120.0


class Inbox:
    """Takes letters. at: by the reference in the Message-ID, when the data of the first was here."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.last = b""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        now = time.time()
        found = re.search(rb"(?i)^message-id:\s*<([0-9A-Z]{26})@", envelope.content, re.M)
        if found:
            self.at.setdefault(found[1].decode(), now)
            self.last = envelope.content
        return "250 taken"


class TimedBusy(Busy):
    """A busy telephone that knows when it rang."""

    def __init__(self) -> None:
        self.at: list[float] = []
        super().__init__()

    def ring(self, call: str) -> None:
        self.at.append(time.time())
        super().ring(call)


@dataclass
class Line:
    """One installation with a mail server and a telephone beside it."""

    stack: Stack
    inbox: Inbox
    telephone: TimedBusy
    ca: str
    port: int

    def leave(self, count: int, urgent: int, where: int = 0) -> list[tuple[str, float]]:
        """Captures appear in the spool, as fast as they can be moved: (id, when) of the urgent ones. where: 0 the practice
        that is told by mail, 1 the one whose telephone rings."""
        folder, code = self.stack.root / "made", ("MS01", "HL02")[where]
        more = ("--practice", code, "--silent", "--apart")
        made = [(path, True) for path in fill(self.stack, folder, urgent, SPOKE_S, "--urgent", *more)]
        if count > urgent:
            calm = [(path, False) for path in fill(self.stack, folder, count - urgent, SPOKE_S, *more)]
            step = count // urgent
            for number, one in enumerate(made):  # spread among the others
                calm.insert(number * step, one)
            made = calm
        folder, left = self.stack.home / "phone" / "spool", []
        for path, is_urgent in made:
            path.rename(folder / path.name)
            if is_urgent:
                left.append((path.stem, time.time()))
        return left

    def told(self, left: Sequence[tuple[str, float]]) -> list[float]:
        """Seconds until the first letter about each was here. AssertionError when one never came."""
        wait_for("a letter for each", lambda: len(self._letters(left)) == len(left), SETTLE_S, 0.2)
        found = self._letters(left)
        return [found[message] - at for message, at in left]

    def _letters(self, left: Sequence[tuple[str, float]]) -> dict[str, float]:
        attempts = rows(
            self.stack,
            "SELECT a.id, l.message_id FROM oncall_attempt a JOIN oncall_alert l ON a.alert_id = l.id WHERE a.step = 0",
        )
        wanted, found = {message for message, _ in left}, {}
        for one in attempts:
            at = self.inbox.at.get(one["id"])
            if at is not None and one["message_id"] in wanted:
                found[one["message_id"]] = min(at, found.get(one["message_id"], at))
        return found

    def stages(self, left: Sequence[tuple[str, float]]) -> dict[str, list[float]]:
        """Seconds from hang-up to each durable step on the way, as the rows have it."""
        found = rows(
            self.stack,
            "SELECT m.id, m.stored_at, l.started_at, MIN(a.recorded_at) AS recorded_at FROM mailbox_message m"
            " JOIN oncall_alert l ON l.message_id = m.id JOIN oncall_attempt a ON a.alert_id = l.id AND a.step = 0 GROUP BY m.id",
        )
        by = {row["id"]: row for row in found}
        return {
            name: [_seconds(by[message][name]) - at for message, at in left]
            for name in ("stored_at", "started_at", "recorded_at")
        }

    def rung(self, left: tuple[str, float]) -> tuple[float, float]:
        """Seconds from hang-up to the INVITE, and from the call's row to it, of the newest call."""
        message, at = left
        before = [one for one in self.telephone.at if one > at]
        wait_for("the telephone", lambda: [one for one in self.telephone.at if one > at], 60, 0.01)
        rang = before[0] if before else next(one for one in self.telephone.at if one > at)
        [row] = rows(
            self.stack,
            "SELECT c.started_at FROM oncall_voicecall c JOIN oncall_attempt a ON c.attempt_id = a.id"
            " JOIN oncall_alert l ON a.alert_id = l.id WHERE l.message_id = ? AND a.step = 0 AND c.why != 'no_phone'",
            message,
        )
        return rang - at, rang - _seconds(row["started_at"])


def _seconds(stored: str) -> float:
    return parse_iso(stored.replace(" ", "T") + "Z").timestamp()


PREPARE = """
import sys
from nightbell.server.django_setup import setup
setup()
from nightbell.core.clock import utc_now
from nightbell.oncall.models import Schedule
from nightbell.people.models import Contact, User
step = {"who": "on_call", "id": "", "wait_s": 3600}
Schedule.objects.filter(practice__code="MS01").update(steps=[step | {"how": ["email"]}])
Schedule.objects.filter(practice__code="HL02").update(steps=[step | {"how": ["voice"]}])
user, now = User.objects.get(practice__code="HL02", role="clinician"), utc_now()
Contact.objects.create(user=user, kind="voice", address=sys.argv[1], created_at=now, verified_at=now)
"""


def _prepare(line: Line) -> None:
    """Who is on call is told once, by one way, so that nothing but the first letter or call is timed."""
    command = [sys.executable, "-c", PREPARE, line.telephone.uri]
    environment = line.stack.environment | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, env=environment, check=True, timeout=60)


def bare_letters(line: Line, count: int) -> list[float]:
    """Seconds after the start until each of as many letters, of the last one's bytes, was taken by the same server."""
    context, began = ssl.create_default_context(cafile=line.ca), time.monotonic()

    def send(_number: int) -> float:
        with smtplib.SMTP_SSL("localhost", line.port, context=context, timeout=10) as client:
            client.sendmail("line@nightbell.test", ["x@nightbell.test"], line.inbox.last)
        return time.monotonic() - began

    with ThreadPoolExecutor(SENDERS) as pool:
        return list(pool.map(send, range(count)))


def bare_commits(folder: Path, count: int) -> list[float]:
    """Seconds after the start until each message's share of durable commits was done: WAL, synced, 1 kB a row."""
    took, blob = [], os.urandom(1024)
    with closing(sqlite3.connect(folder / "peer.sqlite3", isolation_level=None)) as peer:
        peer.execute("PRAGMA journal_mode=WAL")
        peer.execute("PRAGMA synchronous=FULL")
        peer.execute("CREATE TABLE peer (id INTEGER PRIMARY KEY, body BLOB)")
        began = time.monotonic()
        for _ in range(count):
            for _ in range(COMMITS):
                peer.execute("INSERT INTO peer (body) VALUES (?)", (blob,))
            took.append(time.monotonic() - began)
    return took


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = list(seconds)
    return {name: round(quantile(ordered, q), 3) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}


def _figures(line: Line, messages: int, alone: int) -> dict[str, Any]:
    lone = [line.told(line.leave(1, 1))[0] for _ in range(alone)]
    rings = [line.rung(line.leave(1, 1, 1)[0]) for _ in range(alone)]
    few = line.told(line.leave(messages, max(1, messages // 10)))
    wait_for("the others to be taken in", lambda: not spool(line.stack), SETTLE_S)
    left = line.leave(messages, messages)
    every = line.told(left)
    peers = {
        "one_message_alone_s": _spread(lone),
        "bare_letters_s": _spread(bare_letters(line, messages)),
        "bare_commits_s": _spread(bare_commits(line.stack.root, messages)),
    }
    bare = peers["bare_letters_s"]["p99"] + peers["bare_commits_s"]["p99"]
    return {
        "messages_at_once": messages,
        "told_s": {
            "a_tenth_urgent": _spread(few) | {"limit": TOLD_S},
            "all_urgent": _spread(every) | {"limit": TOLD_S},
            "all_urgent_stages": {name: _spread(took) for name, took in line.stages(left).items()},
            "peers": peers,
            "all_urgent_p99_of_bare": round(quantile(every, 0.99) / bare, 2),
            "all_urgent_p99_of_bare_commits": round(
                quantile(every, 0.99) / peers["bare_commits_s"]["p99"], 2
            ),
        },
        "rings_s": {
            "from_hang_up": _spread([one for one, _ in rings]) | {"limit": RINGS_S},
            "from_order": _spread([one for _, one in rings]),
            "peer_letter_alone_s": peers["one_message_alone_s"],
        },
        "load_average": Path("/proc/loadavg").read_text().strip(),
    }


def measure(messages: int, alone: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="nightbell-bench-") as name:
        folder, inbox, port = Path(name), Inbox(), free_port()
        for part in ("tls", "tls-keys"):
            (folder / part).mkdir()
        tls.make(folder / "tls", folder / "tls-keys", ["localhost", "127.0.0.1"], utc_now())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls" / "server.pem", folder / "tls-keys" / "server.key")
        ca = str(folder / "tls" / "ca.pem")
        server = Controller(inbox, hostname="127.0.0.1", port=port, ssl_context=context)
        server.start()
        settings = {
            "NIGHTBELL_SMTP": f"smtps://localhost:{port}", "NIGHTBELL_SMTP_CA": ca,
            "NIGHTBELL_SMTP_FROM": "line@nightbell.test",
        }  # fmt: skip
        try:
            with running(folder / "stack", **settings) as stack:
                line = Line(stack, inbox, TimedBusy(), ca, port)
                _prepare(line)
                out = _figures(line, messages, alone)
        finally:
            server.stop()
    aims = {
        "told_a_tenth_urgent_p99_s": (TOLD_S, out["told_s"]["a_tenth_urgent"]["p99"]),
        "told_all_urgent_p99_s": (TOLD_S, out["told_s"]["all_urgent"]["p99"]),
        "rings_max_s": (RINGS_S, out["rings_s"]["from_hang_up"]["max"]),
    }
    return out | {
        "aims": {name: {"aim": aim, "got": got, "met": got < aim} for name, (aim, got) in aims.items()}
    }


def main() -> int:
    """Exit codes: 0 measured, 1 could not be measured."""
    parser = argparse.ArgumentParser(prog="bench/oncall", description="From hang-up to somebody who is told.")
    parser.add_argument("--quick", action="store_true", help="fewer lone messages; within 60 seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--messages", type=int, default=100, help="at once")
    options = parser.parse_args()
    out = measure(options.messages, 3 if options.quick else 15)
    if options.json:
        print(json.dumps(out))
        return 0
    for name, aim in out["aims"].items():
        print(f"{name:28} {aim['got']:>8}   aim under {aim['aim']:>4}   {'met' if aim['met'] else 'MISSED'}")
    print(f"told {out['told_s']}")
    print(f"rings {out['rings_s']}")
    return 0
