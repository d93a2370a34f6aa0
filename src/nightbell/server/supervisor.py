"""`nightbell serve`: starts phone, worker and web, restarts what dies, and stops all in the right order."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import FrameType

from django.db import connections

from nightbell.core import clock
from nightbell.core.config import Config
from nightbell.core.errors import RefusedStart
from nightbell.core.log import Log
from nightbell.core.sandbox import follow_parent, scrubbed

SNAPSHOT = "snapshot.json"  # what the phone needs; the phone's own rooms are not imported here
PHONE_KEEPS = (
    "NIGHTBELL_HOME", "NIGHTBELL_BIND", "NIGHTBELL_SIP_PORT", "NIGHTBELL_SIPS_PORT", "NIGHTBELL_RTP_PORTS",
    "NIGHTBELL_PHONE_PROCESSES", "NIGHTBELL_SIP_BIND", "NIGHTBELL_SIP_PUBLIC", "NIGHTBELL_SIP_CERT",
    "NIGHTBELL_SIP_KEY", "NIGHTBELL_SIP_CERTS", "NIGHTBELL_SIP_CA",
)  # fmt: skip
BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
DRAIN_S = 75.0
READY_S = 60.0
PREPARE_AGAIN_S = 5.0
PHONE_STANDS_S = 2.0  # one that finds its port taken ends sooner


class Stop:
    """Set by SIGTERM or SIGINT, waited for by the main thread.

    Not an Event: a handler that runs while this very thread holds the Event's lock waits for it for ever. And the
    signal itself fills the pipe: one that comes just before the main thread falls asleep, or to another thread, would
    run no handler until something else wakes it.
    """

    def __init__(self) -> None:
        self._told = False
        self._end, self._start = os.pipe()
        os.set_blocking(self._start, False)

    def on_signals(self) -> None:
        """From now on both signals set it. In the main thread only."""
        signal.set_wakeup_fd(self._start, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._told = True

    def is_set(self) -> bool:
        return self._told

    def wait(self, seconds: float) -> bool:
        """Whether it is set, after so many seconds at most."""
        if not self._told and select.select([self._end], [], [], seconds)[0]:
            os.read(self._end, 64)
        return self._told


@dataclass
class Part:
    """One supervised process."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    next_start: float = 0.0
    crashes: list[float] = field(default_factory=list)


def parts(config: Config) -> list[Part]:
    """The three processes and what each is given. The phone gets no word of keys or database."""
    python, whole = sys.executable, dict(os.environ)
    return [
        Part("worker", [python, "-m", "nightbell.server.cli", "worker"], whole),
        Part("phone", [python, "-m", "nightbell.phone"], scrubbed(os.environ, PHONE_KEEPS)),
        Part("web", [python, "-m", "nightbell.server.cli", "web"], whole),
    ]


class Supervisor:
    """Keeps the parts running until SIGTERM or SIGINT."""

    def __init__(self, config: Config, log: Log) -> None:
        self.config, self.log = config, log
        self.parts: list[Part] = []
        self.stopping = Stop()

    def run(self, prepare: Callable[[], str]) -> int:
        """Raises what `prepare` raises, unless the phone could be started without it: then it is tried again.

        prepare: makes database, keyring and routing fit to run; gives what to print when all is ready.
        """
        self.stopping.on_signals()
        everything = parts(self.config)
        if (self.config.home / "phone" / SNAPSHOT).exists():
            # After a power cut the line answers first: no database and no key may keep callers waiting.
            self.parts = [part for part in everything if part.name == "phone"]
        try:
            on_ready = self._prepared(prepare)
        except BaseException:
            self._stop()
            raise
        self.parts = [next((p for p in self.parts if p.name == part.name), part) for part in everything]
        ready = self._wait_ready()
        if not self.stopping.is_set():
            print(on_ready if ready else self._not_ready(), flush=True)
        while not self.stopping.wait(0.2):
            self._watch()
        return self._stop()

    def _prepared(self, prepare: Callable[[], str]) -> str:
        """Watch over the phone while another thread prepares, again and again when that fails."""
        said = ""
        while not self.stopping.is_set():
            attempt = _Preparation(prepare)
            attempt.start()
            while attempt.is_alive() and not self.stopping.wait(0.1):
                self._watch()
            if attempt.error is None:
                return attempt.text
            if not self.parts or isinstance(attempt.error, RefusedStart):
                raise attempt.error
            self.log.failure("prepare.failed", attempt.error)
            if said != str(attempt.error):
                said = str(attempt.error)
                print(
                    f"Calls are taken and sealed; all else waits, and is tried again: {_told(said)}",
                    flush=True,
                )
            deadline = clock.monotonic() + PREPARE_AGAIN_S
            while clock.monotonic() < deadline and not self.stopping.wait(0.1):
                self._watch()
        return ""

    def _start(self, part: Part) -> None:
        try:
            part.process = subprocess.Popen(
                part.command,
                env=part.environment,
                stdin=subprocess.DEVNULL,
                preexec_fn=partial(_follow, os.getpid()),
            )
        except (
            OSError
        ) as error:  # no memory or no process left: the others must go on, and this is tried again
            self.log.failure("part.not_started", error, kind=part.name)
            part.restarts += 1
            part.next_start = clock.monotonic() + BACKOFF[min(part.restarts, len(BACKOFF) - 1)]
            return
        part.started = clock.monotonic()
        self.log("part.started", kind=part.name, pid=part.process.pid, attempt=part.restarts)

    def _watch(self) -> None:
        now = clock.monotonic()
        for part in self.parts:
            if part.process is None:
                if now >= part.next_start:
                    self._start(part)
            elif part.process.poll() is not None:
                self._ended(part, now)

    def _ended(self, part: Part, now: float) -> None:
        """A part died: start it again, soon at first, slower when it keeps dying."""
        code = part.process.returncode if part.process else 0
        part.restarts = part.restarts + 1 if now - part.started < 30 else 0
        part.next_start = now + BACKOFF[min(part.restarts, len(BACKOFF) - 1)]
        part.process = None
        self.log("part.ended", kind=part.name, code=code, attempt=part.restarts)

    def _wait_ready(self) -> bool:
        deadline = clock.monotonic() + READY_S
        while clock.monotonic() < deadline and not self.stopping.is_set():
            self._watch()
            if self._phone_stands() and _web_answers(self.config) and _phone_answers(self.config):
                return True
            self.stopping.wait(0.1)
        return False

    def _phone_stands(self) -> bool:
        """Whether the phone that runs is ours: one of before may still end its calls, and answers on the same port."""
        phone = next(part for part in self.parts if part.name == "phone")
        return phone.process is not None and clock.monotonic() - phone.started > PHONE_STANDS_S

    def _not_ready(self) -> str:
        dead = [part.name for part in self.parts if part.process is None or part.process.poll() is not None]
        return (
            f"Nightbell is not ready after {READY_S:.0f} s. Parts that do not run: {', '.join(dead) or 'none'}. "
            "See the lines above; it goes on trying."
        )

    def _stop(self) -> int:
        """Phone first and with patience (calls drain), then the rest."""
        order = sorted(self.parts, key=lambda part: part.name != "phone")
        for part in order:
            if part.process is None:
                continue
            part.process.terminate()
            try:
                part.process.wait(DRAIN_S if part.name == "phone" else 15.0)
            except subprocess.TimeoutExpired:
                self.log("part.killed", kind=part.name)
                part.process.kill()
                part.process.wait()
        self.log("stopped")
        return 0


class _Preparation(threading.Thread):
    """One try. A database that does not answer may hold it for long: the phone is watched meanwhile."""

    def __init__(self, prepare: Callable[[], str]) -> None:
        super().__init__(name="prepare", daemon=True)
        self.prepare, self.text = prepare, ""
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.text = self.prepare()
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()


def _told(problem: str) -> str:
    """The first line, which names the trouble; drivers add help that belongs in their manuals."""
    return (problem.splitlines() or ["no more is known"])[0][:200]


def _follow(parent: int) -> None:
    """Runs in the child. A killed `serve` must not leave parts that hold the ports of the next one:
    they are asked to stop, so that the phone drains its calls first."""
    follow_parent(signal.SIGTERM, parent)


def _web_answers(config: Config) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only whether it answers
    try:
        with (
            socket.create_connection((config.bind, config.https_port), timeout=1) as raw,
            context.wrap_socket(raw) as stream,
        ):
            stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return stream.recv(12).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def _phone_answers(config: Config) -> bool:
    """A SIP OPTIONS over UDP (RFC 3261 §11)."""
    request = (
        f"OPTIONS sip:nightbell@localhost:{config.sip_port} SIP/2.0\r\n"
        "Via: SIP/2.0/UDP {local};branch=z9hG4bKready{tick};rport\r\n"
        "From: <sip:ready@localhost>;tag=r{tick}\r\nTo: <sip:nightbell@localhost>\r\n"
        "Call-ID: ready{tick}@localhost\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    host = config.sip_bind[0]
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect((host, config.sip_port))
            local = "{}:{}".format(*probe.getsockname()[:2])
            tick = str(int(clock.monotonic() * 1000))
            probe.send(request.replace("{local}", local).replace("{tick}", tick).encode())
            return probe.recv(2048).startswith(b"SIP/2.0 ")
        except OSError:
            return False
