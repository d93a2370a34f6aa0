"""Session timers (RFC 4028): how long a call may go unrefreshed, and which side refreshes it. Pure: no clock runs here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nightbell.sip.grammar import parse_params
from nightbell.sip.message import Request, Response

MIN_SE = 90  # seconds, the least that §5 allows
MAX_SE = 86_400
_SECONDS = re.compile(r"[0-9]{1,10}\Z")


class TooBrief(ValueError):
    """The interval asked for is below MIN_SE: 422 with `Min-SE`."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """interval: seconds; ours: whether we are the refresher."""

    interval: int
    ours: bool

    @property
    def refresh_after(self) -> float:
        """Seconds after which the refresher refreshes (§10: half of the interval)."""
        return self.interval / 2

    @property
    def ends_after(self) -> float:
        """Seconds after which the other side gives up (§10: 32 s, or a third of the interval, before its end)."""
        return self.interval - min(32.0, self.interval / 3)


def supported(message: Request | Response) -> bool:
    """Whether the other side knows session timers."""
    words = [word for name in ("supported", "require") for word in _words(message, name)]
    return "timer" in words


def asked(message: Request | Response) -> tuple[int, str] | None:
    """(seconds, 'uac' | 'uas' | '') of Session-Expires; None where there is none or it is malformed."""
    text, _, params = message.get("session-expires").partition(";")
    seconds = text.strip(" \t")  # and nothing else that Python takes for a space
    if not _SECONDS.match(seconds):
        return None
    try:
        refresher = dict(parse_params(f";{params}" if params else "")).get("refresher", "").lower()
    except ValueError:
        refresher = ""
    return min(int(seconds), MAX_SE), refresher if refresher in ("uac", "uas") else ""


def agree(request: Request) -> Expiry | None:
    """What we answer to an INVITE or UPDATE (§9, table 2). None: this call has no timer. Raises TooBrief.

    Only the caller's wish makes one: our own calls end by their own limits. A brief interval that a proxy asks for on
    behalf of a caller without timers cannot be refused (its 422 would be understood by nobody): then we take MIN_SE.
    """
    wish = asked(request)
    if wish is None:
        return None
    seconds, refresher = wish
    theirs = supported(request)
    if seconds < MIN_SE and theirs:
        raise TooBrief("the session interval is too small")
    # Who calls us refreshes, where it can: a caller that is gone is then noticed.
    ours = not theirs or refresher == "uas"
    return Expiry(max(seconds, MIN_SE), ours)


def answer_lines(expiry: Expiry) -> tuple[tuple[str, str], ...]:
    """For our 2xx. `Require: timer` where the other side must refresh (§9)."""
    line = ("Session-Expires", f"{expiry.interval};refresher={'uas' if expiry.ours else 'uac'}")
    return (line,) if expiry.ours else (("Require", "timer"), line)


def request_lines(expiry: Expiry, least: int = MIN_SE) -> tuple[tuple[str, str], ...]:
    """For a refreshing request of ours (§7.4): we stay the refresher. least: the highest Min-SE that a 422 named."""
    interval = max(expiry.interval, least)
    lines = (("Supported", "timer"), ("Session-Expires", f"{interval};refresher=uac"))
    return (*lines, ("Min-SE", str(least))) if least > MIN_SE else lines


def granted(response: Response) -> Expiry | None:
    """What the 2xx to our refreshing request says (§7.2). None: no timer any more."""
    wish = asked(response)
    if wish is None:
        return None
    return Expiry(max(wish[0], MIN_SE), ours=wish[1] != "uas")


def least(response: Response) -> int:
    """Min-SE of a 422, in bounds; MIN_SE where it is missing or malformed."""
    text = response.get("min-se").partition(";")[0].strip()
    return min(max(int(text), MIN_SE), MAX_SE) if _SECONDS.match(text) else MIN_SE


def may_update(message: Request | Response) -> bool:
    """Whether the other side takes UPDATE, by its Allow."""
    return "update" in _words(message, "allow")


def _words(message: Request | Response, name: str) -> list[str]:
    try:
        return [word.lower() for word in message.listed(name)]
    except ValueError:
        return []
