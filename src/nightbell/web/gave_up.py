"""How many callers gave up where: counts by place of the flow, without anything of a patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from nightbell.mailbox.models import Kind, Message
from nightbell.web.callflow import base_of

# Places in the order in which callers come to them, with the nodes of each. Older captures name 'record' alone.
PLACES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("siren", "The first words", "911, and the other language", ("first", "", "answer")),
    ("languages", "Language", "After 2 for the other one", ("language",)),
    ("volume", "Greeting", "", ("greeting",)),
    ("hash", "Menu", "Said again, and after wrong keys, too", ("menu", "menu-again", "menu-wrong", "no-key")),
    ("clock", "Asking about a message", "Keying in the number, hearing the answer", ("status", "worse")),
    ("bell-ring", "Words for urgent callers", "", ("urgent",)),
    ("phone-call", "Call-back number", "", ("callback",)),
    ("volume", "Before the tone", "What to say, and that it is recorded", ("notice", "record-now", "ask")),
    ("mic", "After the tone", "Nothing could be heard", ("record", "take", "retake", "silence", "brief", "limit", "more")),
    ("ear", "Review", "", ("review", "hear", "again", "send")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """One place of the flow. share: of all that gave up, 0 to 100, for a bar."""

    icon: str
    name: str
    note: str
    count: int
    share: int


@dataclass(frozen=True, slots=True)
class GaveUp:
    """All calls of a time. missed: left nothing; asked: how far a message is, and left none."""

    messages: int
    asked: int
    missed: int
    places: tuple[Place, ...]

    @property
    def calls(self) -> int:
        return self.messages + self.asked + self.missed

    @property
    def per_cent(self) -> int:
        return round(100 * self.missed / self.calls) if self.calls else 0


Row = tuple[str, str, int]
"""Kind, how far the caller came, how many."""


def counted(practice_id: str, since: datetime) -> list[Row]:
    """One query: calls by kind and by how far they came, without those that tried the line out or recorded for it."""
    found = Message.objects.filter(practice_id=practice_id, received_at__gte=since)
    rows = found.values_list("kind", "reached", "tags").annotate(many=Count("id")).order_by()
    return [
        (kind, reached if kind == Kind.MISSED else "", many)
        for kind, reached, tags, many in rows
        if not any(tag == "test" or tag.startswith("studio") for tag in tags)
    ]


def place_of(reached: str) -> int:
    """Which place a missed caller's last node belongs to; the first for what nobody knows."""
    base = base_of(reached)
    for at, (_, _, _, nodes) in enumerate(PLACES):
        if base in nodes:
            return at
    start = base.partition("-")[0]
    return next((at for at, place in enumerate(PLACES) if start and start in place[3]), 0)


def picture(rows: Iterable[Row]) -> GaveUp:
    """The counts on the picture of the flow."""
    totals: dict[str, int] = {}
    at: dict[int, int] = {}
    for kind, reached, many in rows:
        totals[kind] = totals.get(kind, 0) + many
        if kind == Kind.MISSED:
            at[place_of(reached)] = at.get(place_of(reached), 0) + many
    missed = totals.get(Kind.MISSED, 0)
    places = tuple(
        Place(icon, name, note, at.get(index, 0), round(100 * at.get(index, 0) / missed) if missed else 0)
        for index, (icon, name, note, _) in enumerate(PLACES)
    )
    return GaveUp(totals.get(Kind.MESSAGE, 0), totals.get(Kind.STATUS, 0), missed, places)
