"""Logs by allow-list: one JSON line an event, with known fields of known shape and nothing else.

A deny-list cannot work: nobody knows beforehand what a patient will say. A field that is not
in ALLOWED is dropped and counted by name in "dropped", so that a wrong call is seen.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TextIO

from nightbell.core import clock
from nightbell.core.ids import is_ulid

_WORD = re.compile(r"[A-Za-z0-9_.:/@+-]{1,80}\Z")
# Numbers, ids and words of our own making; never a caller's number, name or words.
ALLOWED = frozenset(
    [
        "capture",
        "message",
        "practice",
        "mailbox",
        "alert",
        "job",
        "kind",
        "state",
        "step",
        "attempt",
        "attempts",
        "outcome",
        "reason",
        "seconds",
        "count",
        "version",
        "pid",
        "signal",
        "status",
        "port",
        "transport",
        "method",
        "code",
        "peer_class",
        "error",
        "where",
        "bytes",
        "epoch",
        "process",
        "path_class",
        "action",
        "user",
        "role",
        "event",
        "size",
        "delay",
        "lag",
        "queue",
        "channel",
        "url_class",
        "reference",
    ]
)


class Log:
    """Writes events of one process to one stream (default: standard error)."""

    def __init__(self, process: str, stream: TextIO | None = None) -> None:
        self.process, self.stream = process, stream

    def __call__(self, event: str, **fields: object) -> None:
        line: dict[str, object] = {"at": clock.iso(clock.utc_now()), "process": self.process, "event": event}
        dropped = []
        for name, value in fields.items():
            if name in ALLOWED and _harmless(value):
                line[name] = value
            else:
                dropped.append(name)
        if dropped:
            line["dropped"] = sorted(dropped)
        stream = self.stream or sys.stderr
        stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        stream.flush()

    def failure(self, event: str, error: BaseException, **fields: object) -> None:
        """Log an error by type and place only: its text may carry anything."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "unknown"
        if trace is not None:
            where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        self(event, error=type(error).__name__, where=where, **fields)


def _harmless(value: object) -> bool:
    if value is None or isinstance(value, (bool, int, float)):
        # A telephone number is an integer too: nothing of seven or more digits passes as a bare number
        # but byte counts and versions stay below that in practice or are rounded by the caller.
        return not isinstance(value, int) or isinstance(value, bool) or abs(value) < 1_000_000
    if isinstance(value, str):
        return is_ulid(value) or (bool(_WORD.match(value)) and not re.search(r"\d{7,}", value))
    return False
