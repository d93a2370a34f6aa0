"""Whom an alert tells next, by which ways, and that it is never nobody."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightbell.core.ids import new_ulid
from nightbell.oncall import policies, routes
from nightbell.oncall.policies import DEFAULT_STEPS, Facts, Policy, Step, Who, tell

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
POLICY = policies.freeze((), "boss", "boss@x.example")
THERE = Facts(("ann", "bob"), {"g": ("cat", "dan")}, ("ann", "bob", "cat", "dan"))
NEW_YORK = ZoneInfo("America/New_York")


def test_it_tells_first_again_next_and_then_the_last_resort_for_ever() -> None:
    told = []
    for step in range(7):
        telling = tell(POLICY, step, THERE, NOW)
        told.append((telling.users, telling.last_resort, telling.kind))
        assert telling.next_at > NOW
    assert told[:4] == [
        (("ann",), False, "urgent"),
        (("ann",), False, "again"),
        (("bob",), False, "again"),
        ((), True, "again"),
    ]
    assert told[4:] == [((), True, "again")] * 3


@pytest.mark.parametrize(
    ("step", "users"),
    [
        (Step(Who.GROUP, 60, "g"), ("cat", "dan")),
        (Step(Who.USER, 60, "dan"), ("dan",)),
        (Step(Who.ALL, 60), ("ann", "bob", "cat", "dan")),
    ],
)
def test_a_step_tells_the_people_it_means_by_the_ways_it_names(step: Step, users: tuple[str, ...]) -> None:
    telling = tell(Policy((Step(step.who, 60, step.id, ("sms",)),)), 0, THERE, NOW)
    assert (telling.users, telling.last_resort, telling.how) == (users, False, ("sms",))


@pytest.mark.parametrize(
    "step",
    [
        Step(Who.ON_CALL, 60),
        Step(Who.NEXT, 60),
        Step(Who.USER, 60, "gone"),
        Step(Who.GROUP, 60, "gone"),
        Step(Who.ALL, 60),
    ],
)
def test_where_nobody_is_the_last_resort_is_told_at_once_by_all_ways(step: Step) -> None:
    telling = tell(policies.freeze([step]), 0, Facts(), NOW)
    assert (telling.users, telling.last_resort, telling.how) == ((), True, ())


def test_a_policy_without_a_last_resort_gets_one() -> None:
    frozen = policies.freeze([Step(Who.ON_CALL, 60)])
    assert [step.who for step in frozen.steps] == [Who.ON_CALL, Who.LAST_RESORT]
    whole = [Step(Who.ON_CALL, 60), Step(Who.LAST_RESORT, 90)]
    assert policies.freeze(whole).steps == tuple(whole)
    assert policies.freeze(()).steps == DEFAULT_STEPS
    longest = [Step(Who.ON_CALL, 60)] * policies.MAX_STEPS
    assert policies.read_policy(policies.freeze(longest).to_text()) is not None


JUNK = st.one_of(
    st.text(),
    st.builds(
        json.dumps,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda c: st.lists(c) | st.dictionaries(st.text(), c),
        ),
    ),
)


@given(JUNK)
def test_an_unreadable_policy_tells_the_last_resort_and_never_nobody(text: str) -> None:
    policy = policies.read_policy(text)
    assert policy is None
    telling = tell(policy, 3, THERE, NOW)
    assert telling.last_resort
    assert NOW < telling.next_at <= NOW + timedelta(minutes=2)


ULID = new_ulid()
WRONG = [
    {"who": "on_call", "wait_s": 0},
    {"who": "on_call", "wait_s": 3601},
    {"who": "on_call", "wait_s": True},
    {"who": "on_call", "wait_s": 60, "id": ULID},
    {"who": "user", "wait_s": 60},
    {"who": "user", "wait_s": 60, "id": "../etc"},
    {"who": "everybody", "wait_s": 60},
    {"who": ["on_call"], "wait_s": 60},
    {"who": "on_call", "wait_s": 60, "how": ["fax"]},
    {"who": "on_call", "wait_s": 60, "how": "sms"},
    {"who": "on_call", "wait_s": 60, "how": [["sms"]]},
    {"target": "nobody", "wait_s": 60},
    {"target": ["first"], "wait_s": 60},
    "on_call",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_one_bad_step_makes_all_unreadable(wrong: object) -> None:
    good = {"who": "user", "id": ULID, "how": ["sms", "voice"], "wait_s": 60}
    assert policies.read_steps([good]) == (Step(Who.USER, 60, ULID, ("sms", "voice")),)
    assert policies.read_steps([good, wrong]) == ()
    assert policies.problems([good, wrong], [ULID], [])[0].startswith("step 2")
    assert policies.problems([good], [], []) == ["step 1 tells somebody who is not in your practice"]
    assert policies.problems([good], [ULID], []) == []


def test_the_format_of_before_is_still_read() -> None:
    old = [{"target": t, "wait_s": 60} for t in ("first", "next", "fallback")]
    assert [step.who for step in policies.read_steps(old)] == [Who.ON_CALL, Who.NEXT, Who.LAST_RESORT]
    text = json.dumps({"steps": old, "fallback_user": "boss", "fallback_email": ""})
    frozen = policies.read_policy(text)
    assert frozen is not None
    assert (frozen.last_user, len(frozen.steps)) == ("boss", 3)


def test_a_policy_survives_its_text() -> None:
    policy = policies.freeze([Step(Who.USER, 60, ULID, ("voice",))], "boss", "b@x.example", quiet=True)
    assert policies.read_policy(policy.to_text()) == policy


def test_what_is_not_urgent_says_so_and_is_repeated_seldom() -> None:
    last = len(POLICY.steps) - 1
    assert tell(POLICY, last, THERE, NOW, "urgent").next_at == NOW + timedelta(minutes=5)
    calm = tell(POLICY, last, THERE, NOW, "routine")
    assert (calm.kind, calm.next_at) == ("routine", NOW + timedelta(hours=1))
    assert tell(POLICY, 1, THERE, NOW, "review").kind == "review"


@pytest.mark.parametrize(
    ("local", "morning"),
    [
        ("2026-11-24T06:59", "2026-11-24T07:00"),
        ("2026-11-24T07:00", "2026-11-25T07:00"),
        ("2026-10-31T23:00", "2026-11-01T07:00"),  # the clock goes back in this night
        ("2027-03-13T23:00", "2027-03-14T07:00"),  # and forward in this one
    ],
)
def test_the_morning_is_at_seven_on_the_wall(local: str, morning: str) -> None:
    at, expected = (
        datetime.fromisoformat(t).replace(tzinfo=NEW_YORK).astimezone(UTC) for t in (local, morning)
    )
    assert policies.morning_after(at, NEW_YORK) == expected


def test_by_day_nothing_is_put_off() -> None:
    day = datetime(2026, 11, 24, 20, 0, tzinfo=UTC)  # 15:00
    night = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)  # 23:00
    assert policies.by_day(day, NEW_YORK) == day
    assert policies.by_day(night, NEW_YORK) == datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def test_the_time_within_which_the_last_resort_rings() -> None:
    assert policies.longest_round(POLICY) == timedelta(seconds=480)


ASKED = routes.Asked("box", "5035550100", "urgent", False)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (routes.Wanted(), True),
        (routes.Wanted("box", "5035550100", "urgent", "closed"), True),
        (routes.Wanted("other"), False),
        (routes.Wanted(number="5035550101"), False),
        (routes.Wanted(urgency="routine"), False),
        (routes.Wanted(hours="open"), False),
    ],
)
def test_a_route_fits_by_all_that_it_names(wanted: routes.Wanted, fits: bool) -> None:
    assert routes.fits(wanted, ASKED) is fits


def test_hours_that_nobody_knows_are_those_of_the_night() -> None:
    unknown = routes.Asked("box", "", "urgent", None)
    assert routes.fits(routes.Wanted(hours="closed"), unknown)
    assert not routes.fits(routes.Wanted(hours="open"), unknown)
