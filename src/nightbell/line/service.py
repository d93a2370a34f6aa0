"""What people do with their line: the draft, the versions, and by way of the neighbours closures and recordings.

Each change is made under the draft's row as a lock, with its audit row in the same transaction; the worker hears
of it as soon as it is committed and gives it to the phone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from nightbell.flow import walk
from nightbell.flow.plan import Plan
from nightbell.line import rules
from nightbell.line.calendars import calendar, check_holidays
from nightbell.line.closures import (
    ClosureView,
    add_closure,
    close_now,
    closures,
    remove_closure,
    reopen_now,
)
from nightbell.line.damage import live_plan, made_plan, readable
from nightbell.line.errors import BadClip, BadClosure, Damaged, NotReady, Stale
from nightbell.line.models import Draft, Version
from nightbell.line.recordings import check_clips, clip_bytes, clips, delete_clip, keep_clip, seconds
from nightbell.line.state import (
    audited,
    current,
    first_version,
    lock,
    name_of,
    plan_of,
    publish_plan,
    read_plan,
    usual,
)
from nightbell.line.trying import record_number, recorded, sip_address, stop_recording, try_number
from nightbell.mailbox.models import Mailbox
from nightbell.people.access import Actor, NotFound, demand
from nightbell.people.roles import Act

__all__ = [
    "BadClip", "BadClosure", "ClosureView", "Damaged", "DraftView", "NotReady", "Stale", "VersionView",
    "add_closure", "bring_back", "calendar", "clip_bytes", "clips", "close_now", "closures", "current", "delete_clip",
    "discard", "draft", "draft_problems", "first_version", "keep_clip", "live_plan", "plan_of", "publish", "record_number", "recorded",
    "remove_closure", "reopen_now", "report", "revision", "save", "sip_address", "stop_recording", "try_number", "use_clip",
    "version", "versions",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version as people see it. changes: sentences against the one before; brought_back: whose plan it is again;
    damaged: it cannot be read, so it neither answers nor comes back."""

    number: int
    made_at: datetime
    made_by: str
    changes: list[str]
    live: bool
    brought_back: int | None
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class DraftView:
    """The plan being edited; the live one, with there False, when nobody has changed anything.

    revision: give it back with the change; base: the version it was made from; changes: against the live one.
    """

    plan: Plan
    revision: int
    base: int
    changed_at: datetime
    changed_by: str
    changes: list[str]
    report: walk.Report
    there: bool


def versions(actor: Actor, limit: int = 50) -> list[VersionView]:
    """The last versions, newest first."""
    demand(actor, Act.VIEW_LINE)
    live = first_version(actor.user.practice, actor.now)
    found = Version.objects.filter(practice_id=actor.practice).select_related("made_by").order_by("-number")
    rows = list(found[: limit + 1])
    plans, mailboxes = [readable(row, actor.now) for row in rows], _mailboxes(actor)
    return [
        VersionView(
            row.number, row.made_at, name_of(row.made_by),
            _changes(plans[at + 1], plans[at], mailboxes) if at + 1 < len(rows) else [],
            row.number == live.number, row.brought_back, plans[at] is None,
        )
        for at, row in enumerate(rows[:limit])
    ]  # fmt: skip


def version(actor: Actor, number: int) -> tuple[Version, Plan]:
    """One version with its plan. Raises NotFound, Damaged."""
    demand(actor, Act.VIEW_LINE)
    found = (
        Version.objects.filter(practice_id=actor.practice, number=number).select_related("made_by").first()
    )
    if found is None:
        raise NotFound("There is no such version", f"the line never had a version {number}", "choose another")
    plan = readable(found, actor.now)
    if plan is None:
        raise Damaged(number)
    return found, plan


def _changes(before: Plan | None, after: Plan | None, mailboxes: dict[str, str]) -> list[str]:
    if after is None:
        return ["This version is damaged and cannot be read"]
    return rules.changes(before, after, mailboxes) if before is not None else []


def draft(actor: Actor) -> DraftView:
    """What the editor shows. Raises Damaged: what is in force, or the draft, cannot be read."""
    demand(actor, Act.VIEW_LINE)
    live = first_version(actor.user.practice, actor.now)
    row = Draft.objects.select_related("changed_by").get(practice_id=actor.practice)
    before = live_plan(live, actor.now)
    plan = made_plan(row, actor.now) if row.plan else before
    return DraftView(
        plan,
        row.revision,
        row.base if row.plan else live.number,
        row.changed_at if row.plan else live.made_at,
        name_of(row.changed_by if row.plan else live.made_by),
        rules.changes(before, plan, _mailboxes(actor)),
        report(actor, plan),
        bool(row.plan),
    )


def draft_problems(actor: Actor) -> tuple[walk.Problem, ...] | None:
    """What keeps the draft from being published; None without one that can be read. Also while what is in force is
    damaged: the draft is a mend, too."""
    demand(actor, Act.VIEW_LINE)
    row = Draft.objects.filter(practice_id=actor.practice).exclude(plan="").first()
    try:
        return report(actor, made_plan(row, actor.now)).problems if row is not None else None
    except Damaged:
        return None


def revision(actor: Actor) -> int:
    """That of the draft, also while its plan cannot be read: it can still be discarded."""
    demand(actor, Act.VIEW_LINE)
    row = Draft.objects.filter(practice_id=actor.practice).first()
    return row.revision if row is not None else 0


def report(actor: Actor, plan: Plan) -> walk.Report:
    """What stands in the way of a plan, and how long its ways are."""
    return rules.problems(plan, actor.user.practice.zone, seconds(actor.practice, plan), _mailboxes(actor))


def save(actor: Actor, revision: int, plan: Plan) -> int:
    """Keep a draft. Returns its revision. Raises Stale when another was faster, BadPlan when it is none."""
    demand(actor, Act.EDIT_LINE)
    plan = _checked(actor, plan)
    with transaction.atomic():
        row = _unchanged(actor, revision)
        check_clips(actor.practice, plan)  # again: under the lock no recording goes
        _put(actor, row, plan)
        audited(actor, "line:save", {"revision": row.revision})
    return row.revision


def use_clip(actor: Actor, revision: int, clip: str, language: str, sha256: str) -> int:
    """Put a kept recording into the draft, or take it out with ''. Returns the revision. Raises as `save`."""
    demand(actor, Act.EDIT_LINE)
    with transaction.atomic():
        row = _unchanged(actor, revision)
        plan = _plan(actor, row)
        named = f"{language}/{clip}"
        used = {one: content for one, content in plan.clips.items() if one != named}
        plan = _checked(actor, replace(plan, clips=used | ({named: sha256} if sha256 else {})))
        _put(actor, row, plan)
        audited(actor, "line:save", {"revision": row.revision, "clip": named, "sha256": sha256})
    return row.revision


def discard(actor: Actor, revision: int) -> None:
    """Throw the draft away. Raises Stale."""
    demand(actor, Act.EDIT_LINE)
    with transaction.atomic():
        row = _unchanged(actor, revision)
        _put(actor, row, None)
        audited(actor, "line:discard", {"revision": row.revision})


def publish(actor: Actor, revision: int) -> Version:
    """Put the draft in force. Raises Stale, NotReady with what stands in the way, NotFound when there is no draft."""
    demand(actor, Act.EDIT_LINE)
    # Walked before the lock is held: it takes a while. A draft that changed meanwhile has another revision.
    seen = Draft.objects.filter(practice_id=actor.practice, revision=revision).first()
    if seen is not None and seen.plan:
        _demand_ready(actor, made_plan(seen, actor.now))
    with transaction.atomic():
        row = _unchanged(actor, revision)
        plan = _plan(actor, row)
        if plan == readable(first_version(actor.user.practice, actor.now), actor.now):
            raise NotFound("There is nothing to publish", "the line is as it was", "change something first")
        made = publish_plan(actor.user.practice, plan, actor.now, actor.user)
        _put(actor, row, None)
        audited(actor, "line:publish", {"version": made.number})
    return made


def bring_back(actor: Actor, number: int) -> Version:
    """Put an older plan in force again, as a new version. Raises NotFound, Damaged, NotReady (a mailbox is gone, say).

    A draft stays, but who edits it is told to look again: it would undo this. number 0 begins anew: the words of a
    new practice, while the version in force cannot be read (else NotFound).
    """
    demand(actor, Act.EDIT_LINE)
    practice = actor.user.practice
    plan = version(actor, number)[1] if number else usual(practice)
    _demand_ready(actor, plan)
    with transaction.atomic():
        row = lock(practice, actor.now)
        if not number and readable(first_version(practice, actor.now), actor.now) is not None:
            raise NotFound("There is nothing to begin anew", "the line can be read", "change it in a draft")
        made = publish_plan(practice, plan, actor.now, actor.user, number or None)
        row.base = made.number if row.plan else 0
        _touch(actor, row)
        audited(actor, "line:bring_back", {"version": made.number, "of": number})
    return made


def _demand_ready(actor: Actor, plan: Plan) -> None:
    found = report(actor, plan).problems
    if found:
        raise NotReady(found)


def _unchanged(actor: Actor, revision: int) -> Draft:
    """The locked draft, as the actor saw it. Raises Stale."""
    row = lock(actor.user.practice, actor.now)
    if row.revision != revision:
        raise Stale(name_of(row.changed_by), row.changed_at)
    return row


def _plan(actor: Actor, row: Draft) -> Plan:
    if row.plan:
        return made_plan(row, actor.now)
    return live_plan(first_version(actor.user.practice, actor.now), actor.now)


def _put(actor: Actor, row: Draft, plan: Plan | None) -> None:
    if plan is not None and not row.plan:
        row.base = first_version(actor.user.practice, actor.now).number
    row.plan = json.dumps(plan.to_dict()) if plan is not None else ""
    _touch(actor, row)


def _touch(actor: Actor, row: Draft) -> None:
    row.revision += 1
    row.changed_at, row.changed_by = actor.now, actor.user
    row.save()


def _checked(actor: Actor, plan: Plan) -> Plan:
    """The plan as it will be read again. Raises BadPlan: its shape, a recording or mailbox that is not the practice's."""
    plan = read_plan(json.dumps(plan.to_dict()))
    check_holidays(plan)
    check_clips(actor.practice, plan)
    rules.check_mailboxes(plan, _mailboxes(actor))
    return plan


def _mailboxes(actor: Actor) -> dict[str, str]:
    return dict(Mailbox.objects.filter(practice_id=actor.practice).values_list("id", "name"))
