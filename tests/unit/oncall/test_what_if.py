"""The replay: expected numbers against a simulation that draws lots, and what must hold whatever is played."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import pytest

from nightbell.oncall import what_if
from nightbell.oncall.policies import Facts, Policy, Step, Who, freeze, tell
from nightbell.oncall.what_if import LAST_ADDRESS, Change, Habit, Habits, Past, changed, replay, with_waits

ZONE = ZoneInfo("America/New_York")
A, B, C = (f"01JDE8Q4T0ABCDEFGHJKMNPQR{letter}" for letter in "ABC")
START = datetime(2026, 10, 20, 3, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HABITS = Habits({
    A: Habit(20, tuple(40 * SECOND for _ in range(12))), B: Habit(10, tuple(n * 15 * SECOND for n in range(1, 10))),
    C: Habit(3, (10 * SECOND,)),
})  # fmt: skip
POLICY = freeze((Step(Who.ON_CALL, 120), Step(Who.NEXT, 90), Step(Who.ON_CALL, 60)), last_user=C)


def there(at: datetime) -> Facts:
    """A and B in turns, by the day of the month; for an hour of each day nobody."""
    if at.hour == 5:
        return Facts((), {}, (A, B, C))
    return Facts((A, B) if at.day % 2 else (B, A), {}, (A, B, C))


def past(count: int = 300) -> list[Past]:
    return [Past(START + n * timedelta(hours=2, minutes=7), "urgent") for n in range(count)]


def drawn(messages: Sequence[Past], policy: Policy, rounds: int) -> tuple[Counter[str], float, list[float]]:
    """An independent way: who is told and who answers, by lot."""
    chance = random.Random(5)
    tellings: Counter[str] = Counter()
    last, spans = 0, []
    for message in messages * rounds:
        at, came_last = message.at, False
        for step in range(30):
            telling = tell(policy, step, there(at), at)
            people = list(telling.users)
            if telling.last_resort:
                came_last = True
                people += [policy.last_user or LAST_ADDRESS]
            tellings.update(people)
            wait = telling.next_at - at
            answers = sorted(
                (HABITS.takes(one, wait), one) for one in people if chance.random() < HABITS.chance(one, wait)
            )
            if answers:
                spans.append((at + answers[0][0] - message.at).total_seconds())
                break
            at = telling.next_at
        last += came_last
    return tellings, last / rounds, sorted(spans)


def test_expected_numbers_are_what_drawing_lots_comes_to() -> None:
    found = replay(past(), there, POLICY, HABITS, ZONE)
    tellings, last, spans = drawn(past(), POLICY, 40)
    for user, person in found.people.items():
        assert person.told == pytest.approx(tellings[user] / 40, rel=0.05), user
    assert found.last_resort == pytest.approx(last, rel=0.05)
    assert found.p50 is not None and found.p90 is not None
    assert found.p50.total_seconds() == pytest.approx(spans[len(spans) // 2], abs=30)
    assert found.p90.total_seconds() == pytest.approx(spans[len(spans) * 9 // 10], abs=60)
    assert sum(person.takes for person in found.people.values()) + found.untaken == pytest.approx(300)


def test_the_same_again_is_the_same() -> None:
    assert replay(past(), there, POLICY, HABITS, ZONE) == replay(past(), there, POLICY, HABITS, ZONE)


def test_everybody_told_is_somebody_who_is_there() -> None:
    found = replay(past(), there, POLICY, HABITS, ZONE)
    assert set(found.people) == {A, B, C}
    assert found.nobody == sum(one.at.hour == 5 for one in past())
    assert sum(person.first for person in found.people.values()) == 300
    assert all(0 <= person.night <= person.told + 1e-9 for person in found.people.values())


def test_a_change_is_of_its_days_alone() -> None:
    tuesday = Change(A, C, frozenset([1]))
    for one in past():
        order = there(one.at).on_call
        moved = changed(order, tuesday, one.at, ZONE)
        local_day = one.at.astimezone(ZONE).weekday()
        assert moved == (tuple(C if user == A else user for user in order) if local_day == 1 else order)
    assert changed((A, B), Change(A, B, frozenset(range(7))), START, ZONE) == (B,), "a person is named once"
    assert changed((A, B), Change(A, "", frozenset(range(7))), START, ZONE) == (A, B)


def test_shorter_waits_come_to_the_last_resort_sooner_and_more_often() -> None:
    slow = replay(past(), there, POLICY, HABITS, ZONE)
    quick = replay(past(), there, POLICY, HABITS, ZONE, Change(waits_s=(30, 30, 30)))
    assert quick.last_resort > slow.last_resort
    assert [step.wait_s for step in with_waits(POLICY, (5,)).steps] == [5, 90, 60, 300]


def test_without_any_history_half_is_answered_within_two_minutes() -> None:
    nothing = Habits()
    assert (nothing.chance(A, 120 * SECOND), nothing.chance(A, 240 * SECOND)) == (0.5, 0.75)
    assert nothing.takes(A, 60 * SECOND) == 30 * SECOND
    found = replay(past(8), there, freeze((Step(Who.ON_CALL, 60),)), nothing, ZONE)
    assert found.people[LAST_ADDRESS].told > 0


def test_a_chance_is_never_certain_and_a_longer_wait_never_smaller() -> None:
    for user in (A, B, C, "nobody"):
        chances = [HABITS.chance(user, wait * SECOND) for wait in range(1, 200, 7)]
        assert all(0 < one < 1 for one in chances)
        assert chances == sorted(chances)


def test_nothing_came() -> None:
    found = replay([], there, POLICY, HABITS, ZONE)
    assert (found.messages, found.p50, found.people) == (0, None, {})


def test_habits_are_reckoned_once_for_each_person_and_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def counted(answers: list[timedelta], wait: timedelta) -> int:
        asked.append(wait)
        return bisect.bisect_right(answers, wait)

    monkeypatch.setattr(what_if, "bisect_right", counted)
    habits = Habits(HABITS.people)
    for wait in (0 * SECOND, 14 * SECOND, 15 * SECOND, 60 * SECOND, 90 * SECOND):
        every = [one for habit in habits.people.values() for one in habit.answers if one <= wait]
        for user in (A, B, C, "nobody"):
            own = [one for one in habits.people.get(user, Habit()).answers if one <= wait]
            known = own or every
            expected = timedelta(seconds=median(k.total_seconds() for k in known)) if known else wait / 2
            assert habits.takes(user, wait) == expected
            told = habits.people.get(user, Habit()).tellings
            average = (len(every) + 2 * (1 - 0.5 ** (wait / (120 * SECOND)))) / (habits.tellings + 2)
            assert habits.chance(user, wait) == pytest.approx((len(own) + 4 * average) / (told + 4))
    assert len(asked) == 2 * 5 * 4
    replay(past(), there, POLICY, habits, ZoneInfo("UTC"))
    assert len(asked) <= 2 * (5 * 4 + 3 * 4), "each message asked anew"
