"""The whole product for tests: `nightbell serve --demo` in a home and on ports of its own, and callers for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from tests import prepared
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], seconds: float, every: float = 0.1) -> T:
    """The first true answer of `look`; AssertionError naming `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


class Stack:
    """One running installation. `environment` adds to or replaces what it is started with.

    fresh: it migrates its database by itself, as on a new machine.
    """

    def __init__(self, root: Path, *, fresh: bool = False, **environment: str) -> None:
        self.root, self.home, self.keys = root, root / "home", root / "keys"
        https, sip = free_port(), free_port()
        low = 20000 + (os.getpid() * 97 + https) % 20000 // 2 * 2
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("NIGHTBELL_")
        }
        self.environment |= {
            "NIGHTBELL_HOME": str(self.home), "NIGHTBELL_KEYS": str(self.keys),
            "NIGHTBELL_URL": f"https://localhost:{https}", "NIGHTBELL_HTTPS_PORT": str(https),
            "NIGHTBELL_SIP_PORT": str(sip), "NIGHTBELL_SIPS_PORT": str(sip + 1), "NIGHTBELL_RTP_PORTS": f"{low}-{low + 1999}",
            "NIGHTBELL_METRICS_PORT": str(free_port()), "TMPDIR": str(root / "tmp"),
            "NIGHTBELL_MODELS": os.environ.get("NIGHTBELL_MODELS", str(ROOT / "models")),
            **environment,
        }  # fmt: skip
        (root / "tmp").mkdir(parents=True, exist_ok=True)
        if not fresh:
            prepared.lend(self.home)
        self.url = self.environment["NIGHTBELL_URL"]
        self.log = root / "serve.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: tuple[str, ...] = ()  # a command that runs `serve`, for example in a mount namespace

    def start(self, seconds: float = 90) -> None:
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "nightbell.server.cli", "serve", "--demo"],
                env=self.environment, stdout=out, stderr=out, cwd=self.root,
                process_group=0,  # not a session: Linux shares a machine out by session, whatever their niceness
            )  # fmt: skip
        wait_for("'is ready'", lambda: b"is ready" in self.log.read_bytes()[before:] or self._dead(), seconds)

    def _dead(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(
                f"serve ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
            )
        return False

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        found = []
        for line in self.log.read_text("utf-8", "replace").splitlines():
            if line.startswith("{") and f'"event":"{name}"' in line:
                found.append(json.loads(line))
        return found

    def pid(self, part: str) -> int:
        return int([e for e in self.events("part.started") if e["kind"] == part][-1]["pid"])

    def kill(self, part: str) -> None:
        """kill -9, for the web with all its workers."""
        pid = self.pid(part)
        children = Path(f"/proc/{pid}/task/{pid}/children")
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    @property
    def demo(self) -> dict[str, Any]:
        return json.loads((self.home / "demo.json").read_text())  # type: ignore[no-any-return]

    def user(self, role: str, practice: int = 0) -> dict[str, str]:
        practice_id = self.demo["practices"][practice]["id"]
        return next(u for u in self.demo["users"] if u["role"] == role and u["practice"] == practice_id)

    def client(self, role: str, practice: int = 0) -> httpx.Client:
        """An API client that trusts our CA alone."""
        import ssl

        return httpx.Client(
            base_url=self.url + "/api/v1",
            headers={"Authorization": "Bearer " + self.user(role, practice)["api_token"]},
            verify=ssl.create_default_context(cafile=str(self.home / "tls" / "ca.pem")),
            timeout=20,
        )

    def messages(self, role: str = "manager", practice: int = 0) -> list[dict[str, Any]]:
        """All open messages of a practice, page by page."""
        found: list[dict[str, Any]] = []
        with self.client(role, practice) as client:
            cursor = ""
            while True:
                answer = client.get("/messages", params={"cursor": cursor} if cursor else {})
                answer.raise_for_status()
                page = answer.json()
                found += page["items"]
                cursor = page["next"]
                if not cursor:
                    return found

    def uri(self, practice: int = 0) -> str:
        return str(self.demo["practices"][practice]["sip_uri"])

    def outbox(self) -> list[Path]:
        return sorted(Path(self.demo["outbox"]).glob("*.eml"))

    @staticmethod
    def line(*arguments: str) -> list[str]:
        """`nightbell ...` as a list."""
        return [sys.executable, "-m", "nightbell.server.cli", *arguments]

    def command(
        self, *arguments: str, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run `nightbell ...` on this home."""
        done = subprocess.run(
            self.line(*arguments), env=self.environment, cwd=self.root,
            capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{arguments} gave {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def call(self, wav: Path, *options: str, practice: int = 0, timeout: float = 120) -> dict[str, Any]:
        """Place one call with `nightbell call`; its report."""
        done = self.command(
            "call", self.uri(practice), "--wav", str(wav), "--json", *options, timeout=timeout
        )
        return json.loads(done.stdout)  # type: ignore[no-any-return]


@contextlib.contextmanager
def running(root: Path, *, fresh: bool = False, **environment: str) -> Iterator[Stack]:
    stack = Stack(root, fresh=fresh, **environment)
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()
