"""The limit that bench/calls is held against: receive, decrypt and seal the same packets, and nothing else."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from bench.calls_wire import PROFILE, Line, Sender, lib, srtp_context
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pylibsrtp import Policy

from nightbell.phone.datagrams import Basket
from nightbell.sip.srtp import SrtpKeys

LANES = 4  # as the phone: a socket is looked into every 80 ms


def bare_run(calls: int, seconds: float, encrypted: bool, core: int) -> dict[str, Any]:
    """CPU by call-minute, and how many of the packets came, of a child on that core."""
    keys = [secrets.token_bytes(44) for _ in range(calls)] if encrypted else []
    child = subprocess.Popen(
        [sys.executable, "-c", "from bench.calls_bare import bare; bare()", str(calls), str(seconds), str(core)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path[:2])},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("no pipe")
    print(json.dumps([key.hex() for key in keys]), file=child.stdin, flush=True)
    sender = Sender(calls)
    for number, port in enumerate(json.loads(child.stdout.readline())):
        own = SrtpKeys(PROFILE, keys[number], bytes(44)) if encrypted else None
        sender.add(Line(number, ("127.0.0.1", port), own))
    sender.start()
    out: dict[str, Any] = json.loads(child.stdout.readline())
    sender.running = False
    sender.join()
    sender.socket.close()
    child.wait(10)
    return out


def bare() -> None:
    """The child of bare_run."""
    calls, seconds = int(sys.argv[1]), float(sys.argv[2])
    os.sched_setaffinity(0, {int(sys.argv[3])})
    keys = [bytes.fromhex(key) for key in json.loads(sys.stdin.readline())]
    contexts = [srtp_context(PROFILE, key, Policy.SSRC_ANY_INBOUND) for key in keys]
    sockets = []
    for _ in range(calls):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262144)
        sock.bind(("127.0.0.1", 0))
        sockets.append(sock)
    print(json.dumps([sock.getsockname()[1] for sock in sockets]), flush=True)
    basket, heard = Basket(), [list[bytes]() for _ in sockets]
    while basket.fill(sockets[0].fileno()) < 1:
        time.sleep(0.001)
    with tempfile.TemporaryFile() as file:
        count, cpu, lasted = _drain(seconds, basket, sockets, contexts, heard, file)
    out = {
        "cpu_s_per_call_minute": cpu / (calls * lasted / 60),
        "packets": count,
        "core_percent": 100 * cpu / lasted,
    }
    print(json.dumps(out), flush=True)


def _drain(
    seconds: float,
    basket: Basket,
    sockets: list[socket.socket],
    contexts: list[Any],
    heard: list[list[bytes]],
    file: Any,
) -> tuple[int, float, float]:
    cipher, nonce, count, tick, refused = AESGCM(secrets.token_bytes(32)), 0, 0, 0, 0
    handles = [sock.fileno() for sock in sockets]
    began, cpu = time.monotonic(), time.process_time()
    due = began
    while time.monotonic() - began < seconds:
        tick += 1
        for number in range(tick % LANES, len(handles), LANES):
            got = max(0, basket.fill(handles[number]))
            count += got
            context = contexts[number] if contexts else None
            for at, _name, size_at, pointer, length in basket.slots[:got]:
                if context is not None and lib.srtp_unprotect(context[0], pointer, length):
                    refused += 1  # a stray packet of somebody else's
                    continue
                heard[number].append(basket.data[at + 12 : at + basket.sizes[size_at]])
        for number in range(tick % 25, len(handles), 25):  # twice a second, as a segment of 4 kB fills
            nonce += 1
            file.write(cipher.encrypt(nonce.to_bytes(12, "big"), b"".join(heard[number]), None))
            heard[number].clear()
        due += 0.02
        time.sleep(max(0.0, due - time.monotonic()))
    if refused > 0.01 * count:
        raise RuntimeError(f"{refused} of {count} packets did not authenticate")
    return count, time.process_time() - cpu, time.monotonic() - began
