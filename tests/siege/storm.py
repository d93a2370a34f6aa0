"""A storm of mutated datagrams from many addresses, as a process of its own: `python storm.py JSON`, a JSON line at the end.

Given: port (SIP), sound (ports), runs, seed, sources. Told: sent, asked (requests in order among them, on a connection of
their own), unanswered.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.fuzz import seeds  # noqa: E402
from tests.fuzz.mutate import Mutator  # noqa: E402
from tests.phone.endpoints import message  # noqa: E402

EVERY = 200  # datagrams between two requests in order: so many fit into what the kernel holds for the phone


def sockets(count: int) -> list[socket.socket]:
    """Of addresses of their own: one source may ask only so much a second, and each shall be heard."""
    made = []
    for number in range(count):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((f"127.66.{number // 250}.{number % 250 + 1}", 0))
        one.setblocking(False)
        made.append(one)
    return made


def drained(one: socket.socket) -> None:
    try:
        while True:
            one.recv(65_536)
    except OSError:
        return


def asked(number: int, port: int) -> bool:
    """Whether the phone still answers: it has then looked at all that came before."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as calm:
        calm.bind((f"127.77.{number // 250 % 250}.{number % 250 + 1}", 0))
        calm.settimeout(2)
        here = calm.getsockname()[1]
        for attempt in range(5):
            calm.sendto(
                message("OPTIONS", here, branch=f"z9hG4bKs{number}-{attempt}", call_id=f"s{number}"),
                ("127.0.0.1", port),
            )
            try:
                return calm.recv(65_536).startswith(b"SIP/2.0 200")
            except OSError:
                continue
    return False


def storm(port: int, sound: list[int], runs: int, seed: int, sources: int) -> dict[str, float]:
    """Three of four at the SIP port, the others at the ports for sound."""
    talk, noise = Mutator(list(seeds.messages()), seed), Mutator(list(seeds.sounds()), seed)
    wires, unanswered, sent, slowest = sockets(sources), 0, 0, 0.0
    while sent < runs:
        wire = wires[sent % len(wires)]
        data, to = (noise.one(), sound[sent % len(sound)]) if sound and sent % 4 == 3 else (talk.one(), port)
        with contextlib.suppress(OSError):
            wire.sendto(data, ("127.0.0.1", to))
        sent += 1
        if sent % EVERY == 0:
            began = time.monotonic()
            unanswered += not asked(sent // EVERY, port)
            slowest = max(slowest, time.monotonic() - began)
            drained(wire)
    return {
        "sent": sent,
        "asked": sent // EVERY,
        "unanswered": unanswered,
        "slowest_ms": round(slowest * 1000, 1),
    }


if __name__ == "__main__":
    os.nice(15)
    print(json.dumps(storm(**json.loads(sys.argv[1]))), flush=True)
