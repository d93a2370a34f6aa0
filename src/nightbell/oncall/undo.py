"""One's own last change of a plan, taken back: what was there before is there again, unless something stands on it since.

It is a change like others: what it leaves uncovered is weighed, and it is in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from nightbell.oncall import kept
from nightbell.oncall.errors import BadShift
from nightbell.oncall.models import Change, Override, Schedule, Swap, SwapState
from nightbell.oncall.schedule import changed, tell_of_swap
from nightbell.people.access import Actor, NotFound, demand
from nightbell.people.roles import Act


def made(actor: Actor) -> str:
    """The id of what this actor has changed at this very moment, in this request; '' for nothing."""
    found = Change.objects.filter(by=actor.user, at=actor.now, undone_at=None)
    return found.order_by("-number").values_list("id", flat=True).first() or ""


def mine(actor: Actor, change_id: str) -> Change:
    """A change that this person made. Raises Forbidden or NotFound."""
    demand(actor, Act.EDIT_SCHEDULE)
    found = Change.objects.filter(by=actor.user, schedule__practice_id=actor.practice, pk=change_id)
    row = found.select_related("schedule").first()
    if row is None:
        raise NotFound(
            "There is no such change", "it is not yours, or its schedule is gone", "go to the plan"
        )
    return row


def undo(actor: Actor, change_id: str, confirm: str = "") -> Change:
    """Take one's own last change of a schedule back. Returns it.

    confirm: the actor's own name, where minutes are left without anybody. Raises NotFound, Forbidden, Uncovered, or
    BadShift when something stands on it.
    """
    row = mine(actor, change_id)
    ours = Change.objects.filter(by=actor.user, schedule=row.schedule_id, undone_at=None)

    def change(schedule: Schedule) -> tuple[Change, Mapping[str, object]]:
        why = "it was taken back already" if row.undone_at else _in_the_way(row, schedule, actor.now)
        if not why and ours.filter(number__gt=row.number).exists():
            why = "you have changed this plan since"
        # The one who sets the mark has it: twice at once it is undone once.
        if why or not ours.filter(pk=row.pk).update(undone_at=actor.now):
            raise BadShift(
                "Nothing was undone",
                why or "it was taken back already",
                "look at the plan, and change it there",
            )
        _restore(row, schedule, actor)
        return row, {"change": row.id, row.kind: row.row}

    return changed(actor, row.schedule_id, "schedule:undo", change, confirm)


def _in_the_way(row: Change, schedule: Schedule, now: datetime) -> str:
    """What stands on a change, in words; '' for nothing."""
    if kept.snapshot(schedule, row.kind, row.row) != row.after:
        return "somebody has changed it since"
    asked = Swap.objects.filter(schedule=schedule, state=SwapState.ASKED)
    if row.kind != "override":
        swapped = asked.filter(id__gt=row.id, ends_at__gt=now).exists()
        return "a shift of this plan is being given away since" if swapped else ""
    was = kept.values(row.kind, row.after or row.before or {})
    if was["ends_at"] <= now:
        return "its time is over"
    then = {"starts_at__lt": was["ends_at"], "ends_at__gt": was["starts_at"]}
    newer = Override.objects.filter(schedule=schedule, number__gt=was["number"], **then).select_related(
        "user"
    )
    over = newer.order_by("number").first()
    if over is not None:
        return f"{over.user.name} was put on call in that time since"
    return "a shift in that time is being given away" if asked.filter(**then).exists() else ""


def _restore(row: Change, schedule: Schedule, actor: Actor) -> None:
    there = kept.rows_of(schedule, row.kind, row.row)
    if row.before is None:
        there.delete()
        return
    was = kept.values(row.kind, row.before)
    if row.after is None:
        kept.KINDS[row.kind](**was).save(force_insert=True)
    else:
        there.update(**{name: value for name, value in was.items() if name != "id"})
    if row.kind == "override" and was.get("swap_id"):
        tell_of_swap(there.select_related("swap__user", "user").get(), actor.now)
