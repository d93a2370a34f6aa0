"""What a real installation prints when it is ready."""

from __future__ import annotations

from datetime import datetime

from nightbell.core.config import Config
from nightbell.people import first_run
from nightbell.people.models import User
from nightbell.server.home import trust_hint


def greeting(config: Config, now: datetime) -> str:
    """Where it is; with a fresh set-up link while nobody can log in yet."""
    lines = [
        "",
        f"Nightbell is ready at {config.url}",
        f"SIP on {', '.join(config.sip_bind)}, port {config.sip_port} (UDP and TCP) and {config.sips_port} (TLS)",
    ]
    if not User.objects.exists():
        token = first_run.issue(config.home, now)
        lines += [
            "",
            "Set up the first practice (this link works once, for a day):",
            f"  {config.url}/setup/{token}",
        ]
    if not config.smtp and not config.sms:
        lines += ["", "NIGHTBELL_SMTP is not set: nobody can be woken, and the line does not promise it."]
    return "\n".join([*lines, "", trust_hint(config.home / "tls" / "ca.pem"), ""])
