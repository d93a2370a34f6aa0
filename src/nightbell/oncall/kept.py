"""What a person changed of a plan, row by row, with what was there before: so that it can be taken back (oncall.undo)."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from django.db.models import Max, Model, QuerySet

from nightbell.oncall.models import Change, Holiday, Override, Rotation, Schedule, Shift
from nightbell.people.access import Actor

Row = dict[str, Any]
KINDS: dict[str, Any] = {"override": Override, "shift": Shift, "rotation": Rotation, "holiday": Holiday}


def rows_of(schedule: Schedule, kind: str, key: str) -> QuerySet[Any]:
    """The row itself, if it is there. key: its id, of a holiday its day (ISO 8601)."""
    found = KINDS[kind].objects.filter(schedule=schedule)
    return found.filter(day=key) if kind == "holiday" else found.filter(pk=key)  # type: ignore[no-any-return]


def snapshot(schedule: Schedule, kind: str, key: str) -> Row | None:
    """All of a row's columns as JSON has them, to the microsecond; None when there is none."""
    row: Model | None = rows_of(schedule, kind, key).first()
    if row is None:
        return None
    return {field.attname: _plain(getattr(row, field.attname)) for field in row._meta.concrete_fields}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime | date) else value


def values(kind: str, row: Row) -> Row:
    """The columns of a snapshot as the database takes them."""
    fields = KINDS[kind]._meta.concrete_fields
    return {one.attname: one.to_python(row[one.attname]) for one in fields if one.attname in row}


def keep(actor: Actor, schedule: Schedule, kind: str, key: str, before: Row | None) -> None:
    """Keep what was changed. In the transaction of the change, which holds the schedule."""
    after = snapshot(schedule, kind, key)
    if after == before:
        return
    last = Change.objects.filter(schedule=schedule).aggregate(last=Max("number"))["last"]
    Change.objects.create(
        schedule=schedule, by=actor.user, at=actor.now, number=int(last or 0) + 1, kind=kind, row=key,
        before=before, after=after,
    )  # fmt: skip
