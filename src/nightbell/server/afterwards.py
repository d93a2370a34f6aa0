"""What the worker does after the call back: the weekly mail, and notes for the practice's own record system."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nightbell.core import clock
from nightbell.core.config import Config
from nightbell.core.log import Log
from nightbell.oncall import records, weekly
from nightbell.server import wiring


class Afterwards:
    """Of one worker."""

    def __init__(self, config: Config, log: Log) -> None:
        self._records, self._log = wiring.records(config), log

    def keep_up(self, now: datetime) -> None:
        weekly.plan_due(now)

    def report(self) -> dict[str, Any]:
        """For health.write; {} where there is no record system."""
        return {"records": records.trouble(clock.utc_now())} if self._records is not None else {}

    def send(self) -> bool:
        """One note a round, in a loop of its own: a record system may be slow, and nothing must wait for it."""
        return self._records is not None and records.run_one(self._records, clock.utc_now, self._log)
