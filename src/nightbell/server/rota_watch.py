"""What the worker does for the schedules: swaps go on to the next colleague, managers are told of empty shifts ahead."""

from __future__ import annotations

from nightbell.core import clock
from nightbell.oncall import gaps, swaps

EVERY_S = 300.0  # between two looks for gaps: a letter a week or a day ahead is in no hurry


class RotaWatch:
    """Of one worker, as the step of a loop."""

    def __init__(self) -> None:
        self._next = 0.0

    def step(self) -> bool:
        """Returns whether a swap went on. One that fails holds up neither the others nor the gaps."""
        now = clock.utc_now()
        problems: list[Exception] = []
        moved = swaps.due(now, problems)
        if clock.monotonic() >= self._next:
            self._next = clock.monotonic() + EVERY_S
            gaps.find_gaps(now)
        if problems:
            raise problems[0]
        return moved > 0
