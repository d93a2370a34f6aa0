"""A call back on record: both sides as the bridge passes them on, sealed while they are spoken, until they part.

Only where the worker says so, which it does once the patient has agreed. One capture with two sides, the clinician's and,
beside it, the patient's, both in the one law: what the bridge makes for the other telephone anyway is kept where it can be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from nightbell.core import clock
from nightbell.core.capture import CaptureMeta, Codec, End, EndReason
from nightbell.core.ids import is_ulid
from nightbell.core.log import Log
from nightbell.phone import wav
from nightbell.phone.recorder import CannotRecord, Recorder
from nightbell.phone.session import Packets, Sink
from nightbell.phone.snapshot import Snapshot

Choice = Callable[[bytes, bytes], bytes]  # of a payload as it came, and as it is passed on: what is kept


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one direction: what of each payload is kept, and where it goes. For the media thread."""

    choice: Choice
    sink: Callable[[Packets, float], None]


def law_of(one: Codec, other: Codec) -> Codec:
    """In which both are kept: the first law that one of them speaks, so that at most one side is decoded anew."""
    return next((codec for codec in (one, other) if codec in wav.LAWS), Codec.PCMU)


class Tape:
    """`sides` are for the media thread, the rest for the event loop."""

    def __init__(
        self, recorder: Recorder, snapshot: Snapshot, capture: str, practice: str, law: Codec,
        done: Callable[[bool], None],
    ) -> None:  # fmt: skip
        """capture: the call back's id; done(durable) is called in the event loop, perhaps twice: once it could not be written and
        later could. Raises CannotRecord."""
        meta = CaptureMeta(
            capture=capture, practice=practice, mailbox="", dialled="", caller="", answered_at=clock.iso(clock.utc_now()),
            language="", codec=law, snapshot=snapshot.version, talk=True,
        )  # fmt: skip
        self._began, self._recorder, self._done = clock.monotonic(), recorder, done
        self._loop = asyncio.get_running_loop()
        self._failed = False
        self.law = law
        self._recording = recorder.open(meta, snapshot.epoch, self._post(self._fails))

    @property
    def sides(self) -> tuple[Sink, Sink]:
        return self._recording.audio, self._recording.beside

    def end(self, reason: EndReason = EndReason.HANG_UP) -> None:
        """All that was heard has been given to it."""
        at = round((clock.monotonic() - self._began) * 1000)
        self._recording.finish(End(at, reason), self._post(self._done))
        self._recorder.wake()

    @property
    def failed(self) -> bool:
        """Its file cannot be written: nothing more is kept."""
        return self._failed

    def _fails(self) -> None:
        self._failed = True
        self.end(EndReason.INTERRUPTED)

    def _post(self, act: Callable[..., None]) -> Callable[..., None]:
        """For other threads: `act` in the event loop, if that still runs."""

        def post(*values: object) -> None:
            try:
                self._loop.call_soon_threadsafe(act, *values)
            except RuntimeError:
                return

        return post


class Tapes:
    """Those of all call backs of a desk. In the event loop."""

    def __init__(
        self, recorder: Recorder | None, snapshot: Callable[[], Snapshot], tell: Callable[..., None],
        over: Callable[[], None], log: Log,
    ) -> None:  # fmt: skip
        """recorder: not started yet; None: nothing can be recorded. tell: (event, fields) for the worker; over: one less waits."""
        self._recorder, self._snapshot, self._tell, self._over, self._log = (
            recorder,
            snapshot,
            tell,
            over,
            log,
        )
        self._writes = False
        self.waiting: set[str] = set()
        """Captures that are not whole on the disk yet."""

    def begin(self, capture: object, practice: str, law: Codec) -> Tape | None:
        """None: nothing is recorded. Whatever goes wrong with it costs nobody the call."""
        if self._recorder is None or not isinstance(capture, str) or not is_ulid(capture):
            return None
        if not self._writes:  # a thread only where one is needed: most practices record no call
            self._recorder.start()
            self._writes = True
        try:
            made = Tape(
                self._recorder, self._snapshot(), capture, practice, law, lambda durable: self._kept(capture, durable)
            )  # fmt: skip
        except CannotRecord:
            return None  # the recorder has logged and counted it
        self.waiting.add(capture)
        self._log("talk_recorded", capture=capture)
        return made

    def _kept(self, capture: str, durable: bool) -> None:
        """It is on the disk, or waits for room on it."""
        self.waiting.discard(capture)
        if durable:
            self._tell("capture_ready", capture=capture)
        self._over()

    def close(self) -> None:
        """Let go of the files: intake takes what is unfinished as interrupted."""
        if self._recorder is not None:
            self._recorder.close()

    @property
    def open_captures(self) -> int:
        return self._recorder.open_captures if self._recorder is not None else 0

    @property
    def counts(self) -> dict[str, int]:
        """As recorder.Counters, by name."""
        kept = self._recorder.counters if self._recorder is not None else None
        return {name: getattr(kept, name) for name in kept.__slots__} if kept is not None else {}
