"""What a real installation prints when it is ready."""

from __future__ import annotations

from datetime import datetime

from nightbell.core.config import Config
from nightbell.oncall import last_resorts
from nightbell.oncall.founding import set_fallback
from nightbell.people import first_run
from nightbell.people.models import User
from nightbell.people.practices import person
from nightbell.server.home import trust_hint

WAYS = "/account/ways/"


def greeting(config: Config, now: datetime) -> str:
    """Where it is; with a fresh set-up link while nobody can log in yet; and whose last resort cannot be told."""
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
            f"Then log in and prove your email at {config.url}{WAYS}: nobody is woken by one that is not proved.",
        ]
    if not config.smtp and not config.sms:
        lines += ["", "NIGHTBELL_SMTP is not set: nobody can be woken, and the line does not promise it."]
    lines += [told for one in last_resorts.untold() for told in ("", unproved(one, config.url))]
    return "\n".join([*lines, "", trust_hint(config.home / "tls" / "ca.pem"), ""])


def fallback(login: str, actor: str, now: datetime, url: str) -> str:
    """Set who is told when nobody else is there, and say whether that can be done. Raises BadPerson."""
    user = person(login)
    set_fallback(user.practice, user, actor, now)
    silent = [one for one in last_resorts.untold(user.practice_id) if one.user == user.id]
    said = [f"{user.name} is told when nobody else is there."]
    return "\n".join(said + [unproved(one, url) for one in silent])


def unproved(one: last_resorts.Untold, url: str) -> str:
    """A last resort that cannot be told, in words for the terminal."""
    who = f"{one.name} has not proved any way to be told" if one.name else "nobody is named"
    instead = "the managers are told instead" if one.managers else "an alert that nobody takes reaches nobody"
    return f"The last resort of {one.code}: {who}; {instead}. Mend it at {url}{WAYS}"
