"""One call to or from a person of ours, from its order to its end: the phone's events go into the pure dialogue, and what
that decides goes down as orders or is done by `Effects`.

A conversation has a thread of its own, so that one that compares a PIN or waits for a key service holds up no other. Time is
monotonic seconds. Keys are never logged or kept.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.db import connection

from nightbell.core import clock
from nightbell.core.log import Log
from nightbell.flow.clips import milliseconds
from nightbell.oncall import dialogue, turns
from nightbell.oncall.dialogue import Purpose
from nightbell.oncall.turns import ME, PATIENT, Facts

LOOK_S = 1.0  # between two looks at whether the call is still wanted
SLACK_S = 6.0  # beyond the length of what is said, when the phone does not tell that it was heard
GONE_S = 12.0  # how long a phone may be away before its calls are lost: it ends them after ten
RING_S, MOST_S = 25, 3600
LATE_S = 30.0  # after the longest that a phone may ring and talk: then it has forgotten to tell of the end

NO_LEG = "no_leg"

Order = Callable[..., bool]  # (command, data, beside): as ControlServer.order_call


class Effects(Protocol):
    """What a call does beside speaking."""

    def do(self, talk: Conversation, what: str, value: str) -> str | None:
        """The answer for the dialogue; None where it waits for none."""
        ...

    def is_wanted(self, talk: Conversation) -> bool:
        """Whether somebody is still to be rung."""
        ...

    def answered(self, talk: Conversation, side: str) -> None: ...

    def cut(self, talk: Conversation, whole: bool) -> None:
        """What was being heard is over or was cut."""
        ...

    def over(self, talk: Conversation, why: str) -> None:
        """Called once, at the end."""
        ...


@dataclass
class Leg:
    """One side. token: of the last words; wait: seconds after them until a Silence; deadline: when that comes at the latest;
    heard: packets of sound that came, once it has ended."""

    call: str
    up: bool = False
    ended: str = ""
    token: int = 0
    wait: float | None = None
    deadline: float | None = None
    heard: int = 0


@dataclass
class Conversation:
    """practice: whose clips are heard; language: of its person; patient_language: of whom they are brought together with."""

    purpose: Purpose
    call: str
    practice: str
    language: str
    facts: Facts
    effects: Effects
    order: Order
    log: Log
    patient_language: str = "en"
    legs: dict[str, Leg] = field(default_factory=dict)
    events: queue.Queue[Mapping[str, Any]] = field(default_factory=queue.Queue)
    why: str = ""
    outcome: str = ""  # what its end counts as, when that is not how it ended
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.legs = self.legs or {ME: Leg(self.call)}
        self.state = dialogue.start(self.purpose)
        self._gone_at: float | None = None
        self._looked = clock.monotonic()
        self.until = clock.monotonic() + RING_S + MOST_S + LATE_S
        self.known = False  # a phone has told of its call

    # Its thread.

    def start(self) -> None:
        threading.Thread(target=self.run, daemon=True, name=f"call-{self.purpose.value}").start()

    def run(self) -> None:
        try:
            while not self.over.is_set():
                try:
                    event = self.events.get(timeout=self._pause())
                except queue.Empty:
                    self.tick(clock.monotonic())
                else:
                    self.take(event)
                    self.tick(clock.monotonic())
                self.end_late(clock.monotonic())
        except Exception as error:
            # Whatever it was: nobody is left on a silent line, and the alert goes on.
            self.log.failure("call.broke", error, kind=self.purpose.value)
            self.end("lost")
        finally:
            connection.close()

    def end_late(self, now: float) -> None:
        """Whatever the phone tells or does not: no call lasts longer than it may."""
        if now > self.until:
            self.end("lost")

    def _pause(self) -> float:
        soonest = min((leg.deadline for leg in self.legs.values() if leg.deadline is not None), default=None)
        now = clock.monotonic()
        return LOOK_S if soonest is None else min(max(soonest - now, 0.01), LOOK_S)

    # What happens.

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of the phone, as server.call_events has it."""
        name = event["event"]
        if name == "gone":
            self._gone_at = clock.monotonic()
        elif name == "hello":
            self._back(set(event["legs"]))
        elif name == "joined":
            self.log("call.joined", reference=self.call)
            self.step(turns.Joined())
        elif name == "parted":
            self.step(turns.Parted())
        else:
            side = next((side for side, leg in self.legs.items() if leg.call == event.get("call")), None)
            if side is not None:
                self._of_leg(side, event)

    def _of_leg(self, side: str, event: Mapping[str, Any]) -> None:
        leg = self.legs[side]
        if side == ME and event.get("state") in ("trying", "ringing", "answered", "incoming"):
            self.known = True
        if event["event"] == "key":
            if side == ME:
                self._cut()
            self.step(turns.Key(event["key"], side))
        elif event["event"] == "said":
            if event["token"] == leg.token and leg.wait is not None:
                leg.deadline = clock.monotonic() + leg.wait
        elif event["state"] in ("answered", "incoming") and not leg.up:
            leg.up = True
            self.effects.answered(self, side)
            self.step(turns.Answered(side))
        elif event["state"] == "ended":
            leg.heard = int(event.get("heard", 0))
            why = str(event["why"]) or "ended"
            # Our own phone had no place for it, and nobody was dialled.
            full = side == ME and not self.known and event.get("code") == 503
            self._ended(side, NO_LEG if full and why == "unreachable" else why)

    def _ended(self, side: str, why: str) -> None:
        leg = self.legs[side]
        if leg.ended:
            return
        leg.ended, leg.up, leg.deadline = why, False, None
        if side == ME:
            self.end(why)
            return
        self.effects.do(self, "patient ended", why)
        self.step(turns.Ended(why, side))

    def _back(self, known: set[str]) -> None:
        """A phone connected (again): calls that it does not have are lost, if it was theirs that was away."""
        if self._gone_at is None:
            return
        if any(leg.call in known for leg in self.legs.values()):
            self._gone_at = None
            for side, leg in list(self.legs.items()):
                if leg.call not in known and not leg.ended:
                    self._ended(side, "lost")

    def tick(self, now: float) -> None:
        """Time goes by."""
        if self._gone_at is not None and now - self._gone_at > GONE_S:
            self.end("lost")
        for side, leg in list(self.legs.items()):
            if leg.deadline is not None and now >= leg.deadline and not self.over.is_set():
                leg.deadline = leg.wait = None
                if side == ME:
                    self._cut(whole=True)
                self.step(turns.Silence(side))
        if now - self._looked >= LOOK_S and not self.over.is_set():
            self._looked = now
            if not self._is_wanted():
                self.outcome = self.outcome or "not_needed"
                self.end("ended")

    def _is_wanted(self) -> bool:
        """A database that is busy for a moment must not cost a call."""
        try:
            return self.effects.is_wanted(self)
        except Exception as error:
            self.log.failure("call.look", error, kind=self.purpose.value)
            connection.close()
            return True

    # What is done.

    def step(self, event: turns.Event) -> None:
        """One event of the dialogue, and all that follows from it."""
        if self.over.is_set():
            return
        turn = dialogue.on(self.purpose, self.state, event, self.facts)
        self.state = turn.state
        for action in turn.actions:
            if self.over.is_set():
                return
            if isinstance(action, turns.Say):
                self.say(action)
            elif isinstance(action, turns.HangUp):
                self.hang_up(action.side)
            else:
                answer = self.effects.do(self, action.what, action.value)
                if answer is not None:
                    self.step(turns.Told(action.what, answer))

    def say(self, words: turns.Say) -> None:
        leg = self.legs.get(words.side)
        if leg is None or leg.ended:
            return
        leg.wait = words.wait
        seconds = 0.0
        if words.clips:
            clips = [self._named(clip, words.side) for clip in words.clips]
            leg.token += 1
            if words.instead:
                self.order("hush", {"call": leg.call})
            seconds = sum(milliseconds(clip) for clip in clips) / 1000 + SLACK_S
            self.order("say", {"call": leg.call, "token": leg.token, "clips": clips, "barge_in": words.cut})
        leg.deadline = None if words.wait is None else clock.monotonic() + seconds + words.wait

    def sound(self, pieces: list[str], seconds: float) -> None:
        """Base64 of G.711 µ-law, one after the other, to the person of ours; a Silence follows when all was heard."""
        leg = self.legs[ME]
        leg.token += 1
        leg.wait, leg.deadline = 0.5, clock.monotonic() + seconds + SLACK_S
        for number, piece in enumerate(pieces, 1):
            self.order(
                "sound", {"call": leg.call, "token": leg.token, "ulaw": piece, "last": number == len(pieces)}
            )

    def _named(self, clip: str, side: str) -> str:
        language = self.language if side == ME else self.patient_language
        return clip if clip.startswith("~") or "/" in clip else f"{language}/{clip}"

    def hang_up(self, side: str) -> None:
        leg = self.legs.get(side)
        if leg is not None and not leg.ended:
            self.order("hang_up", {"call": leg.call})
            leg.deadline = None
            if side == ME:
                self.end("ended")

    def end(self, why: str) -> None:
        """It is over: nothing of it rings on, and what its end means is written. Once."""
        if self.over.is_set():
            return
        self.why = why
        self.over.set()
        try:
            for leg in list(self.legs.values()):
                if not leg.ended:
                    self.order("hang_up", {"call": leg.call})
            self._cut()
        finally:
            self.effects.over(self, self.outcome or why)

    def _cut(self, whole: bool = False) -> None:
        """whole: what was being heard had come to its end. How much was heard could not be written: the worker's round closes
        that play, and the call goes on."""
        try:
            self.effects.cut(self, whole)
        except Exception as error:
            self.log.failure("call.cut", error, kind=self.purpose.value)
            connection.close()

    @property
    def patient(self) -> Leg | None:
        return self.legs.get(PATIENT)
