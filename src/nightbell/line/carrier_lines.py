"""Which line a call that comes by webhook is for: the numbers and lines that the worker signed for the phones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature

from nightbell.core import clock
from nightbell.core.carriers import Ring
from nightbell.core.config import load
from nightbell.flow.line import Line
from nightbell.flow.plan import MenuKey, Plan
from nightbell.mailbox.models import Number
from nightbell.sealing.signed import opened

TEAM_FRESH = 60.0  # seconds since the worker was heard: after that nobody speaks of a team
_NOBODYS = Plan(
    languages=("en",),
    keys=(MenuKey("1", "menu-urgent", urgency="urgent"), MenuKey("2", "menu-routine")),
    callback=False,
    review=False,
)


@dataclass(frozen=True, slots=True)
class Found:
    """practice, mailbox: '' for a number of nobody's; entry: its line as flow.line reads it, {} for nobody's; staff: it is
    the practice's line for its own people, which a webhook cannot serve."""

    dialled: str
    practice: str = ""
    mailbox: str = ""
    entry: Mapping[str, Any] = field(default_factory=dict)
    snapshot: int = 0
    staff: bool = False


@dataclass(slots=True)
class _Issued:
    stamp: int = -1
    body: dict[str, Any] = field(default_factory=dict)


_issued = _Issued()


def line_of(entry: Mapping[str, Any]) -> Line:
    """Raises as Line.from_dict."""
    return Line.from_dict(entry) if entry else Line(plan=_NOBODYS)


def find(ring: Ring) -> Found:
    """The number that was dialled first chooses the practice, as on the phone; then the one that was called."""
    body = _body()
    numbers = body.get("numbers", {})
    for given in (ring.first, ring.called):
        for dialled in _spellings(given):
            one = numbers.get(dialled)
            if isinstance(one, dict):
                entry = dict(body["lines"][one["line"]])
                entry["team"] = bool(entry.get("team")) and worker_age() < TEAM_FRESH
                return Found(
                    given, str(one["practice"]), str(one["mailbox"]), entry, int(body.get("version", 0)),
                    one.get("staff") is True,
                )  # fmt: skip
    return Found(ring.called or ring.first, snapshot=int(body.get("version", 0)))


def _spellings(number: str) -> tuple[str, ...]:
    """As it may stand in the list: carriers write +1 before what a practice writes with ten digits."""
    plain = Number.plain(number)
    if len(plain) == 11 and plain.startswith("1"):
        return plain, plain[1:]
    return (plain, f"1{plain}") if len(plain) == 10 else (plain,)


def numbers() -> frozenset[str]:
    """All numbers of the practices; empty when they cannot be read."""
    return frozenset(_body().get("numbers", {}))


def worker_age() -> float:
    """Seconds since the worker last reported."""
    try:
        written = (load().home / "run" / "health.json").stat().st_mtime
    except OSError:
        return float("inf")
    return max(0.0, clock.utc_now().timestamp() - written)


def _body() -> dict[str, Any]:
    """What the worker last signed; {} when it cannot be read: then all numbers are nobody's, and nobody is turned away."""
    folder = load().home / "phone"
    try:
        stamp = (folder / "issued.json").stat().st_mtime_ns
        if stamp != _issued.stamp:
            _issued.body, _issued.stamp = _read(folder), stamp
    except (OSError, ValueError, KeyError, TypeError, InvalidSignature):
        return {}
    return _issued.body


def _read(folder: Path) -> dict[str, Any]:
    file = json.loads((folder / "issued.json").read_text("utf-8"))["file"]
    found = json.loads(opened(str(file).encode(), (folder / "trust.pub").read_bytes()))
    if not isinstance(found, dict):
        raise ValueError("not a snapshot")
    return found
