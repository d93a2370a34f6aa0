"""Points at which a test lets a process die, to prove that every durable step can be the last one.

NIGHTBELL_KILL_AT="name" or "name:3" (the third time) makes the process kill itself there, as `kill -9` would.
Without the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

_NAME, _, _COUNT = os.environ.get("NIGHTBELL_KILL_AT", "").partition(":")
_left = int(_COUNT or "1")


def point(name: str) -> None:
    """A moment between two durable steps."""
    global _left
    if name != _NAME:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
