"""Ways through the call flow that together come to every node, walked on the pure machine first.

A walk tells what to do when (keys, speech), and what is heard when; real calls then do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.calls.street import Patient
from tests.calls.worker import ANSWER_S, STATES, told
from tests.phone.house import line_of
from tests.unit.flow.driver import KNOWN, Caller

from nightbell.core.capture import Codec
from nightbell.flow.clips import milliseconds
from nightbell.flow.hours import Day
from nightbell.flow.line import Line
from nightbell.flow.machine import VISITS
from nightbell.flow.model import Action, AskStatus, CallConfig, HungUp, Played, Replay, Save, StopPlay, Taken
from nightbell.flow.plan import MenuKey, Plan
from nightbell.flow.turn import Phase
from nightbell.phone.voice import Voice

ZONE = "America/New_York"
MS = 8  # samples
INTO_MS = 1_200  # into words that are cut short: real ones may begin a little later
SPOKEN_MS = 3_000  # of every message: longer than what counts as brief
VOICE = Voice(Path(), {})  # no recordings of anybody's own
DISTINCT = 30  # different bytes in a frame that is no silence
TURN_MS = 20  # between two runs: the tick in which the end of the first is told
GUIDED = (
    MenuKey("1", "menu-urgent", urgency="urgent"),
    MenuKey("2", "menu-routine", asks="guided"),
    MenuKey("3", "menu-status", does="status"),
)
OTHER = {"en": "es", "es": "en"}


@dataclass
class Sounded:
    """A run as it was played. clips: () is the caller's own take; ended: when it fell silent; full: to its end."""

    node: str
    clips: tuple[str, ...]
    began: int
    ended: int = 0
    full: bool = False


@dataclass(frozen=True)
class Deed:
    """What the caller does. keys, or milliseconds of speech."""

    at: int
    keys: str = ""
    speech: int = 0


class Walker(Caller):
    """A caller on the machine whose deeds and whose hearing are written down."""

    def __init__(self, config: CallConfig, now: datetime) -> None:
        super().__init__(config)
        self.promise = KNOWN
        self.deeds: list[Deed] = []
        self.sounded: list[Sounded] = []
        self.came: dict[str, int] = {}  # when to each node, for the first time
        self._of_day = now

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, StopPlay):
            self._fell_silent()
        super()._carry_out(action)
        if isinstance(action, Replay):
            self._sound(())
            self._playing = (self.now + SPOKEN_MS + TURN_MS, action.token)
        self.came.setdefault(self.state.node, self.now)

    def _play(self, clips: tuple[str, ...], token: int) -> None:
        super()._play(clips, token)
        self._sound(clips)
        self._playing = (self.now + sum(milliseconds(clip) for clip in clips) + TURN_MS, token)

    def _sound(self, clips: tuple[str, ...]) -> None:
        self._fell_silent()
        self.sounded.append(Sounded(self.state.node, clips, self.now))

    def _fell_silent(self) -> None:
        if self.sounded and not self.sounded[-1].ended:
            self.sounded[-1].ended = self.now

    def _ask(self, action: Action) -> None:
        if isinstance(action, AskStatus):
            self.answer = told(action.number, self._of_day)
        super()._ask(action)
        if isinstance(action, AskStatus) and self.answer is not None:
            self._answers[-1] = (self.now + int(ANSWER_S * 1000), self.answer)
        if isinstance(action, Save):
            self._answers.append((self.now + 100, Taken(True)))

    def send(self, event: Any) -> list[Action]:
        if isinstance(event, Played) and self.sounded and event.token == self.state.token:
            self.sounded[-1].ended, self.sounded[-1].full = self.now, True
        if isinstance(event, HungUp):
            self._fell_silent()
        return super().send(event)

    def press(self, keys: str, gap: int = 250) -> Walker:
        for at, key in enumerate(keys):
            self.deeds.append(Deed(self.now + at * gap, key))
        super().press(keys, gap)
        return self

    def speak(self, ms: int) -> Walker:
        self.deeds.append(Deed(self.now, speech=ms))
        super().speak(ms)
        return self

    # Steps of ways.

    def later(self, node: str, phase: Phase = Phase.WAIT) -> Walker:
        """To a node's question, and a moment on: real words end a little later than these."""
        self.to(node, phase)
        self.wait(1_000)
        return self

    def tone_and_speech(self, node: str, end: str = "#") -> Walker:
        """Say a message and press pound."""
        self.later(node, Phase.RECORDING)
        self.speak(SPOKEN_MS)
        self.wait(400)
        return self.press(end) if end else self

    def number(self, last: int, end: str = "") -> Walker:
        """Key in a telephone number."""
        return self.press(f"503555010{last}{end}")


Way = Callable[[Walker], Any]


def _first(key: str) -> Way:
    """Press a key of the menu while the greeting is heard."""
    return lambda walker: walker.to("greeting").wait(1_500).press(key)


def _message(key: str, mark: str) -> Way:
    """All words from the notice on, a message, and what may still be done with it."""

    def way(walker: Walker) -> None:
        _first(key)(walker)
        _at(walker, f"callback{mark}", "1")
        for part in ("-name", "-dob", "-reason") if mark == ".guided" else ("",):
            walker.tone_and_speech(f"take{part}{mark}")
        walker.later(f"review{mark}")

    return way


def _send(key: str, mark: str) -> Way:
    """The shortest way to a message that is sent, and the words after it."""

    def way(walker: Walker) -> None:
        _first(key)(walker)
        _at(walker, f"callback{mark}", "1")
        _at(walker, f"notice{mark}", "0")
        walker.tone_and_speech(f"take{mark}")
        _at(walker, f"review{mark}", "1")
        walker.over()

    return way


def _again(key: str, mark: str) -> Way:
    """In a hurry to the review, to hear the message and to say it again."""

    def way(walker: Walker) -> None:
        _first(key)(walker)
        _at(walker, f"callback{mark}", "1")
        _at(walker, f"notice{mark}", "0")
        if mark == ".guided":
            for part in ("name", "dob"):
                walker.later(f"take-{part}{mark}", Phase.RECORDING).press("#")
            _at(walker, f"ask-reason{mark}", "0")
        walker.tone_and_speech(f"take-reason{mark}" if mark == ".guided" else f"take{mark}")
        _at(walker, f"review{mark}", "2")
        walker.to(f"hear{mark}")
        _at(walker, f"review{mark}", "3")
        walker.tone_and_speech(f"retake{mark}")
        walker.to(f"review{mark}")
        walker.wait(1_000)

    return way


def _at(walker: Walker, node: str, keys: str) -> None:
    """Into the words of a node, a moment after they began."""
    walker.to(node)
    walker.wait(INTO_MS)
    walker.press(keys)


def _unsure(key: str, mark: str) -> Way:
    """Another number, too short at first; then no word of yes or no."""

    def way(walker: Walker) -> None:
        _first(key)(walker)
        _at(walker, f"callback{mark}", "2")
        walker.later(f"callback-enter{mark}", Phase.DIGITS).press("12#")
        walker.later(f"callback-short{mark}", Phase.DIGITS).number(0)
        walker.to(f"callback-unsure{mark}")
        walker.to(f"notice{mark}")
        walker.wait(1_000)

    return way


def _kept(key: str, mark: str) -> Way:
    def way(walker: Walker) -> None:
        _first(key)(walker)
        _at(walker, f"callback{mark}", "2")
        walker.to(f"callback-enter{mark}")
        walker.wait(INTO_MS)
        walker.number(1)
        walker.later(f"callback-confirm{mark}").press("1")
        walker.to(f"notice{mark}")
        walker.wait(1_000)

    return way


def _skip(key: str, mark: str) -> Way:
    def way(walker: Walker) -> None:
        _first(key)(walker)
        walker.later(f"callback{mark}").press("2")
        for node in ("enter", "short"):
            _at(walker, f"callback-{node}{mark}", "12#")
        walker.to(f"notice{mark}")
        walker.wait(1_000)

    return way


def _status(last: int, more: Way = lambda walker: None) -> Way:
    """Ask for a message, and hear what there is to say."""

    def way(walker: Walker) -> None:
        walker.later("greeting", Phase.WORDS).press("3")
        walker.later("status", Phase.DIGITS).number(last)
        if last < STATES.index("none"):
            walker.later(f"status-{STATES[last]}")
        else:
            walker.to("callback")
            walker.wait(500)
        more(walker)

    return way


def _worse(walker: Walker) -> None:
    walker.press("1")
    walker.tone_and_speech("take-worse")
    walker.over()


def _bye(walker: Walker) -> None:
    walker.to("status-bye")
    walker.over()


def _short_status(walker: Walker) -> None:
    walker.later("greeting", Phase.WORDS).press("3")
    walker.to("status").wait(1_000)
    walker.press("50*12#")
    walker.later("status-short", Phase.DIGITS)


def _patient(walker: Walker) -> None:
    """Presses nothing, and hears the menu twice."""
    walker.later("menu-again")


def _often(walker: Walker) -> None:
    """Who asks for the menu again and again is led to the tone."""
    walker.later("greeting", Phase.WORDS)
    walker.to("menu")
    walker.wait(INTO_MS)
    walker.press("9" * VISITS)
    walker.later("take", Phase.RECORDING)


def _wrong(walker: Walker) -> None:
    walker.later("menu", Phase.WORDS).press("*")
    walker.later("menu-wrong").press("*")
    walker.later("take", Phase.RECORDING)


def _brief(walker: Walker) -> None:
    walker.press("0")
    walker.later("take", Phase.RECORDING).press("#")
    walker.later("brief").press("1")
    walker.tone_and_speech("more")
    walker.later("review").press("4")
    walker.over()


def _silent(walker: Walker) -> None:
    walker.press("0")
    walker.to("silence-end")
    walker.over()


def _limit(walker: Walker) -> None:
    walker.press("0")
    walker.to("take", Phase.RECORDING)
    walker.wait(20_000)
    walker.speak(1_000)
    walker.later("limit")


def _language(walker: Walker) -> None:
    walker.wait(1_000)
    walker.press("2")
    walker.later("menu", Phase.WORDS)


def _greeting(walker: Walker) -> None:
    walker.later("menu", Phase.WORDS)


def _of_a_key(key: str, mark: str, name: str) -> Iterator[tuple[str, Way]]:
    for what, way in (
        ("message", _message),
        ("again", _again),
        ("unsure", _unsure),
        ("kept", _kept),
        ("skip", _skip),
    ):
        yield f"{name}-{what}", way(key, mark)


ENDS: dict[int, Way] = {0: _worse, 3: _bye}
DEFAULT: dict[str, Way] = {
    "patient": _patient, "often": _often, "wrong": _wrong, "brief": _brief, "silent": _silent, "language": _language,
    "greeting": _greeting, "short-status": _short_status,
    "urgent-send": _send("1", ".free-urgent"), "routine-send": _send("2", ""),
    **dict(_of_a_key("1", ".free-urgent", "urgent")), **dict(_of_a_key("2", "", "routine")),
    **{f"status-{last}": _status(last, ENDS.get(last, lambda walker: None)) for last in range(10)},
}  # fmt: skip
WAYS: dict[str, dict[str, Way]] = {
    "default": DEFAULT,
    "guided": dict(_of_a_key("2", ".guided", "guided")),
    "limit": {"limit": _limit},
    **{kind: {kind: _greeting} for kind in ("open", "lunch", "holiday", "closure")},
}


def lines(language: str, now: datetime) -> dict[str, dict[str, Any]]:
    """The lines that WAYS go through, as a snapshot has them. All closed now but those named otherwise."""
    local = now.astimezone(ZoneInfo(ZONE))
    opens = (local.hour + 5) % 24 * 60
    languages = (language, OTHER[language])
    plan = Plan(languages=languages, week=(Day(opens, opens + 30, None),) * 7)
    plans = {"default": plan, "guided": replace(plan, keys=GUIDED), "limit": replace(plan, max_seconds=40)}
    plans |= {
        "open": replace(plan, week=(Day(0, 1440, None),) * 7),
        "lunch": replace(plan, week=(Day(0, 1440, (1, 1439)),) * 7),
        "holiday": replace(plan, lines=("emergency-988", "emergency-poison")),
        "closure": plan,
    }
    made = {name: line_of() | {"zone": ZONE, "plan": one.to_dict()} for name, one in plans.items()}
    today = {(local + timedelta(days=days)).date().isoformat(): "A holiday" for days in (0, 1)}
    made["holiday"]["holidays"] = today
    long_ago = (now - timedelta(days=2)).isoformat()
    made["closure"]["closures"] = [{"starts": long_ago, "ends": None, "visits": True}]
    return made


def walk(line: dict[str, Any], way: Way, caller: str, now: datetime) -> Walker:
    """What a way is like on a line. now: when it is answered."""
    walker = Walker(Line.from_dict(line).config(caller, now), now)
    walker.answered()
    way(walker)
    return walker


def cues(runs: list[Sounded]) -> list[tuple[float, bytes]]:
    """A frame of each run that tells it from others, soon after it begins, and when it is heard (seconds)."""
    found = []
    for run in runs:
        if not run.clips or run.clips == ("tone",):
            continue
        frames = VOICE.frames(run.clips, Codec.PCMU)
        first = next(at for at, frame in enumerate(frames) if len(set(frame)) > DISTINCT)
        at = (first + 2) * 20
        if at < run.ended - run.began - 300:
            found.append(((run.began + at) / 1000, frames[first + 2]))
    return found


async def live(patient: Patient, walker: Walker, ends: float) -> None:
    """Do the same in a real call, and hang up at `ends` (seconds since the answer)."""
    patient.expect(cues(walker.sounded))
    for deed in walker.deeds:
        if deed.at / 1000 >= ends:
            break
        await patient.until(deed.at / 1000)
        if deed.keys:
            await patient.press(deed.keys, gap=0.0)
        else:
            await patient.speak(deed.speech / 1000)
    await patient.until(ends)
