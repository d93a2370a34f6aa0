"""Ways through the call flow that together come to every node, walked on the pure machine first.

A walk tells what to do when (keys, speech), and what is heard when; real calls then do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.calls.walker import Walker
from tests.calls.worker import STATES
from tests.phone.house import line_of

from nightbell.flow.hours import Day
from nightbell.flow.line import Line
from nightbell.flow.machine import VISITS
from nightbell.flow.plan import MenuKey, Plan
from nightbell.flow.turn import Phase

ZONE = "America/New_York"
INTO_MS = 1_200  # into words that are cut short: real ones may begin a little later
GUIDED = (
    MenuKey("1", "menu-urgent", urgency="urgent"),
    MenuKey("2", "menu-routine", asks="guided"),
    MenuKey("3", "menu-status", does="status"),
)
OTHER = {"en": "es", "es": "en"}


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
        if "guided" in mark:  # who keys no number is asked to say it
            walker.to(f"notice-number{mark}")
            walker.tone_and_speech(f"take-number{mark}")
            walker.to(f"ask-name{mark}")
        else:
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
