"""The calls of one process: their sound, their captures, their flow. The whole phone has one of these, or several beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from nightbell.core.log import Log
from nightbell.flow.model import Taken, Told
from nightbell.phone.call import Call, House
from nightbell.phone.legs import Leg, RemoteLeg, Stats
from nightbell.phone.media import Media
from nightbell.phone.memory import Memory
from nightbell.phone.recorder import Recorder
from nightbell.phone.sip_calls import IncomingCall
from nightbell.phone.snapshot import Holder, Number
from nightbell.phone.take import Budget
from nightbell.phone.transport import Peer
from nightbell.phone.voice import Voice


class Works(Protocol):
    """Where calls run: this process (an Engine) or others (`spread.Spread`). Used from the event loop."""

    told: Callable[..., None]  # (event, fields) for the worker
    emptied: Callable[[], None]  # the last call is over
    local_address: Callable[[Peer], str]  # our own address as that caller sees it

    @property
    def calls(self) -> int:
        """How many there are now."""

    @property
    def lost(self) -> int:
        """Processes that died with their calls."""

    def start(self) -> None:
        """Begin: only after the process has been locked in."""

    def close(self) -> None:
        """Write out and end."""

    def take(self, leg: IncomingCall, busy: bool) -> None:
        """Answer this call, or refuse it. busy: in the short form."""

    def answered(self, capture: str, event: Told | Taken) -> None:
        """The worker's answer for the call of this capture, if it is still there."""

    def end_all(self) -> None:
        """End the calls now, saved."""

    def routing_changed(self, then: Callable[[], None]) -> None:
        """Another snapshot is in force, or the same one again. then: new calls get it everywhere."""

    def stats(self) -> Stats: ...


class Engine:
    """One media thread, one recorder, and the calls that they serve. Made inside the running event loop."""

    lost = 0

    def __init__(
        self, folder: Path, holder: Holder, media: Media, log: Log, memory: Memory | None = None,
        takes: Budget | None = None,
    ) -> None:  # fmt: skip
        self.holder, self.media = holder, media
        self.recorder = Recorder(folder / "spool", log)
        self.told: Callable[..., None] = lambda event, **fields: None
        self.emptied: Callable[[], None] = lambda: None
        self.begun: Callable[[Leg, str], None] = lambda leg, capture: None  # before anything is done with it
        self.gone: Callable[[str], None] = lambda capture: None
        self.local_address: Callable[[Peer], str] = lambda peer: media.bind
        self._clips = folder / "clips"
        self._calls: set[Call] = set()
        self._by_capture: dict[str, Call] = {}
        self._house = House(
            media, self.recorder, self._voice, log, lambda event, **fields: self.told(event, **fields), self._over,
            lambda: (holder.current, holder.age()), self._local,
            memory if memory is not None else Memory(), takes if takes is not None else Budget(),
        )  # fmt: skip
        media.send_silence = holder.current.limits.send_silence

    @property
    def calls(self) -> int:
        return len(self._calls)

    def start(self) -> None:
        self.media.start()
        self.recorder.start()

    def close(self) -> None:
        self.media.close()
        self.recorder.close()

    def take(self, leg: Leg, busy: bool) -> None:
        call = Call(leg, self._house, self.holder.current, busy)
        self._calls.add(call)
        self._by_capture[call.capture] = call
        self.begun(leg, call.capture)
        call.start()

    def answered(self, capture: str, event: Told | Taken) -> None:
        call = self._by_capture.get(capture)
        if call is not None:
            call.told(event)

    def end_all(self) -> None:
        for call in list(self._calls):
            call.drain()

    def routing_changed(self, then: Callable[[], None]) -> None:
        self.media.send_silence = self.holder.current.limits.send_silence
        then()

    def stats(self) -> Stats:
        sound, kept = self.media.total(), self.recorder.counters
        return Stats(
            {name: getattr(sound, name) for name in sound.__slots__},
            {name: getattr(kept, name) for name in kept.__slots__},
            dict(self._house.never_confirmed),
            self.recorder.open_captures,
            self.media.late_ticks,
            self.media.worst_lag,
        )

    def _local(self, leg: Leg) -> str:
        return leg.local_address if isinstance(leg, RemoteLeg) else self.local_address(leg.peer)

    def _voice(self, number: Number) -> Voice:
        return Voice(self._clips, number.line.plan.clips)

    def _over(self, call: Call) -> None:
        self._calls.discard(call)
        self._by_capture.pop(call.capture, None)
        self.gone(call.capture)
        if not self._calls:
            self.emptied()
