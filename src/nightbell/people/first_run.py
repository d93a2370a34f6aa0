"""The one-time link with which a real installation gets its first practice and manager."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from nightbell.core.clock import iso, parse_iso
from nightbell.core.durable import remove_file, write_file

VALID = timedelta(hours=24)
FILE = "setup.json"


def issue(home: Path, now: datetime) -> str:
    """A fresh link's token; an older one is void."""
    token = secrets.token_urlsafe(32)
    kept = {"digest": hashlib.sha256(token.encode()).hexdigest(), "until": iso(now + VALID)}
    write_file(home / FILE, json.dumps(kept).encode())
    return token


def good(home: Path, token: str, now: datetime) -> bool:
    """Whether `token` is the link in force."""
    try:
        kept = json.loads((home / FILE).read_text("utf-8"))
        fresh = parse_iso(kept["until"]) > now
        digest = str(kept["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return fresh and secrets.compare_digest(digest, hashlib.sha256(token.encode()).hexdigest())


@contextmanager
def used_once(home: Path) -> Iterator[bool]:
    """Take the link for the block's work, before anybody else can: gives False when somebody was quicker.

    It is used up when the block ends well, and back in force when it does not.
    """
    taken = home / (FILE + ".taken")
    try:
        os.rename(home / FILE, taken)
    except FileNotFoundError:
        yield False
        return
    try:
        yield True
    except BaseException:
        os.rename(taken, home / FILE)
        raise
    remove_file(taken)
