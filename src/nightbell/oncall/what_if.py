"""What if: the messages of before, played against another schedule or other waits. Pure and without chance.

What people do is not known but reckoned: each telling of a person is answered within a wait as often as that person
answered before (with few tellings, as all of them did). So the results are expected numbers: 2.4 wakings is what
many such months would have on average. One message is taken at a time, and whoever is told is awake to be told.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from statistics import median
from zoneinfo import ZoneInfo

from nightbell.oncall.measures import is_night
from nightbell.oncall.policies import Facts, Policy, tell

MOST_STEPS = 30  # of one message: what nobody took by then is counted as not taken
NEGLIGIBLE = 0.001
PRIOR = 4  # tellings that the practice's average weighs beside a person's own
HALF = timedelta(minutes=2)  # nobody was ever told: half of the tellings are taken to be answered within this
LAST_ADDRESS = "last"  # the last resort where it is an address and no person


@dataclass(frozen=True, slots=True)
class Past:
    """One message of before: nothing of the patient's."""

    at: datetime
    urgency: str
    mailbox: str = ""


@dataclass(frozen=True, slots=True)
class Habit:
    """How one person answered. tellings: how often told, without those that a colleague was quicker at;
    answers: how long each answer took."""

    tellings: int = 0
    answers: tuple[timedelta, ...] = ()


@dataclass(frozen=True)
class Habits:
    """Of everybody who was told before, by user id. What is reckoned of them is kept: it is asked for each step."""

    people: Mapping[str, Habit] = field(default_factory=dict)

    @cached_property
    def tellings(self) -> int:
        return sum(one.tellings for one in self.people.values())

    @cached_property
    def _own(self) -> dict[str, list[timedelta]]:
        """The answers of each, the quickest first."""
        return {user: sorted(habit.answers) for user, habit in self.people.items()}

    @cached_property
    def _everybodys(self) -> list[timedelta]:
        return sorted(one for habit in self.people.values() for one in habit.answers)

    @cached_property
    def _known(self) -> dict[tuple[str, timedelta], tuple[float, timedelta]]:
        return {}

    def chance(self, user: str, wait: timedelta) -> float:
        """How likely this person answers within `wait`: between 0 and 1, never either of them."""
        return self._of(user, wait)[0]

    def takes(self, user: str, wait: timedelta) -> timedelta:
        """How long an answer within `wait` takes: the median of this person's, else of all, else half of the wait."""
        return self._of(user, wait)[1]

    def _of(self, user: str, wait: timedelta) -> tuple[float, timedelta]:
        found = self._known.get((user, wait))
        if found is None:
            found = self._known[user, wait] = self._reckoned(user, wait)
        return found

    def _reckoned(self, user: str, wait: timedelta) -> tuple[float, timedelta]:
        answers, own = self._everybodys, self._own.get(user, [])
        all_within, own_within = bisect_right(answers, wait), bisect_right(own, wait)
        average = (all_within + 2 * (1 - math.pow(0.5, wait / HALF))) / (self.tellings + 2)
        told = self.people.get(user, Habit()).tellings
        known = own[:own_within] or answers[:all_within]
        takes = timedelta(seconds=median(one.total_seconds() for one in known)) if known else wait / 2
        return (own_within + PRIOR * average) / (told + PRIOR), takes


@dataclass(frozen=True, slots=True)
class Change:
    """What is drafted. `instead_of` is replaced by `by` on these local weekdays (Monday 0); waits_s: of the policy's
    steps, () as they are."""

    instead_of: str = ""
    by: str = ""
    weekdays: frozenset[int] = frozenset()
    waits_s: tuple[int, ...] = ()


@dataclass(slots=True)
class Person:
    """Expected numbers of one person. first: how often told first, which is certain; told: all tellings; night: those
    at night; takes: messages that become theirs."""

    first: int = 0
    told: float = 0.0
    night: float = 0.0
    takes: float = 0.0


@dataclass(frozen=True, slots=True)
class Replay:
    """messages: that rang; people: by user id, or LAST_ADDRESS; p50, p90: until somebody has it (None: not by then);
    last_resort: messages that come so far; untaken: that nobody took within MOST_STEPS."""

    messages: int
    people: Mapping[str, Person]
    p50: timedelta | None
    p90: timedelta | None
    last_resort: float
    untaken: float
    nobody: int  # messages that came while nobody was on call


def changed(on_call: Sequence[str], change: Change, at: datetime, zone: ZoneInfo) -> tuple[str, ...]:
    """Who would be on call at a moment. A person is named once."""
    swap = bool(change.instead_of and change.by) and at.astimezone(zone).weekday() in change.weekdays
    order = [change.by if swap and user == change.instead_of else user for user in on_call]
    return tuple(dict.fromkeys(order))


def with_waits(policy: Policy, waits_s: Sequence[int]) -> Policy:
    """The policy with other waits; those that are missing stay."""
    steps = tuple(
        replace(step, wait_s=waits_s[n]) if n < len(waits_s) else step for n, step in enumerate(policy.steps)
    )
    return replace(policy, steps=steps)


def replay(
    past: Sequence[Past],
    facts: Callable[[datetime], Facts],
    policy: Policy,
    habits: Habits,
    zone: ZoneInfo,
    change: Change = Change(),
) -> Replay:
    """Play each message against who was, or would be, on call at each step. facts: who is there at a moment."""
    people: dict[str, Person] = {}
    taken: list[tuple[timedelta, float]] = []
    last_resort = untaken = 0.0
    nobody = 0
    changed_policy = with_waits(policy, change.waits_s)
    for one in past:
        found = _one(one, facts, changed_policy, habits, zone, change, people)
        taken += found.taken
        last_resort += found.last_resort
        untaken += found.left
        nobody += found.nobody
    return Replay(
        len(past),
        people,
        _weighed(taken, untaken, 0.5),
        _weighed(taken, untaken, 0.9),
        last_resort,
        untaken,
        nobody,
    )


@dataclass(slots=True)
class _Course:
    """How one message went: when it may be taken, each with its likelihood; how likely nobody has it still."""

    taken: list[tuple[timedelta, float]]
    left: float = 1.0
    last_resort: float = 0.0
    nobody: bool = False


def _one(
    message: Past,
    facts: Callable[[datetime], Facts],
    policy: Policy,
    habits: Habits,
    zone: ZoneInfo,
    change: Change,
    people: dict[str, Person],
) -> _Course:
    course, at = _Course([]), message.at
    for step in range(MOST_STEPS):
        there = facts(at)
        there = replace(there, on_call=changed(there.on_call, change, at, zone))
        telling = tell(policy, step, there, at, message.urgency)
        course.nobody = course.nobody or (step == 0 and not there.on_call)
        if telling.last_resort and not course.last_resort:
            course.last_resort = course.left
        told = list(
            dict.fromkeys(
                [*telling.users, *([policy.last_user or LAST_ADDRESS] if telling.last_resort else [])]
            )
        )
        _tell(told, step, at, course, telling.next_at - at, message, habits, zone, people)
        at = telling.next_at
        if course.left < NEGLIGIBLE:
            break
    return course


def _tell(
    told: Sequence[str],
    step: int,
    at: datetime,
    course: _Course,
    wait: timedelta,
    message: Past,
    habits: Habits,
    zone: ZoneInfo,
    people: dict[str, Person],
) -> None:
    """One step: whoever is told is told with the likelihood that nobody has it yet; the quicker one takes it."""
    open_ = course.left
    answers = sorted(((habits.takes(user, wait), user) for user in told), key=lambda one: one[0])
    for user in told:
        person = people.setdefault(user, Person())
        person.first += step == 0
        person.told += open_
        person.night += open_ if is_night(at, zone) else 0.0
    for takes, user in answers:
        share = course.left * habits.chance(user, wait)
        people[user].takes += share
        course.taken.append((at - message.at + takes, share))
        course.left -= share


def _weighed(taken: Sequence[tuple[timedelta, float]], untaken: float, part: float) -> timedelta | None:
    """The span within which this part of the messages is taken; None where that many never are."""
    whole, reached = sum(share for _, share in taken) + untaken, 0.0
    for span, share in sorted(taken):
        reached += share
        if whole and reached >= part * whole:
            return span
    return None
