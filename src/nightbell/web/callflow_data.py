"""A practice's line as the pages need it: draft or live plan, its calendar, its recordings, what the phone has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nightbell.flow.clips import LANGUAGES
from nightbell.flow.hours import Calendar, Kind, Situation, situation
from nightbell.flow.line import Line
from nightbell.flow.plan import Plan
from nightbell.line import service as lines
from nightbell.line.models import Clip, Version
from nightbell.line.promise import promise
from nightbell.mailbox.models import Mailbox, Number
from nightbell.oncall.roster import somebody
from nightbell.people.access import Actor
from nightbell.web import context
from nightbell.web.callflow import View
from nightbell.web.callflow_hours import sample
from nightbell.web.callflow_words import Book


@dataclass(frozen=True, slots=True)
class OnPhone:
    """The version that the phone said it has, and how many seconds ago. 0: no phone has said anything."""

    version: int = 0
    age_s: float = 0.0


def on_phone(practice_id: str, health: Mapping[str, Any]) -> OnPhone:
    """The freshest word of a phone about this practice's line."""
    told = [
        OnPhone(int(phone["lines"][practice_id]), float(phone.get("age_s", 0)))
        for phone in health.get("phones", [])
        if isinstance(phone.get("lines"), Mapping) and practice_id in phone["lines"]
    ]
    return min(told, key=lambda one: one.age_s, default=OnPhone())


class Desk:
    """What one request reads of the line, each thing once."""

    def __init__(self, actor: Actor) -> None:
        self.actor, self.now = actor, actor.now
        self.practice = actor.user.practice

    @cached_property
    def draft(self) -> lines.DraftView:
        return lines.draft(self.actor)

    @cached_property
    def live(self) -> Version:
        return lines.first_version(self.practice, self.now)

    @cached_property
    def live_plan(self) -> Plan:
        return lines.live_plan(self.live, self.now)

    @property
    def languages(self) -> tuple[str, ...]:
        """Those of the draft; all of them while it cannot be read."""
        try:
            return self.draft.plan.languages
        except lines.Damaged:
            return LANGUAGES

    @cached_property
    def clips(self) -> list[Clip]:
        return lines.clips(self.actor)

    @cached_property
    def boxes(self) -> dict[str, str]:
        """Mailbox names by id, in their order."""
        found = Mailbox.objects.filter(practice_id=self.actor.practice).order_by("position", "name")
        return {box.id: box.name for box in found}

    @cached_property
    def first_box(self) -> str:
        """Where a message goes whose caller chose nothing: the mailbox of the practice's own number."""
        numbers = Number.objects.filter(mailbox__practice_id=self.actor.practice).select_related("mailbox")
        plain = Number.plain(self.practice.number)
        found = next((one.mailbox.name for one in numbers if one.dialled == plain), "")
        return found or next(iter(self.boxes.values()), "the first mailbox")

    @cached_property
    def health(self) -> Mapping[str, Any]:
        return context.HEALTH() if context.HEALTH is not None else {}

    @cached_property
    def team(self) -> bool:
        """Whether somebody can be woken, as the phone is told it. A worker that says nothing is no reason to doubt."""
        ways = self.health.get("checks", {}).get("notify", {}).get("ok", True)
        return bool(ways) and somebody(self.practice, self.now)

    @cached_property
    def on_phone(self) -> OnPhone:
        return on_phone(self.actor.practice, self.health)

    def calendar(self, plan: Plan) -> Calendar:
        return lines.calendar(self.practice, plan, self.now)

    def situation(self) -> Situation:
        """What the practice is at this moment, by the live plan."""
        return situation(self.calendar(self.live_plan), self.now)

    def kind(self) -> Kind:
        """Its kind; closed while that plan cannot be read."""
        try:
            return self.situation().kind
        except lines.Damaged:
            return Kind.CLOSED

    def line(self, plan: Plan, flow: int) -> Line:
        """As the phone has it. flow: 0 for a draft."""
        return Line(
            practice=self.practice.id, zone=self.practice.zone, number=self.practice.number, flow=flow, plan=plan,
            calendar=self.calendar(plan), team=self.team,
            promise=promise(self.practice, plan, self.now, self.team), test=flow == 0,
        )  # fmt: skip

    def book(self, plan: Plan) -> Book:
        return Book(
            plan.clips,
            {clip.sha256: clip.seconds for clip in self.clips},
            {clip.sha256: clip.words for clip in self.clips if clip.words},
        )

    def view(self, plan: Plan, kind: Kind, language: str) -> View:
        """The picture's material for one situation."""
        line = self.line(plan, 0)
        found, at = sample(line.calendar, kind, self.now)
        return View(
            plan=plan, live=self.live_plan, line=line, book=self.book(plan), situation=found, at=at,
            language=language, boxes=self.boxes, first_box=self.first_box,
        )  # fmt: skip

    def plan_on_phone(self) -> tuple[Plan, int]:
        """The plan that callers hear now and its number: what the phone said it has, else the live one."""
        number = self.on_phone.version
        if number and number != self.live.number:
            row = Version.objects.filter(practice_id=self.actor.practice, number=number).first()
            if row is not None:
                return lines.plan_of(row), number
        return self.live_plan, self.live.number

    def own(self, sha256: str) -> bytes:
        """The WAV of an own recording. Raises NotFound."""
        return lines.clip_bytes(self.actor, sha256)
