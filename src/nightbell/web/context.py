"""What every page shows around its own matter: rail, who is on call, who you are. Lazy: a page pays for what it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from django.http import HttpRequest

from nightbell.core.config import load
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Mailbox
from nightbell.mailbox.opening import person
from nightbell.mailbox.values import Person
from nightbell.oncall import service as oncall
from nightbell.oncall import standing
from nightbell.people import covers
from nightbell.people.access import Actor
from nightbell.people.models import Cover, Practice, User
from nightbell.people.roles import Act
from nightbell.web.doors import actor_of, guest_here
from nightbell.web.format import clock_time
from nightbell.web.present import ROLE_NAMES

# Set by server: {"ok": bool, "checks": {name: {"ok": bool, "says": str}}}, without PHI.
HEALTH: Callable[[], Mapping[str, Any]] | None = None


@lru_cache(maxsize=1)
def is_demo(home: Path) -> bool:
    """Whether this home was stamped demo at its creation (DESIGN §5)."""
    try:
        stamp = json.loads((home / "home.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stamp, dict) and stamp.get("mode") == "demo"


class Shell:
    """The frame of a page for one request."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @property
    def demo(self) -> bool:
        return is_demo(load().home)

    @property
    def member(self) -> bool:
        """Whether a person is signed in."""
        user = getattr(self._request, "user", None)
        return isinstance(user, User)

    @cached_property
    def actor(self) -> Actor:
        return actor_of(self._request)

    @cached_property
    def _covers(self) -> list[Cover]:
        user = self._request.user
        return covers.of_person(user) if isinstance(user, User) else []

    @cached_property
    def elsewhere(self) -> list[dict[str, Any]]:
        """Other practices of this person in which an urgent message of theirs to see has no owner: a push leads to the one
        that this browser shows. cover: the covering that leads there, None for their own practice."""
        user = self._request.user
        if not isinstance(user, User) or not self._covers:
            return []
        there = guest_here(self._request, user)
        rows: list[tuple[User, Cover | None]] = [
            (one.guest, one) for one in self._covers if one.guest is not None and one.guest != there
        ]
        if there is not None:
            rows.append((user, None))
        waiting = [(row, cover, _lamp(replace(self.actor, user=row))) for row, cover in rows]
        return [
            {"practice": row.practice.name, "cover": cover, "count": count}
            for row, cover, count in waiting
            if count
        ]

    @cached_property
    def covers(self) -> dict[str, Any]:
        """Covering in other practices: where this browser is now (None at home), and how many wait for an answer."""
        user = self._request.user
        if not isinstance(user, User):
            return {"at": None, "asked": 0, "any": False}
        found = self._covers
        there = guest_here(self._request, user) if found else None
        guests = [one.guest for one in found if one.guest is not None]
        shifts = standing.offered(guests, self.actor.now) if guests else set()
        return {
            "at": there.practice.name if there else None,
            "asked": sum(one.accepted_at is None for one in found),
            "shift": next((one for one in found if one.guest_id in shifts), None),
            "any": bool(found),
        }

    @cached_property
    def practice(self) -> Practice:
        return self.actor.user.practice

    @cached_property
    def me(self) -> Person:
        return person(self.actor.user)

    @property
    def role_name(self) -> str:
        return "Covering" if self.actor.covers else ROLE_NAMES[self.actor.role]

    @cached_property
    def may(self) -> dict[str, bool]:
        """Acts of this person as {'list': True, …}, for the navigation."""
        return {act.name.lower(): self.actor.may(act) for act in Act}

    @cached_property
    def counts(self) -> dict[str, int]:
        return mailbox.counts(self.actor) if self.actor.may(Act.LIST) else {}

    @property
    def lit(self) -> bool:
        """The lamp: an urgent message has no owner."""
        return self.counts.get("lamp", 0) > 0

    @cached_property
    def mailboxes(self) -> list[dict[str, Any]]:
        """The trays of the practice, with what is open in each."""
        found = Mailbox.objects.filter(practice_id=self.actor.practice).order_by("position", "name")
        return [
            {"id": m.id, "name": m.name, "icon": _icon(m.name), "open": self.counts.get(m.id, 0)}
            for m in found
        ]

    @cached_property
    def on_call(self) -> dict[str, Any]:
        """Who is on call: names and times in the practice's zone."""
        now = self.actor.now
        view = oncall.now_on_call(self.actor.practice, now)
        until = clock_time(view.until, self.practice.zone, now) if view.until else ""
        return {"now": view.now, "until": until, "next": view.next, "fallback": view.fallback}

    @cached_property
    def trouble(self) -> standing.Trouble | None:
        """What is wrong with on call right now, for a banner; None when nothing is."""
        if not self.actor.may(Act.SCHEDULE):
            return None
        first = self.on_call["now"]
        known = [first.id] if first is not None else []
        found = standing.trouble(self.practice, self.actor.now, first is not None, known)
        return found if found.any else None

    @property
    def door_name(self) -> str:
        """What stands over the door before anybody signed in: the practice, when there is only one."""
        names = list(Practice.objects.values_list("name", flat=True)[:2])
        return names[0] if len(names) == 1 else "Nightbell"


_ICONS = (
    ("nurse", "stethoscope"), ("triage", "stethoscope"), ("clinic", "stethoscope"), ("refill", "pill"),
    ("pharm", "pill"), ("appoint", "calendar"), ("schedul", "calendar"), ("bill", "file"), ("result", "file-text"),
)  # fmt: skip


def _icon(name: str) -> str:
    return next((icon for word, icon in _ICONS if word in name.lower()), "inbox")


def _lamp(actor: Actor) -> int:
    """How many urgent messages that they may see nobody has."""
    return mailbox.counts(actor)["lamp"] if actor.may(Act.LIST) else 0


def shell(request: HttpRequest) -> dict[str, Shell]:
    """The context processor."""
    return {"nb": Shell(request)}
