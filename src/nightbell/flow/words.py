"""From the words of a node to what is played: languages resolved, slots filled, runs that no key may cut kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from nightbell.flow import phrases
from nightbell.flow.clips import PRACTICE_NAME, manifest
from nightbell.flow.graph import Words
from nightbell.flow.model import CallConfig, Run, State

Slots = Mapping[str, tuple[str, ...]]


def runs(words: Words, config: CallConfig, state: State) -> tuple[Run, ...]:
    """The runs of some words in the call's language. A clip that no key may cut is a run of its own, with the
    pauses before it."""
    barge = manifest().barge
    out: list[Run] = []
    pauses: list[str] = []
    for clip in _filled(words, config, state):
        if clip.startswith("~"):
            pauses.append(clip)
            continue
        cut = barge.get(clip.partition("@")[0], True)
        named = _resolved(clip, config, state.language)
        if cut and out and out[-1].barge:
            out[-1] = Run((*out[-1].clips, *pauses, named))
        else:
            out.append(Run((*pauses, named), cut))
        pauses = []
    if pauses and out:
        out[-1] = Run((*out[-1].clips, *pauses), out[-1].barge)
    return tuple(out)


def _filled(words: Words, config: CallConfig, state: State) -> list[str]:
    out: list[str] = []
    for word in words:
        if word.startswith("{") and word != PRACTICE_NAME:
            out += _slot(word[1:-1], config, state)
        else:
            out.append(word)
    return out


def _slot(name: str, config: CallConfig, state: State) -> list[str]:
    if name == "reopen":
        return list(config.reopen.get(state.language, ()))
    if name == "when":
        return when(state.told.at if state.told else None, config.answered, state.language)
    number = {
        "caller": config.caller,
        "number": config.number,
        "second": config.second,
        "entered": state.entered,
    }
    return phrases.digits(number[name])


def when(at: datetime | None, now: datetime, language: str) -> list[str]:
    """The clips of a time in the past, on the clock of `now`'s zone; [] when it cannot be said rightly."""
    if at is None:
        return []
    local = at.astimezone(now.tzinfo if now.tzinfo is not None else ZoneInfo("UTC"))
    return phrases.day_and_time(local, now, language, same_day_implied=True) or []


def _resolved(clip: str, config: CallConfig, language: str) -> str:
    """Name a clip with its language: 'es/goodbye'. The tone has none."""
    name, _, other = clip.partition("@")
    if name == "tone":
        return name
    if other:
        language = next((one for one in config.languages if one != language), language)
    if name == PRACTICE_NAME:
        name = "practice-name" if f"{language}/practice-name" in config.own else "practice-fallback"
    return f"{language}/{name}"
