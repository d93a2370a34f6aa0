"""People at screens: clients that list, open and play messages all the time, in a process of their own.

python -m tests.faults.readers URL CA_FILE TOKEN SECONDS CLIENTS: prints counts by status and latencies as JSON.
"""

from __future__ import annotations

import json
import os
import random
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter

import httpx
from tests.stack import ROOT, Stack

PAUSE_S = 0.1


class Reader(threading.Thread):
    """One client. A connection that a kill cut is opened anew."""

    def __init__(self, url: str, trust: ssl.SSLContext, token: str, until: float, seed: int) -> None:
        super().__init__()
        self.url, self.trust, self.token, self.until = url, trust, token, until
        self.random = random.Random(seed)
        self.statuses: Counter[str] = Counter()
        self.seconds: list[float] = []

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(
            base_url=self.url + "/api/v1", headers=headers, verify=self.trust, timeout=30
        ) as client:
            while time.monotonic() < self.until:
                try:
                    self._round(client)
                except (httpx.HTTPError, ValueError, KeyError):
                    self.statuses["cut"] += 1
                time.sleep(PAUSE_S)

    def _round(self, client: httpx.Client) -> None:
        answer = self._get(client, "/messages")
        items = answer.json()["items"] if answer.status_code == 200 else []
        if items:
            one = self.random.choice(items)["id"]
            self._get(client, f"/messages/{one}")
            self._get(client, f"/messages/{one}/audio", {"Range": "bytes=0-65535"})
            self._get(client, f"/messages/{one}/audio", {"Range": "bytes=16000-48000"})

    def _get(self, client: httpx.Client, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        began = time.monotonic()
        answer = client.get(path, headers=headers)
        self.seconds.append(time.monotonic() - began)
        self.statuses[str(answer.status_code)] += 1
        return answer


def start(stack: Stack, seconds: float, clients: int) -> subprocess.Popen[str]:
    """Readers as a clinician for so long."""
    arguments = [stack.url, str(stack.home / "tls" / "ca.pem"), stack.user("clinician")["api_token"]]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.readers", *arguments, str(seconds), str(clients)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def result(process: subprocess.Popen[str]) -> dict[str, object]:
    out, _ = process.communicate(timeout=120)
    return dict(json.loads(out))


def main() -> int:
    url, trust_file, token, seconds, clients = sys.argv[1:]
    trust = ssl.create_default_context(cafile=trust_file)
    os.nice(10)  # real readers have machines of their own
    until = time.monotonic() + float(seconds)
    readers = [Reader(url, trust, token, until, seed) for seed in range(int(clients))]
    for reader in readers:
        reader.start()
    statuses: Counter[str] = Counter()
    times: list[float] = []
    for reader in readers:
        reader.join()
        statuses += reader.statuses
        times += reader.seconds
    times.sort()
    quantiles = {name: round(times[min(len(times) - 1, int(q * len(times)))], 3) for name, q in
                 (("p50", 0.5), ("p99", 0.99), ("max", 1.0))} if times else {}  # fmt: skip
    print(json.dumps({"requests": len(times), "statuses": dict(statuses), "seconds": quantiles}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
