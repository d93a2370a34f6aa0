"""`nightbell line status`: per practice what is in force, what the phone has, and whether somebody edits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from nightbell.core.clock import iso
from nightbell.core.config import Config
from nightbell.flow.hours import situation
from nightbell.line.calendars import calendar
from nightbell.line.damage import live_plan, made_plan
from nightbell.line.errors import Damaged, heard_instead
from nightbell.line.models import Draft, Version
from nightbell.line.phones import on_phone
from nightbell.line.state import first_version, name_of
from nightbell.people.models import Practice


def read(config: Config, now: datetime) -> list[dict[str, Any]]:
    """One entry a practice; 'in_force' tells whether the phone answers with the live version."""
    phone = on_phone(config.home)
    return [
        _entry(practice, phone.flows.get(practice.id, 0), now) for practice in Practice.objects.order_by("id")
    ]


def _entry(practice: Practice, on_phone: int, now: datetime) -> dict[str, Any]:
    live = first_version(practice, now)
    kind, damaged = _state(practice, live, now)
    draft = Draft.objects.select_related("changed_by").filter(practice=practice).exclude(plan="").first()
    return {
        "practice": practice.id,
        "code": practice.code,
        "name": practice.name,
        "live": live.number,
        "made_at": iso(live.made_at),
        "made_by": name_of(live.made_by),
        "phone": on_phone,
        "in_force": on_phone == live.number,
        "now": kind,
        "damaged": damaged is not None,
        "instead": damaged.instead if damaged else None,
        "draft": None
        if draft is None
        else {
            "base": draft.base,
            "changed_at": iso(draft.changed_at),
            "changed_by": name_of(draft.changed_by),
            "damaged": _draft_damaged(draft, now),
        },
    }


def _state(practice: Practice, live: Version, now: datetime) -> tuple[str, Damaged | None]:
    """Open, at lunch, closed ... by the version in force; '' with the error when that cannot be read."""
    try:
        return situation(calendar(practice, live_plan(live, now), now), now).kind.value, None
    except Damaged as error:
        return "", error


def _draft_damaged(draft: Draft, now: datetime) -> bool:
    try:
        made_plan(draft, now)
    except Damaged:
        return True
    return False


def told(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The same for a terminal."""
    for line in lines:
        state = "on the phone" if line["in_force"] else f"LOOK: the phone has {line['phone'] or 'none'}"
        now = f" ({line['now']} now)" if line["now"] else ""
        yield f"{line['code']}  {line['name']}: version {line['live']}{now}, {state}"
        if line["damaged"]:
            yield (
                f"      LOOK: version {line['live']} is damaged and cannot be read; callers hear "
                f"{heard_instead(line['instead'])}. "
                + (
                    "Bring back an older version: Call flow, Versions"
                    if line["instead"]
                    else "Begin anew: Call flow"
                )
            )
        if line["draft"]:
            draft = line["draft"]
            yield f"      draft on version {draft['base']}, changed {draft['changed_at']} by {draft['changed_by']}"
            if draft["damaged"]:
                yield "      LOOK: the draft is damaged and cannot be read. Discard it on the page Call flow"
