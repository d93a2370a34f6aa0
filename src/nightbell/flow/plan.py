"""What a practice decides about its line, as data: the document that managers edit, versions keep and phones get.

A plan is JSON of one shape (`to_dict`, `from_dict`). `flow.build` makes the graph of a call from it. Closures are
not in it: closing at once must not publish somebody's half-made draft.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from nightbell.core.errors import NightbellError
from nightbell.flow.clips import LANGUAGES
from nightbell.flow.hours import Day, Kind

MENU_KEYS = "12345678"  # 9 says the menu again, 0 goes to the tone, * and # are the house's
STEMS = (
    "menu-urgent",
    "menu-routine",
    "menu-appointment",
    "menu-refill",
    "menu-results",
    "menu-billing",
    "menu-professional",
    "menu-status",
)
ASKS = ("free", "guided", "refill", "short")
URGENCIES = ("routine", "review", "urgent")
LINES = ("emergency-988", "emergency-poison")
LOCKED = frozenset({"emergency-911", "emergency-911-signs"})  # said as they are, whoever runs the line
MOST_CHOICES = 6
PROMISES = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 90, 120, 180, 240, 360, 480, 720, 1440)
MAX_SECONDS = (30, 600)
# What nearly every practice keeps; the others of a country or state are ticked one by one.
HOLIDAYS = (
    "New Year's Day",
    "Memorial Day",
    "Independence Day",
    "Labor Day",
    "Thanksgiving Day",
    "Christmas Day",
)
_CLIP = re.compile(r"(?:en|es)/[a-z0-9-]{1,40}\Z")
_CONTENT = re.compile(r"[0-9a-f]{64}\Z|builtin:[a-z0-9-]{1,40}\Z")
_MAILBOX = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z|\Z")


class BadPlan(NightbellError, ValueError):
    """A plan that has not the shape of one. What is only unwise is `flow.walk`'s to say."""

    def __init__(self, why: str, mend: str = "correct it and save again") -> None:
        super().__init__("the call flow", why, mend)


@dataclass(frozen=True, slots=True)
class MenuKey:
    """One choice of the menu. does: 'message' or 'status'; mailbox '': the number's own; stem: a clip that ends
    before "press N" ('menu-…', or the practice's own 'own-key-N'); asks: how the message is taken."""

    key: str
    stem: str
    does: str = "message"
    mailbox: str = ""
    urgency: str = "routine"
    asks: str = "free"


@dataclass(frozen=True, slots=True)
class OwnDay:
    """A day of the practice's own on which it is closed."""

    day: date
    name: str


@dataclass(frozen=True, slots=True)
class Plan:
    """languages: the first is said first; week: Monday first; observed: names of public holidays kept, None for all;
    lines: words after the greeting; promise: minutes within which an urgent caller is called back, as the practice
    means to; clips: 'en/ID' to the SHA-256 of its own recording or 'builtin:ID'; second: number said in trouble."""

    languages: tuple[str, ...] = ("en", "es")
    week: tuple[Day, ...] = (Day(480, 1020, None),) * 5 + (Day(None, None, None),) * 2
    country: str = "US"
    state: str = ""
    observed: tuple[str, ...] | None = HOLIDAYS
    own_days: tuple[OwnDay, ...] = ()
    lines: tuple[str, ...] = ()
    keys: tuple[MenuKey, ...] = (
        MenuKey("1", "menu-urgent", urgency="urgent"),
        MenuKey("2", "menu-routine"),
        MenuKey("3", "menu-status", does="status"),
    )
    callback: bool = True
    review: bool = True
    for_other: bool = False
    max_seconds: int = 180
    promise: int = 30
    second: str = ""
    clips: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {
            "languages": list(self.languages),
            "week": [
                {"opens": d.opens, "closes": d.closes, "lunch": list(d.lunch) if d.lunch else None}
                for d in self.week
            ],
            "country": self.country,
            "state": self.state,
            "observed": None if self.observed is None else list(self.observed),
            "own_days": [{"day": one.day.isoformat(), "name": one.name} for one in self.own_days],
            "lines": list(self.lines),
            "keys": [
                {"key": k.key, "stem": k.stem, "does": k.does, "mailbox": k.mailbox, "urgency": k.urgency,
                 "asks": k.asks}
                for k in self.keys
            ],
            "callback": self.callback,
            "review": self.review,
            "for_other": self.for_other,
            "max_seconds": self.max_seconds,
            "promise": self.promise,
            "second": self.second,
            "clips": dict(self.clips),
        }  # fmt: skip

    def own(self, clip: str, language: str) -> str:
        """The practice's own recording of a clip: its content hash, or ''."""
        return self.clips.get(f"{language}/{clip}", "")


def greeting_of(kind: Kind) -> str:
    """The clip in which a practice says all of a greeting in its own words."""
    return f"own-greeting-{kind.value}"


def from_dict(data: Any) -> Plan:
    """Read a stored plan. Raises BadPlan: an unknown language, a key twice, a number out of its range..."""
    try:
        plan = _read(data)
    except BadPlan:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadPlan(
            f"its stored form is damaged ({type(error).__name__})", "go back to an older version"
        ) from error
    _check(plan)
    return plan


def _read(data: Any) -> Plan:
    observed = data["observed"]
    return Plan(
        languages=tuple(str(one) for one in data["languages"]),
        week=tuple(_day(one) for one in data["week"]),
        country=str(data["country"]),
        state=str(data["state"]),
        observed=None if observed is None else tuple(str(one) for one in observed),
        own_days=tuple(OwnDay(date.fromisoformat(one["day"]), str(one["name"])) for one in data["own_days"]),
        lines=tuple(str(one) for one in data["lines"]),
        keys=tuple(MenuKey(**{name: str(one[name]) for name in MenuKey.__slots__}) for one in data["keys"]),
        callback=_flag(data["callback"]),
        review=_flag(data["review"]),
        for_other=_flag(data["for_other"]),
        max_seconds=_whole(data["max_seconds"]),
        promise=_whole(data["promise"]),
        second=str(data["second"]),
        clips={str(clip): str(content) for clip, content in data["clips"].items()},
    )


def _day(data: Any) -> Day:
    opens, closes, lunch = data["opens"], data["closes"], data["lunch"]
    return Day(
        None if opens is None else _whole(opens),
        None if closes is None else _whole(closes),
        None if lunch is None else (_whole(lunch[0]), _whole(lunch[1])),
    )


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("a yes or no")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a whole number")
    return value


def _check(plan: Plan) -> None:
    languages = plan.languages
    if not languages or len(set(languages)) != len(languages) or not set(languages) <= set(LANGUAGES):
        raise BadPlan("its languages are not among " + ", ".join(LANGUAGES))
    if len(plan.week) != 7:
        raise BadPlan("its week has not seven days")
    if not set(plan.lines) <= set(LINES):
        raise BadPlan("it has a line after the greeting that does not exist")
    low, high = MAX_SECONDS
    if not low <= plan.max_seconds <= high:
        raise BadPlan(f"a message may last {low} to {high} seconds, not {plan.max_seconds}")
    if plan.promise not in PROMISES:
        raise BadPlan(f"there are no words for a promise of {plan.promise} minutes")
    if plan.second and not re.fullmatch(r"[0-9]{7,15}", plan.second):
        raise BadPlan("the second number is no telephone number", "write it with its area code, digits only")
    _check_keys(plan.keys)
    for clip, content in plan.clips.items():
        if not _CLIP.match(clip) or not _CONTENT.match(content):
            raise BadPlan("a recording is not an id with a content hash")
        if clip.partition("/")[2] in LOCKED:
            raise BadPlan("the 911 words are said as they are", "take your recording of them out")


def _check_keys(keys: tuple[MenuKey, ...]) -> None:
    if len({k.key for k in keys}) != len(keys):
        raise BadPlan("a menu key is there twice", "give each choice a key of its own")
    if len(keys) > MOST_CHOICES:
        raise BadPlan(f"a menu of {len(keys)} choices is not remembered", f"keep at most {MOST_CHOICES}")
    for k in keys:
        if len(k.key) != 1 or k.key not in MENU_KEYS:
            raise BadPlan(f"{k.key[:3]!r} cannot be a menu key", f"use one of {', '.join(MENU_KEYS)}")
        if k.stem not in STEMS and k.stem != f"own-key-{k.key}":
            raise BadPlan(f"key {k.key} has no words", "choose what it says, or record it")
        if k.does not in ("message", "status") or k.urgency not in URGENCIES or k.asks not in ASKS:
            raise BadPlan(f"key {k.key} does nothing that we know", "set it anew")
        if not _MAILBOX.match(k.mailbox):
            raise BadPlan(f"key {k.key} leads to no mailbox", "choose a mailbox")
