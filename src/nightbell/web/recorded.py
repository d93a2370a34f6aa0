"""Recorded call backs for the pages: what the practice has decided, and what there is of a message."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from nightbell.mailbox import talks
from nightbell.mailbox.talks import TalkView
from nightbell.oncall import recording
from nightbell.oncall.callback import is_over
from nightbell.people.access import Actor
from nightbell.people.risk_rules import USUAL
from nightbell.people.roles import Act, Part
from nightbell.web.format import clock_time, stopwatch

REFUSED = "Not recorded (the patient did not agree)"


def decision(actor: Actor, typed: dict[str, str]) -> dict[str, Any]:
    """For the sheet on the page of who is told. typed: what was refused a moment ago."""
    stands, zone = recording.stands(actor), ZoneInfo(actor.user.practice.zone)
    until = stands.decided.until.astimezone(zone) if stands.decided is not None else None
    return {
        "asked": stands.asked,
        "decided": stands.decided,
        "last_day": (until - timedelta(seconds=1)).date() if until is not None else None,
        "reason": typed.get("reason", ""),
        "until": typed.get("until", "") or (actor.now + USUAL).date().isoformat(),
        "typed": bool(typed),
    }


def of_message(actor: Actor, found: tuple[TalkView, ...]) -> list[dict[str, Any]]:
    """Each call back of a message that was asked about."""
    plays = actor.may(Act.PLAY) and actor.sees(Part.AUDIO)
    return [
        {"id": one.id, "words": _words(one, actor), "plays": one.sound and plays, "cut": one.interrupted}
        for one in found
    ]


def _words(one: TalkView, actor: Actor) -> str:
    if not one.agreed:
        return REFUSED
    at = clock_time(one.asked_at, actor.user.practice.zone, actor.now)
    if one.sound:
        return f"Recorded with consent at {at}, {stopwatch(one.seconds)}"
    if one.recorded or is_over(one.id, actor.now):
        return f"The patient agreed at {at}, but nothing was recorded"
    return f"The patient agreed at {at}. The recording is here once the call has ended"


def events(found: tuple[TalkView, ...]) -> list[tuple[datetime, str, str]]:
    """Rows for "Who did what"."""
    rows = []
    for one in found:
        length = f", {stopwatch(one.seconds)}" if one.sound else ""
        rows.append(
            (one.asked_at, "The patient agreed", f" to be recorded{length}")
            if one.agreed
            else (one.asked_at, "Call back", f": {REFUSED[0].lower()}{REFUSED[1:]}")
        )
    return rows


def history(message_id: str) -> tuple[TalkView, ...]:
    return talks.history(message_id)
