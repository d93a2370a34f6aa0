"""The version in force and the lock: what all that changes a line goes through."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from django.db import transaction
from django.db.models import Max

from nightbell.audit import service as audit
from nightbell.core.config import load
from nightbell.flow.clips import LANGUAGES
from nightbell.flow.plan import BadPlan, Plan, from_dict
from nightbell.line.models import Draft, Version
from nightbell.people.access import Actor, NotFound, write
from nightbell.people.models import Practice, User
from nightbell.store.models import Flag

SYSTEM = "system:line"
CHANGED = "line-changed"  # in <home>/run: its time tells the worker that callers hear something else now


def current(practice_id: str) -> Version:
    """The version in force. Raises NotFound for a practice that has none yet."""
    found = Version.objects.filter(practice_id=practice_id).select_related("made_by").order_by("-number")[:1]
    if not found:
        raise NotFound("This practice has no line yet", "set-up has not come so far", "try again in a minute")
    return found[0]


def plan_of(version: Version) -> Plan:
    """Its plan. Raises BadPlan when what is stored is damaged."""
    return read_plan(version.plan)


def read_plan(text: str) -> Plan:
    """A plan as it is stored. Raises BadPlan."""
    try:
        return from_dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise BadPlan("its stored form is damaged (not JSON)", "go back to an older version") from error


def older_plans(live: Version) -> Iterator[tuple[Plan, int]]:
    """The plans of versions before this one that can be read, the newest first, each with its number."""
    older = Version.objects.filter(practice_id=live.practice_id, number__lt=live.number)
    for version in older.order_by("-number").iterator():
        with contextlib.suppress(BadPlan):
            yield plan_of(version), version.number


def draft_plan(live: Version) -> Plan:
    """The plan in the making, or the live one when there is none. Raises BadPlan."""
    row = Draft.objects.filter(practice_id=live.practice_id).first()
    return read_plan(row.plan) if row is not None and row.plan else plan_of(live)


def name_of(user: User | None) -> str:
    """Who did it; set-up and the worker have no log-in."""
    return user.name if user is not None else "Nightbell"


def lock(practice: Practice, now: datetime) -> Draft:
    """The practice's draft row, held until the transaction ends; made when there is none."""
    Draft.objects.get_or_create(practice=practice, defaults={"changed_at": now})
    return Draft.objects.select_for_update(of=("self",)).select_related("changed_by").get(practice=practice)


def publish_plan(
    practice: Practice, plan: Plan, now: datetime, user: User | None, brought_back: int | None = None
) -> Version:
    """The next version. The caller holds the lock."""
    last = Version.objects.filter(practice=practice).aggregate(last=Max("number"))["last"] or 0
    return Version.objects.create(
        practice=practice, number=last + 1, plan=json.dumps(plan.to_dict()), made_at=now, made_by=user,
        brought_back=brought_back,
    )  # fmt: skip


def first_version(
    practice: Practice, now: datetime, actor: str = SYSTEM, plan: Plan | None = None
) -> Version:
    """The version in force; makes the first for a practice without any. plan: instead of the usual one.

    Takes over the recordings that older installations kept as a flag.
    """
    with contextlib.suppress(NotFound):
        return current(practice.id)
    with transaction.atomic():
        lock(practice, now)
        with contextlib.suppress(NotFound):
            return current(practice.id)  # somebody was faster
        made = publish_plan(practice, plan or usual(practice), now, None)
        Flag.objects.filter(name=_flag(practice)).delete()
        audit.record(
            practice.id, actor=actor, action="line:publish", now=now, detail={"version": made.number}
        )
        transaction.on_commit(touch)
    return made


def usual(practice: Practice) -> Plan:
    """The plan of a practice that has decided nothing: its language first, ordinary hours, the usual menu."""
    plan = Plan()
    first = [practice.language] if practice.language in LANGUAGES else []
    plan = replace(plan, languages=tuple(dict.fromkeys([*first, *plan.languages])))
    kept = Flag.objects.filter(name=_flag(practice)).first()
    if kept is None:
        return plan
    old: dict[str, str] = json.loads(kept.value)
    taken: dict[str, str] = {}
    for clip, content in old.items():
        names = [clip] if "/" in clip else [f"{language}/{clip}" for language in plan.languages]
        taken |= dict.fromkeys(names, content)
    return replace(plan, clips=taken)


def _flag(practice: Practice) -> str:
    return f"clips:{practice.id}"


def audited(actor: Actor, action: str, detail: Mapping[str, object]) -> None:
    """The audit row, last in the transaction, and a word to the worker when it is committed."""
    write(actor, action, detail=detail)
    transaction.on_commit(touch)


def touch() -> None:
    """Tell the worker that something changed. It looks by itself every few seconds, should this fail."""
    with contextlib.suppress(OSError):
        (load().home / "run" / CHANGED).touch()
