"""When Nightbell may tell the outside that it lives. Pure.

A beat says: every loop goes round, a phone takes calls, the auditor finds nothing that stands still, and no alert was
told to nobody. Whatever is wrong, or dead, there is none, and whoever listens outside tells people: no part of ours has to
work for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EVERY_S = 60.0
QUICK_S = 60.0  # loops of alerts: none of their steps takes so long
SLOW_S = 900.0  # others may decode, transcribe or compact for minutes
LOOK_S = 30.0  # the auditor looks each few seconds
CALLS_S = 300.0  # who tells a notice by telephone waits until it was heard, and then there are the other ways
QUICK = ("alerts", "intake", "auditor")
CALLS = ("notices", "codes")


@dataclass(frozen=True, slots=True)
class Going:
    """A loop as it is. age_s: since its last step began; idle_s: how long it may sleep; trouble: its last error, or ''."""

    name: str
    age_s: float
    idle_s: float
    trouble: str = ""


def silent(loops: Iterable[Going]) -> list[str]:
    """Names of loops that should have gone round since and did not."""
    return sorted(loop.name for loop in loops if loop.age_s > loop.idle_s + _longest(loop.name))


def _longest(name: str) -> float:
    if name in CALLS:
        return CALLS_S
    return QUICK_S if name in QUICK or name.startswith("send-") else SLOW_S


def may_beat(found: int | None, look_age_s: float, loops: Iterable[Going], phone: bool = True) -> bool:
    """found: what the auditor found at its last look, and alerts told to nobody; None when it could not look; look_age_s:
    since that look; phone:
    whether a phone process lives, without which nobody's call is taken."""
    loops = list(loops)
    return (
        phone
        and found == 0
        and look_age_s <= LOOK_S
        and not silent(loops)
        and not any(loop.trouble for loop in loops if loop.name != "heartbeat")
    )
