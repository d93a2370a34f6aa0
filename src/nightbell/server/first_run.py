"""The one-time set-up link of a real installation."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import datetime, timedelta

from nightbell.core.clock import iso, parse_iso
from nightbell.core.config import Config
from nightbell.core.durable import write_file
from nightbell.people.models import User
from nightbell.server.home import trust_hint

VALID = timedelta(hours=24)


def greeting(config: Config, now: datetime) -> str:
    """What `serve` prints when everything runs; with a fresh set-up link while nobody can log in yet."""
    lines = [
        "",
        f"Nightbell is ready at {config.url}",
        f"SIP on {config.bind}:{config.sip_port} (UDP and TCP)",
    ]
    if not User.objects.exists():
        token = secrets.token_urlsafe(32)
        keep = {"digest": hashlib.sha256(token.encode()).hexdigest(), "until": iso(now + VALID)}
        write_file(config.home / "setup.json", json.dumps(keep).encode())
        lines += [
            "",
            "Set up the first practice (this link works once, for a day):",
            f"  {config.url}/setup/{token}",
        ]
    return "\n".join([*lines, "", trust_hint(config.home / "tls" / "ca.pem"), ""])


def redeem(config: Config, token: str, now: datetime) -> bool:
    """Whether `token` is the set-up link in force. Does not use it up: `finish` does."""
    try:
        kept = json.loads((config.home / "setup.json").read_text("utf-8"))
        fresh = parse_iso(kept["until"]) > now
    except (OSError, ValueError, KeyError):
        return False
    return fresh and secrets.compare_digest(kept["digest"], hashlib.sha256(token.encode()).hexdigest())


def finish(config: Config) -> None:
    """Use the link up."""
    (config.home / "setup.json").unlink(missing_ok=True)
