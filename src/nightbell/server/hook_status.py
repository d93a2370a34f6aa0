"""The line of `nightbell status` about calls by webhook, from what the worker reported (line.carrier_health)."""

from __future__ import annotations

from typing import Any

LATE_S = 600  # until a call that is over should be a message, and gone from the provider


def judged(told: dict[str, Any]) -> tuple[bool, str]:
    """Whether all is well, and the line of `nightbell status`."""
    late = int(told["oldest_s"]) > LATE_S
    parts = [
        f"{', '.join(told['names']) or 'none set up'}: {told['today']} calls in a day, {told['up']} up now",
        f"{told['to_fetch']} to fetch, {told['to_delete']} to delete"
        + (f", the oldest for {told['oldest_s']} s" if late else ""),
    ]
    if told["lost"]:
        named = ", ".join(told["lost_names"])
        parts.append(
            f"{told['lost']} recordings could not be had in a week" + (f" ({named})" if named else "")
        )
    if told["trouble"]:
        parts.append("trouble: " + ", ".join(told["trouble"]))
    if told["refused_at"]:
        parts.append(f"{told['refused']} false signatures, the last one at {told['refused_at'][:16]}Z")
    return not late and not told["lost"] and not told["trouble"], "; ".join(parts)
