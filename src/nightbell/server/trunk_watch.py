"""What the worker does for trunks beside publishing them: learn from phones, pass on wishes, tell health."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightbell.core import clock
from nightbell.core.ids import is_ulid
from nightbell.line import encrypted_share, trunk_payload, trunk_states, trunks
from nightbell.people.installation import By
from nightbell.server.control import ControlServer


class TrunkWatch:
    """Of one worker. stored: what health is told of each trunk; None before it was read."""

    def __init__(self, home: Path, control: ControlServer, actor: str) -> None:
        self._file, self._control, self._actor = home / "run" / trunks.ASKED, control, actor
        self._seen = self._asked_at()
        self._calls = encrypted_share.Counting()
        self.stored: list[dict[str, Any]] | None = None

    def keep_up(self, left_out: Mapping[str, str]) -> None:
        """What phones learned of carriers is kept, and goes out with the next snapshot."""
        now = clock.utc_now()
        phones = self._control.health()
        trunk_payload.learn(By(self._actor, now), trunk_states.merged(phones))
        encrypted_share.add(*self._calls.since_last(phones, clock.monotonic()), now)
        trunks.forget_removed(now)
        self.stored = trunk_payload.stored(left_out)

    def pass_on(self) -> None:
        """Somebody at a page wants to know now whether a carrier answers."""
        asked = self._asked_at()
        if asked != self._seen:
            self._seen = asked
            named = self._file.read_text("ascii", "replace")
            if is_ulid(named):
                self._control.ask_trunk(named)

    def _asked_at(self) -> int:
        try:
            return self._file.stat().st_mtime_ns
        except FileNotFoundError:
            return 0
