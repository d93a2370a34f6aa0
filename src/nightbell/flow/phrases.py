"""Numbers, times and days put together from clips: lists of clip ids without a language, '~N' for N ms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from nightbell.core.errors import NightbellError

PROMISE_MINUTES = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 90)
PROMISE_HOURS = (2, 3, 4, 6, 8, 12, 24)

# From which hour a part of the day is said. English calls six o'clock evening where Spanish says "seis de la
# tarde". Midnight is part-night in both: "twelve in the morning" and "las doce de la madrugada" belong to the
# day that begins, which the day clip before them names; "lunes a las doce de la noche" is heard as its end.
# Noon is part-afternoon ("las doce de la tarde"), never "de la mañana", which may be taken for either twelve.
# "Nine o'clock in the evening" and "eleven in the evening" are good English, if less usual than "at night".
_PARTS = {
    "en": ((18, "part-evening"), (12, "part-afternoon"), (6, "part-morning"), (0, "part-night")),
    "es": ((19, "part-evening"), (12, "part-afternoon"), (6, "part-morning"), (0, "part-night")),
}


class WordsMissing(NightbellError):
    """A clip whose words are not in the list."""


def digits(number: str) -> list[str]:
    """Digit clips, 3-3-4 with pauses for ten digits, else in threes; the last one falls. '' gives []."""
    keys = [key for key in number if key in "0123456789"]
    if len(keys) == 11 and keys[0] == "1":
        keys = keys[1:]  # the North American country code is not said
    if not keys:
        return []
    groups = [keys[:3], keys[3:6], keys[6:]] if len(keys) == 10 else _threes(keys)
    spoken: list[str] = []
    for group in groups:
        spoken += ["~200"] * bool(spoken) + [f"digit-{key}" for key in group]
    return [*spoken[:-1], spoken[-1] + "-end"]


def _threes(keys: list[str]) -> list[list[str]]:
    return [keys[at : at + 3] for at in range(0, len(keys), 3)]


def clock(at: datetime, language: str) -> list[str]:
    """A time of day, to the minute begun: hour, minute and part of the day. `at` is in the practice's zone.

    The hour clip holds its preposition ("at one", "a la una"), minute-00 is "o'clock" ("en punto"). Raises
    ValueError for a naive time or a language that has no rules here.
    """
    _aware(at)
    if language not in _PARTS:
        raise ValueError(f"no rules for times in {language!r}")
    part = next(clip for hour, clip in _PARTS[language] if at.hour >= hour)
    return [f"hour-{at.hour % 12 or 12}", f"minute-{at.minute:02}", part]


def day(when: date, today: date) -> list[str]:
    """A day as heard today. [] where no clip is true and clear: over six days ahead or one day back."""
    ahead = (when - today).days
    named = {-1: "day-yesterday", 0: "day-today", 1: "day-tomorrow"}.get(ahead)
    if named:
        return [named]
    return [f"weekday-{when.isoweekday()}"] if 2 <= ahead <= 6 else []


def day_and_time(
    at: datetime, now: datetime, language: str, *, same_day_implied: bool = False
) -> list[str] | None:
    """Day and time of day, both times in the practice's zone; None when the day cannot be said.

    same_day_implied: today is left out ("heard at nine forty-two"). Raises ValueError as `clock`.
    """
    _aware(now)
    spoken = clock(at, language)
    named = day(at.date(), now.date())
    if not named:
        return None
    return spoken if same_day_implied and named == ["day-today"] else [*named, *spoken]


def _aware(at: datetime) -> None:
    if at.tzinfo is None:
        raise ValueError("naive datetime")


def within(minutes: int) -> str:
    """The clip that promises at least so many minutes; '' when none does. Rounds up, never down."""
    if minutes <= 0:
        return ""
    for choice in PROMISE_MINUTES:
        if minutes <= choice:
            return f"within-{choice}-min"
    for hours in PROMISE_HOURS:
        if minutes <= hours * 60:
            return f"within-{hours}-h"
    return ""


def text(clips: Sequence[str], language: str, words: Mapping[str, str]) -> str:
    """The words of clips, as one line. words: 'en/goodbye' to its text; pauses and the tone have none.

    A clip that names its language ('es/goodbye') keeps it. Raises WordsMissing.
    """
    spoken: list[str] = []
    for clip in clips:
        if clip.startswith("~") or clip == "tone":
            continue
        name = clip if "/" in clip else f"{language}/{clip}"
        if name not in words:
            raise WordsMissing(f"the words of the clip {name!r}", "they are not in the list of prompts")
        spoken.append(words[name])
    return " ".join(spoken)
