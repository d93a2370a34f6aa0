"""Settings of the running system beside those of this command's environment.

`nightbell status` and `nightbell evidence` read much off the settings: run in another environment they would describe
a system that nobody runs. So the worker tells its own with its health, without secrets, and they are compared.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from nightbell.core.clock import parse_iso
from nightbell.core.config import Config

FRESH = timedelta(seconds=30)
_AS_THEY_ARE = (
    "url", "bind", "https_port", "sip_port", "sips_port", "rtp_ports", "phone_processes", "metrics_port", "sip_bind",
    "sip_public", "sip_cert", "sip_key", "sip_certs", "sip_ca", "key_provider", "smtp_from", "smtp_ca",
)  # fmt: skip
_WHETHER_SET = ("twilio_account", "twilio_token", "telnyx_public_key", "telnyx_api_key")
_ADDRESSES = ("database", "keyring", "smtp")


def told(config: Config) -> dict[str, str]:
    """The settings by the names of their variables: no password, no key and no account."""
    found = {name: _text(getattr(config, name)) for name in _AS_THEY_ARE}
    found |= {name: "set" if getattr(config, name) else "" for name in _WHETHER_SET}
    found |= {name: _place(getattr(config, name)) for name in _ADDRESSES}
    return {f"NIGHTBELL_{name.upper()}": value for name, value in found.items()}


def _text(value: object) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, tuple) else str(value)


def _place(address: str) -> str:
    """Where it leads and whether encrypted, without user and password."""
    parts = urlsplit(address)
    if not parts.netloc:
        return address if address in ("", "sqlite") else "set"
    mode = parse_qs(parts.query).get("sslmode", [""])[0]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path} {mode}".rstrip()


def differing(config: Config, now: datetime) -> list[str]:
    """Variables that are not as in the running system; none while nothing runs."""
    try:
        report = json.loads((config.home / "run" / "health.json").read_text("utf-8"))
        fresh, said = now - parse_iso(report["at"]) < FRESH, report.get("settings")
    except (OSError, ValueError, KeyError):
        return []
    if not fresh or not isinstance(said, dict):
        return []
    return [name for name, value in told(config).items() if said.get(name, value) != value]


def warn(names: list[str]) -> None:
    """One line for people."""
    if names:
        print(
            f"LOOK  these settings differ from the running system: {', '.join(names)}. Run this with its environment."
        )
