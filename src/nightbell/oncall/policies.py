"""Escalation policies: whom an alert tells, by which ways, and how long it waits. Pure: values in, decisions out.

A policy is frozen as text when its alert starts. An unreadable one tells the last resort at once, never nobody;
the last step is always the last resort and repeats for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from nightbell.core.notice import NoticeKind

MAX_STEPS = 20
LONGEST_WAIT_S = 3600
LAST_WAIT_S = 300  # seconds between two rounds of a last resort that was appended
UNREADABLE_WAIT_S = 120
RETRY_BACKOFF_S = (2, 5, 15, 30)
WAYS = ("push", "sms", "email", "voice", "other")
MORNING, EVENING = time(7), time(22)
CALM_REPEAT = timedelta(hours=1)  # what is not urgent is not repeated sooner than that


class Who(StrEnum):
    """Whom a step tells."""

    ON_CALL = "on_call"
    NEXT = "next"  # the second on call
    USER = "user"
    GROUP = "group"
    ALL = "all"
    LAST_RESORT = "last_resort"


NAMED = (Who.USER, Who.GROUP)
_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")  # a ULID; core.ids has a clock in it
_OLD = {"first": Who.ON_CALL, "next": Who.NEXT, "fallback": Who.LAST_RESORT}


@dataclass(frozen=True, slots=True)
class Step:
    """Tell `who` (of a user or group: the one with this id) by `how`, () for every way they proved; then wait."""

    who: Who
    wait_s: int
    id: str = ""
    how: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        return {"who": self.who.value, "id": self.id, "how": list(self.how), "wait_s": self.wait_s}


@dataclass(frozen=True, slots=True)
class Policy:
    """What an alert does until it is owned. last_user: a user id or ''; last_email: an address or ''; quiet: at night
    nobody is told (never of what is urgent)."""

    steps: tuple[Step, ...]
    last_user: str = ""
    last_email: str = ""
    quiet: bool = False

    def to_text(self) -> str:
        stored = {
            "steps": [step.to_json() for step in self.steps],
            "fallback_user": self.last_user,
            "fallback_email": self.last_email,
            "quiet": self.quiet,
        }
        return json.dumps(stored, sort_keys=True)


DEFAULT_STEPS = (
    Step(Who.ON_CALL, 120),
    Step(Who.ON_CALL, 180),
    Step(Who.NEXT, 180),
    Step(Who.LAST_RESORT, LAST_WAIT_S),
)


def freeze(steps: Sequence[Step], last_user: str = "", last_email: str = "", quiet: bool = False) -> Policy:
    """The policy of an alert that starts now. One that does not end with the last resort gets it appended."""
    whole = tuple(steps) or DEFAULT_STEPS
    if whole[-1].who != Who.LAST_RESORT:
        whole = (*whole, Step(Who.LAST_RESORT, LAST_WAIT_S))
    return Policy(whole, last_user, last_email, quiet)


@lru_cache(256)  # alerts that ring at the same time mostly have the same, and each round reads that of each
def read_policy(text: str) -> Policy | None:
    """Read a frozen policy; None when it is unreadable: the last resort is told then."""
    try:
        stored = json.loads(text)
        steps = read_steps(stored["steps"])
        if not steps:
            return None
        last = str(stored["fallback_user"]), str(stored["fallback_email"])
        return freeze(steps, *last, stored.get("quiet") is True)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_steps(stored: object) -> tuple[Step, ...]:
    """Steps as a practice set them, in the format of today or of before. Empty when there is anything wrong."""
    if not isinstance(stored, list) or not 0 < len(stored) <= MAX_STEPS + 1:
        return ()
    steps = [_read_step(item) for item in stored]
    return tuple(step for step in steps if step is not None) if None not in steps else ()


def _read_step(item: object) -> Step | None:
    if not isinstance(item, dict):
        return None
    wait = item.get("wait_s")
    if type(wait) is not int or not 1 <= wait <= LONGEST_WAIT_S:
        return None
    if "who" not in item:
        old = item.get("target")
        return Step(_OLD[old], wait) if isinstance(old, str) and old in _OLD else None
    return _read_new(item, wait)


def _read_new(item: Mapping[str, Any], wait: int) -> Step | None:
    who, named, how = item["who"], item.get("id", ""), item.get("how", [])
    if not isinstance(who, str) or who not in list(Who) or not isinstance(named, str):
        return None
    if not isinstance(how, list) or any(not isinstance(way, str) or way not in WAYS for way in how):
        return None
    if (who in NAMED) != bool(_ID.match(named)) or (who not in NAMED and named):
        return None
    return Step(Who(who), wait, named, tuple(dict.fromkeys(how)))


def problems(stored: object, users: Sequence[str], groups: Sequence[str]) -> list[str]:
    """What keeps steps that a person typed from being kept, in words; [] when they are good.

    users, groups: ids that the practice has.
    """
    if not isinstance(stored, list) or not stored:
        return ["a policy has at least one step"]
    if len(stored) > MAX_STEPS:
        return [f"a policy has at most {MAX_STEPS} steps"]
    found = []
    for number, item in enumerate(stored, 1):
        step = _read_step(item)
        if step is None:
            found.append(
                f"step {number} cannot be read: it needs whom to tell and a wait of 1 to {LONGEST_WAIT_S} seconds"
            )
        elif step.who == Who.USER and step.id not in users:
            found.append(f"step {number} tells somebody who is not in your practice")
        elif step.who == Who.GROUP and step.id not in groups:
            found.append(f"step {number} tells a group that your practice does not have")
    return found


@dataclass(frozen=True, slots=True)
class Facts:
    """Who is there now. on_call: user ids, first to be told first; groups: members by group id; everybody: user ids
    of those who take messages; covering: clinicians of another practice, whom a step names or nobody. Without people
    who are locked out."""

    on_call: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    everybody: tuple[str, ...] = ()
    covering: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Telling:
    """One decision: whom to tell now by which ways (() for all), whether the last resort too, and when to go on."""

    users: tuple[str, ...]
    last_resort: bool
    kind: str  # as core.notice.NoticeKind
    next_at: datetime
    how: tuple[str, ...] = ()


def tell(policy: Policy | None, step: int, facts: Facts, now: datetime, urgency: str = "urgent") -> Telling:
    """What step number `step` (0 first, the last repeats for ever) does, given who is there now.

    Whoever a step means and who is not there (nobody on call, no second person, somebody who left, an empty group)
    is replaced by the last resort at once.
    """
    kind = notice_kind(urgency, step)
    if policy is None:
        return Telling(facts.on_call[:1], True, kind, now + timedelta(seconds=UNREADABLE_WAIT_S))
    rule = policy.steps[min(step, len(policy.steps) - 1)]
    users = _meant(rule, facts)
    last_resort = rule.who == Who.LAST_RESORT or not users
    next_at = now + wait_after(policy, step, urgency)
    return Telling(users, last_resort, kind, next_at, () if last_resort else rule.how)


def _meant(rule: Step, facts: Facts) -> tuple[str, ...]:
    if rule.who == Who.ON_CALL:
        return tuple(facts.on_call[:1])
    if rule.who == Who.NEXT:
        return tuple(facts.on_call[1:2])
    if rule.who == Who.USER:
        return (rule.id,) if rule.id in (*facts.everybody, *facts.covering) else ()
    if rule.who == Who.GROUP:
        return tuple(facts.groups.get(rule.id, ()))
    return tuple(facts.everybody) if rule.who == Who.ALL else ()


def is_further(policy: Policy | None, step: int) -> bool:
    """Whether another step comes after number `step`. The last repeats at its own pace, or it would never rest."""
    return policy is not None and step + 1 < len(policy.steps)


def wait_after(policy: Policy | None, step: int, urgency: str = "urgent") -> timedelta:
    """How long an alert waits at most after step number `step`."""
    if policy is None:
        return timedelta(seconds=UNREADABLE_WAIT_S)
    wait = timedelta(seconds=policy.steps[min(step, len(policy.steps) - 1)].wait_s)
    calm = urgency != "urgent" and not is_further(policy, step)
    return max(wait, CALM_REPEAT) if calm else wait


def longest_round(policy: Policy) -> timedelta:
    """The time within which an urgent message that nobody takes has rung the last resort."""
    waits = []
    for step in policy.steps:
        if step.who == Who.LAST_RESORT:
            break
        waits.append(step.wait_s)
    return timedelta(seconds=sum(waits))


def notice_kind(urgency: str, step: int) -> str:
    """The words of an attempt. Only what is urgent says 'still waiting'."""
    if urgency == "urgent":
        return NoticeKind.URGENT if step == 0 else NoticeKind.AGAIN
    return NoticeKind.REVIEW if urgency == "review" else NoticeKind.ROUTINE


def morning_after(now: datetime, zone: ZoneInfo) -> datetime:
    """The next local 07:00 after `now`, in UTC."""
    day = now.astimezone(zone).date()
    for ahead in range(3):
        morning = datetime.combine(day + timedelta(days=ahead), MORNING, zone).astimezone(UTC)
        if morning > now:
            return morning
    raise AssertionError("no morning in three days")


def by_day(at: datetime, zone: ZoneInfo) -> datetime:
    """The same instant by day (07:00 to 22:00 local), the next morning for one at night. UTC."""
    local = at.astimezone(zone).time()
    return at if MORNING <= local < EVENING else morning_after(at, zone)


def retry_at(tries: int, now: datetime) -> datetime:
    """When a notification that could not be sent is tried again."""
    return now + timedelta(seconds=RETRY_BACKOFF_S[min(tries, len(RETRY_BACKOFF_S)) - 1])
