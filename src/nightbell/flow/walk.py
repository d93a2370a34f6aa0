"""Walking every way through a call flow before it goes live: no dead end, no missing words, every way ends.

The ways are walked on the machine itself: from each place where a caller may do something, each thing that can be
done there, and then nothing more; every walk must end with a saved call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nightbell.core.capture import EndReason
from nightbell.flow import hours
from nightbell.flow.clips import manifest, milliseconds
from nightbell.flow.graph import Ask, Digits, Graph, Node, Query, Take
from nightbell.flow.hours import Calendar, Kind, Situation
from nightbell.flow.line import Line
from nightbell.flow.machine import step
from nightbell.flow.model import (
    Action,
    Answered,
    CallConfig,
    Event,
    Key,
    Played,
    Record,
    Save,
    Saved,
    State,
    Sync,
    Synced,
    Tick,
    Told,
)
from nightbell.flow.plan import Plan, greeting_of
from nightbell.flow.turn import Phase

LONGEST_WALK_S = 3600
A_NUMBER, NO_NUMBER = "5035550134", "12"
SPEECH_MS = 8_000


@dataclass(frozen=True, slots=True)
class Problem:
    """where: the node or part of the plan; what is wrong; mend: what to do."""

    where: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Report:
    """ways: how many were walked; longest_s and shortest_tone_s: from the answer to the tone, on the way that takes
    longest when nothing more is pressed, and by the quickest key."""

    problems: tuple[Problem, ...]
    ways: int
    longest_s: float
    shortest_tone_s: float


def check(plan: Plan, calendar: Calendar, own: Mapping[str, float]) -> Report:
    """own: seconds of the practice's own recordings by content hash."""
    problems = [*_of_hours(calendar), *_of_keys(plan), *_of_clips(plan, own)]
    seconds = {clip: own.get(content, 0.0) for clip, content in plan.clips.items()}
    ways, longest, tone = 0, 0.0, 0.0
    now = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
    for situation in _situations(now):
        for caller in ("", A_NUMBER):
            line = Line(number=A_NUMBER, plan=plan, calendar=calendar, team=True, zone=calendar.zone)
            config = line.config(caller, now, situation=situation)
            walked = _walk(config, seconds)
            problems += [*_of_words(config.graph, plan, own), *walked.problems]
            ways, longest = ways + walked.ways, max(longest, walked.longest_s)
            tone = max(tone, walked.shortest_tone_s)
    once = {problem.where: problem for problem in reversed(problems)}  # of one place the plainest is said
    told = tuple(problem for problem in dict.fromkeys(problems) if once[problem.where] == problem)
    return Report(told, ways, longest, tone)


def _situations(now: datetime) -> Iterator[Situation]:
    later = now + timedelta(hours=10)
    for kind in Kind:
        reopens = None if kind is Kind.OPEN else later
        yield Situation(kind, later, reopens, "", kind is Kind.CLOSURE, True)


def _of_hours(calendar: Calendar) -> list[Problem]:
    return [Problem("hours", sentence, "correct the opening hours") for sentence in hours.problems(calendar)]


def _of_clips(plan: Plan, own: Mapping[str, float]) -> list[Problem]:
    """A flow with a missing language clip refuses to go live."""
    found = []
    for clip, content in plan.clips.items():
        if not content.startswith("builtin:") and content not in own:
            found.append(Problem(clip, f"the recording of {clip} is gone", "record it anew, or use ours"))
    known = manifest().words[plan.languages[0]]
    ours = {clip.partition("/")[2] for clip in plan.clips} - set(known) - {"practice-name"}
    for clip in sorted(ours):
        missing = [one for one in plan.languages if not plan.own(clip, one)]
        for language in missing:
            found.append(
                Problem(
                    f"{language}/{clip}",
                    f"{_clip_name(clip)} is not recorded in {_LANGUAGE[language]}",
                    "record it, or take the other language's recording out",
                )
            )
    return found


_LANGUAGE = {"en": "English", "es": "Spanish"}


def _clip_name(clip: str) -> str:
    for kind in Kind:
        if clip == greeting_of(kind):
            return f"your own greeting ({kind.value})"
    return f"your own words for key {clip[8:]}" if clip.startswith("own-key-") else clip


def _of_keys(plan: Plan) -> list[Problem]:
    found = []
    for k in plan.keys:
        if not k.stem.startswith("own-"):
            continue
        for language in plan.languages:
            if not plan.own(k.stem, language):
                found.append(
                    Problem(
                        f"{language}/{k.stem}",
                        f"key {k.key} has no words in {_LANGUAGE[language]}",
                        "record or type what the menu says for it",
                    )
                )
    if len(plan.languages) > 1 and plan.keys and all(k.does != "message" for k in plan.keys):
        found.append(Problem("menu", "no key leads to a message", "add a choice that takes one"))
    return found


def _of_words(graph: Graph, plan: Plan, own: Mapping[str, float]) -> list[Problem]:
    """Every clip of every node, in every language of the line; every node that is named is there."""
    found = []
    for name, node in graph.nodes.items():
        for word in getattr(node, "words", ()):
            clip = word.partition("@")[0]
            if word.startswith(("~", "{")) or word == "tone":
                continue
            for language in plan.languages:
                if clip not in manifest().words[language] and not plan.own(clip, language):
                    what = f"{_clip_name(clip)} is missing in {_LANGUAGE[language]}"
                    found.append(Problem(f"{language}/{clip}", what, "record it"))
        for target in targets(node):
            if target not in graph.nodes:
                found.append(Problem(name, f"it leads to {target!r}, which is not there", "choose another"))
    return found


def targets(node: Node) -> list[str]:
    """Every node that a node can lead to."""
    if isinstance(node, Ask):
        named = [choice.to for choice in node.keys.values()]
        return [*named, *node.rounds, *node.wrong, *([node.then] if node.then else [])]
    if isinstance(node, Query):
        return [*node.answers.values(), node.none]
    names = ("then", "past", "short", "skip", "silent", "limit", "brief")
    return [getattr(node, name) for name in names if getattr(node, name, "")]


# Walking.


@dataclass(slots=True)
class _Walker:
    """One walk. now: milliseconds since the answer."""

    config: CallConfig
    seconds: Mapping[str, float]
    state: State
    now: int = 0
    saved: EndReason | None = None
    tone_at: int | None = None

    def copy(self) -> _Walker:
        return _Walker(self.config, self.seconds, self.state, self.now, self.saved, self.tone_at)

    def send(self, event: Event) -> None:
        self.state, actions = step(self.config, self.state, event, self.now)
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Record) and self.tone_at is None:
            self.tone_at = self.now
        elif isinstance(action, Save):
            self.saved = action.reason
            self.send(Saved())
        elif isinstance(action, Sync):
            self.send(Synced())

    def to_decision(self) -> bool:
        """Let words end until the caller is waited for. False: the call is over."""
        while self.state.phase != Phase.DONE:
            if self.state.playing is not None and self.state.phase != Phase.RECORDING:
                self.now += max(
                    20, sum(milliseconds(clip, self.seconds) for clip in self.state.playing.clips)
                )
                self.send(Played(self.state.token))
            else:
                return True
        return False

    def idle(self) -> bool:
        """Nothing is done any more. True when the call ends, saved, within an hour."""
        while self.now < LONGEST_WALK_S * 1000:
            if not self.to_decision():
                return self.saved is not None
            if self.state.wake is None:
                return False
            self.now = max(self.now, self.state.wake)
            self.send(Tick(None))
            if self.state.phase == Phase.RECORDING and self.state.playing is not None:
                self.send(Played(self.state.token))
        return False


def _walk(config: CallConfig, seconds: Mapping[str, float]) -> Report:
    problems, ways, longest = [], 0, 0
    first = _Walker(config, seconds, State())
    first.send(Answered())
    seen: set[str] = set()
    queue = deque([first, *_early(first)])
    while queue:
        here = queue.popleft()
        if not here.to_decision():
            continue
        for what, events in _options(here):
            one = here.copy()
            for event in events:
                if isinstance(event, int):
                    one.now += event
                else:
                    one.send(event)
            ways += 1
            one.to_decision()
            if one.state.phase != Phase.DONE and one.state.node not in seen:
                seen.add(one.state.node)
                queue.append(one.copy())
            if not one.idle():
                problems.append(Problem(here.state.node, f"{what} leads nowhere", "choose another way"))
            longest = max(longest, one.tone_at or 0)
    return Report(tuple(problems), ways, longest / 1000, _quickest_tone(config, seconds))


def _early(first: _Walker) -> Iterator[_Walker]:
    """Keys pressed as the first words begin: the language, and whoever knows the menu by heart."""
    node = first.config.graph.nodes[first.state.node]
    for key in node.keys if isinstance(node, Ask) else ():
        one = first.copy()
        one.send(Key(key))
        yield one


def _options(here: _Walker) -> Iterator[tuple[str, list[Event | int]]]:
    """What a caller may do where the line waits. Numbers are milliseconds that pass."""
    node = here.state.node and here.config.graph.nodes[here.state.node]
    if isinstance(node, Ask):
        for key in (*node.keys, "0", "*"):
            yield f"key {key}", [Key(key)]
    elif isinstance(node, Digits):
        for digits in (A_NUMBER, NO_NUMBER + "#"):
            yield "a number", [Key(key) for key in digits]
    elif isinstance(node, Take):
        yield "a message and pound", [SPEECH_MS, Tick(here.now + SPEECH_MS - 500), Key("#")]
        yield "a short word and pound", [500, Key("#")]
        yield "speaking until the time is up", _long_speech(here)
    elif isinstance(node, Query):
        for state in (*node.answers, "none"):
            yield f"the answer {state}", [Told(state, here.config.answered, "")]
    yield "doing nothing", []


def _long_speech(here: _Walker) -> list[Event | int]:
    """Speech without a pause, past the limit."""
    events: list[Event | int] = []
    at = here.now
    for _ in range(here.config.timing.limit[here.state.slow] // 10_000 + 2):
        at += 10_000
        events += [10_000, Tick(at - 100)]
    return events


def _quickest_tone(config: CallConfig, seconds: Mapping[str, float]) -> float:
    walker = _Walker(config, seconds, State())
    walker.send(Answered())
    walker.send(Key("0"))
    walker.to_decision()
    return (walker.tone_at or 0) / 1000
