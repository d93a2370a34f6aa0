"""Which captures are taken in next: callers who pressed 1 first, and several of them together; the others one by one.

An urgent one that comes in meanwhile waits for one other at most, or for one handful of urgent ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nightbell.audit.errors import AuditClosed
from nightbell.core import clock
from nightbell.core.sound import Unpacker
from nightbell.mailbox import intake
from nightbell.mailbox.intake_opening import Beginning, Round, beginning
from nightbell.sealing import spool

SET_BACK = 30.0  # seconds until a capture that could not be taken in is tried again
ALERT_FIRST, AT_MOST = 0.5, 5.0  # seconds that others wait after an urgent one, and at most in all
SLOW_LATER = 1.0  # seconds that what needs a decoder lets others of its urgency pass
TOGETHER, TOGETHER_BYTES = 34, 4_000_000  # captures, and bytes of them: some eight minutes of sound


class Intake:
    """Of one worker. `step` is for its loop. taken: told of each that became a message; unpacker, quick: see
    mailbox.intake."""

    def __init__(
        self, folder: Path, taken: Callable[[intake.Taken], None], unpacker: Unpacker, quick: Unpacker
    ) -> None:
        self._spool, self._tell, self._unpacker, self._quick = folder, taken, unpacker, quick
        self._set_back: dict[str, float] = {}  # capture: when it may be tried again (monotonic)
        self._begins: dict[
            str, tuple[Beginning, float]
        ] = {}  # capture: and when it was looked at (monotonic)
        self._seen: dict[str, float] = {}  # capture: when its turn came first (monotonic)
        self._urgent_at = -ALERT_FIRST  # when the last urgent one was taken in (monotonic)
        self._busy_since: float | None = None
        self._problem: Exception | None = None

    def step(self) -> bool:
        """One turn. Returns whether anything became a message; raises what kept one from it, when all had their turn."""
        for group in self._groups(self._in_order(spool.waiting(self._spool))):
            if self._should_wait(group[0]):
                break
            if self._take(group):
                return True
            if isinstance(self._problem, intake.EVERYBODYS):
                break  # it would be the same for the others
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem
        return False

    def is_alerting(self) -> bool:
        """Whether what nobody is waiting for leaves the machine to alerts that have just begun. Never for long."""
        now = clock.monotonic()
        if now - self._urgent_at >= ALERT_FIRST:
            self._busy_since = None
            return False
        self._busy_since = now if self._busy_since is None else self._busy_since
        return now - self._busy_since < AT_MOST

    def _take(self, group: Sequence[Path]) -> bool:
        problems: intake.Problems = {}
        now, done = clock.utc_now(), False
        for one in intake.take_in_all(group, now, problems, self._unpacker, self._quick):
            self._seen.pop(one.capture, None)
            if one.urgent:
                self._urgent_at = clock.monotonic()
            self._tell(one)
            done = True
        for path, error in problems.items():
            # It steps back behind the others: one bad capture must not keep them from becoming messages.
            pause = 1.0 if isinstance(error, (*intake.EVERYBODYS, AuditClosed)) else SET_BACK
            self._set_back[path.stem] = clock.monotonic() + pause
            self._problem = error
        return done

    def _in_order(self, waiting: list[Path]) -> list[Path]:
        """What may be tried now: callers who pressed 1 first, then the oldest."""
        names, now = {path.stem for path in waiting}, clock.monotonic()
        self._set_back = {
            name: until for name, until in self._set_back.items() if name in names and until > now
        }
        self._begins = {name: begins for name, begins in self._begins.items() if name in names}
        self._seen = {name: since for name, since in self._seen.items() if name in names}
        ready = [path for path in waiting if path.stem not in self._set_back]
        if len(ready) < 2 and now - self._urgent_at > ALERT_FIRST:
            return ready  # nothing to choose from
        shared = Round()
        for path in ready:
            if path.stem not in self._begins:
                begins = beginning(path, shared)
                if begins is not None:
                    self._begins[path.stem] = (begins, now)
        return sorted(ready, key=lambda path: (not self._is_urgent(path), self._is_slow(path, now)))

    def _is_urgent(self, path: Path) -> bool:
        begins = self._begins.get(path.stem)
        return begins is not None and begins[0].urgent

    def _is_slow(self, path: Path, now: float) -> bool:
        """Whether it lets others of its kind pass: what needs a decoder may take seconds. Not for long either."""
        begins = self._begins.get(path.stem)
        return begins is not None and not begins[0].quick and now - begins[1] < SLOW_LATER

    def _groups(self, order: Sequence[Path]) -> Iterator[list[Path]]:
        """Handfuls of urgent ones that need no decoder which may be slow; all others alone."""
        group: list[Path] = []
        size = 0
        for path in order:
            begins = self._begins.get(path.stem)
            if begins is None or not begins[0].urgent or not begins[0].quick:
                if group:
                    yield group
                group, size = [], 0
                yield [path]
                continue
            more = _size(path)
            if group and (len(group) == TOGETHER or size + more > TOGETHER_BYTES):
                yield group
                group, size = [], 0
            group.append(path)
            size += more
        if group:
            yield group

    def _should_wait(self, path: Path) -> bool:
        """Whether a capture leaves the machine to an alert that has just begun. Never for long."""
        now = clock.monotonic()
        first_seen = self._seen.setdefault(path.stem, now)
        return (
            not self._is_urgent(path) and now - self._urgent_at < ALERT_FIRST and now - first_seen < AT_MOST
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
