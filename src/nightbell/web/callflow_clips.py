"""Which recordings each step of a call flow says: in place of each of them a practice may put its own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nightbell.flow import phrases
from nightbell.flow.clips import PRACTICE_NAME, manifest
from nightbell.flow.hours import Kind
from nightbell.flow.plan import LOCKED, PROMISES, MenuKey, Plan, greeting_of
from nightbell.web.callflow import A_CALLER, Step, View, base_of, step_of

DIGITS = tuple(f"digit-{one}{end}" for one in range(10) for end in ("", "-end"))
TIMES = (
    *(f"weekday-{one}" for one in range(1, 8)), *(f"hour-{one}" for one in range(1, 13)),
    *(f"minute-{one:02}" for one in range(60)), "part-night", "part-morning", "part-afternoon", "part-evening",
)  # fmt: skip
SLOTS = {
    "{caller}": DIGITS, "{entered}": DIGITS, "{number}": DIGITS, "{second}": DIGITS,
    "{reopen}": ("greeting-reopen", "day-today", "day-tomorrow", *TIMES),
    "{when}": ("day-today", "day-yesterday", *TIMES),
}  # fmt: skip
_SMALL = frozenset((*DIGITS, *TIMES, "day-today", "day-tomorrow", "day-yesterday"))
# What the machine says by itself.
_MESSAGE = ("take-time", "time-30", "time-10", "silence-end", "goodbye-care")
_WORSE = ("worse-noted", "promise-answer", "goodbye-care", "goodbye")
_TROUBLE = ("trouble", "busy-short", "busy-saved")
_ELSEWHERE = frozenset((PRACTICE_NAME, *(greeting_of(kind) for kind in Kind)))  # have a place of their own


@dataclass(frozen=True, slots=True)
class Said:
    """The recordings of one step. small: numbers, days and times, of which there are many."""

    words: tuple[str, ...] = ()
    small: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.words, *self.small)


NOTHING = Said()


def said(view: View) -> dict[str, Said]:
    """Step to what it says, in the view's situation, to callers with and without a number that is seen."""
    found: dict[str, dict[str, None]] = {}
    for step, word in _all_words(view):
        clip = word.partition("@")[0]
        if clip.startswith(("~", "own-key-")) or clip == "tone" or clip in _ELSEWHERE or clip in LOCKED:
            continue
        found.setdefault(step, {}).update(dict.fromkeys(SLOTS.get(clip, (clip,))))
    return {step: _sorted(clips) for step, clips in found.items()}


def _sorted(clips: Iterable[str]) -> Said:
    """Words in the order in which they are said, the small ones in that of the manifest."""
    words = manifest().words["en"]
    small = {clip for clip in clips if clip in _SMALL or clip.startswith("within-")}
    return Said(tuple(one for one in clips if one not in small), tuple(one for one in words if one in small))


def _all_words(view: View) -> Iterator[tuple[str, str]]:
    for caller in (A_CALLER, ""):
        config = view.line.config(caller, view.at, language=view.language, situation=view.situation)
        for name, node in config.graph.nodes.items():
            for word in getattr(node, "words", ()):
                for step in _steps(view.plan, name, word):
                    yield step, word
    yield from _by_the_machine(view.plan)


def _steps(plan: Plan, node: str, word: str) -> Iterable[str]:
    """The steps under which a word of a node is found: a choice's own words at the choice."""
    base, clip = base_of(node), word.partition("@")[0]
    if base == "first":
        return ("emergency",) if clip == "emergency-911" else ("language",)
    if base == "greeting":
        return ("lines",) if clip in plan.lines else ("greeting",)
    step = step_of(node)
    if step != "menu":
        return (step,)
    keys = [k for k in plan.keys if _of_key(k, base, clip)]
    return [f"key-{k.key}" for k in keys] or ("menu",)


def _of_key(key: MenuKey, base: str, clip: str) -> bool:
    if base == "urgent":
        return key.does == "message" and key.urgency == "urgent"
    if base.startswith("status") or base == "worse":
        return key.does == "status"
    return clip in (key.stem, f"press-{key.key}")


def _by_the_machine(plan: Plan) -> Iterator[tuple[str, str]]:
    """What no node holds: words of time, of the end, of trouble."""
    yield from (("message", clip) for clip in _MESSAGE)
    yield from (("promise", clip) for clip in _of_promise(plan))
    yield from (("answer", clip) for clip in _TROUBLE)
    if plan.second:
        yield from (("answer", clip) for clip in ("trouble-call", "{second}"))
    if plan.callback:
        yield "callback", "more-time"
    for k in plan.keys:
        if k.does == "status":
            yield from ((f"key-{k.key}", clip) for clip in ("more-time", *_WORSE))


def _of_promise(plan: Plan) -> tuple[str, ...]:
    """After the message is saved. A longer time than the one that is meant may be said, a shorter one never."""
    times = dict.fromkeys(phrases.within(minutes) for minutes in PROMISES if minutes >= plan.promise)
    return (
        "saved", "marked-urgent", "promise-from", "{number}", *times, "promise-open-day", "promise-answer", "promise-none",
        "promise-worse", "emergency-room", "goodbye", "goodbye-care",
    )  # fmt: skip


def with_changes(view: View, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The picture with those steps marked whose recordings differ from what callers hear."""
    before, after = view.live.clips, view.plan.clips
    names = {one for one in before.keys() | after.keys() if before.get(one) != after.get(one)}
    if not names:
        return steps
    clips = {name.partition("/")[2] for name in names}
    touched = {step for step, one in said(view).items() if clips & set(one.all)}
    return tuple(_marked(step, touched) for step in steps)


def _marked(step: Step, touched: set[str]) -> Step:
    branches = tuple(_marked(one, touched) for one in step.branches)
    return replace(
        step, changed=step.changed or (step.id in touched and step.keycap != "0"), branches=branches
    )


def step_saying(view: View, clip: str) -> str:
    """The first step that says a recording; '' for none."""
    return next((step for step, one in said(view).items() if clip in one.all), "")
