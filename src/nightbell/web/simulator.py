"""A call that is tried out on a page: what was done so far is replayed through the machine, and the last step told.

The server keeps nothing between two steps. What a phone and a worker would do at once (saving, looking up) is done here,
simulated; nothing is recorded, nobody is told. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from nightbell.core.errors import NightbellError
from nightbell.flow.line import Line
from nightbell.flow.machine import step
from nightbell.flow.model import (
    Action,
    Answered,
    AskStatus,
    CallConfig,
    Event,
    HangUp,
    HungUp,
    Key,
    Note,
    Play,
    Played,
    Record,
    Remember,
    Replay,
    Save,
    Saved,
    State,
    StopPlay,
    Sync,
    Synced,
    Taken,
    Tick,
    Told,
)
from nightbell.flow.turn import Phase
from nightbell.web import callflow, callflow_sound
from nightbell.web.callflow_words import Book

MOST_EVENTS, MOST_MS = 400, 30 * 60 * 1000
KEYS = frozenset("0123456789*#")
STATES = ("none", "waiting", "waiting_open", "left", "heard", "owned", "tried", "done")


class BadCall(NightbellError, ValueError):
    """What a page sent is no call that can be tried."""

    def __init__(self, why: str, mend: str = "call again") -> None:
        super().__init__("This call cannot go on", why, mend)


@dataclass(frozen=True, slots=True)
class Setting:
    """How the call is tried. caller: digits or ''; language: remembered from an earlier call or ''; status: how far
    the message is that the caller may ask for."""

    line: Line
    book: Book
    at: datetime
    caller: str = ""
    language: str = ""
    slow: bool = False
    status: str = "none"


@dataclass(slots=True)
class Call:
    """One replay: the state, and what the last event led to."""

    setting: Setting
    config: CallConfig
    state: State = field(default_factory=State)
    now: int = 0
    actions: list[Action] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    said: list[tuple[str, ...]] = field(default_factory=list)  # runs after "saved"
    save: Save | None = None

    def send(self, event: Event) -> None:
        """One event, and what phone and worker answer at once."""
        self.state, actions = step(self.config, self.state, event, self.now)
        for action in actions:
            self.actions.append(action)
            self._answer(action)

    def _answer(self, action: Action) -> None:
        if isinstance(action, Note):
            self.marks.append(action.name)
        elif isinstance(action, Play) and self.save is not None:
            self.said.append(action.run.clips)
        elif isinstance(action, Sync):
            self.send(Synced())
        elif isinstance(action, AskStatus):
            at = self.setting.at - timedelta(hours=1)
            none = self.setting.status == "none"
            self.send(Told(self.setting.status, None if none else at, "" if none else "simulated"))
        elif isinstance(action, Save):
            self._save(action)

    def _save(self, action: Save) -> None:
        self.save = action
        urgent = action.urgent and self.setting.line.team
        self.send(Taken(rings=urgent))
        promise, _ = self.setting.line.promise_at(action.urgent, self.setting.at, age=0.0)
        self.send(Saved(promise))


def read_events(data: Any) -> list[tuple[int, str, Any]]:
    """[[ms, kind, value], ...] in order. Raises BadCall."""
    if not isinstance(data, list) or not data:
        raise BadCall("it has no events")
    if len(data) > MOST_EVENTS:
        raise BadCall(f"it has more than {MOST_EVENTS} events")
    found, last = [], 0
    for one in data:
        if not isinstance(one, list) or len(one) != 3 or not isinstance(one[1], str):
            raise BadCall("an event is not [milliseconds, kind, value]")
        at = one[0]
        if not isinstance(at, int) or isinstance(at, bool) or at < last:
            raise BadCall("its times do not follow each other")
        if at > MOST_MS:
            raise BadCall("it is longer than 30 minutes", "hang up and call again")
        last = at
        found.append((at, one[1], one[2]))
    return found


def event_of(kind: str, value: Any) -> Event:
    """An event as the machine knows it. Raises BadCall."""
    if kind == "answered":
        return Answered()
    if kind == "key" and isinstance(value, str) and value in KEYS:
        return Key(value)
    if kind == "played" and isinstance(value, int):
        return Played(value)
    if kind == "tick" and (value is None or isinstance(value, int)):
        return Tick(value)
    if kind == "hung_up":
        return HungUp()
    raise BadCall(f"an event {kind[:20]!r} cannot happen here")


def replay(setting: Setting, events: Sequence[tuple[int, str, Any]]) -> Call:
    """The call after these events; its `actions` are those of the last one. Raises BadCall."""
    config = setting.line.config(setting.caller, setting.at, setting.language, setting.slow)
    call = Call(setting, config)
    for at, kind, value in events:
        call.now, call.actions = at, []
        call.send(event_of(kind, value))
    return call


# What the page is told.


def told(call: Call, boxes: Mapping[str, str], first_box: str) -> dict[str, Any]:
    """The last step in words: where the caller is, what is said, what keys do, and the end when there is one."""
    state = call.state
    over = state.phase == Phase.DONE
    return {
        "node": callflow.step_of(state.node),
        "label": "" if over else callflow.label_of(state.node),
        "language": state.language,
        "phase": state.phase,
        "waits": state.phase in (Phase.WAIT, Phase.DIGITS, Phase.QUERY),
        "recording": state.phase == Phase.RECORDING,
        "recorded_ms": state.used,
        "wake": state.wake,
        "entered": state.entered if state.phase == Phase.DIGITS else "",
        "actions": [one for action in call.actions if (one := _action(call, action)) is not None],
        "keys": [] if over else _keys(call),
        "done": over,
        "ended": _ended(call, boxes, first_box) if over else None,
    }  # fmt: skip


def _keys(call: Call) -> list[tuple[str, str]]:
    return callflow.keys_now(call.state.node, call.config.graph, call.setting.line.plan, call.setting.book)


def _action(call: Call, action: Action) -> dict[str, Any] | None:
    if isinstance(action, Play):
        spoken = call.setting.book.read(action.run.clips)
        return {
            "do": "play", "token": action.token, "cut": action.run.barge,
            "clips": [_clip(call, name) for name in action.run.clips],
            "pieces": [{"lang": piece.language, "text": piece.text} for piece in spoken.pieces],
        }  # fmt: skip
    if isinstance(action, Replay):
        return {"do": "replay", "token": action.token}
    if isinstance(action, StopPlay):
        return {"do": "silence"}
    if isinstance(action, Record):
        return {"do": "record"}
    if isinstance(action, Remember):
        return {"do": "remember", "language": action.language, "slow": action.slow}
    return {"do": "hang_up"} if isinstance(action, HangUp) else None


def _clip(call: Call, name: str) -> dict[str, Any]:
    """One clip: how long it sounds, and its address; pauses have none."""
    length = call.setting.book.milliseconds(name)
    if name.startswith("~"):
        return {"ms": length, "url": ""}
    plan = call.setting.line.plan
    language, _, clip = name.rpartition("/")
    content = plan.clips.get(name, "")
    query = f"own={content}" if content else f"v={callflow_sound.mark(name, plan)}"
    return {"ms": length, "url": f"/line/clip/{language or 'en'}/{clip}.wav?{query}"}


def _ended(call: Call, boxes: Mapping[str, str], first_box: str) -> dict[str, Any]:
    """What would be left of this call, in words."""
    state, marks = call.state, call.marks
    kind = _kind(call)
    box = next((m.partition(":")[2] for m in reversed(marks) if m.startswith("mailbox:")), "")
    facts: list[tuple[str, str]] = []
    if kind == "message":
        facts.append(("To", boxes.get(box, "") or first_box))
        facts.append(("Urgency", _urgency(call)))
    facts += [
        ("Call back", _callback(call)),
        ("Language", {"en": "English", "es": "Spanish"}[state.language]),
    ]
    closing = [call.setting.book.read(run) for run in call.said]
    return {
        "kind": kind,
        "title": _TITLES[kind],
        "why": f"Hung up: {callflow.label_of(state.node).lower()}."
        if kind == "missed" and state.gone
        else "",
        "facts": facts,
        "told": [{"lang": p.language, "text": p.text} for spoken in closing for p in spoken.pieces],
    }


_TITLES = {
    "message": "A message in the inbox",
    "missed": "A missed patient: nothing was said, the call is in the inbox",
    "status": "A question about a message; no new one",
}


def _kind(call: Call) -> str:
    if call.state.said:
        return "message"
    return "status" if any(mark.startswith("status:") for mark in call.marks) else "missed"


def _urgency(call: Call) -> str:
    if call.state.urgent:
        return (
            "Urgent: the team on call is told at once"
            if call.setting.line.team
            else "Urgent, but nobody can be woken"
        )
    return "Marked for a look" if "urgency:review" in call.marks else "Routine"


def _callback(call: Call) -> str:
    """The number that the team would ring."""
    from nightbell.web.format import phone

    mark = next((m for m in reversed(call.marks) if m.startswith("callback:")), "").partition(":")[2]
    if mark.isdigit():
        return f"{phone(mark)}, keyed in"
    if call.setting.caller:
        return f"{phone(call.setting.caller)}, the number of the call"
    return "None: the number was withheld" if mark in ("", "skipped") else "The number of the call"
