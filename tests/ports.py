"""Ports for tests that run beside each other.

A port that the kernel picked and that was closed again may be handed to anybody before the program under test
binds it; on a busy machine that happened. These lie above the range the kernel picks from (32768-60999 on Linux),
and every process takes its next one from the same counter, so that no two ever hold the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, SLOTS, STEP = 61000, 1133, 4  # SIP stacks take the ports after theirs too (TLS, RTCP)
COUNTER = Path(tempfile.gettempdir()) / f"nightbell-test-ports.{os.getuid()}"


def free_port() -> int:
    """An even port of 127.0.0.1 that is free for UDP and TCP together with the three after it, given out once."""
    with COUNTER.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        last = int(file.read() or 0)
        for slot in range(last + 1, last + 1 + SLOTS):
            port = FIRST + slot % SLOTS * STEP
            if all(_is_free(port + more) for more in range(STEP)):
                file.truncate(0)
                file.write(str(slot % SLOTS))
                return port
    raise RuntimeError(f"no four ports are free from {FIRST} to {FIRST + SLOTS * STEP - 1}")


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
        # Like the servers under test: a connection of an earlier one in TIME_WAIT is no hindrance.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("127.0.0.1", port))
        udp.bind(("127.0.0.1", port))
        return True
    return False
