"""What a caller may be told of a message, and how often one may ask. Pure.

Only what is true and stored, and nothing that tells a stranger who is a patient (rules for the words, 12).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

NONE = "none"
LOOKS_BACK = timedelta(days=14)
HOUR = timedelta(hours=1)
CALLER_MISSES, PRACTICE_MISSES = 5, 60  # an hour
PAIR_MISSES = 300  # an hour and practice, of callers who ask for the very number that they call from
_DONE = frozenset(["reached", "emergency"])  # somebody spoke with the patient
_TRIED = frozenset(["left_word", "no_answer"])  # the right telephone rang


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a message is. heard_at: of all that was said, additions too; rings: an alert is due or reaches people."""

    state: str
    urgent: bool
    rings: bool
    received_at: datetime
    heard_at: datetime | None = None
    closed_at: datetime | None = None
    outcome: str = ""
    tried_at: datetime | None = None


def standing(message: Standing) -> tuple[str, datetime | None]:
    """(state, instant to say with it). For what was left and not heard, the instant at which it was left."""
    if message.state == "closed":
        if message.outcome == "left_word":
            return "tried", message.closed_at
        return ("done", None) if message.outcome in _DONE else ("left", message.received_at)
    if message.state == "acknowledged":
        if message.outcome in _TRIED and message.tried_at is not None:
            return "tried", message.tried_at
        return "owned", message.heard_at
    if message.heard_at is not None:
        return "heard", message.heard_at
    if not message.urgent:
        return "waiting_open", message.received_at
    return ("waiting" if message.rings else "left"), message.received_at


def fits(confirmed: str, number: str, caller: str) -> bool:
    """Whether this call may be told of a message: it comes from the very number that its caller confirmed.

    All three are digits as `rules.digits` gives them.
    """
    return bool(number) and number == confirmed and number == caller
